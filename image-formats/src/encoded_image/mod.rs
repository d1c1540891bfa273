//! One PNG or JPEG, decoded to planes: one of grey, or those of red, green and blue.
//!
//! A JPEG does not fix its pixels: decoders round its chroma and its transform differently. These are the pixels of
//! libjpeg-turbo, hence of Pillow, because weights trained on those score a little worse on any others.

use std::fmt::Display;
use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, Limits, RgbImage};
use libjpeg_turbo_rs::{self as jpeg, DecodeLimits, PixelFormat};

use crate::resizing::{ResizeError, Resizing};
use crate::size_limits;

#[cfg(test)]
mod tests;

/// No dataset of images that stay as they are has larger ones, and a small file that claims more is not to be believed.
const MAX_SIDE: usize = 4096;
/// Photographs that become smaller.
const MAX_RESIZED_SIDE: usize = 16_384;

/// Why an image cannot be used. It may be one of millions, and its file is named by who knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Another format, or none.
    #[error("neither PNG nor JPEG: {length} bytes that begin with {start}")]
    UnknownFormat { length: usize, start: String },
    /// No pixels, or too many.
    #[error("the image is {width}×{height}; each side must be from 1 to {max} pixels")]
    BadSize { height: usize, width: usize, max: usize },
    /// More pixels than its bytes can hold.
    #[error("the image claims to be {width}×{height} in {length} bytes")]
    TooFewBytes { height: usize, width: usize, length: usize },
    /// Not the size of the images before it.
    #[error(
        "the image {verb} {}×{}, but the first one {verb} {}×{}: all must have one size",
        found.1, found.0, expected.1, expected.0, verb = if *resized { "becomes" } else { "is" }
    )]
    OtherSize { found: (usize, usize), expected: (usize, usize), resized: bool },
    /// Not of the size that is asked for.
    #[error(transparent)]
    Unresizable(#[from] ResizeError),
    /// Not grey, as the images before it.
    #[error("the image has colours, but the first one is grey; with `channels: 3` all become red, green and blue")]
    Coloured,
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

/// The side of the images that most networks for photographs take.
const USUAL_SIDE: usize = 224;

impl DecodeError {
    /// What to do about it, where something in a pipeline can be done.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::OtherSize { expected: (height, width), resized: false, .. } => {
                let side = USUAL_SIDE.min(*height).min(*width);
                Some(format!(
                    "`resize: {side}, center_crop: {side}` makes all of them {side}×{side}, as torchvision does; take the side of the \
                     images that the teacher is for"
                ))
            }
            Self::OtherSize { expected: (height, width), resized: true, .. } => {
                let side = height.min(width);
                Some(format!(
                    "`resize` keeps the form of an image; with `center_crop: {side}` behind it, all become {side}×{side}"
                ))
            }
            Self::BadSize { max: MAX_SIDE, height, width } if height.min(width) > &0 => {
                Some(format!("with `resize` in the dataset, sides may have up to {MAX_RESIZED_SIDE} pixels"))
            }
            Self::Unresizable(error) => Some(error.help()),
            _ => None,
        }
    }
}

/// What becomes of the orientation that cameras note beside the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exif {
    /// Images are turned by it, as Hugging Face's `datasets` does.
    Applied,
    /// Pixels stay where they are, as torchvision's `ImageFolder` leaves them.
    Ignored,
}

/// What all images of a set become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// 1, grey, or 3: red, green and blue.
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// How images of other sizes get this one.
    resizing: Resizing,
    /// Whether colours may become grey: where nobody asked for that, they would be lost without a word.
    converts: bool,
    exif: Exif,
}

/// What is asked of all images of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// 1 or 3; left out, a set is grey where its first image is.
    pub(crate) channels: Option<usize>,
    pub(crate) resizing: Resizing,
    pub(crate) exif: Exif,
}

