//! Rows of results finished as an epilogue says, by the kernels of the processor.

#![expect(unsafe_code, reason = "rows are written by tasks that interleave")]

use crate::cpu::kernels::epilogue::{
    ChannelBlock, Epilogue, EpilogueKind, EpilogueOp, FinishKernel, OutputPointer, OutputRows, Residual, WIDEST,
};
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::simd::dtype::{Element, MapSlice};
use crate::cpu::simd::instruction_set::InstructionSet;
use half::bf16;

impl<T: KernelTable> Epilogue<'_, T> {
    /// Finishes rows.
    ///
    /// # Safety
    ///
    /// The map has the rows' pixels, and nobody else touches these channels of theirs meanwhile.
    pub unsafe fn finish(&self, set: InstructionSet, rows: &mut OutputRows<'_, T>) {
        // SAFETY: the caller's promise.
        unsafe {
            match rows.map {
                OutputPointer::Full(map) => self.finish_typed(set, rows, map, full, T::finish_full),
                OutputPointer::Half(map) => self.finish_typed(set, rows, map, half, T::finish_half),
            }
        }
    }

    /// # Safety
    ///
    /// As for [`finish`](Self::finish).
    unsafe fn finish_typed<E: Element<T>>(
        &self,
        set: InstructionSet,
        rows: &mut OutputRows<'_, T>,
        map: *mut E,
        of: fn(MapSlice<'_, T>) -> &[E],
        kernel: fn(InstructionSet, EpilogueKind, bool) -> FinishKernel<T, E>,
    ) {
        if rows.rows == 0 || rows.pixels == 0 {
            return;
        }
        let [first, end] = rows.channels;
        let last = |from: usize, step: usize, down: usize| from + (rows.rows - 1) * down + (rows.pixels - 1) * step;
        assert!(last(end, rows.pitch, rows.row) <= rows.results.len(), "there are as many results");
        let width = T::width(set);
        for first in (first..end).step_by(width) {
            let count = width.min(end - first);
            let at = rows.at + first;
            // What is read along with the map is as long as it.
            let along =
                |numbers: MapSlice<'_, T>| of(numbers)[at..=last(at + count - 1, rows.step, rows.down)].as_ptr();
            let mut channels = [[T::ZERO; WIDEST]; 3];
            let mut totals = [[0.0; WIDEST]; 2];
            let (what, x, [slope, limit]) = match self.op {
                EpilogueOp::Store => (EpilogueKind::Store, std::ptr::null(), [T::ZERO; 2]),
                EpilogueOp::Moments => (EpilogueKind::Moments, std::ptr::null(), [T::ZERO; 2]),
                EpilogueOp::ActivationGradient { x, activation, mean } => {
                    let values = [activation.scale.values(), activation.shift.values(), mean];
                    for (channels, values) in channels.iter_mut().zip(values) {
                        channels[..count].copy_from_slice(&values[first..first + count]);
                    }
                    (EpilogueKind::ActivationGradient, along(x), [activation.slope, activation.limit])
                }
            };
            let mut block = ChannelBlock {
                // SAFETY: it was just checked that the results are there, and the caller has the map.
                results: unsafe { rows.results.as_ptr().add(first) },
                pitch: rows.pitch,
                row: rows.row,
                // SAFETY: as above.
                map: unsafe { map.add(at) },
                step: rows.step,
                down: rows.down,
                rows: rows.rows,
                pixels: rows.pixels,
                residual: if let Residual::Add(plus) = self.residual { along(plus) } else { std::ptr::null() },
                itself: matches!(self.residual, Residual::Accumulate),
                x,
                channels: &channels,
                slope,
                limit,
                count,
                totals: &mut totals,
            };
            // SAFETY: the processor has the instructions of the set, and all pointers are good for the block.
            unsafe { kernel(set, what, count == width)(&mut block) };
            if what != EpilogueKind::Store {
                let sums = [&mut rows.sums.first, &mut rows.sums.second];
                for (sums, totals) in sums.into_iter().zip(&totals) {
                    sums[first..first + count].iter_mut().zip(totals).for_each(|(sum, total)| *sum += total);
                }
            }
        }
    }
}

fn full<T: Copy>(numbers: MapSlice<'_, T>) -> &[T] {
    let MapSlice::Full(numbers) = numbers else { unreachable!("all maps of an epilogue have one precision") };
    numbers
}

fn half<T: Copy>(numbers: MapSlice<'_, T>) -> &[bf16] {
    let MapSlice::Half(numbers) = numbers else { unreachable!("all maps of an epilogue have one precision") };
    numbers
}
