use std::io::Write;

use flate2::write::GzEncoder;

use super::*;
use crate::mutation::{for_each_mutant, make_pipe};

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
    std::fs::write(&file, "RIFF").expect("a file");
    assert!(error(&file).contains("not a gzip archive"), "{}", error(&file));
    std::fs::write(&file, "<html>").expect("a file");
    assert!(error(&file).contains("it is a web page"), "{}", error(&file));
}

/// An entry of a tar archive that claims so many bytes of content.
fn entry(kind: tar::EntryType, name: &str, claimed: usize, contents: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).expect("a short name");
    header.set_size(claimed as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), contents].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("a gzip");
    gzip.finish().expect("a gzip")
}

fn read_archive(bytes: &[u8]) -> Result<RawImages, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a file");
    let images = read(file.path(), Variant::Cifar10, Split::Test).map_err(|error| error.to_string());
    assert_eq!(header(file.path(), Variant::Cifar10, Split::Test).is_ok(), images.is_ok());
    images
}

#[test]
fn long_names_are_read_and_endless_ones_refused() {
    use tar::EntryType;

    let record = record(&[7], 1);
    let long = format!("{}/test_batch.bin", "folder/".repeat(40));
    let file = entry(EntryType::Regular, "folder/folder/fol", record.len(), &record);
    let pax = format!("{} path={long}\n", long.len() + 10);
    for (kind, name) in [(EntryType::GNULongName, long + "\0"), (EntryType::XHeader, pax)] {
        let named = [entry(kind, "long", name.len(), name.as_bytes()), file.clone()].concat();
        assert_eq!(read_archive(&gzip(&named)).expect("a long name").labels, [7]);
        // Two gigabytes are claimed, and as many would be read if they were there.
        let endless = [entry(kind, "long", 2_000_000_000, &[b'a'; 100_000]), file.clone()].concat();
        let error = read_archive(&gzip(&endless)).expect_err("a long name");
        assert!(error.contains("a name of 2000000000 bytes, 65536 at most"), "{error}");
    }
}

#[test]
fn an_archive_unpacks_to_a_hundred_times_its_size_at_most() {
    let record = record(&[7], 1);
    let zeros = vec![0; 40 << 20];
    for first in [
        entry(tar::EntryType::Regular, "c/test_batch.bin", record.len() * 20_000, &zeros),
        entry(tar::EntryType::Regular, "c/something-else", zeros.len(), &zeros),
    ] {
        let bomb = gzip(&[first, entry(tar::EntryType::Regular, "c/test_batch.bin", record.len(), &record)].concat());
        assert!(bomb.len() < 1 << 18);
        let error = read_archive(&bomb).expect_err("a bomb");
        assert!(error.contains("it unpacks to more than 100 times its size"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_unopened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |path: &Path, split: Split| {
        let error = read(path, Variant::Cifar10, split).expect_err("a pipe").to_string();
        assert_eq!(header(path, Variant::Cifar10, split).expect_err("a pipe").to_string(), error);
        assert!(error.contains("it is a device or a pipe, not a file"), "{error}");
    };
    make_pipe(&folder.path().join("test_batch.bin"));
    make_pipe(&folder.path().join("cifar-10-binary.tar.gz"));
    refused(&folder.path().join("test_batch.bin"), Split::Test);
    refused(folder.path(), Split::Test);
    refused(folder.path(), Split::Train);
    refused(Path::new("/dev/zero"), Split::Train);
}

#[test]
fn mutants_are_read_or_refused() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let read = |bytes: &[u8]| {
        std::fs::write(file.path(), bytes).expect("a file");
        drop(header(file.path(), Variant::Cifar10, Split::Test));
        drop(read(file.path(), Variant::Cifar10, Split::Test));
    };
    let packed = archive(&cifar10());
    for_each_mutant(&packed, |bytes| read(&bytes));
    let mut unpacked = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).expect("a tar");
    for_each_mutant(&unpacked, |bytes| read(&gzip(&bytes)));
}
