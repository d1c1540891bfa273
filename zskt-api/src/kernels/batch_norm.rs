//! Batch normalisation, fused with the leaky activation that follows it.
//!
//! Maps are any number of pixels of `channels` elements. The layer is `y = act(scale · x + shift)` with
//! `act(v) = v` for positive `v`, else `slope · v`: slope 0 is a ReLU, slope 1 no activation at all. With weights
//! `gamma` and `beta`, `scale = gamma · inv_std` and `shift = beta − mean · scale`.

use super::buffer;
use super::instructions::{Instructions, Pass};
use super::real::Real;
use std::ops::Range;

/// Channels whose statistics are summed at once, in registers.
const GROUP: usize = 32;
/// Elements of a map that the first-level cache holds, of two maps at once.
const STRETCH: usize = 4096;
/// Elements over which per-channel values are repeated, for inner loops to be long whatever the channels.
const REPEAT: usize = 256;

/// The layer's affine map and activation.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a, T> {
    /// Per channel, the factor.
    pub scale: &'a [T],
    /// Per channel, the term.
    pub shift: &'a [T],
    /// The slope for negative values.
    pub slope: T,
}

/// The statistics that normalised the input.
#[derive(Clone, Copy, Debug)]
pub struct Normalization<'a> {
    /// Per channel.
    pub mean: &'a [f64],
    /// Per channel, one over the standard deviation.
    pub inv_std: &'a [f64],
}

/// Sums over pixels that the gradients need; `g' = dy · act'(scale · x + shift)`, and at 0 the derivative is `slope`.
#[derive(Clone, Debug, PartialEq)]
pub struct BackwardSums {
    /// Per channel, the sum of `g'`: the gradient of `beta`.
    pub gradient: Vec<f64>,
    /// Per channel, the sum of `g' · (x − mean) · inv_std`: the gradient of `gamma`.
    pub projection: Vec<f64>,
}

/// The mean and the biased variance of every channel, over all pixels of `x`.
pub fn moments<T: Real>(x: &[T], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let pixels = x.len() / channels.max(1);
    // Sums of differences from some element of the channel, lest a large mean drown the variance.
    let pivots: Vec<T> = x.iter().copied().take(channels).collect();
    let sums = sum_pairs(x.len(), channels, &Deviations { x, pivots: &widened(&pivots) });
    let count = pixels as f64;
    let moments = |(channel, pivot): (usize, &T)| {
        let mean = sums[0][channel] / count;
        // `max` would turn a NaN into 0, and hide it.
        let variance = sums[1][channel] / count - mean * mean;
        (pivot.to_f64() + mean, if variance < 0.0 { 0.0 } else { variance })
    };
    pivots.iter().enumerate().map(moments).unzip()
}

/// `act(scale · x + shift)`, with per-channel `scale` and `shift`.
pub fn apply<T: Real>(x: &[T], channels: usize, scale: &[T], shift: &[T], slope: T) -> Vec<T> {
    assert!(scale.len() == channels && shift.len() == channels, "one scale and one shift per channel");
    let [scale, shift] = [scale, shift].map(repeated);
    buffer::build(x.len(), buffer::part(channels), |at, writer| {
        for x in x[at..].chunks(scale.len()).take(buffer::part(channels).div_ceil(scale.len())) {
            writer.extend(x.iter().zip(&scale).zip(&shift).map(|((&x, &scale), &shift)| {
                let value = scale * x + shift;
                // Computed in any case, for a selection instead of a branch.
                let below = slope * value;
                if value > T::ZERO { value } else { below }
            }));
        }
    })
}

/// The sums over all pixels of `x` and `dy` that the gradients need.
pub fn backward_sums<T: Real>(
    x: &[T],
    dy: &[T],
    channels: usize,
    activation: &Activation<T>,
    normalization: &Normalization,
) -> BackwardSums {
    assert_eq!(x.len(), dy.len(), "the gradient has the shape of the map");
    let Activation { scale, shift, slope } = *activation;
    let [scale, shift] = [scale, shift].map(widened);
    let mean = widened(normalization.mean);
    let pass = Gradients { x, dy, scale: &scale, shift: &shift, slope, mean: &mean };
    let [gradient, mut projection] = sum_pairs(x.len(), channels, &pass);
    for (sum, inv_std) in projection.iter_mut().zip(normalization.inv_std) {
        *sum *= inv_std;
    }
    BackwardSums { gradient, projection }
}

