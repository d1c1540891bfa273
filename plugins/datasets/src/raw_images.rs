//! Images as they lie in a file, before normalization.

/// Labelled images as bytes, one size for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawImages {
    /// `[N, C, H, W]`, row after row.
    pub pixels: Vec<u8>,
    /// The class of each image, below `classes`.
    pub labels: Vec<u32>,
    /// C: 3, red, green, blue.
    pub channels: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// How many classes there are.
    pub classes: usize,
    /// Their names in order; empty when the source does not tell.
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

    /// What a [`ImageHeader`] of the same source says.
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

/// Makes room for `count` more elements, or says how much memory is missing: a size read from a file may be absurd,
/// and a failed allocation must not end the program.
pub(crate) fn reserve<T>(buffer: &mut Vec<T>, count: Option<usize>) -> Result<(), String> {
    let reserved = count.is_some_and(|count| buffer.try_reserve_exact(count).is_ok());
    if reserved {
        return Ok(());
    }
    Err(match count.and_then(|count| count.checked_mul(size_of::<T>())) {
        Some(bytes) => format!("its images would need {} MB of memory", crate::data_error::grouped(bytes / 1_000_000)),
        None => "its images would need more memory than there can be".into(),
    })
}
