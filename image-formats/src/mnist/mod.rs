//! MNIST, and the datasets that are laid out as it is: Fashion-MNIST, Kuzushiji-MNIST. Two files for each split, as downloaded (`.gz`) or
//! unpacked: `train-images-idx3-ubyte` with the images, `train-labels-idx1-ubyte` with the labels; those to measure on begin with `t10k`.
//!
//! A file is two bytes of zero, the type of its numbers (8: bytes), the number of its dimensions, each of them in four bytes, the first one
//! first, and the numbers. Source: <http://yann.lecun.com/exdb/mnist/>, "the IDX file format".

use std::cmp::Ordering;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::error::{grouped, metadata};
use crate::size_limits::{LimitedReader, unpacked};
use crate::{ImageHeader, RawImages, ReadError, input_file, pixel_buffer};

const CLASSES: usize = 10;
const MAX_SIDE: usize = 4096;

/// The type of bytes.
const BYTES: u8 = 8;

/// Which of the datasets that are laid out alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Handwritten digits.
    Mnist,
    /// Clothes.
    FashionMnist,
    /// Cursive Japanese.
    KMnist,
}

impl Variant {
    /// The folder of its files in the root that torchvision is given.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Mnist => "MNIST/raw",
            Self::FashionMnist => "FashionMNIST/raw",
            Self::KMnist => "KMNIST/raw",
        }
    }

    /// What the classes are called, in the order of their numbers, as torchvision has it.
    fn class_names(self) -> Vec<String> {
        let names = match self {
            Self::Mnist => ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            Self::FashionMnist => [
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ],
            Self::KMnist => ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
        };
        names.map(str::to_owned).into()
    }
}

/// Which part of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// 60,000 images to learn from.
    Train,
    /// 10,000 images to measure on.
    Test,
}

impl Split {
    /// What the names of its files begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "t10k",
        }
    }
}

/// Reads the images of `split` in the variant's own folder in `path`, which torchvision makes, or else in `path` itself or the `raw` in it,
/// where nothing tells the variants apart.
///
/// # Errors
/// When there are no such files, or they are damaged or hold something else.
pub fn read(path: &Path, variant: Variant, split: Split) -> Result<RawImages, ReadError> {
    let [images, labels] = find(path, variant, split)?;
    let mut file = IdxFile::open(images, 3)?;
    let (count, height, width) = file.images()?;
    let mut pixels = pixel_buffer(count, height * width).map_err(|error| file.problem(error.to_string()))?;
    file.read_into(&mut pixels)?;
    let mut file = IdxFile::open(labels, 1)?;
    let mut found = Vec::new();
    file.read_into(&mut found)?;
    if found.len() != count {
        let reason = format!("{} labels for the {} images beside them", grouped(found.len()), grouped(count));
        return Err(file.problem(reason).with_help("the two files must belong together"));
    }
    if let Some(at) = found.iter().position(|label| usize::from(*label) >= CLASSES) {
        let reason = format!("the label is {}, expected 0 to {}", found[at], CLASSES - 1);
        return Err(file.problem(reason).at(format!("label {at}")));
    }
    let labels = found.into_iter().map(u32::from).collect();
    let class_names = variant.class_names();
    Ok(RawImages { pixels, labels, channels: 1, height, width, classes: CLASSES, class_names })
}

/// Count and size from the beginning of the images.
///
/// # Errors
/// When there are no such files, or the images do not begin as they should.
pub fn header(path: &Path, variant: Variant, split: Split) -> Result<ImageHeader, ReadError> {
    let [images, _] = find(path, variant, split)?;
    let (count, height, width) = IdxFile::open(images, 3)?.images()?;
    Ok(ImageHeader { count, channels: 1, height, width, classes: CLASSES })
}

/// What the official files hold.
pub fn official(split: Split) -> ImageHeader {
    let count = if split == Split::Train { 60_000 } else { 10_000 };
    ImageHeader { count, channels: 1, height: 28, width: 28, classes: CLASSES }
}

/// The file of the images and that of the labels.
///
/// # Errors
/// When one of them is not there.
pub fn files(path: &Path, variant: Variant, split: Split) -> Result<Vec<PathBuf>, ReadError> {
    find(path, variant, split).map(Vec::from)
}

