use flate2::write::GzEncoder;

use super::*;

/// A record whose red, green and blue planes and whose position can be told apart.
fn record(label: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = label.to_vec();
    bytes.extend((0..PIXELS).map(|i| mark.wrapping_add((i / 1024) as u8 * 50).wrapping_add((i % 32) as u8)));
    bytes
}

fn cifar10() -> Vec<(String, Vec<u8>)> {
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    let mut files = vec![("batches.meta.txt".to_owned(), names.as_bytes().to_vec())];
    // Out of order, as in the official archive.
    for batch in [1u8, 3, 5, 2, 4] {
        files.push((format!("data_batch_{batch}.bin"), [record(&[batch], batch), record(&[0], 9)].concat()));
    }
    files.push(("test_batch.bin".to_owned(), record(&[7], 100)));
    files
}

fn unpack(folder: &Path, files: &[(String, Vec<u8>)]) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes.as_slice()).expect("an entry");
    }
    archive.into_inner().expect("a tar").finish().expect("a gzip")
}

#[test]
fn folder_its_parent_and_archive_hold_the_same_images() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path().join("cifar-10-batches-bin");
    unpack(&folder, &cifar10());
    let file = temporary.path().join("anything");
    std::fs::write(&file, archive(&cifar10())).expect("an archive");

    let train = read(&folder, Variant::Cifar10, Split::Train).expect("a folder");
    assert_eq!(train.labels, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!(train.pixels[2 * PIXELS..3 * PIXELS], record(&[2], 2)[1..]);
    assert_eq!(train.classes, 10);
    assert_eq!(read(temporary.path(), Variant::Cifar10, Split::Train).expect("its parent"), train);
    assert_eq!(read(&file, Variant::Cifar10, Split::Train).expect("an archive"), train);
    assert_eq!(header(&folder, Variant::Cifar10, Split::Train).expect("a header"), train.header());
    assert_eq!(header(&file, Variant::Cifar10, Split::Train).expect("a header"), train.header());
    assert_eq!(read(&folder, Variant::Cifar10, Split::Test).expect("a test split").labels, [7]);
}

#[test]
fn cifar100_has_a_coarse_label_before_the_fine_one() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let files = [("test.bin", [record(&[19, 99], 1), record(&[3, 42], 2)].concat())];
    unpack(temporary.path(), &files.map(|(name, bytes)| (name.to_owned(), bytes)));
    let test = read(temporary.path(), Variant::Cifar100, Split::Test).expect("a folder");
    assert_eq!(test.labels, [99, 42]);
    assert_eq!(test.pixels[PIXELS..], record(&[3, 42], 2)[2..]);
    assert_eq!(test.classes, 100);
}

#[test]
fn a_bad_list_of_class_names_is_not_in_the_way() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (folder, file) = (temporary.path().join("unpacked"), temporary.path().join("packed"));
    for names in [b"airplane\nautomobile\n".as_slice(), b"\xff\xfe", b""] {
        let mut files = cifar10();
        files[0].1 = names.to_vec();
        unpack(&folder, &files);
        std::fs::write(&file, archive(&files)).expect("an archive");
        for path in [&folder, &file] {
            let images = read(path, Variant::Cifar10, Split::Train).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((images.len(), images.classes), (10, 10));
        }
    }
}

#[test]
fn damage_is_reported_with_its_place() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path();
    let error = |path: &Path| read(path, Variant::Cifar10, Split::Train).expect_err("damaged").to_string();

    assert!(error(folder).contains("no data_batch_1.bin"), "{}", error(folder));
    std::fs::write(folder.join("data_batch_1"), "pickle").expect("a file");
    assert!(error(folder).contains("Python version"), "{}", error(folder));

    unpack(folder, &cifar10());
    std::fs::write(folder.join("data_batch_4.bin"), [0; 3072]).expect("a file");
    let short = error(folder);
    assert!(short.contains("data_batch_4.bin: the file has 3,072 bytes, expected 30,730,000"), "{short}");
    assert_eq!(header(folder, Variant::Cifar10, Split::Train).expect_err("damaged").to_string(), short);
    let wrong = [record(&[1], 0), record(&[10], 0)].concat();
    std::fs::write(folder.join("data_batch_4.bin"), wrong).expect("a file");
    let label = error(folder);
    assert!(label.contains("data_batch_4.bin, record 1, byte 3073: the label is 10, expected 0 to 9"), "{label}");
    std::fs::remove_file(folder.join("data_batch_4.bin")).expect("a file to remove");
    assert!(error(folder).contains("data_batch_4.bin: cannot be opened"), "{}", error(folder));

    let file = folder.join("cifar.tar.gz");
    let complete = archive(&cifar10());
    std::fs::write(&file, &complete[..complete.len() / 2]).expect("a file");
    assert!(error(&file).contains("is the download finished?"), "{}", error(&file));
    std::fs::write(&file, archive(&cifar10()[..4])).expect("a file");
    assert!(error(&file).contains("no data_batch_2.bin"), "{}", error(&file));
    std::fs::write(&file, "<html>").expect("a file");
    assert!(error(&file).contains("not a gzip archive"), "{}", error(&file));
}
