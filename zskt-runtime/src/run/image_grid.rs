//! Grids of pseudo-images, as PNG.

use candle_core::DType;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use zskt_api::{Error, FeatureMap, ImageShape, Result};

/// Images in a row of the grid, and rows.
const SIDE: usize = 8;
/// Pixels between two images.
const GAP: usize = 2;
/// Images with fewer rows are enlarged by a whole factor until they have as many.
const VISIBLE_ROWS: usize = 32;

/// A picture of many images.
pub struct Grid {
    /// Columns of pixels.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Whether it has colours, or shades of grey.
    pub colour: bool,
    /// The picture as PNG.
    pub png: Vec<u8>,
}

/// The first 64 images in rows of eight. Three channels are shown as red, green and blue; of any other number, the
/// first is shown in grey.
///
/// A pseudo-image has no scale of its own, so each is stretched: the darkest and brightest 1 % of its values, all
/// channels together so that colours keep their balance, become black and white.
///
/// # Errors
/// When the device fails, or there are no images.
pub fn grid(images: &FeatureMap) -> Result<Grid> {
    let count = images.batch().min(SIDE * SIDE);
    let shape = images.image();
    if count == 0 || shape.height == 0 || shape.width == 0 {
        return Err(Error::new("there are no images to show"));
    }
    let values = images.narrow(0, count)?.channels_last()?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let (pixels, width, height) = arrange(&values, shape);
    let colour = shape.channels == 3;
    let mut png = Vec::new();
    let colour_type = if colour { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
    let (width, height) = (width as u32, height as u32);
    PngEncoder::new(&mut png)
        .write_image(&pixels, width, height, colour_type)
        .map_err(|error| Error::new(format!("cannot encode the images as PNG: {error}")))?;
    Ok(Grid { width, height, colour, png })
}

/// The pixels of the grid, its columns and its rows, from values `[B, H, W, C]`.
fn arrange(values: &[f32], shape: ImageShape) -> (Vec<u8>, usize, usize) {
    let ImageShape { channels, height, width } = shape;
    let shown = if channels == 3 { 3 } else { 1 };
    let zoom = VISIBLE_ROWS.div_ceil(height).max(1);
    let size = channels * height * width;
    let count = values.len() / size;
    let (columns, rows) = (count.min(SIDE), count.div_ceil(SIDE));
    let (full_width, full_height) = (columns * (width * zoom + GAP) + GAP, rows * (height * zoom + GAP) + GAP);
    let mut pixels = vec![0; full_width * full_height * shown];
    for (index, image) in values.chunks_exact(size).enumerate() {
        let (low, high) = robust_range(image, channels, shown);
        let (top, left) = (GAP + index / SIDE * (height * zoom + GAP), GAP + index % SIDE * (width * zoom + GAP));
        for y in 0..height * zoom {
            for x in 0..width * zoom {
                let from = (y / zoom * width + x / zoom) * channels;
                let to = ((top + y) * full_width + left + x) * shown;
                for channel in 0..shown {
                    pixels[to + channel] = shade(image[from + channel], low, high);
                }
            }
        }
    }
    (pixels, full_width, full_height)
}

/// Between which values 98 % of the shown channels lie.
fn robust_range(image: &[f32], channels: usize, shown: usize) -> (f32, f32) {
    let mut sorted: Vec<f32> = image
        .chunks_exact(channels)
        .flat_map(|pixel| &pixel[..shown])
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let outside = sorted.len() / 100;
    match (sorted.get(outside), sorted.iter().rev().nth(outside)) {
        (Some(low), Some(high)) => (*low, *high),
        _ => (0.0, 0.0),
    }
}

/// 0 to 255 between `low` and `high`; what is not a number is black, and an image all of one value grey.
fn shade(value: f32, low: f32, high: f32) -> u8 {
    if value.is_nan() {
        return 0;
    }
    let share = if high > low { (value - low) / (high - low) } else { 0.5 };
    (share.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::{GAP, arrange, grid};
    use candle_core::{Device, Tensor};
    use zskt_api::{FeatureMap, ImageShape};

    #[test]
    fn each_image_is_stretched_and_stands_in_its_place() {
        // Nine images 1×32×32: image i has the values i·10 (left half) and i·10 + 1 (right half).
        let values: Vec<f32> = (0..9 * 1024).map(|at| (at / 1024 * 10 + at % 32 / 16) as f32).collect();
        let (pixels, width, height) = arrange(&values, ImageShape::new(1, 32, 32));
        assert_eq!((width, height), (8 * 34 + GAP, 2 * 34 + GAP));
        let at = |row: usize, column: usize, x: usize| pixels[(GAP + row * 34) * width + GAP + column * 34 + x];
        for (row, column) in [(0, 0), (0, 7), (1, 0)] {
            assert_eq!((at(row, column, 0), at(row, column, 31)), (0, 255));
        }
        assert_eq!(at(1, 1, 31), 0, "there is no tenth image");
    }

    #[test]
    fn outliers_and_values_that_are_no_numbers_do_not_spoil_an_image() {
        let mut values = vec![0.0; 400];
        values[200..].fill(2.0);
        values[0] = -1e9;
        values[399] = 1e9;
        values[1] = f32::NAN;
        let (pixels, width, _) = arrange(&values, ImageShape::new(1, 20, 20));
        let at = |y: usize, x: usize| pixels[(GAP + 2 * y) * width + GAP + 2 * x];
        assert_eq!((at(0, 0), at(0, 1), at(5, 5), at(15, 15), at(19, 19)), (0, 0, 0, 255, 255));
    }

    #[test]
    fn the_png_reads_back_with_its_colours() {
        let red = Tensor::new(&[1f32, 0.0, 0.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
        let images = FeatureMap::from_nchw(&red.broadcast_as((1, 3, 32, 32)).unwrap()).unwrap();
        let picture = grid(&images).unwrap();
        let read = image::load_from_memory(&picture.png).unwrap().to_rgb8();
        assert_eq!(read.dimensions(), (36, 36));
        assert_eq!(read.get_pixel(10, 10).0, [255, 0, 0]);
    }
}
