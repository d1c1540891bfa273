//! Images as they lie in a file, before normalization.

use rayon::prelude::*;

use crate::error::grouped;
use crate::resizing::{ResizeError, Resizing};

/// Labelled images as bytes, one size for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawImages {
    /// `[N, C, H, W]`, row after row.
    pub pixels: Vec<u8>,
    /// The class of each image, below `classes`.
    pub labels: Vec<u32>,
    /// C: 1, grey, or 3: red, green, blue.
    pub channels: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// How many classes there are.
    pub classes: usize,
    /// What they are called, in the order of their numbers; empty where nobody knows.
    pub class_names: Vec<String>,
}

impl RawImages {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All images in another size.
    ///
    /// # Errors
    /// When they cannot have it, or there is no memory for them.
    pub fn resized(self, resizing: Resizing) -> Result<Self, ResizeError> {
        if resizing.is_none() || self.is_empty() {
            return Ok(self);
        }
        let size = (self.height, self.width);
        let (height, width) = resizing.size(self.height, self.width)?;
        let (before, after) = (self.channels * self.height * self.width, self.channels * height * width);
        let mut pixels = pixel_buffer(self.len(), after)?;
        pixels.resize(self.len() * after, 0);
        let images = pixels.par_chunks_exact_mut(after).zip(self.pixels.par_chunks_exact(before));
        images.try_for_each(|(resized, image)| resizing.apply(image, self.channels, size, resized))?;
        Ok(Self { pixels, height, width, ..self })
    }

    /// What the [`ImageHeader`] of the same source says.
    pub fn header(&self) -> ImageHeader {
        ImageHeader {
            count: self.len(),
            channels: self.channels,
            height: self.height,
            width: self.width,
            classes: self.classes,
        }
    }
}

/// What can be told about a source of images without reading them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// How many images.
    pub count: usize,
    /// C.
    pub channels: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// How many classes.
    pub classes: usize,
}

impl ImageHeader {
    /// That of all images in another size.
    ///
    /// # Errors
    /// When they cannot have it.
    pub fn resized(self, resizing: Resizing) -> Result<Self, ResizeError> {
        let (height, width) = resizing.size(self.height, self.width)?;
        Ok(Self { height, width, ..self })
    }
}

/// There is no memory for that many images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How many bytes they take, if that can be counted.
    pub bytes: Option<usize>,
}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "its images would need {} MB of memory", grouped(bytes / 1_000_000)),
            None => f.write_str("its images would need more memory than there can be"),
        }
    }
}

impl std::error::Error for OutOfMemory {}

/// An empty buffer with room for the pixels of `count` images of `size` bytes: a count read from a file may be absurd, and
/// a failed allocation must not end the program.
///
/// # Errors
/// When there is no such room.
pub fn pixel_buffer(count: usize, size: usize) -> Result<Vec<u8>, OutOfMemory> {
    let bytes = count.checked_mul(size);
    let mut buffer = Vec::new();
    match bytes.map(|bytes| buffer.try_reserve_exact(bytes)) {
        Some(Ok(())) => Ok(buffer),
        _ => Err(OutOfMemory { bytes }),
    }
}
