use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::mutation::for_each_mutant;

fn idx(dimensions: &[u32], numbers: &[u8]) -> Vec<u8> {
    let sizes = dimensions.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, BYTES, dimensions.len() as u8].into_iter().chain(sizes).chain(numbers.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// Two images of 2×3.
fn images() -> Vec<u8> {
    idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 250, 251, 252, 253, 254, 255])
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        std::fs::write(file, bytes).expect("a file");
    }
    folder
}

fn error(files: &[(&str, Vec<u8>)]) -> String {
    let folder = folder(files);
    let _ = header(folder.path(), Variant::FashionMnist, Split::Test);
    read(folder.path(), Variant::FashionMnist, Split::Test).expect_err("no dataset").to_string()
}

#[test]
fn as_downloaded_unpacked_and_as_torchvision_lays_it_out() {
    let labels = || idx(&[2], &[7, 0]);
    for files in [
        [("t10k-images-idx3-ubyte.gz", gzip(&images())), ("t10k-labels-idx1-ubyte.gz", gzip(&labels()))],
        [("t10k-images-idx3-ubyte", images()), ("t10k-labels-idx1-ubyte.gz", gzip(&labels()))],
        [("t10k-images.idx3-ubyte", images()), ("t10k-labels.idx1-ubyte", labels())],
        [("FashionMNIST/raw/t10k-images-idx3-ubyte", images()), ("FashionMNIST/raw/t10k-labels-idx1-ubyte", labels())],
    ] {
        let folder = folder(&files);
        let found = read(folder.path(), Variant::FashionMnist, Split::Test).expect("a dataset");
        assert_eq!((found.channels, found.height, found.width, found.classes), (1, 2, 3, 10));
        assert_eq!(found.pixels, [1, 2, 3, 4, 5, 6, 250, 251, 252, 253, 254, 255]);
        assert_eq!(found.labels, [7, 0]);
        assert_eq!(header(folder.path(), Variant::FashionMnist, Split::Test), Ok(found.header()));
        assert!(read(folder.path(), Variant::FashionMnist, Split::Train).is_err());
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let with = |images: Vec<u8>, labels: Vec<u8>| {
        error(&[("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)])
    };
    for (images, labels, expected) in [
        (images(), idx(&[3], &[1, 2, 3]), "3 labels for the 2 images beside them"),
        (images(), idx(&[2], &[1, 10]), "label 1: the label is 10, expected 0 to 9"),
        (idx(&[2], &[1, 2]), idx(&[2], &[1, 2]), "it begins with [00, 00, 08, 01]"),
        (images()[..20].to_vec(), idx(&[2], &[1, 2]), "it claims to hold 2 images of 2×3, and is too small for that"),
        ([images(), vec![0]].concat(), idx(&[2], &[1, 2]), "it holds more than the 12 bytes that it promises"),
        (images(), idx(&[2], &[1]), "it ends after 1 of 2 bytes"),
        (images(), idx(&[u32::MAX], &[1]), "it ends after 1 of 4,294,967,295 bytes"),
        (idx(&[u32::MAX, 4096, 4096], &[1]), idx(&[2], &[1, 2]), "is too small for that"),
        (idx(&[1, 0, 5], &[]), idx(&[1], &[1]), "1 images of 0×5"),
    ] {
        let error = with(images, labels);
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn of_several_datasets_in_a_folder_each_finds_its_own() {
    let place = |folder: &str| {
        ["images-idx3", "labels-idx1"].map(|name| (format!("{folder}t10k-{name}-ubyte"), idx(&[2], &[7, 0])))
    };
    let all: Vec<_> = ["MNIST/raw/", "KMNIST/raw/"].into_iter().flat_map(place).collect();
    let all: Vec<_> = all.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let folder = folder(&all);
    let found = |path: &Path, variant| files(path, variant, Split::Test).map(|files| files[0].clone());
    for variant in [Variant::Mnist, Variant::KMnist] {
        let own = folder.path().join(variant.folder()).join("t10k-images-idx3-ubyte");
        assert_eq!(found(folder.path(), variant), Ok(own));
    }
    let error = found(folder.path(), Variant::FashionMnist).expect_err("only others").to_string();
    assert!(error.contains("here or in its `FashionMNIST/raw` or `raw`"), "{error}");
    // A folder that is named itself is taken at its word.
    let digits = folder.path().join("MNIST");
    assert_eq!(found(&digits, Variant::FashionMnist), Ok(digits.join("raw/t10k-images-idx3-ubyte")));
}

#[test]
fn mutants_are_read_or_refused() {
    let labels = gzip(&idx(&[2], &[7, 0]));
    for images in [images(), gzip(&images())] {
        for_each_mutant(&images, |bytes| {
            let folder = folder(&[("t10k-images-idx3-ubyte", bytes), ("t10k-labels-idx1-ubyte", labels.clone())]);
            let _ = header(folder.path(), Variant::FashionMnist, Split::Test);
            drop(read(folder.path(), Variant::FashionMnist, Split::Test));
        });
    }
}
