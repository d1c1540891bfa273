//! CIFAR-10 and CIFAR-100 in their official binary version: the `.tar.gz` as downloaded, or the folder unpacked from it.
//!
//! A file is a sequence of records: the label (CIFAR-100: the coarse one, then the fine one), then 3,072 bytes of red,
//! green and blue, row by row. Source: <https://www.cs.toronto.edu/~kriz/cifar.html>.

mod archive;
mod class_names;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::error::{grouped, metadata};
use crate::input_file;
use crate::size_limits::LimitedReader;
use crate::{ImageHeader, RawImages, ReadError, pixel_buffer};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;

/// The official archives are ten times larger; what is smaller is unpacked in no time.
const SMALL_ARCHIVE: u64 = 16 << 20;

/// Which part of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// 50,000 images to learn from.
    Train,
    /// 10,000 images to measure on.
    Test,
}

/// What tells the two datasets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Ten classes.
    Cifar10,
    /// A hundred classes, the fine labels.
    Cifar100,
}

impl Variant {
    /// The number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// What the classes are called, in the order of their numbers.
    fn class_names(self) -> Vec<String> {
        match self {
            Self::Cifar10 => class_names::CIFAR_10.map(str::to_owned).into(),
            Self::Cifar100 => class_names::CIFAR_100.map(str::to_owned).into(),
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

    fn files(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (Self::Cifar10, Split::Train) => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            (Self::Cifar10, Split::Test) => &["test_batch.bin"],
            (Self::Cifar100, Split::Train) => &["train.bin"],
            (Self::Cifar100, Split::Test) => &["test.bin"],
        }
    }

    /// Images in each official file.
    fn official_count(self, split: Split) -> usize {
        if (self, split) == (Self::Cifar100, Split::Train) { 50_000 } else { 10_000 }
    }

    /// Bytes before the pixels; the last of them is the label.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn record_bytes(self) -> usize {
        self.label_bytes() + PIXELS
    }
}

/// Reads the training or the test images under `path`: the archive, the folder with the `.bin` files, or a folder with
/// one of these in it.
pub fn read(path: &Path, variant: Variant, split: Split) -> Result<RawImages, ReadError> {
    let names = variant.files(split);
    let mut batches: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let source = find(path, variant, split)?;
    match &source {
        Source::Folder(folder) => {
            for (i, name) in names.iter().enumerate() {
                let file = folder.join(name);
                let (mut reader, bytes) = open(&file)?;
                batches.insert(i, read_batch(variant, split, &file, &mut reader, bytes)?);
            }
        }
        Source::Archive(archive) => {
            let damaged = |error: std::io::Error| {
                ReadError::io(archive, "the archive cannot be unpacked", &error)
                    .with_help("is the download finished? the official archives have about 160 MB")
            };
            let (reader, bytes) = open(archive)?;
            let unpacked = LimitedReader::new(GzDecoder::new(reader), bytes);
            archive::for_each_file(unpacked, damaged, |inside, bytes, contents| {
                if let Some(i) = names.iter().position(|name| inside.file_name().is_some_and(|found| found == *name)) {
                    batches.insert(i, read_batch(variant, split, &archive.join(inside), contents, bytes)?);
                }
                Ok(())
            })?;
            if let Some(missing) = (0..names.len()).find(|i| !batches.contains_key(i)) {
                return Err(ReadError::new(archive, format!("the archive has no {}", names[missing]))
                    .with_help(format!("expected {}, the binary version", variant.archive())));
            }
        }
    }
    let record = variant.record_bytes();
    let count: usize = batches.values().map(|batch| batch.len() / record).sum();
    let mut pixels = pixel_buffer(count, PIXELS).map_err(|error| ReadError::new(path, error.to_string()))?;
    let mut labels = Vec::with_capacity(count);
    for (i, batch) in batches {
        for (index, bytes) in batch.chunks_exact(record).enumerate() {
            let (label, image) = bytes.split_at(variant.label_bytes());
            let label = label[variant.label_bytes() - 1];
            if usize::from(label) >= variant.classes() {
                let reason = format!("the label is {label}, expected 0 to {}", variant.classes() - 1);
                return Err(ReadError::new(&source.file(names[i]), reason)
                    .at(format!("record {index}, byte {}", index * record + variant.label_bytes() - 1))
                    .with_help(format!("is this {variant:?}? its binary version has records of {record} bytes")));
            }
            labels.push(u32::from(label));
            pixels.extend_from_slice(image);
        }
    }
    let (classes, class_names) = (variant.classes(), variant.class_names());
    Ok(RawImages { pixels, labels, channels: 3, height: SIDE, width: SIDE, classes, class_names })
}

