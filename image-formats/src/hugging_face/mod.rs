//! Image datasets in Parquet, as Hugging Face lays them out: a column `img` or `image` of `{bytes, path}` whose bytes
//! are a PNG or a JPEG, an integer column `label` where images are labelled, and the names of the classes in the schema's metadata. Images are turned as their EXIF
//! data say, as the library `datasets` turns them.

mod page_headers;
mod parquet_file;
mod shards;
mod write;

use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;
use rayon::prelude::*;

use crate::encoded_image::{Exif, Layout, Wanted};
use crate::error::grouped;
use crate::size_limits::{DECODED, decoded};
use crate::{ImageHeader, RawImages, ReadError, Resizing, pixel_buffer};
use parquet_file::ParquetFile;
pub use write::{Images, InvalidImages, write_parquet};

/// How many bytes of decoded images one step reads ahead: enough work for every thread, little memory.
const BATCH_BYTES: usize = 16 << 20;

/// Images that [`header`] looks at, to find that they are of several sizes: few, as each is read whole.
const LOOKED_AT: usize = 64;

/// Which images of a dataset are wanted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection<'s> {
    /// `train`, `validation` or `test`.
    pub split: &'s str,
    /// The configuration, where a folder has several that hold the split.
    pub config: Option<&'s str>,
    /// 1 for grey images, 3 for red, green and blue; left out, what the first image has.
    pub channels: Option<usize>,
    /// How images of all sizes become one.
    pub resizing: Resizing,
    /// How many classes there are; left out, as many as the files name, or else one more than the largest label.
    pub classes: Option<usize>,
    /// Whether labels are wanted; otherwise no column of labels is looked for, and all images are of one class.
    pub labelled: bool,
}

impl<'s> Selection<'s> {
    /// All that can be left out is.
    pub fn of(split: &'s str) -> Self {
        Self { split, config: None, channels: None, resizing: Resizing::default(), classes: None, labelled: true }
    }
}

/// Reads every image of a split under `path`, a file or a folder.
///
/// # Errors
/// When there is no such file, a shard is missing, or a file is damaged or laid out in another way.
pub fn read(path: &Path, selection: &Selection<'_>) -> Result<RawImages, ReadError> {
    let files = open_all(path, selection)?;
    let layout = first_layout(&files, selection)?;
    let size = layout.size();
    let rows = total_rows(&files);
    check_size(path, &files, &layout)?;
    let mut pixels = pixel_buffer(rows, size).map_err(|error| ReadError::new(path, error.to_string()))?;
    let mut labels = Vec::with_capacity(rows);
    for file in &files {
        file.for_each_batch((BATCH_BYTES / size).clamp(16, 4096), |row, images, found| {
            labels.extend(file.check_labels(row, found)?);
            let start = pixels.len();
            pixels.resize(start + images.len() * size, 0);
            let failed = pixels[start..].par_chunks_mut(size).zip(images).enumerate().find_map_first(
                |(i, (planes, encoded))| {
                    let decoded = layout.decode(encoded.data(), planes);
                    decoded.err().map(|error| (row + i, error))
                },
            );
            match failed {
                Some((row, error)) => Err(ReadError::image(&file.path, &error).at(format!("row {row}"))),
                None => Ok(()),
            }
        })?;
    }
    let largest = labels.iter().max().map_or(0, |&label| label as usize);
    let classes = classes(&files, selection, || Ok(largest))?;
    let Layout { channels, height, width, .. } = layout;
    // As many as there are classes, unless the pipeline says that there are others.
    let class_names = files.into_iter().map(|file| file.class_names).find(|names| names.len() == classes);
    Ok(RawImages { pixels, labels, channels, height, width, classes, class_names: class_names.unwrap_or_default() })
}