/// The gradient with respect to `x` when `x` itself gave the statistics: with `xhat = (x − mean) · inv_std`,
/// `scale · (g' − mean(g') − xhat · mean(g' · xhat))`.
pub fn backward_batch_statistics<T: Real>(
    x: &[T],
    dy: &[T],
    channels: usize,
    activation: &Activation<T>,
    normalization: &Normalization,
    sums: &BackwardSums,
) -> Vec<T> {
    assert_eq!(x.len(), dy.len(), "the gradient has the shape of the map");
    let count = (x.len() / channels.max(1)) as f64;
    let per_channel = |value: &dyn Fn(usize) -> f64| -> Vec<T> {
        let values: Vec<T> = (0..channels).map(|channel| T::from_f64(value(channel))).collect();
        repeated(&values)
    };
    let mean = per_channel(&|c| normalization.mean[c]);
    let constant = per_channel(&|c| sums.gradient[c] / count);
    let linear = per_channel(&|c| normalization.inv_std[c] * sums.projection[c] / count);
    let [scale, shift] = [activation.scale, activation.shift].map(repeated);
    let slope = activation.slope;
    buffer::build(x.len(), buffer::part(channels), |at, writer| {
        let pieces = x[at..].chunks(scale.len()).zip(dy[at..].chunks(scale.len()));
        for (x, dy) in pieces.take(buffer::part(channels).div_ceil(scale.len())) {
            let channel = scale.iter().zip(&shift).zip(&mean).zip(&constant).zip(&linear);
            writer.extend(x.iter().zip(dy).zip(channel).map(
                |((&x, &dy), ((((&scale, &shift), &mean), &constant), &linear))| {
                    let gradient = through(dy, scale * x + shift, slope);
                    scale * (gradient - constant - (x - mean) * linear)
                },
            ));
        }
    })
}

/// The gradient with respect to `x` when the statistics are constants: `scale · g'`.
pub fn backward_running_statistics<T: Real>(x: &[T], dy: &[T], channels: usize, activation: &Activation<T>) -> Vec<T> {
    assert_eq!(x.len(), dy.len(), "the gradient has the shape of the map");
    let [scale, shift] = [activation.scale, activation.shift].map(repeated);
    let slope = activation.slope;
    buffer::build(x.len(), buffer::part(channels), |at, writer| {
        let pieces = x[at..].chunks(scale.len()).zip(dy[at..].chunks(scale.len()));
        for (x, dy) in pieces.take(buffer::part(channels).div_ceil(scale.len())) {
            let channel = scale.iter().zip(&shift);
            writer.extend(
                x.iter()
                    .zip(dy)
                    .zip(channel)
                    .map(|((&x, &dy), (&scale, &shift))| scale * through(dy, scale * x + shift, slope)),
            );
        }
    })
}

/// The gradient `dy` behind the activation, in front of it, where its input was `value`.
#[inline(always)]
fn through<T: Real>(dy: T, value: T, slope: T) -> T {
    let below = slope * dy;
    if value > T::ZERO { dy } else { below }
}

/// Per-channel values, repeated over about [`REPEAT`] elements.
fn repeated<T: Real>(values: &[T]) -> Vec<T> {
    values.repeat((REPEAT / values.len().max(1)).max(1))
}

/// The values of a group of channels, zeros where there are no more channels.
#[inline(always)]
fn lanes<T: Copy + Default>(values: &[T], first: usize) -> [T; GROUP] {
    let values = &values[first..];
    match values.first_chunk() {
        Some(&group) => group,
        None => {
            let mut group = [T::default(); GROUP];
            group[..values.len()].copy_from_slice(values);
            group
        }
    }
}