fn find(path: &Path, variant: Variant, split: Split) -> Result<[PathBuf; 2], ReadError> {
    let prefix = split.prefix();
    if !metadata(path)?.is_dir() {
        return Err(ReadError::new(path, "it is a file, expected the folder that the files are in").with_help(
            format!("images and labels lie in a file each: {prefix}-images-idx3-ubyte, {prefix}-labels-idx1-ubyte"),
        ));
    }
    let one = |folder: &Path, name: &str| {
        // Also as some unpack it, with a dot.
        let names = [format!("{prefix}-{name}-ubyte"), format!("{prefix}-{}-ubyte", name.replace('-', "."))];
        let endings = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
        endings.map(|name| folder.join(name)).find(|file| file.exists())
    };
    let mut folders = [variant.folder(), "", "raw"].into_iter().map(|folder| path.join(folder));
    let found = folders.find_map(|folder| Some([one(&folder, "images-idx3")?, one(&folder, "labels-idx1")?]));
    found.ok_or_else(|| {
        let reason = format!("there are no {prefix}-images-idx3-ubyte and {prefix}-labels-idx1-ubyte in this folder");
        let own = variant.folder();
        ReadError::new(path, reason)
            .with_help(format!("expected both, unpacked or as downloaded (.gz), here or in its `{own}` or `raw`"))
    })
}

/// An open file, of which the header has been read.
struct IdxFile {
    path: PathBuf,
    dimensions: Vec<usize>,
    numbers: Box<dyn Read>,
    /// What the file can hold at most, whatever it claims.
    most_bytes: usize,
}

impl IdxFile {
    fn open(path: PathBuf, dimensions: u8) -> Result<Self, ReadError> {
        let (mut file, bytes) = input_file::open(&path)?;
        let mut start = Vec::new();
        let sniffed = (&file).take(2).read_to_end(&mut start).and_then(|_| file.rewind());
        sniffed.map_err(|error| ReadError::io(&path, "cannot be read", &error))?;
        let gzipped = start == [0x1f, 0x8b];
        let most_bytes = if gzipped { unpacked(bytes) } else { bytes };
        let head = 4 + 4 * u64::from(dimensions);
        let most_bytes = usize::try_from(most_bytes.saturating_sub(head)).unwrap_or(usize::MAX);
        let mut numbers: Box<dyn Read> = if gzipped {
            Box::new(LimitedReader::new(GzDecoder::new(BufReader::new(file)), bytes))
        } else {
            Box::new(BufReader::new(file))
        };
        let expected = format!("expected an IDX file of bytes in {dimensions} dimensions, as the files of MNIST are");
        let mut magic = [0; 4];
        numbers.read_exact(&mut magic).map_err(|error| early(&path, &error))?;
        if magic != [0, 0, BYTES, dimensions] {
            let reason = format!("it begins with {magic:02x?}");
            return Err(ReadError::new(&path, reason).with_help(expected));
        }
        let mut sizes = Vec::new();
        for _ in 0..dimensions {
            let mut size = [0; 4];
            numbers.read_exact(&mut size).map_err(|error| early(&path, &error))?;
            sizes.push(u32::from_be_bytes(size) as usize);
        }
        Ok(Self { path, dimensions: sizes, numbers, most_bytes })
    }

    /// Count, height and width.
    fn images(&self) -> Result<(usize, usize, usize), ReadError> {
        let &[count, height, width] = &self.dimensions[..] else {
            return Err(self.problem("it has no images"));
        };
        if count == 0 || !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
            let reason = format!("it claims to hold {} images of {height}×{width}", grouped(count));
            return Err(self
                .problem(reason)
                .with_help(format!("expected at least one, of at most {MAX_SIDE}×{MAX_SIDE}")));
        }
        if count.saturating_mul(height * width) > self.most_bytes {
            let reason =
                format!("it claims to hold {} images of {height}×{width}, and is too small for that", grouped(count));
            return Err(self.problem(reason).with_help("is the download finished? download it again"));
        }
        Ok((count, height, width))
    }

    /// Reads all numbers, to the file's last.
    fn read_into(&mut self, numbers: &mut Vec<u8>) -> Result<(), ReadError> {
        let expected = self.dimensions.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        let expected = expected.ok_or_else(|| self.problem("its dimensions are larger than memory can be"))?;
        // One more, which must not be there.
        let mut limited = self.numbers.by_ref().take(expected as u64 + 1);
        limited.read_to_end(numbers).map_err(|error| early(&self.path, &error))?;
        let reason = match numbers.len().cmp(&expected) {
            Ordering::Equal => return Ok(()),
            Ordering::Less => format!("it ends after {} of {} bytes", grouped(numbers.len()), grouped(expected)),
            Ordering::Greater => format!("it holds more than the {} bytes that it promises", grouped(expected)),
        };
        Err(self.problem(reason).with_help("is the download finished? download it again"))
    }

    fn problem(&self, reason: impl Into<String>) -> ReadError {
        ReadError::new(&self.path, reason)
    }
}

fn early(path: &Path, error: &std::io::Error) -> ReadError {
    ReadError::io(path, "the file ends early, or is damaged", error).with_help("download it again")
}

#[cfg(test)]
mod tests;
