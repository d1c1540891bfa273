//! CIFAR-10 and CIFAR-100 in their official binary version: the `.tar.gz` as downloaded, or the folder unpacked from it.
//!
//! A file is a sequence of records: the label (CIFAR-100: the coarse one, then the fine one), then 3,072 bytes of red,
//! green and blue, row by row. Source: <https://www.cs.toronto.edu/~kriz/cifar.html>.

use crate::data_error::{given, grouped};
use crate::raw_images::reserve;
use crate::{DataError, ImageHeader, RawImages};
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;

/// The official archives are ten times larger; what is smaller is unpacked in no time.
const SMALL_ARCHIVE: u64 = 16 << 20;

/// What tells the two datasets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes.
    Cifar10,
    /// A hundred classes, the fine labels.
    Cifar100,
}

impl Cifar {
    /// The number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10-batches-bin",
            Self::Cifar100 => "cifar-100-binary",
        }
    }

    fn archive(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10-binary.tar.gz",
            Self::Cifar100 => "cifar-100-binary.tar.gz",
        }
    }

    fn files(self, train: bool) -> &'static [&'static str] {
        match (self, train) {
            (Self::Cifar10, true) => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            (Self::Cifar10, false) => &["test_batch.bin"],
            (Self::Cifar100, true) => &["train.bin"],
            (Self::Cifar100, false) => &["test.bin"],
        }
    }

    /// Images in each official file.
    fn official_count(self, train: bool) -> usize {
        if self == Self::Cifar100 && train { 50_000 } else { 10_000 }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    /// Bytes before the pixels; the last of them is the label.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn record(self) -> usize {
        self.label_bytes() + PIXELS
    }
}

/// Reads the training or the test images under `path`: the archive, the folder with the `.bin` files, or a folder with
/// one of these in it.
pub fn read(kind: Cifar, train: bool, path: &Path) -> Result<RawImages, DataError> {
    let names = kind.files(train);
    let mut batches: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut class_names = Vec::new();
    let source = find(kind, train, path)?;
    let mut take = |place: &Path, name: &str, reader: &mut dyn Read, bytes: u64| -> Result<(), DataError> {
        if name == kind.names_file() {
            class_names = read_names(kind, place, reader)?;
        } else if let Some(i) = names.iter().position(|file| *file == name) {
            batches.insert(i, read_batch(kind, train, place, reader, bytes)?);
        }
        Ok(())
    };
    match &source {
        Source::Folder(folder) => {
            for name in names.iter().copied().chain([kind.names_file()]) {
                let file = folder.join(name);
                if name == kind.names_file() && !file.exists() {
                    continue;
                }
                let (mut reader, bytes) = open(&file)?;
                take(&file, name, &mut reader, bytes)?;
            }
        }
        Source::Archive(archive) => {
            let damaged = |error: std::io::Error| {
                DataError::io(archive, "the archive cannot be unpacked", &error)
                    .help("is the download finished? the official archives have about 160 MB")
            };
            let mut entries = tar::Archive::new(GzDecoder::new(open(archive)?.0));
            for entry in entries.entries().map_err(damaged)? {
                let mut entry = entry.map_err(damaged)?;
                let inside = entry.path().map_err(damaged)?.into_owned();
                let name = inside.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let bytes = entry.size();
                take(&archive.join(&inside), &name, &mut entry, bytes)?;
            }
            if let Some(missing) = (0..names.len()).find(|i| !batches.contains_key(i)) {
                return Err(DataError::new(archive, format!("the archive has no {}", names[missing]))
                    .help(format!("expected {}, the binary version", kind.archive())));
            }
        }
    }
    let record = kind.record();
    let count: usize = batches.values().map(|batch| batch.len() / record).sum();
    let mut pixels = Vec::new();
    reserve(&mut pixels, count.checked_mul(PIXELS)).map_err(|reason| DataError::new(path, reason))?;
    let mut labels = Vec::with_capacity(count);
    for (i, batch) in batches {
        for (index, bytes) in batch.chunks_exact(record).enumerate() {
            let (label, image) = bytes.split_at(kind.label_bytes());
            let label = label[kind.label_bytes() - 1];
            if usize::from(label) >= kind.classes() {
                let reason = format!("the label is {label}, expected 0 to {}", kind.classes() - 1);
                return Err(DataError::new(&source.file(names[i]), reason)
                    .at(format!("record {index}, byte {}", index * record + kind.label_bytes() - 1))
                    .help(format!("is this {kind:?}? its binary version has records of {record} bytes")));
            }
            labels.push(u32::from(label));
            pixels.extend_from_slice(image);
        }
    }
    Ok(RawImages { pixels, labels, channels: 3, height: SIDE, width: SIDE, classes: kind.classes(), class_names })
}

