//! Images as they lie in a file, before normalization.

use crate::error::grouped;

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
