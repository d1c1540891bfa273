//! Normalization by the statistics of parts of single images, with sums in double precision.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::{InstructionSet, Vectorized};
use crate::ops::NormalizedOver;
use crate::shape::MapShape;

/// Normalizes `x` into `out`.
pub fn forward<T: KernelTable>(
    over: NormalizedOver,
    epsilon: f64,
    shape: &MapShape,
    x: &InputView<T>,
    out: MapSliceMut<T>,
) {
    let (set, channels) = (InstructionSet::best(), shape.channels);
    let normalized = |from: usize, results: &mut [T]| {
        x.write(set, from, results);
        set.run(&Normalized { over, epsilon, channels }, results);
    };
    each_part(over, set, shape, normalized, &Epilogue::STORE, out);
}

/// The gradient with respect to `x`, from that of what was normalized.
pub fn backward<T: KernelTable>(
    over: NormalizedOver,
    epsilon: f64,
    shape: &MapShape,
    (x, gradient): (&InputView<T>, &InputView<T>),
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let (set, channels) = (InstructionSet::best(), shape.channels);
    let gradients = |from: usize, results: &mut [T]| {
        let mut numbers = Buffer::<T>::new(results.len());
        x.write(set, from, &mut numbers);
        gradient.write(set, from, results);
        set.run(&NormalizedGradient { of: Normalized { over, epsilon, channels }, x: &numbers }, results);
    };
    each_part(over, set, shape, gradients, epilogue, out)
}

/// Lets `produce` write parts that are normalized on their own, from the element that it is told on.
fn each_part<T: KernelTable>(
    over: NormalizedOver,
    set: InstructionSet,
    shape: &MapShape,
    produce: impl Fn(usize, &mut [T]) + Sync,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    match over {
        NormalizedOver::Pixels => {
            let pixels = |first: usize, results: &mut [T]| produce(first * shape.channels, results);
            elementwise_loop::run(set, shape.channels, pixels, epilogue, out)
        }
        NormalizedOver::Groups(_) => {
            let image = |image: usize, results: &mut [T]| produce(image * shape.image_len(), results);
            elementwise_loop::images(set, shape, image, epilogue, out)
        }
    }
}

/// Normalizes some pixels, or an image, in place.
#[derive(Clone, Copy)]
struct Normalized {
    over: NormalizedOver,
    epsilon: f64,
    channels: usize,
}

/// Makes the gradient of what was normalized that of `x`, in place.
struct NormalizedGradient<'a, T> {
    of: Normalized,
    x: &'a [T],
}

impl Normalized {
    fn scale(&self, variance: f64) -> f64 {
        1.0 / (variance + self.epsilon).sqrt()
    }
}

impl<T: Float> Vectorized<&mut [T]> for Normalized {
    #[inline(always)]
    fn run(&self, numbers: &mut [T]) {
        match self.over {
            NormalizedOver::Pixels => {
                for pixel in numbers.chunks_exact_mut(self.channels.max(1)) {
                    let [mean, scale] = self.of_pixel(pixel);
                    pixel.iter_mut().for_each(|x| *x = T::from_f64((x.to_f64() - mean) * scale));
                }
            }
            NormalizedOver::Groups(groups) => {
                let [mean, scale] = self.of_groups(groups, numbers);
                for pixel in numbers.chunks_exact_mut(self.channels.max(1)) {
                    for ((x, mean), scale) in pixel.iter_mut().zip(&mean).zip(&scale) {
                        *x = T::from_f64((x.to_f64() - mean) * scale);
                    }
                }
            }
        }
    }
}

