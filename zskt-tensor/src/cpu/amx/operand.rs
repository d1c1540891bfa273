//! Correlations of bf16 canvases.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use crate::cpu::amx::{Bf16, StripShape, TileStrip, Tiles, strip};
use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::{Form, Operand, PhaseShape, Rows, STRIP};
use crate::cpu::conv::sub_kernels::Taps;
use crate::cpu::simd::instruction_set::Instructions;

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

impl Operand for Bf16 {
    type Real = f32;
    /// Output channels, padded.
    type Layout = usize;
    type Kernel = Rowwise;
    type Session = Tiles;

    fn layout(_: Instructions, _: usize, outputs: usize) -> usize {
        outputs.next_multiple_of(SIXTEEN)
    }

    fn pixel(channels: usize) -> usize {
        channels.next_multiple_of(SIXTEEN)
    }

    fn session() -> Tiles {
        Tiles::enter()
    }

    fn block(outputs: usize) -> usize {
        outputs
    }

    fn pitch(layout: usize, _: usize) -> usize {
        layout
    }

    fn behind(step: usize) -> usize {
        // At most 31 pixels more than asked for, and a chunk of inputs.
        32 * step + 64
    }

    fn pack(
        _: Instructions,
        layout: usize,
        _: &Form<Rowwise>,
        taps: &Taps<f32>,
        step: usize,
        rows: &[Range<usize>],
        columns: &[Range<usize>],
    ) -> Buffer<Bf16> {
        if rows.is_empty() || columns.is_empty() {
            return Buffer::new(0);
        }
        let pixel = Self::pixel(taps.inputs);
        let shape = StripShape { x_step: step, kernel_rows: rows.len(), run: columns.len() * pixel, outputs: layout };
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

    fn form(_: Instructions, layout: usize, phase: &PhaseShape) -> Form<Rowwise> {
        let PhaseShape { count: [rows, columns], canvas_columns, pixel, step, .. } = *phase;
        // How many pixels are written depends on the step alone.
        let written =
            |pixels: usize| StripShape { x_step: step, kernel_rows: 1, run: pixel, outputs: layout }.written(pixels);
        if step == pixel {
            let rows = (STRIP / (layout * canvas_columns).max(1)).clamp(1, rows);
            let pixels = written((rows - 1) * canvas_columns + columns);
            return Form { kernel: Rowwise::Together, rows, row: canvas_columns, pixels, scratch: 0 };
        }
        let row = written(columns);
        let rows = (STRIP / (layout * row).max(1)).clamp(1, rows);
        Form { kernel: Rowwise::Apart, rows, row, pixels: rows * row, scratch: 0 }
    }

    unsafe fn sum(tiles: &Tiles, layout: usize, form: &Form<Rowwise>, _: usize, rows: &Rows<'_, Bf16>) {
        if rows.taps == 0 {
            for pixel in 0..form.pixels {
                // SAFETY: the form has room for so many pixels, and there is a start for every output.
                unsafe { std::ptr::copy_nonoverlapping(rows.start.as_ptr(), rows.y.add(pixel * layout), layout) };
            }
            return;
        }
        let shape = StripShape { x_step: rows.x_step, kernel_rows: rows.taps, run: rows.run, outputs: layout };
        let (runs, pixels) = match form.kernel {
            Rowwise::Together => (1, (form.rows - 1) * form.row + rows.columns),
            Rowwise::Apart => (form.rows, rows.columns),
        };
        for run in 0..runs {
            let strip_of_run = TileStrip {
                shape,
                x: rows.x.wrapping_add(run * rows.x_down),
                x_row: rows.x_row,
                weights: rows.weights.as_ptr(),
                start: rows.start.as_ptr(),
                // SAFETY: the form has room for all its rows.
                y: unsafe { rows.y.add(run * form.row * layout) },
                y_step: layout,
                pixels,
            };
            debug_assert!(shape.read(pixels) <= pixels * rows.x_step + rows.run + Self::behind(rows.x_step));
            // SAFETY: the weights are packed for this shape; the canvas has every input and is finite behind the last; the
            // form has room for what is written.
            unsafe { strip(tiles, &strip_of_run) };
        }
    }
}
