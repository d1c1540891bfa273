//! One PNG or JPEG, decoded to planes of red, green and blue.
//!
//! A JPEG does not fix its pixels: decoders round its chroma and its transform differently. These are the pixels of
//! libjpeg-turbo, hence of Pillow, because weights trained on those score a little worse on any others.

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, codecs::png::PngDecoder};
use libjpeg_turbo_rs::{self as jpeg, DecodeLimits, PixelFormat};
use std::fmt::Display;
use std::io::Cursor;

#[cfg(test)]
mod tests;

/// No dataset of this kind has larger images, and a small file that claims more is not to be believed.
const MAX_SIDE: usize = 4096;

/// Height and width, without decoding any pixel.
pub fn dimensions(encoded: &[u8]) -> Result<(usize, usize), String> {
    let (height, width) = Decoder::new(encoded)?.dimensions();
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("the image is {width}×{height}; each side must be from 1 to {MAX_SIDE} pixels"));
    }
    Ok((height, width))
}

/// Decodes an image of the given size into `planes`, `[3, height, width]`. Grey becomes RGB; transparency is dropped.
pub fn decode(encoded: &[u8], height: usize, width: usize, planes: &mut [u8]) -> Result<(), String> {
    let decoder = Decoder::new(encoded)?;
    let (found_height, found_width) = decoder.dimensions();
    if (found_height, found_width) != (height, width) {
        return Err(format!(
            "the image is {found_width}×{found_height}, but the first one is {width}×{height}: all must have one size"
        ));
    }
    let interleaved = decoder.rgb()?;
    let area = height * width;
    for (i, pixel) in interleaved.chunks_exact(3).enumerate() {
        planes[i] = pixel[0];
        planes[area + i] = pixel[1];
        planes[2 * area + i] = pixel[2];
    }
    Ok(())
}

/// An image of which the header is read.
enum Decoder<'a> {
    Png(Box<PngDecoder<Cursor<&'a [u8]>>>),
    Jpeg(Box<jpeg::Decoder<'a>>),
}

impl<'a> Decoder<'a> {
    fn new(encoded: &'a [u8]) -> Result<Self, String> {
        match image::guess_format(encoded) {
            Ok(ImageFormat::Png) => {
                Ok(Decoder::Png(Box::new(PngDecoder::new(Cursor::new(encoded)).map_err(undecodable)?)))
            }
            Ok(ImageFormat::Jpeg) => {
                // Strict also in the number of scans, of which a small file can hold thousands.
                let decoder = jpeg::Decoder::new_with_limits(encoded, DecodeLimits::strict()).map_err(undecodable)?;
                Ok(Decoder::Jpeg(Box::new(decoder)))
            }
            _ => {
                let start: Vec<String> = encoded.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                Err(format!("neither PNG nor JPEG: {} bytes that begin with {}", encoded.len(), start.join(" ")))
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
    fn rgb(self) -> Result<Vec<u8>, String> {
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
                    let kind = if components == 4 { ", that is CMYK," } else { "" };
                    return Err(format!(
                        "the JPEG has {components} colour components{kind} of {bits} bits; \
                         only grey and RGB, 1 or 3 components of 8 bits, are read"
                    ));
                }
                decoder.set_output_format(PixelFormat::Rgb);
                // Damaged or missing data is an error, not grey pixels: the decoder is not lenient unless told.
                Ok(decoder.decode_image().map_err(undecodable)?.data)
            }
        }
    }
}

fn undecodable(error: impl Display) -> String {
    format!("the image cannot be decoded: {error}")
}
