//! Convolutions of bf16 padded inputs.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use half::bf16;

use crate::cpu::amx::{StripShape, TileStrip, Tiles, strip};
use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::{Operand, PhaseShape, RowBlock, STRIP, SumLayout};
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::simd::instruction_set::InstructionSet;

/// Channels and outputs come in sixteens.
const SIXTEEN: usize = 16;

/// How the rows of a strip are computed.
#[derive(Clone, Copy, Debug)]
pub enum Rowwise {
    /// All at once: with the margins between them they are one run of pixels.
    Together,
    /// Each on its own.
    Apart,
}

impl Operand for bf16 {
    type Accumulator = f32;
    /// Output channels, padded.
    type ChannelBlocking = usize;
    type Kernel = Rowwise;
    type ThreadState = Tiles;

    fn blocking(_: InstructionSet, _: usize, outputs: usize) -> usize {
        outputs.next_multiple_of(SIXTEEN)
    }

    fn pixel(channels: usize) -> usize {
        channels.next_multiple_of(SIXTEEN)
    }

    fn thread_state() -> Tiles {
        Tiles::enter()
    }

    fn block(outputs: usize) -> usize {
        outputs
    }

    fn pitch(blocking: usize, _: usize) -> usize {
        blocking
    }

    fn behind(step: usize) -> usize {
        // At most 31 pixels more than asked for, and a chunk of inputs.
        32 * step + 64
    }

    fn pack(
        _: InstructionSet,
        blocking: usize,
        _: &SumLayout<Rowwise>,
        taps: &SubKernels<f32>,
        step: usize,
        rows: &[Range<usize>],
        columns: &[Range<usize>],
    ) -> Buffer<bf16> {
        if rows.is_empty() || columns.is_empty() {
            return Buffer::new(0);
        }
        let pixel = Self::pixel(taps.inputs);
        let shape = StripShape { x_step: step, kernel_rows: rows.len(), run: columns.len() * pixel, outputs: blocking };
        let mut packed = Buffer::new(shape.packed_len());
        if rows.iter().chain(columns).all(|taps| taps.len() == 1) {
            // Where each weight begins is found once for all outputs and rows.
            let place = |k: usize| {
                let (column, input) = (k / pixel, k % pixel);
                (input < taps.inputs).then(|| input * taps.input_step + columns[column].start)
            };
            let of_run: Vec<Option<usize>> = (0..shape.run).map(place).collect();
            let weight = |output: usize, row: usize, k: usize| {
                let from = &taps.weight[output * taps.output_step + rows[row].start * taps.kernel..];
                of_run[k].map_or(0.0, |place| from[place])
            };
            shape.pack(taps.outputs, weight, &mut packed);
        } else {
            let weight = |output: usize, row: usize, k: usize| {
                let (column, input) = (k / pixel, k % pixel);
                if input < taps.inputs { taps.weight(output, input, &rows[row], &columns[column]) } else { 0.0 }
            };
            shape.pack(taps.outputs, weight, &mut packed);
        }
        packed
    }

    fn sum_layout(_: InstructionSet, blocking: usize, phase: &PhaseShape) -> SumLayout<Rowwise> {
        let PhaseShape { count: [rows, columns], canvas_columns, pixel, step, .. } = *phase;
        // How many pixels are written depends on the step alone.
        let written =
            |pixels: usize| StripShape { x_step: step, kernel_rows: 1, run: pixel, outputs: blocking }.written(pixels);
        if step == pixel {
            let rows = (STRIP / (blocking * canvas_columns).max(1)).clamp(1, rows);
            let pixels = written((rows - 1) * canvas_columns + columns);
            return SumLayout { kernel: Rowwise::Together, rows, row: canvas_columns, pixels, scratch: 0 };
        }
        let row = written(columns);
        let rows = (STRIP / (blocking * row).max(1)).clamp(1, rows);
        SumLayout { kernel: Rowwise::Apart, rows, row, pixels: rows * row, scratch: 0 }
    }

    unsafe fn sum(
        tiles: &Tiles,
        blocking: usize,
        sum_layout: &SumLayout<Rowwise>,
        _: usize,
        rows: &RowBlock<'_, bf16>,
    ) {
        if rows.taps == 0 {
            for pixel in 0..sum_layout.pixels {
                // SAFETY: the layout has room for so many pixels, and there is a start for every output.
                unsafe { std::ptr::copy_nonoverlapping(rows.start.as_ptr(), rows.y.add(pixel * blocking), blocking) };
            }
            return;
        }
        let shape = StripShape { x_step: rows.x_step, kernel_rows: rows.taps, run: rows.run, outputs: blocking };
        let (runs, pixels) = match sum_layout.kernel {
            Rowwise::Together => (1, (sum_layout.rows - 1) * sum_layout.row + rows.columns),
            Rowwise::Apart => (sum_layout.rows, rows.columns),
        };
        for run in 0..runs {
            let strip_of_run = TileStrip {
                shape,
                x: rows.x.wrapping_add(run * rows.x_down),
                x_row: rows.x_row,
                weights: rows.weights.as_ptr(),
                start: rows.start.as_ptr(),
                // SAFETY: the layout has room for all its rows.
                y: unsafe { rows.y.add(run * sum_layout.row * blocking) },
                y_step: blocking,
                pixels,
            };
            debug_assert!(shape.read(pixels) <= pixels * rows.x_step + rows.run + Self::behind(rows.x_step));
            // SAFETY: the weights are packed for this shape; the padded input has every input and is finite behind the last; the
            // layout has room for what is written.
            unsafe { strip(tiles, &strip_of_run) };
        }
    }
}
