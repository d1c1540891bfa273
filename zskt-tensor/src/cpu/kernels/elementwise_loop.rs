//! Passes over maps that no convolution reads or writes: pixel by pixel, through the same sinks.

#![expect(unsafe_code, reason = "rows are written by tasks that interleave")]

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::kernels::epilogue::{Rows, Sink, Sums, Target};
use crate::cpu::kernels::prologue::Source;
use crate::cpu::simd::dtype::NumbersMut;
use crate::cpu::simd::float::Real;
use crate::cpu::simd::instruction_set::Instructions;
use crate::cpu::threads;

/// Elements of the results that are made at once, to stay in the first-level cache.
const STRIP: usize = 4096;

/// Lets the sink finish what a source is into `out`.
pub fn copy<T: Real>(source: &Source<T>, channels: usize, sink: &Sink<T>, out: NumbersMut<T>) -> Sums {
    let set = Instructions::best();
    run(set, channels, |first, results| source.write(set, first * channels, results), sink, out)
}

/// Lets `produce` write the results of some pixels, from the one it is told on, for the sink to finish them into `out`.
pub fn run<T: Real>(
    set: Instructions,
    channels: usize,
    produce: impl Fn(usize, &mut [T]) + Sync,
    sink: &Sink<T>,
    out: NumbersMut<T>,
) -> Sums {
    let (map, len) = Target::of(out);
    assert!(sink.fits(len), "all maps have the same shape");
    let mut total = Sums::zeros(channels);
    let pixels = len / channels.max(1);
    let strip = (STRIP / channels.max(1)).max(1);
    let part = (threads::PASS / channels.max(1)).max(1);
    let partials = threads::map(pixels.div_ceil(part).max(1), |index| {
        let mut sums = Sums::zeros(channels);
        let mut results = Buffer::<T>::new(strip * channels);
        for first in (index * part..pixels.min((index + 1) * part)).step_by(strip) {
            let count = strip.min(pixels.min((index + 1) * part) - first);
            let results = &mut results[..count * channels];
            produce(first, results);
            let mut rows = Rows {
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
            unsafe { sink.finish(set, &mut rows) };
        }
        sums
    });
    partials.iter().for_each(|sums| total.add(sums));
    total
}
