//! What convolutions are computed from: packed weights, and how far their inputs and outputs reach.

use half::bf16;

use crate::cpu::bf16_tiles::tile::{DEPTH, PAIR, ROWS, TILE};
use crate::cpu::bf16_tiles::unit::Unit;
use crate::cpu::simd::dtype::Element;
use crate::cpu::threads;

/// What the weights of a convolution are packed for. All lengths are in elements.
///
/// With AMX, where neighbouring pixels' inputs are 16 elements apart (16 channels, stride 1), two neighbouring pixels count as
/// one with twice the outputs. Their inputs overlap but for a pixel, and every row of a tile begins on a cache line if
/// the first does, where else every other row would straddle two; a 3x3 kernel is 1.5 times as fast that way. It takes
/// a second set of weights, shifted by a pixel, which `pack` lays down. With more channels it gains nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripShape {
    /// What multiplies.
    pub unit: Unit,
    /// Elements between the inputs of neighbouring output pixels: the channels, times the stride.
    pub x_step: usize,
    /// Rows of the kernel, at least 1.
    pub kernel_rows: usize,
    /// Neighbouring inputs under a row of the kernel: its columns times the channels; at least 1.
    pub run: usize,
    /// Output channels, padded to a multiple of 16.
    pub outputs: usize,
}

impl StripShape {
    /// Pixels that share their inputs: 2 or 1.
    pub fn group(&self) -> usize {
        if self.unit == Unit::Amx && self.x_step == DEPTH / 2 { 2 } else { 1 }
    }

    /// Pairs that cover a group's inputs under a row of the kernel; with AMX, in chunks of 16.
    pub fn pairs(&self) -> usize {
        let inputs = (self.group() - 1) * self.x_step + self.run;
        match self.unit {
            Unit::Amx => inputs.div_ceil(DEPTH) * ROWS,
            Unit::DotProducts => inputs.div_ceil(2),
        }
    }

    /// bf16 elements of the packed weights of 16 outputs of a pixel of a group.
    pub fn column(&self) -> usize {
        self.kernel_rows * self.pairs() * PAIR
    }

    /// bf16 elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.group() * (self.outputs / ROWS) * self.column()
    }

    /// Packs the weights `weight(output, kernel row, input within the run)`, which is asked for `outputs` outputs
    /// (those beyond, up to the padded number, get zeros), rounded to nearest even.
    ///
    /// Layout: `[pixel of the group][16 outputs][kernel row][pair of inputs][16 outputs][2]`.
    ///
    /// # Panics
    /// If `packed` hasn't [`packed_len`](Self::packed_len) elements or isn't aligned to 64 bytes, or if the outputs
    /// don't fit.
    pub fn pack(&self, outputs: usize, weight: impl Fn(usize, usize, usize) -> f32 + Sync, packed: &mut [bf16]) {
        assert!(self.outputs.is_multiple_of(ROWS) && outputs <= self.outputs, "{outputs} outputs in {self:?}");
        assert_eq!(packed.len(), self.packed_len(), "the packed length of {self:?}");
        assert!(packed.as_ptr().addr().is_multiple_of(64), "packed weights are aligned to 64 bytes");
        let row = self.pairs();
        // Some tens of microseconds are worth a second thread.
        threads::update(packed, 16 * TILE, |at, pairs| {
            for (i, pair) in (at / PAIR..).zip(pairs.chunks_exact_mut(PAIR)) {
                let (pair_of_row, kernel_row) = (i % row, i / row % self.kernel_rows);
                let (pixel, first) = self.place(i / row / self.kernel_rows);
                for (j, value) in pair.iter_mut().enumerate() {
                    let output = first + j / 2;
                    let input = (pair_of_row * 2 + j % 2).checked_sub(pixel * self.x_step);
                    *value = match input {
                        Some(input) if input < self.run && output < outputs => {
                            <bf16 as Element<f32>>::narrow(weight(output, kernel_row, input))
                        }
                        _ => bf16::default(),
                    };
                }
            }
        });
    }

    /// Pixels that are written for a run of `pixels` pixels, from the first on: with AMX, the same number rounded up to
    /// the group (2 or 1), but at least 16 groups.
    pub fn written(&self, pixels: usize) -> usize {
        match self.unit {
            Unit::Amx => self.group() * pixels.div_ceil(self.group()).max(ROWS),
            Unit::DotProducts => pixels,
        }
    }

    /// Elements that are read under each row of the kernel for `pixels` pixels, from the first input of the first
    /// pixel on.
    pub fn read(&self, pixels: usize) -> usize {
        (self.written(pixels) - self.group()) * self.x_step + 2 * self.pairs()
    }

    /// Of the tile with the given number, the pixel within the group and the first output.
    pub fn place(&self, tile: usize) -> (usize, usize) {
        let tiles = self.outputs / ROWS;
        (tile / tiles, tile % tiles * ROWS)
    }
}
