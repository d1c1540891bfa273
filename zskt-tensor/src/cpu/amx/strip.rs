//! Outputs of a convolution for a run of pixels.
#![expect(unsafe_code, reason = "reads and writes memory through pointers, with the tile registers")]

use std::ptr::{null, null_mut};

use half::bf16;

use crate::cpu::amx::tile::{Block, DEPTH, ROWS, TILE, Tiles, narrow_block};
use crate::cpu::simd::dtype::Element;
use crate::cpu::threads;

/// What the weights of a [`strip`] are packed for. All lengths are in elements.
///
/// Where neighbouring pixels' inputs are 16 elements apart (16 channels, stride 1), two neighbouring pixels count as
/// one with twice the outputs. Their inputs overlap but for a pixel, and every row of a tile begins on a cache line if
/// the first does, where else every other row would straddle two; a 3x3 kernel is 1.5 times as fast that way. It takes
/// a second set of weights, shifted by a pixel, which `pack` lays down. With more channels it gains nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripShape {
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
    fn group(&self) -> usize {
        if self.x_step == DEPTH / 2 { 2 } else { 1 }
    }

    /// Chunks of 32 inputs that cover a group's inputs under a row of the kernel.
    fn chunks(&self) -> usize {
        ((self.group() - 1) * self.x_step + self.run).div_ceil(DEPTH)
    }

    /// bf16 elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.group() * (self.outputs / ROWS) * self.kernel_rows * self.chunks() * TILE
    }

    /// Packs the weights `weight(output, kernel row, input within the run)`, which is asked for `outputs` outputs
    /// (those beyond, up to the padded number, get zeros), rounded to nearest even.
    ///
    /// Layout: `[pixel of the group][16 outputs][kernel row][chunk of 32 inputs][16 pairs of inputs][16 outputs][2]`.
    ///
    /// # Panics
    /// If `packed` hasn't [`packed_len`](Self::packed_len) elements or isn't aligned to 64 bytes, or if the outputs
    /// don't fit.
    pub fn pack(&self, outputs: usize, weight: impl Fn(usize, usize, usize) -> f32 + Sync, packed: &mut [bf16]) {
        assert!(self.outputs.is_multiple_of(ROWS) && outputs <= self.outputs, "{outputs} outputs in {self:?}");
        assert_eq!(packed.len(), self.packed_len(), "the packed length of {self:?}");
        assert!(packed.as_ptr().addr().is_multiple_of(64), "packed weights are aligned to 64 bytes");
        let chunks = self.chunks();
        // Some tens of microseconds are worth a second thread.
        threads::update(packed, 16 * TILE, |at, tiles| {
            for (i, tile) in (at / TILE..).zip(tiles.chunks_exact_mut(TILE)) {
                let (chunk, row) = (i % chunks, i / chunks % self.kernel_rows);
                let (pixel, first) = self.place(i / chunks / self.kernel_rows);
                for (j, value) in tile.iter_mut().enumerate() {
                    let (pair, column, odd) = (j / 32, j / 2 % 16, j % 2);
                    let output = first + column;
                    let input = (chunk * DEPTH + pair * 2 + odd).checked_sub(pixel * self.x_step);
                    *value = match input {
                        Some(input) if input < self.run && output < outputs => {
                            <bf16 as Element<f32>>::narrow(weight(output, row, input))
                        }
                        _ => bf16::default(),
                    };
                }
            }
        });
    }

    /// Pixels that are written for `pixels` pixels, from the first on: the same number rounded up to the group (2 or
    /// 1), but at least 16 groups.
    pub fn written(&self, pixels: usize) -> usize {
        self.group() * pixels.div_ceil(self.group()).max(ROWS)
    }

    /// Elements that are read under each row of the kernel for `pixels` pixels, from the first input of the first
    /// pixel on.
    pub fn read(&self, pixels: usize) -> usize {
        (self.written(pixels) - self.group()) * self.x_step + self.chunks() * DEPTH
    }

    /// Of the tile with the given number, the pixel within the group and the first output.
    fn place(&self, tile: usize) -> (usize, usize) {
        let tiles = self.outputs / ROWS;
        (tile / tiles, tile % tiles * ROWS)
    }
}

