//! From strokes to pixels. What is drawn at random, and how widely, decides how hard the dataset is: the ranges were
//! tuned together until a small network has to work for its last few per cent.

use std::ops::Range;

use image_formats::{OutOfMemory, RawImages, pixel_buffer};
use rand::Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use zskt_api::StreamRng;

use super::strokes::{FIGURES, SEGMENTS};

/// Smaller than this a digit cannot be told from its neighbours.
pub(crate) const MIN_SIZE: usize = 12;

/// A digit's height as a part of the image's.
const HEIGHT: Range<f32> = 0.5..0.9;
/// Its width as a part of its height.
const ASPECT: Range<f32> = 0.45..0.75;
const ROTATION_DEGREES: Range<f64> = -15.0..15.0;
const SHEAR: Range<f32> = -0.25..0.25;
/// The distance of its centre from the image's, along each axis.
const SHIFT: Range<f32> = -0.08..0.08;
/// Half the width of its strokes as a part of its height.
const HALF_WIDTH: Range<f32> = 0.045..0.085;
/// How far the ends of its segments stray, as a part of its size.
const JITTER: f32 = 0.035;
/// How much lighter or darker than the background it is.
const CONTRAST: Range<f32> = 0.15..0.6;
const BACKGROUND: Range<f32> = 0.1..0.9;
/// How far the colours stray from grey.
const TINT: f32 = 0.08;
const GRADIENT: Range<f32> = 0.0..0.2;
const TEXTURE: Range<f32> = 0.0..0.12;
/// How likely there is a neighbour, at each side.
const NEIGHBOUR: f64 = 0.8;
/// The gap to it.
const GAP: Range<f32> = 0.08..0.22;
const BLUR: Range<f32> = 0.0..0.6;
const NOISE: Range<f32> = 0.02..0.08;

/// Draws `count` images of `size` × `size` pixels. Image i depends on `stream(i)` and on nothing else, so any set is the
/// beginning of a larger one, however many threads draw it.
pub(crate) fn draw(
    count: usize,
    size: usize,
    stream: impl Fn(u64) -> StreamRng + Sync,
) -> Result<RawImages, OutOfMemory> {
    let bytes = 3 * size * size;
    let mut pixels = pixel_buffer(count, bytes)?;
    pixels.resize(count * bytes, 0);
    let images = pixels.par_chunks_exact_mut(bytes).enumerate();
    let labels =
        images.map_init(|| Canvas::new(size), |canvas, (i, image)| canvas.draw(&mut stream(i as u64), image) as u32);
    let labels = labels.collect();
    let class_names = (0..10).map(|digit| digit.to_string()).collect();
    Ok(RawImages { pixels, labels, channels: 3, height: size, width: size, classes: 10, class_names })
}

/// Where a digit lies: p = `matrix` q + `centre`, with q from −½ to ½.
struct Placement {
    matrix: [[f32; 2]; 2],
    centre: [f32; 2],
    half_width: f32,
}

/// Scratch space for one image.
struct Canvas {
    size: usize,
    /// The centres of the pixels along an axis.
    grid: Vec<f32>,
    /// How much of each pixel a stroke covers.
    cover: Vec<f32>,
    /// Squared distance to the nearest segment.
    distance: Vec<f32>,
    /// Gradient and texture.
    shade: Vec<f32>,
    /// One colour plane, and its copy while it is blurred.
    plane: Vec<f32>,
    blurred: Vec<f32>,
}

impl Canvas {
    fn new(size: usize) -> Self {
        let area = vec![0.0; size * size];
        Self {
            size,
            grid: (0..size).map(|i| (i as f32 + 0.5) / size as f32).collect(),
            cover: area.clone(),
            distance: area.clone(),
            shade: area.clone(),
            plane: area.clone(),
            blurred: area,
        }
    }

