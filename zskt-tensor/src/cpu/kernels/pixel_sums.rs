//! Sums over the pixels of maps.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::{InstructionSet, Vectorized};
use crate::cpu::threads;

/// Elements that are read at once, to stay in the first-level cache.
const STRIP: usize = 4096;

/// For each of `groups` equal parts of the source, which is `[groups, pixels, channels]`, the sum over its pixels times
/// `scale`: `[groups, channels]`, summed in double precision.
pub fn pixel_sums<T: KernelTable>(source: &InputView<T>, groups: usize, channels: usize, scale: f64) -> Vec<T> {
    let set = InstructionSet::best();
    let group = source.len() / groups.max(1);
    let strip = (STRIP / channels.max(1)).max(1) * channels;
    // Large groups are divided too.
    let part = threads::task_len(channels).min(group.max(1));
    let parts = group.div_ceil(part).max(1);
    let partials = threads::map(groups * parts, |index| {
        let mut sums = vec![0.0; channels];
        let (first, end) = (index % parts * part, group.min((index % parts + 1) * part));
        let mut values = Buffer::<T>::new(strip);
        for at in (first..end).step_by(strip) {
            let (from, len) = (index / parts * group + at, strip.min(end - at));
            let pixels = match source.direct() {
                Some(source) => &source[from..from + len],
                None => {
                    source.write(set, from, &mut values[..len]);
                    &values[..len]
                }
            };
            set.run(&AddPixels { pixels }, &mut sums);
        }
        sums
    });
    let total = |at: usize| {
        let (group, channel) = (at / channels, at % channels);
        partials[group * parts..(group + 1) * parts].iter().map(|sums| sums[channel]).sum::<f64>() * scale
    };
    (0..groups * channels).map(|at| T::from_f64(total(at))).collect()
}

/// Adds pixels to sums over them.
struct AddPixels<'a, T> {
    pixels: &'a [T],
}

impl<T: KernelTable> Vectorized<&mut [f64]> for AddPixels<'_, T> {
    #[inline(always)]
    fn run(&self, sums: &mut [f64]) {
        let channels = sums.len();
        // So many channels that their sums are in registers.
        const LANES: usize = 32;
        let mut blocks = sums.chunks_exact_mut(LANES);
        let mut first = 0;
        for block in &mut blocks {
            let mut totals = [0.0; LANES];
            totals.copy_from_slice(block);
            for pixel in self.pixels.chunks_exact(channels) {
                for (total, value) in totals.iter_mut().zip(&pixel[first..first + LANES]) {
                    *total += value.to_f64();
                }
            }
            block.copy_from_slice(&totals);
            first += LANES;
        }
        let rest = blocks.into_remainder();
        if rest.is_empty() {
            return;
        }
        for pixel in self.pixels.chunks_exact(channels) {
            for (sum, value) in rest.iter_mut().zip(&pixel[first..]) {
                *sum += value.to_f64();
            }
        }
    }
}
