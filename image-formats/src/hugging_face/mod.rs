//! Image datasets in Parquet, as Hugging Face lays them out: a column `img` or `image` of `{bytes, path}` whose bytes
//! are a PNG or a JPEG, an integer column `label`, and the names of the classes in the schema's metadata.

mod page_headers;
mod parquet_file;
mod shards;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::grouped;
use crate::size_limits::{DECODED, decoded};
use crate::{ImageHeader, RawImages, ReadError, encoded_image, pixel_buffer};
use parquet_file::ParquetFile;

/// How many bytes of decoded images one step reads ahead: enough work for every thread, little memory.
const BATCH_BYTES: usize = 16 << 20;

/// Reads every image of `split` under `path`, a file or a folder.
///
/// # Errors
/// When there is no such file, a shard is missing, or a file is damaged or laid out in another way.
pub fn read(path: &Path, split: &str) -> Result<RawImages, ReadError> {
    let files = open_all(path, split)?;
    let (height, width) = first_size(&files)?;
    let size = 3 * height * width;
    let rows = total_rows(&files);
    check_size(path, &files, height, width)?;
    let mut pixels = pixel_buffer(rows, size).map_err(|error| ReadError::new(path, error.to_string()))?;
    let mut labels = Vec::with_capacity(rows);
    for file in &files {
        file.for_each_batch((BATCH_BYTES / size).clamp(16, 4096), |row, images, found| {
            labels.extend(file.check_labels(row, found)?);
            let start = pixels.len();
            pixels.resize(start + images.len() * size, 0);
            let failed = pixels[start..].par_chunks_mut(size).zip(images).enumerate().find_map_first(
                |(i, (planes, encoded))| {
                    let decoded = encoded_image::decode(encoded.data(), height, width, planes);
                    decoded.err().map(|error| (row + i, error))
                },
            );
            match failed {
                Some((row, error)) => Err(file.problem(error.to_string()).at(format!("row {row}"))),
                None => Ok(()),
            }
        })?;
    }
    let classes = match files.first().map_or(0, |file| file.class_names.len()) {
        0 => labels.iter().max().map_or(0, |&label| label as usize + 1),
        named => named,
    };
    Ok(RawImages { pixels, labels, channels: 3, height, width, classes })
}

/// Count, size and classes from the footers, the first row and, only where nothing else tells, the labels.
///
/// # Errors
/// Those of [`read`], as far as the rows that it looks at.
pub fn header(path: &Path, split: &str) -> Result<ImageHeader, ReadError> {
    let files = open_all(path, split)?;
    let (height, width) = first_size(&files)?;
    check_size(path, &files, height, width)?;
    let mut classes = 0;
    for file in &files {
        classes = classes.max(match file.class_names.len() {
            0 => file.largest_label()? + 1,
            named => named,
        });
    }
    Ok(ImageHeader { count: total_rows(&files), channels: 3, height, width, classes })
}

/// The files of `split` under `path`: a file stands for itself, whatever the split; in a folder, in its `data` subfolder,
/// or in one named like the split, the names tell: `train.parquet` or `train-00000-of-00002.parquet`.
///
/// # Errors
/// When there are none, some are missing, or two sets of files claim to be the split.
pub fn files(path: &Path, split: &str) -> Result<Vec<PathBuf>, ReadError> {
    shards::select(path, split)
}

fn open_all(path: &Path, split: &str) -> Result<Vec<ParquetFile>, ReadError> {
    let mut files: Vec<ParquetFile> = Vec::new();
    for file in shards::select(path, split)? {
        let file = ParquetFile::open(file)?;
        // Shards that name their classes otherwise count their labels otherwise.
        if let Some(first) = files.first()
            && first.class_names != file.class_names
        {
            return Err(file.problem(format!("its class names are not those of {}", first.path.display())));
        }
        files.push(file);
    }
    Ok(files)
}

fn total_rows(files: &[ParquetFile]) -> usize {
    files.iter().flat_map(|file| file.groups.iter()).fold(0, |sum, &rows| sum.saturating_add(rows))
}

/// Whether the files can hold as many images of one size as they claim to.
fn check_size(path: &Path, files: &[ParquetFile], height: usize, width: usize) -> Result<(), ReadError> {
    let rows = total_rows(files) as u64;
    let bytes = files.iter().map(|file| file.bytes).sum();
    if rows.saturating_mul((3 * height * width) as u64) <= decoded(bytes) {
        return Ok(());
    }
    let reason = format!(
        "its {} images of {height}×{width} would take more than {DECODED} times the {} bytes that they are in",
        grouped(rows),
        grouped(bytes)
    );
    Err(ReadError::new(path, reason).with_help("no images compress that far: the file is damaged or made up"))
}

fn first_size(files: &[ParquetFile]) -> Result<(usize, usize), ReadError> {
    for file in files {
        if let Some(group) = file.groups.iter().position(|&rows| rows > 0) {
            let encoded = file.first_image(group)?;
            return encoded_image::dimensions(encoded.data())
                .map_err(|error| file.problem(error.to_string()).at("row 0"));
        }
    }
    let file = files.first().map_or(Path::new(""), |file| &file.path);
    Err(ReadError::new(file, "the file holds no rows").with_help("a dataset needs at least one image"))
}

#[cfg(test)]
mod tests;
