//! Grids of images, as PNG.

use candle_core::DType;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageBuffer, Luma, Pixel, Rgb};
use zskt_api::{Error, FeatureMap, ImageShape, Result};

use super::png_picture::PngPicture;

/// Images in a row of the grid, and rows.
const SIDE: usize = 8;
/// Pixels between two images.
const GAP: usize = 2;
/// Images with fewer rows are enlarged by a whole factor until they have as many.
const VISIBLE_ROWS: usize = 32;

/// Which values are black and white.
#[derive(Clone, Copy)]
pub enum Scale {
    /// A pseudo-image has no scale of its own, so each is stretched: the darkest and brightest 1 % of its values, all channels together so
    /// that colours keep their balance, become black and white.
    EachStretched,
    /// Pixels are 0 to 1.
    Unit,
}

/// The first 64 images in rows of eight. Three channels are shown as red, green and blue; of any other number, the
/// first is shown in grey.
///
/// # Errors
/// When the device fails, or there are no images.
pub fn grid(images: &FeatureMap, scale: Scale) -> Result<PngPicture> {
    let count = images.batch().min(SIDE * SIDE);
    let shape = images.image();
    if count == 0 || shape.height == 0 || shape.width == 0 {
        return Err(Error::new("there are no images to show"));
    }
    let values = images.narrow(0, count)?.channels_last()?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let picture = if shape.channels == 3 {
        DynamicImage::from(arrange::<Rgb<u8>>(&values, shape, scale))
    } else {
        DynamicImage::from(arrange::<Luma<u8>>(&values, shape, scale))
    };
    PngPicture::encode(&picture)
}

/// The grid of images with values `[B, H, W, C]`, of which it shows as many channels as its pixels have.
fn arrange<P: Pixel<Subpixel = u8> + 'static>(
    values: &[f32],
    shape: ImageShape,
    scale: Scale,
) -> ImageBuffer<P, Vec<u8>> {
    let size = shape.channels * shape.height * shape.width;
    let zoom = VISIBLE_ROWS.div_ceil(shape.height).max(1);
    let (tile_width, tile_height) = (shape.width * zoom, shape.height * zoom);
    let count = values.len() / size;
    let (columns, rows) = (count.min(SIDE), count.div_ceil(SIDE));
    let (width, height) = (columns * (tile_width + GAP) + GAP, rows * (tile_height + GAP) + GAP);
    let mut grid = ImageBuffer::new(width as u32, height as u32);
    for (index, image) in values.chunks_exact(size).enumerate() {
        let Some(tile) = drawn::<P>(image, shape, scale) else { continue };
        let tile = imageops::resize(&tile, tile_width as u32, tile_height as u32, FilterType::Nearest);
        let (left, top) = (GAP + index % SIDE * (tile_width + GAP), GAP + index / SIDE * (tile_height + GAP));
        imageops::replace(&mut grid, &tile, left as i64, top as i64);
    }
    grid
}

/// One image with values `[H, W, C]`, between black and white.
fn drawn<P: Pixel<Subpixel = u8>>(values: &[f32], shape: ImageShape, scale: Scale) -> Option<ImageBuffer<P, Vec<u8>>> {
    let shown = usize::from(P::CHANNEL_COUNT);
    let (low, high) = match scale {
        Scale::EachStretched => robust_range(values, shape.channels, shown),
        Scale::Unit => (0.0, 1.0),
    };
    let pixels = values.chunks_exact(shape.channels).flat_map(|pixel| &pixel[..shown]);
    let pixels = pixels.map(|value| shade(*value, low, high)).collect();
    ImageBuffer::from_raw(shape.width as u32, shape.height as u32, pixels)
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
    use super::{Scale, arrange, grid};
    use candle_core::{Device, Tensor};
    use image::Luma;
    use zskt_api::{FeatureMap, ImageShape};

    #[test]
    fn each_image_is_stretched_and_in_its_place() {
        // Nine images 1×32×32: image i has the values i·10 (left half) and i·10 + 1 (right half).
        let values: Vec<f32> = (0..9 * 1024).map(|at| (at / 1024 * 10 + at % 32 / 16) as f32).collect();
        let grid = arrange::<Luma<u8>>(&values, ImageShape::new(1, 32, 32), Scale::EachStretched);
        assert_eq!(grid.dimensions(), (8 * 34 + 2, 2 * 34 + 2));
        let at = |row: u32, column: u32, x: u32| grid.get_pixel(2 + column * 34 + x, 2 + row * 34).0[0];
        for (row, column) in [(0, 0), (0, 7), (1, 0)] {
            assert_eq!((at(row, column, 0), at(row, column, 31)), (0, 255));
        }
        assert_eq!(at(1, 1, 31), 0, "there is no tenth image");
    }

    #[test]
    fn outliers_and_values_that_are_not_numbers_do_not_spoil_an_image() {
        let mut values = vec![0.0; 400];
        values[200..].fill(2.0);
        values[0] = -1e9;
        values[399] = 1e9;
        values[1] = f32::NAN;
        let grid = arrange::<Luma<u8>>(&values, ImageShape::new(1, 20, 20), Scale::EachStretched);
        let at = |y: u32, x: u32| grid.get_pixel(2 + 2 * x, 2 + 2 * y).0[0];
        assert_eq!((at(0, 0), at(0, 1), at(5, 5), at(15, 15), at(19, 19)), (0, 0, 0, 255, 255));
    }

    #[test]
    fn the_png_reads_back_with_its_colours() {
        let red = Tensor::new(&[1f32, 0.0, 0.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
        let images = FeatureMap::from_nchw(&red.broadcast_as((1, 3, 32, 32)).unwrap()).unwrap();
        let shown = |images: &FeatureMap, scale| {
            let read = image::load_from_memory(&grid(images, scale).unwrap().png).unwrap().to_rgb8();
            assert_eq!(read.dimensions(), (36, 36));
            read.get_pixel(10, 10).0
        };
        assert_eq!(shown(&images, Scale::EachStretched), [255, 0, 0]);
        // Pixels stay as they are.
        let dark = FeatureMap::from_nchw(&Tensor::full(0.2f32, (1, 3, 32, 32), &Device::Cpu).unwrap()).unwrap();
        assert_eq!((shown(&dark, Scale::EachStretched), shown(&dark, Scale::Unit)), ([128; 3], [51; 3]));
    }
}