/// The files that hold those images under `path`.
pub fn files(kind: Cifar, train: bool, path: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(match find(kind, train, path)? {
        Source::Folder(folder) => kind.files(train).iter().map(|name| folder.join(name)).collect(),
        Source::Archive(archive) => vec![archive],
    })
}

/// What is there, from the sizes of the files. Only unpacking it tells how many images an archive holds; one of the
/// official size is taken at its word.
pub fn header(kind: Cifar, train: bool, path: &Path) -> Result<ImageHeader, DataError> {
    let count = match find(kind, train, path)? {
        Source::Folder(folder) => {
            let mut count = 0;
            for name in kind.files(train) {
                let file = folder.join(name);
                count += records(kind, train, &file, open(&file)?.1)?;
            }
            count
        }
        Source::Archive(archive) if open(&archive)?.1 < SMALL_ARCHIVE => read(kind, train, &archive)?.len(),
        Source::Archive(_) => kind.files(train).len() * kind.official_count(train),
    };
    Ok(ImageHeader { count, channels: 3, height: SIDE, width: SIDE, classes: kind.classes() })
}

enum Source {
    Folder(PathBuf),
    Archive(PathBuf),
}

impl Source {
    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(path) | Self::Archive(path) => path.join(name),
        }
    }
}

fn find(kind: Cifar, train: bool, path: &Path) -> Result<Source, DataError> {
    let found = given(path)?;
    let wanted = format!("the binary version: {}, or the folder {} unpacked from it", kind.archive(), kind.folder());
    if found.is_file() {
        let (mut reader, _) = open(path)?;
        let mut start = Vec::new();
        reader
            .by_ref()
            .take(2)
            .read_to_end(&mut start)
            .map_err(|error| DataError::io(path, "cannot be read", &error))?;
        return if start == [0x1f, 0x8b] {
            Ok(Source::Archive(path.to_path_buf()))
        } else {
            Err(DataError::new(path, "this file is not a gzip archive").help(format!("expected {wanted}")))
        };
    }
    let first = kind.files(train)[0];
    for folder in [path.to_path_buf(), path.join(kind.folder())] {
        if folder.join(first).is_file() {
            return Ok(Source::Folder(folder));
        }
    }
    let archive = path.join(kind.archive());
    if archive.is_file() {
        return Ok(Source::Archive(archive));
    }
    let error = DataError::new(path, format!("there is no {first} in this folder, nor in {} in it", kind.folder()));
    let python = first.trim_end_matches(".bin");
    Err(if path.join(python).is_file() {
        error.help(format!("`{python}` belongs to the Python version; expected {wanted}"))
    } else {
        error.help(format!("expected {wanted}"))
    })
}

fn open(file: &Path) -> Result<(BufReader<File>, u64), DataError> {
    let failed = |error: std::io::Error| DataError::io(file, "cannot be opened", &error);
    let mut opened = File::open(file).map_err(failed)?;
    let bytes = opened.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
    opened.rewind().map_err(failed)?;
    Ok((BufReader::new(opened), bytes))
}

