//! Which pixels of a map an output is made of, and by which weights.
//!
//! Every convolution here, its gradients, and those of a map that is to be upsampled first, are correlations in one or
//! more *phases*: outputs whose coordinates have the same remainder see their inputs through the same taps, which may be
//! sums of the kernel's own. So nothing is multiplied by the zeros of a stride or by the copies of an upsampling: a 3×3
//! convolution of a map upsampled by 2 is four correlations of the small map with 2×2 taps.

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::simd::float::Float;
use crate::cpu::threads;
use crate::shape::ConvGeometry;

/// Weights that are packed by one task.
const PART: usize = 1 << 13;

/// One axis of a phase.
#[derive(Clone, Debug)]
pub struct AxisPhase {
    /// The first output coordinate.
    pub first: usize,
    /// Output coordinates: `first`, `first + out_step` and so on.
    pub count: usize,
    /// The input coordinate that the first output and the first tap meet; negative in the padding.
    pub origin: isize,
    /// For each tap, in the order of the inputs it meets, the coordinates of the kernel that it adds up.
    pub taps: Vec<Range<usize>>,
}

/// An axis of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct AxisExtent {
    /// Coordinates of the map as it lies in memory.
    pub input: usize,
    /// How often each of them is repeated before the convolution.
    pub upsampling: usize,
    /// Coordinates of the result.
    pub output: usize,
    /// Coordinates of the kernel.
    pub kernel: usize,
    /// Between the inputs of neighbouring outputs.
    pub stride: usize,
    /// Zeros at each end.
    pub padding: usize,
}

impl AxisExtent {
    /// The phases of the outputs, which are as many steps apart: those that see the inputs through the same taps. Inputs of
    /// neighbouring outputs of a phase are `stride` apart, or 1 after upsampling, with which there is no stride.
    pub fn forward(&self) -> Vec<AxisPhase> {
        let up = self.upsampling as isize;
        let phase = |first: usize| {
            // Tap k meets the repeated coordinate first + k − padding, that is this one in memory.
            let met = |k: usize| (first as isize + k as isize - self.padding as isize).div_euclid(up);
            let origin = met(0);
            let taps = (origin..=met(self.kernel - 1)).map(|at| {
                let of = |k: &usize| met(*k) == at;
                let start = (0..self.kernel).find(of).unwrap_or(0);
                start..start + (0..self.kernel).filter(of).count()
            });
            AxisPhase { first, count: (self.output - first).div_ceil(self.upsampling), origin, taps: taps.collect() }
        };
        (0..self.upsampling.min(self.output)).map(phase).collect()
    }

    /// The phases of the inputs, `stride` apart, as sums over the outputs that see them.
    ///
    /// Input `i` gets from output `o` what tap `k` gave it: `o · stride + k = i + padding`. With `i = first + stride · t`
    /// the taps are those congruent to `first + padding`, and the outputs `o = t + (first + padding) / stride − j` for the
    /// `j`-th of them, so that in descending order of taps the outputs ascend. After upsampling, where the stride is 1, input
    /// `i` stands for the repeated coordinates `i · upsampling + 0..upsampling`, whose outputs begin `i · upsampling +
    /// padding − k`: they are gathered by their distance from `i · upsampling`.
    pub fn backward(&self) -> Vec<AxisPhase> {
        if self.upsampling > 1 {
            let (up, padding, kernel) = (self.upsampling as isize, self.padding as isize, self.kernel as isize);
            let origin = padding - (kernel - 1);
            let tap = |distance: isize| {
                let low = (padding - distance).max(0);
                low as usize..(padding - distance + up).min(kernel) as usize
            };
            let taps = (origin..=padding + up - 1).map(tap).collect();
            return vec![AxisPhase { first: 0, count: self.input, origin, taps }];
        }
        let phase = |first: usize| {
            let met = first + self.padding;
            let taps: Vec<_> = (met % self.stride..self.kernel).step_by(self.stride).rev().map(|k| k..k + 1).collect();
            let origin = (met / self.stride + 1) as isize - taps.len() as isize;
            AxisPhase { first, count: (self.input - first).div_ceil(self.stride), origin, taps }
        };
        (0..self.stride.min(self.input)).map(phase).collect()
    }
}

impl ConvGeometry {
    /// How its two axes meet their kernels.
    pub fn extents(&self) -> [AxisExtent; 2] {
        let Self { upsampling, kernel, stride, padding, .. } = *self;
        [(self.height, self.out_height()), (self.width, self.out_width())].map(|(input, output)| AxisExtent {
            input,
            upsampling,
            output,
            kernel,
            stride,
            padding,
        })
    }
}

/// A view of a weight tensor as `[outputs, inputs]` per tap, whichever of its axes these are.
#[derive(Clone, Copy)]
pub struct SubKernels<'a, T> {
    /// The tensor.
    pub weight: &'a [T],
    /// Output channels of the conv.
    pub outputs: usize,
    /// Elements between neighbouring output channels.
    pub output_step: usize,
    /// Input channels of the conv.
    pub inputs: usize,
    /// Elements between neighbouring input channels.
    pub input_step: usize,
    /// Columns of the whole kernel.
    pub kernel: usize,
}

