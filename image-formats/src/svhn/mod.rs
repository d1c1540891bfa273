//! Street View House Numbers, cropped digits: `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat`.
//!
//! `X` is `uint8 [32, 32, 3, N]` with rows varying fastest; `y` holds the digits 1 to 9, and 10 for the digit 0.
//! Source: <http://ufldl.stanford.edu/housenumbers/>.

mod mat5;

use std::path::{Path, PathBuf};

use crate::error::metadata;
use crate::{ImageHeader, RawImages, ReadError, pixel_buffer};
use mat5::{MatFile, Storage, Variable};

const CLASSES: usize = 10;
const MAX_SIDE: usize = 4096;

/// Which part of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// 73,257 images to learn from.
    Train,
    /// 26,032 images to measure on.
    Test,
    /// 531,131 more and easier images to learn from.
    Extra,
}

impl Split {
    fn file_name(self) -> &'static str {
        match self {
            Self::Train => "train_32x32.mat",
            Self::Test => "test_32x32.mat",
            Self::Extra => "extra_32x32.mat",
        }
    }
}

/// Reads the images of `split` under `path`, the folder of the files or one of them.
///
/// # Errors
/// When there is no such file, or it is damaged or holds something else.
pub fn read(path: &Path, split: Split) -> Result<RawImages, ReadError> {
    let file = find(path, split)?;
    let mut images = None;
    let mut digits = None;
    let mut mat = MatFile::open(&file)?;
    while let Some(mut variable) = mat.next_variable()? {
        match variable.name.as_str() {
            "X" => {
                let shape = Shape::of(&variable)?;
                images = Some((shape, read_images(&mut variable, shape)?));
            }
            "y" => {
                let numbers = variable.numbers()?;
                let read: Result<Vec<u32>, _> =
                    numbers.iter().enumerate().map(|(i, &y)| digit(&variable, i, y)).collect();
                digits = Some(read?);
            }
            _ => {}
        }
    }
    let (shape, pixels) = images.ok_or_else(|| missing(&file, "X"))?;
    let labels = digits.ok_or_else(|| missing(&file, "y"))?;
    if labels.len() != shape.count {
        let reason = format!("`X` holds {} images, `y` {} digits", shape.count, labels.len());
        return Err(ReadError::new(&file, reason).with_help("they must be as many"));
    }
    let Shape { height, width, .. } = shape;
    let class_names = (0..CLASSES).map(|digit| digit.to_string()).collect();
    Ok(RawImages { pixels, labels, channels: 3, height, width, classes: CLASSES, class_names })
}

/// Count and size from the beginning of `X`.
///
/// # Errors
/// When there is no such file, or it does not begin as it should.
pub fn header(path: &Path, split: Split) -> Result<ImageHeader, ReadError> {
    let file = find(path, split)?;
    let mut mat = MatFile::open(&file)?;
    while let Some(variable) = mat.next_variable()? {
        if variable.name == "X" {
            let Shape { height, width, count } = Shape::of(&variable)?;
            return Ok(ImageHeader { count, channels: 3, height, width, classes: CLASSES });
        }
    }
    Err(missing(&file, "X"))
}

/// What the official files hold.
pub fn official(split: Split) -> ImageHeader {
    let count = match split {
        Split::Train => 73_257,
        Split::Test => 26_032,
        Split::Extra => 531_131,
    };
    ImageHeader { count, channels: 3, height: 32, width: 32, classes: CLASSES }
}

fn missing(file: &Path, name: &str) -> ReadError {
    ReadError::new(file, format!("there is no variable `{name}`"))
        .with_help("expected `X`, uint8 [32, 32, 3, N], and `y`, [N, 1], as in the official files")
}

/// The file of `split` under `path`.
///
/// # Errors
/// When there is none.
pub fn files(path: &Path, split: Split) -> Result<Vec<PathBuf>, ReadError> {
    find(path, split).map(|file| vec![file])
}

fn find(path: &Path, split: Split) -> Result<PathBuf, ReadError> {
    let found = metadata(path)?;
    if !found.is_dir() {
        return Ok(path.to_path_buf());
    }
    let name = split.file_name();
    let file = path.join(name);
    if file.exists() {
        return Ok(file);
    }
    Err(ReadError::new(path, format!("there is no {name} in this folder"))
        .with_help("download it from http://ufldl.stanford.edu/housenumbers, or let `path` name a file"))
}

#[derive(Clone, Copy)]
struct Shape {
    height: usize,
    width: usize,
    count: usize,
}

impl Shape {
    fn of(variable: &Variable<'_>) -> Result<Self, ReadError> {
        // MATLAB drops a last dimension of one.
        let (height, width, count) = match variable.dimensions[..] {
            [height, width, 3] => (height, width, 1),
            [height, width, 3, count] => (height, width, count),
            _ => (0, 0, 0),
        };
        if variable.storage != Some(Storage::Uint8)
            || !(1..=MAX_SIDE).contains(&height)
            || !(1..=MAX_SIDE).contains(&width)
            || count == 0
        {
            return Err(
                variable.problem(format!("expected uint8 [32, 32, 3, N], N at least 1, found {}", variable.describe()))
            );
        }
        Ok(Self { height, width, count })
    }
}

fn read_images(variable: &mut Variable<'_>, shape: Shape) -> Result<Vec<u8>, ReadError> {
    let Shape { height, width, count } = shape;
    let size = 3 * height * width;
    let mut pixels = pixel_buffer(count, size).map_err(|error| variable.problem(error.to_string()))?;
    let mut image = vec![0; size];
    for _ in 0..count {
        variable.read_bytes(&mut image)?;
        for plane in image.chunks_exact(height * width) {
            for row in 0..height {
                pixels.extend(plane[row..].iter().step_by(height));
            }
        }
    }
    Ok(pixels)
}

fn digit(variable: &Variable<'_>, index: usize, value: f64) -> Result<u32, ReadError> {
    if (0.0..=10.0).contains(&value) && value.fract() == 0.0 {
        Ok(value as u32 % 10)
    } else {
        Err(variable.problem(format!("number {index} is {value}, expected a digit, 1 to 10 (10 stands for 0)")))
    }
}

#[cfg(test)]
mod tests;
