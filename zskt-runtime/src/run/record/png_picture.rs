//! Pictures as PNG.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use zskt_api::{Error, Picture, Result};

/// A picture as PNG.
pub struct PngPicture {
    /// Columns of pixels.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Whether it has colours, or shades of grey.
    pub colour: bool,
    /// The file.
    pub png: Vec<u8>,
}

impl PngPicture {
    /// Encodes a picture.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn encode(picture: &DynamicImage) -> Result<Self> {
        let mut png = Cursor::new(Vec::new());
        picture
            .write_to(&mut png, ImageFormat::Png)
            .map_err(|error| Error::new(format!("cannot encode the picture as PNG: {error}")))?;
        let colour = picture.color().has_color();
        Ok(Self { width: picture.width(), height: picture.height(), colour, png: png.into_inner() })
    }

    /// Encodes what a plugin gave.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn of(picture: &Picture) -> Result<Self> {
        let (width, height, pixels) = (picture.width() as u32, picture.height() as u32, picture.pixels().to_vec());
        let image = if picture.is_colour() {
            RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
        } else {
            GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
        };
        Self::encode(&image.ok_or_else(|| Error::new("the picture has not as many pixels as it says"))?)
    }
}