impl Layout {
    /// That of the set whose first image this is, without decoding any pixel.
    pub(crate) fn of(first: &[u8], wanted: Wanted) -> Result<Self, DecodeError> {
        let Wanted { channels, resizing, exif } = wanted;
        let mut decoder = Decoder::new(first)?;
        let (height, width) = decoder.dimensions();
        check_sides(height, width, resizing)?;
        check_length(first, height, width)?;
        let (height, width) = turned((height, width), orientation(&mut decoder, first, exif)?);
        let (height, width) = resizing.size(height, width)?;
        let own = if decoder.is_grey() { 1 } else { 3 };
        Ok(Self { channels: channels.unwrap_or(own), height, width, resizing, converts: channels.is_some(), exif })
    }

    /// Whether an image becomes one of this size, without decoding any pixel. Of what else may be wrong with it, nothing is said.
    pub(crate) fn check_size(&self, encoded: &[u8]) -> Result<(), DecodeError> {
        let Ok(mut decoder) = Decoder::new(encoded) else { return Ok(()) };
        let Ok(orientation) = orientation(&mut decoder, encoded, self.exif) else { return Ok(()) };
        let (height, width) = turned(decoder.dimensions(), orientation);
        self.fits(height, width)
    }

    /// Whether an image of so many pixels, turned, becomes one of this size.
    fn fits(&self, height: usize, width: usize) -> Result<(), DecodeError> {
        let (expected, resized) = ((self.height, self.width), !self.resizing.is_none());
        if resized {
            check_sides(height, width, self.resizing)?;
        }
        let found = self.resizing.size(height, width)?;
        if found != expected { Err(DecodeError::OtherSize { found, expected, resized }) } else { Ok(()) }
    }

    /// The bytes of one decoded image.
    pub(crate) fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Decodes an image into `planes`, `[channels, height, width]`. Transparency is dropped.
    pub(crate) fn decode(&self, encoded: &[u8], planes: &mut [u8]) -> Result<(), DecodeError> {
        let mut decoder = Decoder::new(encoded)?;
        let orientation = orientation(&mut decoder, encoded, self.exif)?;
        let (height, width) = decoder.dimensions();
        let size = turned((height, width), orientation);
        self.fits(size.0, size.1)?;
        check_length(encoded, height, width)?;
        let grey = decoder.is_grey();
        if self.channels == 1 && !grey && !self.converts {
            return Err(DecodeError::Coloured);
        }
        let mut image = if self.channels == 1 && grey { decoder.grey()? } else { decoder.rgb()? };
        image.apply_orientation(orientation);
        if self.resizing.is_none() {
            self.take_apart(image, planes);
            return Ok(());
        }
        let mut whole = vec![0; self.channels * size.0 * size.1];
        self.take_apart(image, &mut whole);
        Ok(self.resizing.apply(&whole, self.channels, size, planes)?)
    }

    /// The channels of an image, one after the other, as many as images of this set have.
    fn take_apart(&self, image: DynamicImage, planes: &mut [u8]) {
        let interleaved = match image {
            DynamicImage::ImageLuma8(image) => return planes.copy_from_slice(&image),
            other => other.into_rgb8(),
        };
        let pixels = interleaved.chunks_exact(3);
        if self.channels == 1 {
            for (plane, pixel) in planes.iter_mut().zip(pixels) {
                *plane = luma([pixel[0], pixel[1], pixel[2]]);
            }
            return;
        }
        let area = planes.len() / 3;
        for (i, pixel) in pixels.enumerate() {
            planes[i] = pixel[0];
            planes[area + i] = pixel[1];
            planes[2 * area + i] = pixel[2];
        }
    }
}

/// Pillow's grey of a colour, that of ITU-R 601-2.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

/// Whether rows become columns.
fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// Height and width of an image that is turned.
fn turned((height, width): (usize, usize), orientation: Orientation) -> (usize, usize) {
    if swaps_sides(orientation) { (width, height) } else { (height, width) }
}

