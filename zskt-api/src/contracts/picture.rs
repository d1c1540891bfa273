//! Pictures that plugins give.

use crate::{Error, Result};

/// A picture of eight bits for each colour or shade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    is_colour: bool,
}

impl Picture {
    /// Of red, green and blue: `pixels` `[height, width, 3]`.
    ///
    /// # Errors
    /// When there are not as many pixels, or none.
    pub fn rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        Self { width, height, pixels, is_colour: true }.checked()
    }

    /// Of shades of grey: `pixels` `[height, width]`, 0 for black.
    ///
    /// # Errors
    /// When there are not as many pixels, or none.
    pub fn grey(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        Self { width, height, pixels, is_colour: false }.checked()
    }

    fn checked(self) -> Result<Self> {
        let Self { width, height, pixels, is_colour } = &self;
        let values = if *is_colour { 3 } else { 1 };
        let expected = width.checked_mul(*height).and_then(|pixels| pixels.checked_mul(values));
        let is_sound = expected.is_some_and(|expected| expected == pixels.len() && expected > 0)
            && [*width, *height].iter().all(|side| u32::try_from(*side).is_ok());
        if is_sound {
            return Ok(self);
        }
        let found = pixels.len();
        Err(Error::new(format!(
            "a picture of {width}×{height} pixels with {values} bytes each cannot be made of {found} bytes"
        )))
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Whether it has colours, or shades of grey.
    pub fn is_colour(&self) -> bool {
        self.is_colour
    }

    /// `[height, width, 3]`, or without colours `[height, width]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}