    /// Draws an image `[3, size, size]` and tells its digit.
    fn draw(&mut self, rng: &mut StreamRng, image: &mut [u8]) -> usize {
        let digit = rng.random_range(0..10);
        let (height, aspect) = (rng.random_range(HEIGHT), rng.random_range(ASPECT));
        // In double precision: the last bit of a sine differs between systems, and here it is rounded away.
        let (sine, cosine) = rng.random_range(ROTATION_DEGREES).to_radians().sin_cos();
        let (sine, cosine) = (sine as f32, cosine as f32);
        let shear = rng.random_range(SHEAR);
        let centre = [0.5 + rng.random_range(SHIFT), 0.5 + rng.random_range(SHIFT)];
        let width = aspect * height;
        let matrix =
            [[cosine * width, (cosine * shear - sine) * height], [sine * width, (sine * shear + cosine) * height]];
        let place = Placement { matrix, centre, half_width: rng.random_range(HALF_WIDTH) * height };

        self.cover.fill(0.0);
        self.trace(rng, digit, &place);
        for side in [-1.0, 1.0] {
            let offset = side * (width * 1.1 + rng.random_range(GAP));
            let neighbour = rng.random_range(0..10);
            if rng.random_bool(NEIGHBOUR) {
                let centre = [place.centre[0] + offset * cosine, place.centre[1] + offset * sine];
                self.trace(rng, neighbour, &Placement { centre, ..place });
            }
        }
        let colours = colours(rng);
        self.fill_shade(rng);
        let blur = rng.random_range(BLUR);
        let noise = rng.random_range(NOISE);
        let area = self.size * self.size;
        for ([background, foreground], out) in colours.into_iter().zip(image.chunks_exact_mut(area)) {
            for ((value, cover), shade) in self.plane.iter_mut().zip(&self.cover).zip(&self.shade) {
                *value = background * (1.0 - cover) + foreground * cover + shade;
            }
            self.blur(blur);
            for (byte, value) in out.iter_mut().zip(&self.plane) {
                let noisy = value + noise * normal(rng);
                *byte = (noisy * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
        digit
    }

    /// Adds a digit to what is covered.
    fn trace(&mut self, rng: &mut StreamRng, digit: usize, place: &Placement) {
        let ways = &FIGURES[digit];
        let figure: &[_; SEGMENTS] = &ways[rng.random_range(0..ways.len())];
        self.distance.fill(9.0);
        for segment in figure {
            let [p, q] = segment.map(|[x, y]| {
                let (x, y) = (x - 0.5 + JITTER * normal(rng), y - 0.5 + JITTER * normal(rng));
                let [[a, b], [c, d]] = place.matrix;
                [a * x + b * y + place.centre[0], c * x + d * y + place.centre[1]]
            });
            let v = [q[0] - p[0], q[1] - p[1]];
            let scale = 1.0 / (v[0] * v[0] + v[1] * v[1]).max(1e-9);
            for (&y, row) in self.grid.iter().zip(self.distance.chunks_exact_mut(self.size)) {
                let dy = y - p[1];
                for (&x, nearest) in self.grid.iter().zip(row) {
                    let dx = x - p[0];
                    let along = ((dx * v[0] + dy * v[1]) * scale).clamp(0.0, 1.0);
                    let (ex, ey) = (dx - along * v[0], dy - along * v[1]);
                    *nearest = nearest.min(ex * ex + ey * ey);
                }
            }
        }
        let pixels = self.size as f32;
        for (cover, distance) in self.cover.iter_mut().zip(&self.distance) {
            let stroke = ((place.half_width - distance.sqrt()) * pixels + 0.5).clamp(0.0, 1.0);
            *cover = cover.max(stroke);
        }
    }

    /// A gradient in a random direction, and a texture: a 4 × 4 lattice of random values, interpolated.
    fn fill_shade(&mut self, rng: &mut StreamRng) {
        let (sine, cosine) = rng.random_range(0.0..std::f64::consts::TAU).sin_cos();
        let slope = 2.0 * rng.random_range(GRADIENT);
        let (right, down) = (slope * cosine as f32, slope * sine as f32);
        let lattice: [[f32; 4]; 4] = std::array::from_fn(|_| std::array::from_fn(|_| normal(rng)));
        let strength = rng.random_range(TEXTURE);
        let cell = |at: f32| {
            let first = ((at * 3.0) as usize).min(2);
            (first, at * 3.0 - first as f32)
        };
        for (&y, row) in self.grid.iter().zip(self.shade.chunks_exact_mut(self.size)) {
            let (i, low) = cell(y);
            let between: [f32; 4] = std::array::from_fn(|j| lattice[i][j] * (1.0 - low) + lattice[i + 1][j] * low);
            for (&x, shade) in self.grid.iter().zip(row) {
                let (j, part) = cell(x);
                let texture = between[j] * (1.0 - part) + between[j + 1] * part;
                *shade = right * (x - 0.5) + down * (y - 0.5) + strength * texture;
            }
        }
    }

    /// Mixes each pixel with its neighbours, first above and below, then at the sides; edges repeat themselves.
    fn blur(&mut self, strength: f32) {
        let size = self.size;
        let (centre, side) = (1.0 - strength * 0.5, strength * 0.25);
        for (y, out) in self.blurred.chunks_exact_mut(size).enumerate() {
            let row = |y: usize| &self.plane[y * size..][..size];
            let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(size - 1)));
            for (((out, above), here), below) in out.iter_mut().zip(above).zip(here).zip(below) {
                *out = here * centre + (above + below) * side;
            }
        }
        for (out, row) in self.plane.chunks_exact_mut(size).zip(self.blurred.chunks_exact(size)) {
            for (x, out) in out.iter_mut().enumerate() {
                *out = row[x] * centre + (row[x.saturating_sub(1)] + row[(x + 1).min(size - 1)]) * side;
            }
        }
    }
}

/// Background and foreground of each channel: two greys, each a little off grey.
fn colours(rng: &mut StreamRng) -> [[f32; 2]; 3] {
    let (background, contrast) = (rng.random_range(BACKGROUND), rng.random_range(CONTRAST));
    let lighter = match (background + contrast <= 1.0, background - contrast >= 0.0) {
        (true, true) => rng.random(),
        (lighter, _) => lighter,
    };
    let foreground = (background + if lighter { contrast } else { -contrast }).clamp(0.0, 1.0);
    std::array::from_fn(|_| [background, foreground].map(|grey| grey + TINT * normal(rng)))
}

fn normal(rng: &mut StreamRng) -> f32 {
    rng.sample(StandardNormal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zskt_api::RandomStreams;

    fn images(count: usize, size: usize, name: &str) -> RawImages {
        let streams = RandomStreams::new(0);
        draw(count, size, |i| streams.at(name, i)).expect("images")
    }

    #[test]
    fn the_number_of_images_and_of_threads_changes_no_image() {
        let all = images(40, 16, "digits/train");
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        let fewer = alone.install(|| images(23, 16, "digits/train"));
        assert_eq!(fewer.labels, all.labels[..23]);
        assert_eq!(fewer.pixels, all.pixels[..23 * 3 * 256]);
        assert_ne!(images(40, 16, "digits/test").pixels, all.pixels);
        // Noise is drawn last: another size shows the same digits.
        assert_eq!(images(40, 33, "digits/train").labels, all.labels);
    }

    /// The figures of the prototype that the difficulty was tuned with, over 50,000 images of 16×16.
    #[test]
    fn pixels_are_distributed_as_tuned() {
        let images = images(8_000, 16, "digits/train");
        let average = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            sum / count
        };
        let value = |byte: u8| f64::from(byte) / 255.0;
        let near = |what: &str, found: f64, expected: f64, tolerance: f64| {
            assert!((found - expected).abs() < tolerance, "{what}: {found:.4}, expected {expected}");
        };
        for channel in 0..3 {
            let plane = || images.pixels.chunks_exact(256).skip(channel).step_by(3).flatten().map(|&byte| value(byte));
            let mean = average(&mut plane());
            near("mean", mean, 0.497, 0.01);
            near("std", average(&mut plane().map(|x| (x - mean).powi(2))).sqrt(), 0.2462, 0.005);
        }
        let within = |plane: &[u8]| {
            let mean = average(&mut plane.iter().map(|&byte| value(byte)));
            average(&mut plane.iter().map(|&byte| (value(byte) - mean).powi(2))).sqrt()
        };
        near("std within a plane", average(&mut images.pixels.chunks_exact(256).map(within)), 0.153, 0.003);
        let rows = || images.pixels.chunks_exact(16);
        let steps = rows().flat_map(|row| row.windows(2)).map(|pair| value(pair[0].abs_diff(pair[1])));
        near("step to the right", average(&mut { steps }), 0.0962, 0.002);
        let planes = || images.pixels.chunks_exact(256);
        let steps = planes().flat_map(|plane| plane.iter().zip(&plane[16..])).map(|(a, b)| value(a.abs_diff(*b)));
        near("step down", average(&mut { steps }), 0.0841, 0.002);
        for digit in 0..10 {
            let share = images.labels.iter().filter(|&&label| label == digit).count() as f64 / 8_000.0;
            near("share of a digit", share, 0.1, 0.015);
        }
    }

    /// Published results name a seed: the same one must give the same images in every later version.
    #[test]
    fn images_stay_what_they_are() {
        let images = images(12, 16, "digits/train");
        let hash = images
            .pixels
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(
            (images.labels.as_slice(), hash),
            (&[8, 2, 6, 3, 1, 5, 2, 7, 7, 1, 0, 1][..], 0x0c89_c957_c442_dc58)
        );
    }
}
