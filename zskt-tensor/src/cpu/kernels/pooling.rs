//! Pooling over windows of a map, image by image, and sums of squares that do not overlap.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::{InstructionSet, Vectorized};
use crate::cpu::threads;
use crate::pool_windows::PoolGeometry;
use crate::shape::MapShape;

/// Channels that are worked on at once.
const LANES: usize = 16;

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Its largest number; a NaN if there is one. The gradient goes to the first of the largest.
    Largest,
    /// Its mean.
    Mean,
}

/// Pools `x` into `out`.
pub fn forward<T: KernelTable>(pooling: Pooling, g: &PoolGeometry, x: &InputView<T>, out: MapSliceMut<T>) {
    let (set, len) = (InstructionSet::best(), g.input().image_len());
    assert_eq!(x.len(), g.input().len(), "the map has the shape it should have");
    let produce = |image: usize, pooled: &mut [T]| {
        let mut numbers = Buffer::new(len);
        x.write(set, image * len, &mut numbers);
        set.run(&Pooled { pooling, g, x: &numbers }, pooled);
    };
    elementwise_loop::images(set, &g.output(), produce, &Epilogue::STORE, out);
}

/// The gradient with respect to `x`, from `dy`.
pub fn backward<T: KernelTable>(
    pooling: Pooling,
    g: &PoolGeometry,
    x: &InputView<T>,
    dy: &InputView<T>,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let (set, len, pooled) = (InstructionSet::best(), g.input().image_len(), g.output().image_len());
    assert!(x.len() == g.input().len() && dy.len() == g.output().len(), "the maps have the shapes they should have");
    let produce = |image: usize, dx: &mut [T]| {
        let (mut numbers, mut gradients) = (Buffer::new(len), Buffer::new(pooled));
        if pooling == Pooling::Largest {
            x.write(set, image * len, &mut numbers);
        }
        dy.write(set, image * pooled, &mut gradients);
        set.run(&PooledGradient { pooling, g, x: &numbers, dy: &gradients }, dx);
    };
    elementwise_loop::images(set, &g.input(), produce, epilogue, out)
}

/// Pools an image.
struct Pooled<'a, T> {
    pooling: Pooling,
    g: &'a PoolGeometry,
    x: &'a [T],
}

impl<T: Float> Vectorized<&mut [T]> for Pooled<'_, T> {
    #[inline(always)]
    fn run(&self, out: &mut [T]) {
        each_window(self.g, |window, channel, whole| {
            if whole { self.window::<LANES>(&window, channel, out) } else { self.window::<1>(&window, channel, out) }
        });
    }
}

impl<T: Float> Pooled<'_, T> {
    /// Some channels of a window.
    #[inline(always)]
    fn window<const N: usize>(&self, window: &Window, channel: usize, out: &mut [T]) {
        let pooled = match self.pooling {
            Pooling::Largest => largest::<T, N>(self.x, window, channel),
            Pooling::Mean => {
                let mut sums = [T::ZERO; N];
                window.each_pixel(|pixel| {
                    for (sum, &value) in sums.iter_mut().zip(&self.x[pixel + channel..][..N]) {
                        *sum += value;
                    }
                });
                sums.map(|sum| sum * T::from_f64(1.0 / window.count as f64))
            }
        };
        out[window.output + channel..][..N].copy_from_slice(&pooled);
    }
}

/// The largest numbers of some channels of a window.
#[inline(always)]
fn largest<T: Float, const N: usize>(x: &[T], window: &Window, channel: usize) -> [T; N] {
    let mut largest = [T::from_f64(f64::NEG_INFINITY); N];
    window.each_pixel(|pixel| {
        for (largest, &value) in largest.iter_mut().zip(&x[pixel + channel..][..N]) {
            #[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
            if value > *largest || value != value {
                *largest = value;
            }
        }
    });
    largest
}

/// The gradient of an image.
struct PooledGradient<'a, T> {
    pooling: Pooling,
    g: &'a PoolGeometry,
    x: &'a [T],
    dy: &'a [T],
}

impl<T: Float> Vectorized<&mut [T]> for PooledGradient<'_, T> {
    #[inline(always)]
    fn run(&self, dx: &mut [T]) {
        dx.fill(T::ZERO);
        each_window(self.g, |window, channel, whole| {
            if whole { self.window::<LANES>(&window, channel, dx) } else { self.window::<1>(&window, channel, dx) }
        });
    }
}