/// The number of records in a file of that many bytes.
fn records(kind: Cifar, train: bool, file: &Path, bytes: u64) -> Result<usize, DataError> {
    let record = kind.record() as u64;
    if bytes == 0 || !bytes.is_multiple_of(record) {
        let official = kind.official_count(train);
        return Err(DataError::new(
            file,
            format!(
                "the file has {} bytes, expected {} ({} images) or another multiple of {}",
                grouped(bytes),
                grouped(official * kind.record()),
                grouped(official),
                grouped(record)
            ),
        )
        .help("is it complete? unpack or download it again"));
    }
    usize::try_from(bytes / record).map_err(|_| DataError::new(file, "the file is larger than memory can be"))
}

fn read_batch(kind: Cifar, train: bool, file: &Path, reader: &mut dyn Read, bytes: u64) -> Result<Vec<u8>, DataError> {
    records(kind, train, file, bytes)?;
    // Grows with what is really there: in an archive, the promised size is only a promise.
    let mut batch = Vec::new();
    let read = reader.take(bytes).read_to_end(&mut batch).map_err(|error| {
        DataError::io(file, "cannot be read", &error).help("is the download finished? download it again")
    })?;
    if read as u64 == bytes {
        Ok(batch)
    } else {
        Err(DataError::new(file, format!("the file ends after {} of {} bytes", grouped(read as u64), grouped(bytes)))
            .help("is the download finished? download it again"))
    }
}

fn read_names(kind: Cifar, file: &Path, reader: &mut dyn Read) -> Result<Vec<String>, DataError> {
    let mut text = String::new();
    let read = reader.take(65_536).read_to_string(&mut text);
    read.map_err(|error| DataError::io(file, "cannot be read", &error))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() == kind.classes() {
        Ok(names)
    } else {
        Err(DataError::new(file, format!("the file names {} classes, expected {}", names.len(), kind.classes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;

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
            archive
                .append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes.as_slice())
                .expect("an entry");
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

        let train = read(Cifar::Cifar10, true, &folder).expect("a folder");
        assert_eq!(train.labels, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
        assert_eq!(train.pixels[2 * PIXELS..3 * PIXELS], record(&[2], 2)[1..]);
        assert_eq!((train.classes, train.class_names[9].as_str()), (10, "truck"));
        assert_eq!(read(Cifar::Cifar10, true, temporary.path()).expect("its parent"), train);
        assert_eq!(read(Cifar::Cifar10, true, &file).expect("an archive"), train);
        assert_eq!(header(Cifar::Cifar10, true, &folder).expect("a header"), train.header());
        assert_eq!(header(Cifar::Cifar10, true, &file).expect("a header"), train.header());
        assert_eq!(read(Cifar::Cifar10, false, &folder).expect("a test split").labels, [7]);
    }

    #[test]
    fn cifar100_has_a_coarse_label_before_the_fine_one() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let names: String = (0..100).map(|i| format!("class {i}\n")).collect();
        let files = [("test.bin", [record(&[19, 99], 1), record(&[3, 42], 2)].concat())];
        unpack(temporary.path(), &files.map(|(name, bytes)| (name.to_owned(), bytes)));
        std::fs::write(temporary.path().join("fine_label_names.txt"), names).expect("names");
        let test = read(Cifar::Cifar100, false, temporary.path()).expect("a folder");
        assert_eq!(test.labels, [99, 42]);
        assert_eq!(test.pixels[PIXELS..], record(&[3, 42], 2)[2..]);
        assert_eq!(test.class_names[42], "class 42");
    }

    #[test]
    fn damage_is_reported_with_its_place() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path();
        let error = |path: &Path| read(Cifar::Cifar10, true, path).expect_err("damaged").to_string();

        assert!(error(folder).contains("no data_batch_1.bin"), "{}", error(folder));
        std::fs::write(folder.join("data_batch_1"), "pickle").expect("a file");
        assert!(error(folder).contains("Python version"), "{}", error(folder));

        unpack(folder, &cifar10());
        std::fs::write(folder.join("data_batch_4.bin"), [0; 3072]).expect("a file");
        let short = error(folder);
        assert!(short.contains("data_batch_4.bin: the file has 3,072 bytes, expected 30,730,000"), "{short}");
        assert_eq!(header(Cifar::Cifar10, true, folder).expect_err("damaged").to_string(), short);
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
}