/// A run of output pixels of a convolution, for [`strip`].
///
/// With `s` for the shape: `y[p][o] = start[o] + sum over r, k of x[p * s.x_step + r * x_row + k] * weight(o, r, k)`
/// for pixels `p < pixels`, outputs `o < s.outputs`, kernel rows `r < s.kernel_rows` and inputs `k < s.run`, summed
/// in f32.
#[derive(Clone, Copy, Debug)]
pub struct TileStrip {
    /// The sizes, and what the weights were packed for.
    pub shape: StripShape,
    /// A padded input (an image with its margins of zeros, channels last): the first input of the first pixel. Fast if
    /// aligned to 64 bytes; then `x_row` should be a multiple of 32.
    pub x: *const bf16,
    /// Elements between one row of the kernel and the next.
    pub x_row: usize,
    /// The packed weights, aligned to 64 bytes.
    pub weights: *const bf16,
    /// What the sums start from (the bias), per output, padded ones too.
    pub start: *const f32,
    /// The output of the first pixel. Fast if aligned to 64 bytes, with `y_step` a multiple of 16.
    pub y: *mut f32,
    /// Elements between the outputs of neighbouring pixels.
    pub y_step: usize,
    /// Pixels, at least 1.
    pub pixels: usize,
}

/// Computes a run of output pixels, see [`TileStrip`].
///
/// With stride 1, one call may cover many rows of an image: at the margins between them, it computes outputs of no
/// meaning.
///
/// # Panics
/// If there are no pixels, kernel rows or inputs, or the outputs are no multiple of 16.
///
/// # Safety
/// With `s.shape` as `shape`:
/// - `weights` points to `shape.packed_len()` elements that `shape.pack` wrote, `start` to `shape.outputs` elements.
/// - From `x + r * x_row` on, for every kernel row `r`, `shape.read(pixels)` elements can be read. They are finite:
///   those that belong to no pixel are multiplied by zero and added, or go into pixels behind the run.
/// - From `y + p * y_step` on, `shape.outputs` elements can be written, for `p < shape.written(pixels)`; pixels from
///   `pixels` on get values of no meaning.
/// - What is written overlaps nothing that is read, and nobody else uses it meanwhile.
pub unsafe fn strip(tiles: &Tiles, s: &TileStrip) {
    let shape = &s.shape;
    assert!(s.pixels.min(shape.kernel_rows).min(shape.run) > 0 && shape.outputs.is_multiple_of(ROWS), "{s:?}");
    debug_assert!(s.weights.addr().is_multiple_of(64));
    let (group, chunks) = (shape.group(), shape.chunks());
    let bf16 = size_of::<bf16>();
    let groups = s.pixels.div_ceil(group);
    let left = groups.div_ceil(ROWS);
    let right = group * shape.outputs / ROWS;
    // Tiles need sixteen groups. The last tile overlaps the one before it and writes the same once more, so that at
    // sixteen groups and more nothing is touched beyond the last group.
    let last = groups.max(ROWS) - ROWS;

    let mut block = Block {
        a: [null(); 4],
        b: [null(); 4],
        from: [null(); 6],
        to: [null_mut(); 6],
        a_stride: group * shape.x_step * bf16,
        a_step: DEPTH * bf16,
        a_gap: (s.x_row * bf16) as isize - (chunks * DEPTH * bf16) as isize,
        b_gap: 0,
        chunks,
        rows: shape.kernel_rows,
        from_stride: 0,
        to_stride: group * s.y_step * size_of::<f32>(),
    };
    let column = shape.kernel_rows * chunks * TILE;
    // Where two columns of weights (and the pixels' inputs) are more than the first cache holds, they had better
    // serve three tiles of pixels each time they come by.
    let tall = if 2 * column * bf16 > 32 << 10 { 3 } else { 2 };
    let mut n = 0;
    while n < right {
        let wide = (right - n).min(2);
        let mut m = 0;
        while m < left {
            let high = if wide == 2 { high(left - m, tall) } else { narrow_block(left - m) };
            for i in 0..high {
                let first = ((m + i) * ROWS).min(last) * group;
                // SAFETY: the group `first / group` and the 15 after it are within what `read` and `written` count.
                unsafe {
                    block.a[i] = s.x.add(first * shape.x_step);
                    for j in 0..wide {
                        let (pixel, output) = shape.place(n + j);
                        block.to[i * wide + j] = s.y.add((first + pixel) * s.y_step + output);
                    }
                }
            }
            for j in 0..wide {
                let (_, output) = shape.place(n + j);
                // SAFETY: the tile column `n + j < right` is within the packed weights, `output` within the outputs.
                unsafe {
                    block.b[j] = s.weights.add((n + j) * column);
                    for i in 0..high {
                        block.from[i * wide + j] = s.start.add(output);
                    }
                }
            }
            // SAFETY: the tiles lie within the memory that the caller vouches for.
            unsafe { block.product(tiles, high, wide) };
            m += high;
        }
        n += wide;
    }
}

/// How many of `left` tiles of pixels to take at a time where there are two tiles of outputs: `tall`, but three rather
/// than a single one at the end, for which every product would wait for the one before it, and two twice for four.
fn high(left: usize, tall: usize) -> usize {
    match left {
        1..=3 => left,
        4 => 2,
        _ => tall,
    }
}