impl<T: Float> SubKernels<'_, T> {
    /// The weight of a tap: the sum over its rows and columns of the kernel.
    #[inline(always)]
    pub fn weight(&self, output: usize, input: usize, rows: &Range<usize>, columns: &Range<usize>) -> T {
        let at = output * self.output_step + input * self.input_step;
        if rows.len() == 1 && columns.len() == 1 {
            return self.weight[at + rows.start * self.kernel + columns.start];
        }
        let mut sum = T::ZERO;
        for row in rows.clone() {
            for column in columns.clone() {
                sum += self.weight[at + row * self.kernel + column];
            }
        }
        sum
    }

    /// The taps `rows` × `columns` as `[block of outputs][tap row][tap column][input][block]`, the last block padded with
    /// zeros.
    pub fn broadcast(&self, rows: &[Range<usize>], columns: &[Range<usize>], block: usize) -> Buffer<T> {
        let blocks = self.outputs.div_ceil(block);
        let block_len = rows.len() * columns.len() * self.inputs * block;
        let mut packed = Buffer::new(blocks * block_len);
        if block_len == 0 {
            return packed;
        }
        // Some tens of microseconds are worth a second thread.
        let part = (PART / block_len).max(1) * block_len;
        threads::update(&mut packed, part, |at, packed| {
            for (index, packed) in (at / block_len..).zip(packed.chunks_exact_mut(block_len)) {
                let first = index * block;
                let real = block.min(self.outputs - first);
                let mut places = packed.chunks_exact_mut(block);
                for row in rows {
                    for column in columns {
                        for (input, place) in (0..self.inputs).zip(&mut places) {
                            let (place, padding) = place.split_at_mut(real);
                            for (lane, place) in place.iter_mut().enumerate() {
                                *place = self.weight(first + lane, input, row, column);
                            }
                            padding.fill(T::ZERO);
                        }
                    }
                }
            }
        });
        packed
    }

    /// The taps `rows` × `columns` as `[tap row][run / width][output][width]`, where a run is `[tap column][input]` and a
    /// multiple of `width`.
    pub fn dot(&self, rows: &[Range<usize>], columns: &[Range<usize>], width: usize) -> Buffer<T> {
        let run = columns.len() * self.inputs;
        let mut packed = Buffer::new(rows.len() * run * self.outputs);
        let mut places = packed.iter_mut();
        for row in rows {
            for first in (0..run).step_by(width) {
                for output in 0..self.outputs {
                    for (k, place) in (first..first + width).zip(&mut places) {
                        *place = self.weight(output, k % self.inputs, row, &columns[k / self.inputs]);
                    }
                }
            }
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which outputs each input reaches, by which coordinates of the kernel, from the definition.
    fn reached(e: &AxisExtent) -> Vec<(usize, usize, usize)> {
        let met = |output: usize, k: usize| {
            let at = (output * e.stride + k).checked_sub(e.padding)? / e.upsampling;
            (at < e.input).then_some((at, output, k))
        };
        let mut all: Vec<_> =
            (0..e.output).flat_map(|output| (0..e.kernel).filter_map(move |k| met(output, k))).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn phases_meet_what_the_definition_says() {
        for (upsampling, stride) in [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (4, 1)] {
            for (kernel, padding) in [(1, 0), (1, 1), (2, 0), (3, 1), (3, 0), (5, 2), (5, 4)] {
                for input in 2..9 {
                    let padded: usize = input * upsampling + 2 * padding;
                    let Some(room) = padded.checked_sub(kernel) else { continue };
                    let e = AxisExtent { input, upsampling, output: room / stride + 1, kernel, stride, padding };
                    let (mut there, mut back) = (Vec::new(), Vec::new());
                    for axis in e.forward() {
                        for t in 0..axis.count {
                            for (tap, ks) in axis.taps.iter().enumerate() {
                                let at = axis.origin + (t * stride + tap) as isize;
                                if at >= 0 && (at as usize) < input {
                                    there.extend(ks.clone().map(|k| (at as usize, axis.first + t * upsampling, k)));
                                }
                            }
                        }
                    }
                    for axis in e.backward() {
                        for t in 0..axis.count {
                            for (tap, ks) in axis.taps.iter().enumerate() {
                                let output = axis.origin + (t * upsampling + tap) as isize;
                                if output >= 0 && (output as usize) < e.output {
                                    back.extend(ks.clone().map(|k| (axis.first + t * stride, output as usize, k)));
                                }
                            }
                        }
                    }
                    there.sort_unstable();
                    back.sort_unstable();
                    assert_eq!(there, reached(&e), "{e:?}");
                    assert_eq!(back, reached(&e), "{e:?}");
                }
            }
        }
    }
}