impl<T: Float> PooledGradient<'_, T> {
    /// Some channels of a window.
    #[inline(always)]
    fn window<const N: usize>(&self, window: &Window, channel: usize, dx: &mut [T]) {
        let mut left = [T::ZERO; N];
        left.copy_from_slice(&self.dy[window.output + channel..][..N]);
        match self.pooling {
            Pooling::Largest => {
                let largest = largest::<T, N>(self.x, window, channel);
                window.each_pixel(|pixel| {
                    let (x, dx) = (&self.x[pixel + channel..][..N], &mut dx[pixel + channel..][..N]);
                    for lane in 0..N {
                        let found = x[lane] == largest[lane];
                        dx[lane] += if found { left[lane] } else { T::ZERO };
                        left[lane] = if found { T::ZERO } else { left[lane] };
                    }
                });
            }
            Pooling::Mean => {
                let share = left.map(|gradient| gradient * T::from_f64(1.0 / window.count as f64));
                window.each_pixel(|pixel| {
                    for (dx, &share) in dx[pixel + channel..][..N].iter_mut().zip(&share) {
                        *dx += share;
                    }
                });
            }
        }
    }
}

/// A window of an image. Places are those of the first channel of a pixel.
struct Window {
    /// The first of its pixels in the map.
    first: usize,
    /// Rows and columns of them.
    size: [usize; 2],
    /// From row to row, and from pixel to pixel.
    steps: [usize; 2],
    /// How many count for the mean.
    count: usize,
    /// Its place in the pooled map.
    output: usize,
}

impl Window {
    /// Calls `pixel` with each of its pixels in the map.
    #[inline(always)]
    fn each_pixel(&self, mut pixel: impl FnMut(usize)) {
        for row in 0..self.size[0] {
            for column in 0..self.size[1] {
                pixel(self.first + row * self.steps[0] + column * self.steps[1]);
            }
        }
    }
}

/// Calls `work` for all windows of an image, with the first of some channels, and whether these are [`LANES`] or one.
#[inline(always)]
fn each_window(g: &PoolGeometry, mut work: impl FnMut(Window, usize, bool)) {
    let ([rows, columns], channels) = (g.axes, g.channels);
    let steps = [columns.input * channels, channels];
    let whole = channels / LANES * LANES;
    for row in 0..rows.output {
        for column in 0..columns.output {
            let (down, across) = (rows.window(row), columns.window(column));
            let window = || Window {
                first: down.start * steps[0] + across.start * steps[1],
                size: [down.len(), across.len()],
                steps,
                count: rows.counted(row) * columns.counted(column),
                output: (row * columns.output + column) * channels,
            };
            (0..whole).step_by(LANES).for_each(|channel| work(window(), channel, true));
            (whole..channels).for_each(|channel| work(window(), channel, false));
        }
    }
}

/// The sum of every `kernel`×`kernel` square, times `scale`; rows and columns that do not fill a square are dropped.
pub fn square_sums<T: Float>(shape: &MapShape, kernel: usize, x: &[T], scale: T) -> Vec<T> {
    let out = MapShape { height: shape.height / kernel, width: shape.width / kernel, ..*shape };
    let (channels, row) = (shape.channels, shape.width * shape.channels);
    threads::build(out.len(), out.image_len(), |at, writer| {
        let image = &x[at / out.image_len().max(1) * shape.image_len()..];
        let mut sums = vec![T::ZERO; channels];
        for (y, x) in (0..out.height).flat_map(|y| (0..out.width).map(move |x| (y, x))) {
            let square = &image[y * kernel * row + x * kernel * channels..];
            if kernel == 2 {
                // The usual case, with nothing between loads and store.
                let (top, bottom) = (square[..2 * channels].split_at(channels), square[row..].split_at(channels));
                let pixels = top.0.iter().zip(top.1).zip(bottom.0.iter().zip(bottom.1));
                writer.extend(pixels.map(|((&a, &b), (&c, &d))| ((a + b) + (c + d)) * scale));
                continue;
            }
            sums.fill(T::ZERO);
            for line in 0..kernel {
                for pixel in square[line * row..][..kernel * channels].chunks_exact(channels) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += value;
                    }
                }
            }
            writer.extend(sums.iter().map(|&sum| sum * scale));
        }
    })
}

#[cfg(test)]
mod tests;
