//! Folders of images, one folder for each class, as torchvision's `ImageFolder` reads them: `cat/1.png`, `dog/2.jpg`, or the same below a
//! folder for each split, `train/cat/1.png`, `val/…`, `test/…`.
//!
//! Classes are the names of the folders, sorted. A split that lacks some has the numbers of all the same: the classes are those of all
//! splits together. A folder `test` is a class where it has no folders in it, and others beside it are not called like splits. As torchvision
//! does, images are not turned by their EXIF data.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::encoded_image::{Exif, Layout, Wanted};
use crate::error::{grouped, metadata};
use crate::size_limits::{DECODED, decoded};
use crate::{ImageHeader, RawImages, ReadError, Resizing, input_file, pixel_buffer};

/// What files of images end with that are read.
const READ: [&str; 3] = ["png", "jpg", "jpeg"];
/// What they end with that torchvision reads, and this does not.
const NOT_READ: [&str; 7] = ["ppm", "bmp", "pgm", "tif", "tiff", "webp", "gif"];

/// Images that [`header`] looks at, to find that they are of several sizes: few, as files may lie far away.
const LOOKED_AT: usize = 64;

/// Which part of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Images to learn from.
    Train,
    /// Images to choose settings by.
    Validation,
    /// Images to measure on; those to choose settings by where there are no others, as in ImageNet.
    Test,
}

impl Split {
    /// The folders that hold it, the first that is there.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train"],
            Self::Validation => &["val", "valid", "validation"],
            Self::Test => &["test", "val", "valid", "validation"],
        }
    }
}

/// Every folder that holds a split.
const SPLITS: [&str; 5] = ["train", "test", "val", "valid", "validation"];

/// Reads the images of `split` under `path`, all as grey (1) or RGB (3) as `channels` says, or else as the first image is, and of the
/// size that `resizing` gives them.
///
/// # Errors
/// When there are no classes with images, or an image is then of another size than the first, of another format, or damaged.
pub fn read(path: &Path, split: Split, channels: Option<usize>, resizing: Resizing) -> Result<RawImages, ReadError> {
    let found = find(path, split)?;
    let layout = found.layout(channels, resizing)?;
    let size = layout.size();
    let mut pixels = pixel_buffer(found.images.len(), size).map_err(|error| ReadError::new(path, error.to_string()))?;
    pixels.resize(found.images.len() * size, 0);
    let decode = |(planes, (file, _)): (&mut [u8], &(PathBuf, u32))| {
        layout.decode(&contents(file)?, planes).map_err(|error| ReadError::image(file, &error))
    };
    let failed = pixels.par_chunks_mut(size).zip(&found.images).find_map_first(|image| decode(image).err());
    if let Some(error) = failed {
        return Err(error);
    }
    let labels = found.images.iter().map(|(_, label)| *label).collect();
    let Layout { channels, height, width, .. } = layout;
    let Found { class_names, .. } = found;
    Ok(RawImages { pixels, labels, channels, height, width, classes: class_names.len(), class_names })
}

/// Count and classes from the names of the files, size and channels from the first one; and whether some others have that size, from all
/// parts of the split.
///
/// # Errors
/// Those of [`read`], as far as that tells.
pub fn header(
    path: &Path,
    split: Split,
    channels: Option<usize>,
    resizing: Resizing,
) -> Result<ImageHeader, ReadError> {
    let found = find(path, split)?;
    let layout = found.layout(channels, resizing)?;
    let looked_at = found.images.iter().step_by(found.images.len().div_ceil(LOOKED_AT));
    for (file, _) in looked_at.skip(1).chain(found.images.last()) {
        layout.check_size(&contents(file)?).map_err(|error| ReadError::image(file, &error))?;
    }
    let Layout { channels, height, width, .. } = layout;
    Ok(ImageHeader { count: found.images.len(), channels, height, width, classes: found.class_names.len() })
}

/// The folder of the classes of `split`.
///
/// # Errors
/// When there are no classes with images.
pub fn folder(path: &Path, split: Split) -> Result<PathBuf, ReadError> {
    Ok(find(path, split)?.folder)
}

/// The images of a split, with their labels.
struct Found {
    folder: PathBuf,
    class_names: Vec<String>,
    images: Vec<(PathBuf, u32)>,
}

