//! One PNG or JPEG, decoded to planes of red, green and blue.
//!
//! A JPEG does not fix its pixels: decoders round its chroma and its transform differently. These are the pixels of
//! libjpeg-turbo, hence of Pillow, because weights trained on those score a little worse on any others.

use std::fmt::Display;
use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, Limits};
use libjpeg_turbo_rs::{self as jpeg, DecodeLimits, PixelFormat};

use crate::size_limits;

#[cfg(test)]
mod tests;

/// No dataset of this kind has larger images, and a small file that claims more is not to be believed.
const MAX_SIDE: usize = 4096;

/// Why an image cannot be used. It may be one of millions, and its file is named by who knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Another format, or none.
    #[error("neither PNG nor JPEG: {length} bytes that begin with {start}")]
    UnknownFormat { length: usize, start: String },
    /// No pixels, or too many.
    #[error("the image is {width}×{height}; each side must be from 1 to {MAX_SIDE} pixels")]
    BadSize { height: usize, width: usize },
    /// More pixels than its bytes can hold.
    #[error("the image claims to be {width}×{height} in {length} bytes")]
    TooFewBytes { height: usize, width: usize, length: usize },
    /// Not the size of the images before it.
    #[error(
        "the image is {}×{}, but the first one is {}×{}: all must have one size",
        found.1, found.0, expected.1, expected.0
    )]
    OtherSize { found: (usize, usize), expected: (usize, usize) },
    /// A JPEG in CMYK or of 12 bits.
    #[error(
        "the JPEG has {components} colour components{} of {bits} bits; only grey and RGB, 1 or 3 components of 8 bits, \
         are read",
        if *components == 4 { ", that is CMYK," } else { "" }
    )]
    UnsupportedColours { components: usize, bits: u8 },
    /// Damaged.
    #[error("the image cannot be decoded: {0}")]
    Undecodable(String),
}

/// Height and width, without decoding any pixel.
pub(crate) fn dimensions(encoded: &[u8]) -> Result<(usize, usize), DecodeError> {
    let (height, width) = Decoder::new(encoded)?.dimensions();
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(DecodeError::BadSize { height, width });
    }
    check_length(encoded, height, width)?;
    Ok((height, width))
}

/// Decodes an image of the given size into `planes`, `[3, height, width]`. Grey becomes RGB; transparency is dropped.
pub(crate) fn decode(encoded: &[u8], height: usize, width: usize, planes: &mut [u8]) -> Result<(), DecodeError> {
    let decoder = Decoder::new(encoded)?;
    let (found, expected) = (decoder.dimensions(), (height, width));
    if found != expected {
        return Err(DecodeError::OtherSize { found, expected });
    }
    check_length(encoded, height, width)?;
    let interleaved = decoder.rgb()?;
    let area = height * width;
    for (i, pixel) in interleaved.chunks_exact(3).enumerate() {
        planes[i] = pixel[0];
        planes[area + i] = pixel[1];
        planes[2 * area + i] = pixel[2];
    }
    Ok(())
}

/// A decoder takes memory for all pixels before it sees that there are none.
fn check_length(encoded: &[u8], height: usize, width: usize) -> Result<(), DecodeError> {
    let length = encoded.len();
    if (3 * height * width) as u64 > size_limits::decoded(length as u64) {
        return Err(DecodeError::TooFewBytes { height, width, length });
    }
    Ok(())
}

/// An image of which the header is read.
enum Decoder<'a> {
    Png(Box<PngDecoder<Cursor<&'a [u8]>>>),
    Jpeg(Box<jpeg::Decoder<'a>>),
}

impl<'a> Decoder<'a> {
    fn new(encoded: &'a [u8]) -> Result<Self, DecodeError> {
        match image::guess_format(encoded) {
            Ok(ImageFormat::Png) => {
                // What it takes for anything but pixels, as an unpacked colour profile.
                let mut limits = Limits::no_limits();
                limits.max_alloc = Some(size_limits::unpacked(encoded.len() as u64));
                let decoder = PngDecoder::with_limits(Cursor::new(encoded), limits);
                Ok(Decoder::Png(Box::new(decoder.map_err(undecodable)?)))
            }
            Ok(ImageFormat::Jpeg) => {
                // Strict also in the number of scans, of which a small file can hold thousands.
                let decoder = jpeg::Decoder::new_with_limits(encoded, DecodeLimits::strict()).map_err(undecodable)?;
                Ok(Decoder::Jpeg(Box::new(decoder)))
            }
            _ => {
                let start: Vec<String> = encoded.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                Err(DecodeError::UnknownFormat { length: encoded.len(), start: start.join(" ") })
            }
        }
    }

    /// Height and width.
    fn dimensions(&self) -> (usize, usize) {
        match self {
            Decoder::Png(decoder) => {
                let (width, height) = decoder.dimensions();
                (height as usize, width as usize)
            }
            Decoder::Jpeg(decoder) => (decoder.header().height(), decoder.header().width()),
        }
    }

    /// Every pixel's red, green and blue, one after the other.
    fn rgb(self) -> Result<Vec<u8>, DecodeError> {
        match self {
            Decoder::Png(decoder) if decoder.color_type() == ColorType::Rgb8 => {
                let mut buffer = vec![0; decoder.total_bytes() as usize];
                decoder.read_image(&mut buffer).map_err(undecodable)?;
                Ok(buffer)
            }
            Decoder::Png(decoder) => {
                Ok(DynamicImage::from_decoder(*decoder).map_err(undecodable)?.to_rgb8().into_raw())
            }
            Decoder::Jpeg(mut decoder) => {
                let header = decoder.header();
                let (bits, components) = (header.precision, header.components.len());
                if bits != 8 || !matches!(components, 1 | 3) {
                    return Err(DecodeError::UnsupportedColours { components, bits });
                }
                decoder.set_output_format(PixelFormat::Rgb);
                // Damaged or missing data is an error, not grey pixels: the decoder is not lenient unless told.
                Ok(decoder.decode_image().map_err(undecodable)?.data)
            }
        }
    }
}

fn undecodable(error: impl Display) -> DecodeError {
    DecodeError::Undecodable(error.to_string())
}