impl<T: Float> Vectorized<&mut [T]> for NormalizedGradient<'_, T> {
    /// With y = (x − mean) · scale, `dx = scale · (dy − mean(dy) − y · mean(y · dy))`.
    #[inline(always)]
    fn run(&self, gradients: &mut [T]) {
        let channels = self.of.channels.max(1);
        match self.of.over {
            NormalizedOver::Pixels => {
                let count = 1.0 / channels as f64;
                for (pixel, gradients) in self.x.chunks_exact(channels).zip(gradients.chunks_exact_mut(channels)) {
                    let [mean, scale] = self.of.of_pixel(pixel);
                    let of_mean = count * sum(gradients, gradients, |dy, _| dy);
                    let of_scale = count * sum(pixel, gradients, |x, dy| (x - mean) * scale * dy);
                    for (x, dy) in pixel.iter().zip(gradients) {
                        let y = (x.to_f64() - mean) * scale;
                        *dy = T::from_f64(scale * (dy.to_f64() - of_mean - y * of_scale));
                    }
                }
            }
            NormalizedOver::Groups(groups) => {
                let [mean, scale] = self.of.of_groups(groups, self.x);
                let [mut of_mean, mut of_scale] = [vec![0.0; channels], vec![0.0; channels]];
                for (pixel, gradients) in self.x.chunks_exact(channels).zip(gradients.chunks_exact(channels)) {
                    for (channel, (x, dy)) in pixel.iter().zip(gradients).enumerate() {
                        let y = (x.to_f64() - mean[channel]) * scale[channel];
                        of_mean[channel] += dy.to_f64();
                        of_scale[channel] += y * dy.to_f64();
                    }
                }
                let pixels = self.x.len() / channels;
                [&mut of_mean, &mut of_scale].into_iter().for_each(|sums| means_of_groups(groups, pixels, sums));
                for (pixel, gradients) in self.x.chunks_exact(channels).zip(gradients.chunks_exact_mut(channels)) {
                    for (channel, (x, dy)) in pixel.iter().zip(gradients).enumerate() {
                        let y = (x.to_f64() - mean[channel]) * scale[channel];
                        let gradient = dy.to_f64() - of_mean[channel] - y * of_scale[channel];
                        *dy = T::from_f64(scale[channel] * gradient);
                    }
                }
            }
        }
    }
}

impl Normalized {
    /// The mean of a pixel, and what its differences from it are multiplied by.
    #[inline(always)]
    fn of_pixel<T: Float>(&self, pixel: &[T]) -> [f64; 2] {
        let count = pixel.len() as f64;
        let mean = sum(pixel, pixel, |x, _| x) / count;
        let variance = sum(pixel, pixel, |x, _| (x - mean) * (x - mean)) / count;
        [mean, self.scale(variance)]
    }

    /// For each channel of an image, the mean of its group, and what differences from it are multiplied by.
    #[inline(always)]
    fn of_groups<T: Float>(&self, groups: usize, image: &[T]) -> [Vec<f64>; 2] {
        let channels = self.channels.max(1);
        let pixels = image.len() / channels;
        let [mut mean, mut variance] = [vec![0.0; channels], vec![0.0; channels]];
        for pixel in image.chunks_exact(channels) {
            mean.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x.to_f64());
        }
        means_of_groups(groups, pixels, &mut mean);
        for pixel in image.chunks_exact(channels) {
            for ((sum, mean), x) in variance.iter_mut().zip(&mean).zip(pixel) {
                let difference = x.to_f64() - mean;
                *sum += difference * difference;
            }
        }
        means_of_groups(groups, pixels, &mut variance);
        variance.iter_mut().for_each(|variance| *variance = self.scale(*variance));
        [mean, variance]
    }
}

/// From the sums of each channel over its pixels, the mean of its group.
fn means_of_groups(groups: usize, pixels: usize, sums: &mut [f64]) {
    let size = (sums.len() / groups).max(1);
    for group in sums.chunks_exact_mut(size) {
        let mean = group.iter().sum::<f64>() / (size * pixels) as f64;
        group.fill(mean);
    }
}

/// The sum of a function of pairs of numbers, in lanes.
#[inline(always)]
fn sum<T: Float>(a: &[T], b: &[T], of: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0.0; LANES];
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut a).zip(&mut b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += of(a.to_f64(), b.to_f64());
        }
    }
    let rest = a.remainder().iter().zip(b.remainder()).map(|(a, b)| of(a.to_f64(), b.to_f64()));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}