impl Found {
    /// What all images become, if there is room for them.
    fn layout(&self, channels: Option<usize>, resizing: Resizing) -> Result<Layout, ReadError> {
        let (first, _) = &self.images[0];
        let layout = Layout::of(&contents(first)?, Wanted { channels, resizing, exif: Exif::Ignored })
            .map_err(|error| ReadError::image(first, &error))?;
        let bytes: u64 =
            self.images.iter().filter_map(|(file, _)| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
        let (count, size) = (self.images.len() as u64, layout.size() as u64);
        if count.saturating_mul(size) > decoded(bytes) {
            let (Layout { height, width, .. }, count) = (layout, grouped(count));
            let reason = format!(
                "its {count} images of {height}×{width} would take more than {DECODED} times the bytes of the files"
            );
            return Err(ReadError::new(&self.folder, reason).with_help("no images compress that far"));
        }
        Ok(layout)
    }
}

fn find(path: &Path, split: Split) -> Result<Found, ReadError> {
    if !metadata(path)?.is_dir() {
        return Err(ReadError::new(path, "it is a file, expected a folder")
            .with_help("a folder for each class, or folders train/ and test/ or val/ with these in them"));
    }
    let has_splits = has_splits(path)?;
    let folder = if has_splits {
        let there = split.folders().iter().map(|name| path.join(name)).find(|folder| folder.is_dir());
        there.ok_or_else(|| {
            let there: Vec<_> = SPLITS.iter().filter(|name| path.join(name).is_dir()).copied().collect();
            ReadError::new(
                path,
                format!("there is no folder {}, only {}", split.folders().join(" or "), there.join(", ")),
            )
            .with_help("ask for another split, or let `path` name a folder of classes")
        })?
    } else {
        path.to_owned()
    };
    let mut classes = BTreeSet::new();
    if has_splits {
        for other in SPLITS.iter().map(|name| path.join(name)).filter(|other| other.is_dir()) {
            classes.extend(class_names(&other)?);
        }
    } else {
        classes = class_names(&folder)?;
    }
    let mut images = Vec::new();
    let mut others = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let class = folder.join(class);
        if class.is_dir() {
            add_files(&class, label as u32, &mut BTreeSet::new(), &mut images, &mut others)?;
        }
    }
    if let Some(other) = others.first() {
        let reason = format!("{} images of a format that is not read", grouped(others.len()));
        return Err(ReadError::new(other, reason).with_help("PNG and JPEG are; convert the others"));
    }
    if images.is_empty() {
        return Err(ReadError::new(&folder, "there is no folder of a class with PNGs or JPEGs in it")
            .with_help("expected a folder for each class, as cat/1.png, dog/2.jpg"));
    }
    let class_names = classes.iter().map(|class| class.to_string_lossy().into_owned()).collect();
    Ok(Found { folder, class_names, images })
}

/// Whether there are folders of splits in `path`; folders that are called like them may be classes.
///
/// # Errors
/// When a folder cannot be read.
pub fn has_splits(path: &Path) -> Result<bool, ReadError> {
    let (splits, others): (Vec<_>, Vec<_>) =
        class_names(path)?.into_iter().partition(|name| SPLITS.iter().any(|split| name == Path::new(split)));
    if splits.is_empty() || others.is_empty() {
        return Ok(!splits.is_empty());
    }
    for split in splits {
        if !class_names(&path.join(split))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of the folders in `folder`, but for hidden ones.
fn class_names(folder: &Path) -> Result<BTreeSet<PathBuf>, ReadError> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders.filter_map(|path| path.file_name().map(PathBuf::from)).collect())
}

/// The images at any depth, sorted within each folder.
fn add_files(
    folder: &Path,
    label: u32,
    visited: &mut BTreeSet<PathBuf>,
    images: &mut Vec<(PathBuf, u32)>,
    others: &mut Vec<PathBuf>,
) -> Result<(), ReadError> {
    let place = folder.canonicalize().map_err(|error| ReadError::io(folder, "cannot be listed", &error))?;
    if !visited.insert(place) {
        return Err(ReadError::new(folder, "a link leads to a folder that is part of the class already")
            .with_help("remove the link"));
    }
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|path| path.is_dir());
    for file in files {
        let extension = file.extension().map(|found| found.to_string_lossy().to_lowercase()).unwrap_or_default();
        if READ.contains(&&*extension) {
            images.push((file, label));
        } else if NOT_READ.contains(&&*extension) {
            others.push(file);
        }
    }
    folders.iter().try_for_each(|folder| add_files(folder, label, visited, images, others))
}

/// What is in a folder, sorted, but for what is hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |error: std::io::Error| ReadError::io(folder, "cannot be listed", &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn contents(file: &Path) -> Result<Vec<u8>, ReadError> {
    let (opened, bytes) = input_file::open(file)?;
    let mut contents = Vec::new();
    // A file that grows meanwhile is not followed.
    let read = opened.take(bytes).read_to_end(&mut contents);
    read.map_err(|error| ReadError::io(file, "cannot be read", &error))?;
    Ok(contents)
}

#[cfg(test)]
mod tests;