/// Elements of whole pixels that make whole groups, where these are not too many: pixels to sum as if they were one.
fn wide(channels: usize) -> usize {
    let wide = (1..=GROUP).map(|pixels| pixels * channels).find(|wide| wide.is_multiple_of(GROUP)).unwrap_or(channels);
    if wide <= REPEAT { wide } else { channels }
}

/// Per-channel values for [`wide`] pixels.
fn widened<T: Copy>(values: &[T]) -> Vec<T> {
    values.repeat(wide(values.len()) / values.len().max(1))
}

/// A stretch of elements to sum over.
struct Stretch<'a> {
    range: Range<usize>,
    /// Elements of a pixel, perhaps of a [`wide`] one.
    pixel: usize,
    /// The first channel of the group.
    first: usize,
    sums: &'a mut [[f64; GROUP]; 2],
}

/// The sums behind [`moments`].
struct Deviations<'a, T> {
    x: &'a [T],
    pivots: &'a [T],
}

impl<T: Real> Pass<Stretch<'_>> for Deviations<'_, T> {
    #[inline(always)]
    fn run(&self, Stretch { range, pixel, first, sums }: Stretch) {
        let pivot = lanes(self.pivots, first);
        let mut totals = *sums;
        for x in self.x[range].chunks_exact(pixel) {
            let values = lanes(x, first);
            for lane in 0..GROUP {
                let value = values[lane].to_f64() - pivot[lane].to_f64();
                totals[0][lane] += value;
                totals[1][lane] += value * value;
            }
        }
        *sums = totals;
    }
}

/// The sums behind [`backward_sums`].
struct Gradients<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
    slope: T,
    mean: &'a [f64],
}

impl<T: Real> Pass<Stretch<'_>> for Gradients<'_, T> {
    #[inline(always)]
    fn run(&self, Stretch { range, pixel, first, sums }: Stretch) {
        let [scale, shift] = [lanes(self.scale, first), lanes(self.shift, first)];
        let mean = lanes(self.mean, first);
        let mut totals = *sums;
        for (x, dy) in self.x[range.clone()].chunks_exact(pixel).zip(self.dy[range].chunks_exact(pixel)) {
            let (x, dy) = (lanes(x, first), lanes(dy, first));
            for lane in 0..GROUP {
                let gradient = through(dy[lane], scale[lane] * x[lane] + shift[lane], self.slope).to_f64();
                totals[0][lane] += gradient;
                totals[1][lane] += gradient * (x[lane].to_f64() - mean[lane]);
            }
        }
        *sums = totals;
    }
}

/// Two sums over pixels for every channel.
fn sum_pairs(len: usize, channels: usize, pass: &(impl for<'a> Pass<Stretch<'a>> + Sync)) -> [Vec<f64>; 2] {
    let set = Instructions::best();
    let wide = wide(channels).max(1);
    let part = buffer::part(wide);
    let partials = buffer::map(len.div_ceil(part).max(1), |index| {
        let mut pair = [vec![0.0; wide], vec![0.0; wide]];
        let mut add = |range: Range<usize>, pixel: usize| {
            for first in (0..pixel).step_by(GROUP) {
                let mut sums = [lanes(&pair[0], first), lanes(&pair[1], first)];
                set.run(pass, Stretch { range: range.clone(), pixel, first, sums: &mut sums });
                for (values, sums) in pair.iter_mut().zip(&sums) {
                    let group = &mut values[first..pixel.min(first + GROUP)];
                    group.copy_from_slice(&sums[..group.len()]);
                }
            }
        };
        let (begin, end) = ((index * part).min(len), len.min((index + 1) * part));
        let whole = begin + (end - begin) / wide * wide;
        // All groups of a stretch that fits into the first-level cache, before the next stretch.
        let stretch = (STRETCH / wide).max(1) * wide;
        for begin in (begin..whole).step_by(stretch) {
            add(begin..whole.min(begin + stretch), wide);
        }
        add(whole..end, channels);
        pair
    });
    let total = |which: usize, channel: usize| {
        partials.iter().flat_map(|pair| pair[which].iter().skip(channel).step_by(channels)).sum()
    };
    [0, 1].map(|which| (0..channels).map(|channel| total(which, channel)).collect())
}

#[cfg(test)]
mod tests;