/// How an image is to be turned.
fn orientation(decoder: &mut Decoder<'_>, encoded: &[u8], exif: Exif) -> Result<Orientation, DecodeError> {
    match exif {
        Exif::Applied => decoder.orientation(encoded),
        Exif::Ignored => Ok(Orientation::NoTransforms),
    }
}

fn check_sides(height: usize, width: usize, resizing: Resizing) -> Result<(), DecodeError> {
    let max = if resizing.is_none() { MAX_SIDE } else { MAX_RESIZED_SIDE };
    if height.min(width) == 0 || height.max(width) > max {
        return Err(DecodeError::BadSize { height, width, max });
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

    /// Whether there is one channel, but for transparency.
    fn is_grey(&self) -> bool {
        match self {
            Decoder::Png(decoder) => !decoder.color_type().has_color(),
            Decoder::Jpeg(decoder) => decoder.header().components.len() == 1,
        }
    }

    /// How the image is to be turned, as its EXIF data say; not at all where they say nothing.
    fn orientation(&mut self, encoded: &[u8]) -> Result<Orientation, DecodeError> {
        match self {
            Decoder::Png(decoder) => decoder.orientation().map_err(undecodable),
            Decoder::Jpeg(_) => {
                Ok(exif_of_jpeg(encoded).and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms))
            }
        }
    }

    /// The image in red, green and blue.
    fn rgb(self) -> Result<DynamicImage, DecodeError> {
        match self {
            Decoder::Png(decoder) => {
                let image = DynamicImage::from_decoder(*decoder).map_err(undecodable)?;
                Ok(DynamicImage::ImageRgb8(image.into_rgb8()))
            }
            Decoder::Jpeg(decoder) => {
                let (height, width, pixels) = jpeg_pixels(*decoder, PixelFormat::Rgb)?;
                RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8).ok_or_else(short)
            }
        }
    }

    /// A grey image as it is.
    fn grey(self) -> Result<DynamicImage, DecodeError> {
        match self {
            Decoder::Png(decoder) => {
                let image = DynamicImage::from_decoder(*decoder).map_err(undecodable)?;
                Ok(DynamicImage::ImageLuma8(image.into_luma8()))
            }
            Decoder::Jpeg(decoder) => {
                let (height, width, pixels) = jpeg_pixels(*decoder, PixelFormat::Grayscale)?;
                GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8).ok_or_else(short)
            }
        }
    }
}

/// Height, width and pixels, one after the other.
fn jpeg_pixels(mut decoder: jpeg::Decoder<'_>, format: PixelFormat) -> Result<(u32, u32, Vec<u8>), DecodeError> {
    let header = decoder.header();
    let (bits, components) = (header.precision, header.components.len());
    if bits != 8 || !matches!(components, 1 | 3) {
        return Err(DecodeError::UnsupportedColours { components, bits });
    }
    let (height, width) = (header.height() as u32, header.width() as u32);
    decoder.set_output_format(format);
    // Damaged or missing data is an error, not grey pixels: the decoder is not lenient unless told.
    Ok((height, width, decoder.decode_image().map_err(undecodable)?.data))
}

/// The EXIF data of a JPEG: those of the first segment that has any, before the pixels.
fn exif_of_jpeg(encoded: &[u8]) -> Option<&[u8]> {
    let mut segments = encoded.get(2..)?;
    loop {
        let (head, rest) = segments.split_first_chunk::<4>()?;
        let [0xff, kind, high, low] = *head else { return None };
        let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(2)?;
        let (body, rest) = rest.split_at_checked(length)?;
        match kind {
            0xe1 if body.starts_with(b"Exif\0\0") => return Some(&body[6..]),
            // The pixels begin.
            0xda => return None,
            _ => segments = rest,
        }
    }
}

fn short() -> DecodeError {
    DecodeError::Undecodable("it has fewer pixels than it claims".into())
}

fn undecodable(error: impl Display) -> DecodeError {
    DecodeError::Undecodable(error.to_string())
}