/// Count, size and classes from the footers, the first rows, which have to be of one size, and, only where nothing else tells, the labels.
///
/// # Errors
/// Those of [`read`], as far as the rows that it looks at.
pub fn header(path: &Path, selection: &Selection<'_>) -> Result<ImageHeader, ReadError> {
    let files = open_all(path, selection)?;
    let layout = first_layout(&files, selection)?;
    check_size(path, &files, &layout)?;
    let largest = || files.iter().try_fold(0, |largest, file| Ok(file.largest_label()?.max(largest)));
    let classes = classes(&files, selection, largest)?;
    let Layout { channels, height, width, .. } = layout;
    Ok(ImageHeader { count: total_rows(&files), channels, height, width, classes })
}

/// The files of a split under `path`: a file stands for itself, whatever the split; in a folder, in its `data` subfolder, in one named
/// like the split, or in that of a configuration, the names tell: `train.parquet` or `train-00000-of-00002.parquet`.
///
/// # Errors
/// When there are none, some are missing, or two sets of files claim to be the split.
pub fn files(path: &Path, selection: &Selection<'_>) -> Result<Vec<PathBuf>, ReadError> {
    shards::select(path, selection)
}

fn open_all(path: &Path, selection: &Selection<'_>) -> Result<Vec<ParquetFile>, ReadError> {
    let mut files: Vec<ParquetFile> = Vec::new();
    for file in shards::select(path, selection)? {
        let file = ParquetFile::open(file, selection.labelled)?;
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

/// How many classes there are: a split need not have an image of each.
fn classes(
    files: &[ParquetFile],
    selection: &Selection<'_>,
    largest_label: impl FnOnce() -> Result<usize, ReadError>,
) -> Result<usize, ReadError> {
    let named = files.first().map_or(0, |file| file.class_names.len());
    let Some(wanted) = selection.classes else {
        return if named > 0 { Ok(named) } else { largest_label().map(|largest| largest + 1) };
    };
    let least = largest_label()? + 1;
    match files.first().filter(|_| wanted < least) {
        Some(file) => Err(file
            .problem(format!("{wanted} classes are too few: a label is {}", least - 1))
            .with_help(format!("there are {} classes at least", least.max(named)))),
        None => Ok(wanted),
    }
}

fn total_rows(files: &[ParquetFile]) -> usize {
    files.iter().flat_map(|file| file.groups.iter()).fold(0, |sum, &rows| sum.saturating_add(rows))
}

/// Whether the files can hold as many images of one size as they claim to.
fn check_size(path: &Path, files: &[ParquetFile], layout: &Layout) -> Result<(), ReadError> {
    let rows = total_rows(files) as u64;
    let bytes = files.iter().map(|file| file.bytes).sum();
    if rows.saturating_mul(layout.size() as u64) <= decoded(bytes) {
        return Ok(());
    }
    let reason = format!(
        "its {} images of {}×{} would take more than {DECODED} times the {} bytes that they are in",
        grouped(rows),
        layout.height,
        layout.width,
        grouped(bytes)
    );
    Err(ReadError::new(path, reason).with_help("no images compress that far: the file is damaged or made up"))
}

/// What all images become, as the first one tells, and some behind it do not contradict.
fn first_layout(files: &[ParquetFile], selection: &Selection<'_>) -> Result<Layout, ReadError> {
    let Selection { channels, resizing, .. } = *selection;
    for file in files {
        if let Some(group) = file.groups.iter().position(|&rows| rows > 0) {
            let wrong = |row: usize| move |error| ReadError::image(&file.path, &error).at(format!("row {row}"));
            let encoded = file.first_images(group, LOOKED_AT)?;
            let first = encoded.first().map_or(&[][..], ByteArray::data);
            let layout = Layout::of(first, Wanted { channels, resizing, exif: Exif::Applied }).map_err(wrong(0))?;
            for (row, encoded) in encoded.iter().enumerate().skip(1) {
                layout.check_size(encoded.data()).map_err(wrong(row))?;
            }
            return Ok(layout);
        }
    }
    let file = files.first().map_or(Path::new(""), |file| &file.path);
    Err(ReadError::new(file, "the file holds no rows").with_help("a dataset needs at least one image"))
}

#[cfg(test)]
mod tests;
