//! One PNG or JPEG, decoded to planes of red, green and blue.

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;

/// No dataset of this kind has larger images, and a small file that claims more is not to be believed.
const MAX_SIDE: u32 = 4096;

/// Height and width, from the first bytes only.
pub fn dimensions(encoded: &[u8]) -> Result<(usize, usize), String> {
    let (width, height) = decoder(encoded)?.dimensions();
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("the image is {width}×{height}; each side must be from 1 to {MAX_SIDE} pixels"));
    }
    Ok((height as usize, width as usize))
}

/// Decodes an image of the given size into `planes`, `[3, height, width]`. Grey becomes RGB; transparency is dropped.
pub fn decode(encoded: &[u8], height: usize, width: usize, planes: &mut [u8]) -> Result<(), String> {
    let decoder = decoder(encoded)?;
    let (found_width, found_height) = decoder.dimensions();
    if (found_height as usize, found_width as usize) != (height, width) {
        return Err(format!(
            "the image is {found_width}×{found_height}, but the first one is {width}×{height}: all must have one size"
        ));
    }
    let damaged = |error: image::ImageError| format!("the image cannot be decoded: {error}");
    let interleaved = if decoder.color_type() == ColorType::Rgb8 {
        let mut buffer = vec![0; height * width * 3];
        decoder.read_image(&mut buffer).map_err(damaged)?;
        buffer
    } else {
        DynamicImage::from_decoder(decoder).map_err(damaged)?.to_rgb8().into_raw()
    };
    let area = height * width;
    for (i, pixel) in interleaved.chunks_exact(3).enumerate() {
        planes[i] = pixel[0];
        planes[area + i] = pixel[1];
        planes[2 * area + i] = pixel[2];
    }
    Ok(())
}

fn decoder(encoded: &[u8]) -> Result<impl ImageDecoder + '_, String> {
    let reader = ImageReader::new(Cursor::new(encoded)).with_guessed_format().map_err(|error| error.to_string())?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        let start: Vec<String> = encoded.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        return Err(format!("neither PNG nor JPEG: {} bytes that begin with {}", encoded.len(), start.join(" ")));
    }
    reader.into_decoder().map_err(|error| format!("the image cannot be decoded: {error}"))
}