/// The files that hold those images under `path`.
pub fn files(path: &Path, variant: Variant, split: Split) -> Result<Vec<PathBuf>, ReadError> {
    Ok(match find(path, variant, split)? {
        Source::Folder(folder) => variant.files(split).iter().map(|name| folder.join(name)).collect(),
        Source::Archive(archive) => vec![archive],
    })
}

/// What is there, from the sizes of the files. Only unpacking it tells how many images an archive holds; one of the
/// official size is taken at its word.
pub fn header(path: &Path, variant: Variant, split: Split) -> Result<ImageHeader, ReadError> {
    let count = match find(path, variant, split)? {
        Source::Folder(folder) => {
            let mut count = 0;
            for name in variant.files(split) {
                let file = folder.join(name);
                count += records(variant, split, &file, open(&file)?.1)?;
            }
            count
        }
        Source::Archive(archive) if open(&archive)?.1 < SMALL_ARCHIVE => read(&archive, variant, split)?.len(),
        Source::Archive(_) => return Ok(official(variant, split)),
    };
    Ok(ImageHeader { count, ..official(variant, split) })
}

/// What the official files hold.
pub fn official(variant: Variant, split: Split) -> ImageHeader {
    let count = variant.files(split).len() * variant.official_count(split);
    ImageHeader { count, channels: 3, height: SIDE, width: SIDE, classes: variant.classes() }
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

fn find(path: &Path, variant: Variant, split: Split) -> Result<Source, ReadError> {
    let found = metadata(path)?;
    let wanted =
        format!("the binary version: {}, or the folder {} unpacked from it", variant.archive(), variant.folder());
    if !found.is_dir() {
        let (mut reader, _) = open(path)?;
        let mut start = Vec::new();
        reader
            .by_ref()
            .take(2)
            .read_to_end(&mut start)
            .map_err(|error| ReadError::io(path, "cannot be read", &error))?;
        return if start == [0x1f, 0x8b] {
            Ok(Source::Archive(path.to_path_buf()))
        } else {
            Err(ReadError::new(path, "this file is not a gzip archive").with_help(format!("expected {wanted}")))
        };
    }
    let first = variant.files(split)[0];
    for folder in [path.to_path_buf(), path.join(variant.folder())] {
        if folder.join(first).exists() {
            return Ok(Source::Folder(folder));
        }
    }
    let archive = path.join(variant.archive());
    if archive.exists() {
        return Ok(Source::Archive(archive));
    }
    let error = ReadError::new(path, format!("there is no {first} in this folder, nor in {} in it", variant.folder()));
    let python = first.trim_end_matches(".bin");
    Err(if path.join(python).is_file() {
        error.with_help(format!("`{python}` belongs to the Python version; expected {wanted}"))
    } else {
        error.with_help(format!("expected {wanted}"))
    })
}

fn open(file: &Path) -> Result<(BufReader<File>, u64), ReadError> {
    input_file::open(file).map(|(file, bytes)| (BufReader::new(file), bytes))
}

/// The number of records in a file of that many bytes.
fn records(variant: Variant, split: Split, file: &Path, bytes: u64) -> Result<usize, ReadError> {
    let record = variant.record_bytes() as u64;
    if bytes == 0 || !bytes.is_multiple_of(record) {
        let official = variant.official_count(split);
        return Err(ReadError::new(
            file,
            format!(
                "the file has {} bytes, expected {} ({} images) or another multiple of {}",
                grouped(bytes),
                grouped(official * variant.record_bytes()),
                grouped(official),
                grouped(record)
            ),
        )
        .with_help("is it complete? unpack or download it again"));
    }
    usize::try_from(bytes / record).map_err(|_| ReadError::new(file, "the file is larger than memory can be"))
}

fn read_batch(
    variant: Variant,
    split: Split,
    file: &Path,
    reader: &mut dyn Read,
    bytes: u64,
) -> Result<Vec<u8>, ReadError> {
    records(variant, split, file, bytes)?;
    // Grows with what is really there: in an archive, the promised size is only a promise.
    let mut batch = Vec::new();
    let read = reader.take(bytes).read_to_end(&mut batch).map_err(|error| {
        ReadError::io(file, "cannot be read", &error).with_help("is the download finished? download it again")
    })?;
    if read as u64 == bytes {
        Ok(batch)
    } else {
        Err(ReadError::new(file, format!("the file ends after {} of {} bytes", grouped(read as u64), grouped(bytes)))
            .with_help("is the download finished? download it again"))
    }
}

#[cfg(test)]
mod tests;
