//! Passes over maps that no convolution reads or writes: pixel by pixel, through the same epilogues.

#![expect(unsafe_code, reason = "rows are written by tasks that interleave")]

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue, OutputPointer, OutputRows};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;
use crate::shape::MapShape;

/// Elements of the results that are made at once, to stay in the first-level cache.
const STRIP: usize = 4096;

/// Writes a map to `out` through the epilogue.
pub fn copy<T: KernelTable>(
    source: &InputView<T>,
    channels: usize,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let set = InstructionSet::best();
    run(set, channels, |first, results| source.write(set, first * channels, results), epilogue, out)
}

/// Lets `produce` write the results of each image of a map, for the epilogue to finish them into `out`.
pub fn images<T: KernelTable>(
    set: InstructionSet,
    shape: &MapShape,
    produce: impl Fn(usize, &mut [T]) + Sync,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let (map, len) = OutputPointer::of(out);
    assert!(epilogue.fits(len) && len == shape.len(), "all maps have the same shape");
    let mut total = ChannelSums::zeros(shape.channels);
    if len == 0 {
        return total;
    }
    let strip = (STRIP / shape.channels).max(1);
    let partials = threads::map(shape.batch, |image| {
        let mut sums = ChannelSums::zeros(shape.channels);
        let mut results = Buffer::<T>::new(shape.image_len());
        produce(image, &mut results);
        let mut first = image * shape.image_len();
        for results in results.chunks(strip * shape.channels) {
            let mut rows = OutputRows {
                results,
                pitch: shape.channels,
                row: 0,
                rows: 1,
                pixels: results.len() / shape.channels,
                map,
                at: first,
                step: shape.channels,
                down: 0,
                channels: [0, shape.channels],
                sums: &mut sums,
            };
            // SAFETY: the images of the map are disjoint.
            unsafe { epilogue.finish(set, &mut rows) };
            first += results.len();
        }
        sums
    });
    partials.iter().for_each(|sums| total.add(sums));
    total
}

/// Lets `produce` write the results of some pixels, from the one it is told on, for the epilogue to finish them into `out`.
pub fn run<T: KernelTable>(
    set: InstructionSet,
    channels: usize,
    produce: impl Fn(usize, &mut [T]) + Sync,
    epilogue: &Epilogue<T>,
    out: MapSliceMut<T>,
) -> ChannelSums {
    let (map, len) = OutputPointer::of(out);
    assert!(epilogue.fits(len), "all maps have the same shape");
    let mut total = ChannelSums::zeros(channels);
    let pixels = len / channels.max(1);
    let strip = (STRIP / channels.max(1)).max(1);
    let part = (threads::PARALLEL_THRESHOLD / channels.max(1)).max(1);
    let partials = threads::map(pixels.div_ceil(part).max(1), |index| {
        let mut sums = ChannelSums::zeros(channels);
        let mut results = Buffer::<T>::new(strip * channels);
        for first in (index * part..pixels.min((index + 1) * part)).step_by(strip) {
            let count = strip.min(pixels.min((index + 1) * part) - first);
            let results = &mut results[..count * channels];
            produce(first, results);
            let mut rows = OutputRows {
                results,
                pitch: channels,
                row: 0,
                rows: 1,
                pixels: count,
                map,
                at: first * channels,
                step: channels,
                down: 0,
                channels: [0, channels],
                sums: &mut sums,
            };
            // SAFETY: the parts of the map are disjoint.
            unsafe { epilogue.finish(set, &mut rows) };
        }
        sums
    });
    partials.iter().for_each(|sums| total.add(sums));
    total
}
