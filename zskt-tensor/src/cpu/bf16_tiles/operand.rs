//! Convolutions of bf16 padded inputs.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use half::bf16;

use crate::cpu::bf16_tiles::amx::strip::{self, TileStrip};
use crate::cpu::bf16_tiles::dot_product::strip::{self as dot_strip, DotStrip};
use crate::cpu::bf16_tiles::shape::StripShape;
use crate::cpu::bf16_tiles::tile::Tiles;
use crate::cpu::bf16_tiles::unit::Unit;
use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::{Operand, PhaseShape, RowBlock, STRIP, SumLayout};
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::simd::instruction_set::InstructionSet;

/// Outputs come in sixteens, with AMX channels too.
const SIXTEEN: usize = 16;

/// What computes.
fn unit() -> Unit {
    Unit::best().expect("something that multiplies bf16, or bf16 would be no operand")
}

/// How the rows of a strip are computed.
#[derive(Clone, Copy, Debug)]
pub enum Rowwise {
    /// All at once: with the margins between them they are one run of pixels.
    Together,
    /// Each on its own.
    Apart,
    /// By dot products, which need no margins.
    Dense,
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
        match unit() {
            Unit::Amx => channels.next_multiple_of(SIXTEEN),
            Unit::DotProducts => channels,
        }
    }

    fn thread_state() -> Tiles {
        Tiles::enter(unit())
    }

    fn block(outputs: usize) -> usize {
        match unit() {
            Unit::Amx => outputs,
            Unit::DotProducts => SIXTEEN,
        }
    }

    fn pitch(blocking: usize, _: usize) -> usize {
        blocking
    }

    fn behind(step: usize) -> usize {
        match unit() {
            // At most 31 pixels more than asked for, and a chunk of inputs.
            Unit::Amx => 32 * step + 64,
            // The other half of a pair.
            Unit::DotProducts => 1,
        }
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
        let run = columns.len() * pixel;
        let shape = StripShape { unit: unit(), x_step: step, kernel_rows: rows.len(), run, outputs: blocking };
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
        let unit = unit();
        if unit == Unit::DotProducts {
            let rows = (STRIP / (blocking * columns).max(1)).clamp(1, rows);
            return SumLayout { kernel: Rowwise::Dense, rows, row: columns, pixels: rows * columns, scratch: 0 };
        }
        // How many pixels are written depends on the step alone.
        let shape = StripShape { unit, x_step: step, kernel_rows: 1, run: pixel, outputs: blocking };
        let written = |pixels: usize| shape.written(pixels);
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
        let unit = tiles.unit();
        let shape = StripShape { unit, x_step: rows.x_step, kernel_rows: rows.taps, run: rows.run, outputs: blocking };
        let (runs, pixels) = match sum_layout.kernel {
            Rowwise::Dense => {
                for block in rows.blocks.clone() {
                    let strip_of_block = DotStrip {
                        shape,
                        x: rows.x,
                        x_row: rows.x_row,
                        x_down: rows.x_down,
                        weights: rows.weights[block * shape.column()..].as_ptr(),
                        start: rows.start[block * SIXTEEN..].as_ptr(),
                        y: rows.y.wrapping_add(block * SIXTEEN),
                        y_step: blocking,
                        y_down: sum_layout.row * blocking,
                        rows: sum_layout.rows,
                        columns: rows.columns,
                    };
                    // SAFETY: there are such tiles, so the processor has the instructions; the weights are packed for this
                    // shape, the padded input has every input, and the layout has room for all pixels.
                    unsafe { dot_strip::strip(&strip_of_block) };
                }
                return;
            }
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
            unsafe { strip::strip(tiles, &strip_of_run) };
        }
    }
}
