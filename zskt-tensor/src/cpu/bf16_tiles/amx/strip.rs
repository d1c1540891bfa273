//! Outputs of a convolution for a run of pixels.
#![expect(unsafe_code, reason = "reads and writes memory through pointers, with the tile registers")]

use std::ptr::{null, null_mut};

use half::bf16;

use crate::cpu::bf16_tiles::shape::StripShape;
use crate::cpu::bf16_tiles::tile::{Block, DEPTH, ROWS, Tiles, narrow_block};
use crate::cpu::bf16_tiles::unit::Unit;

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
    debug_assert!(shape.unit == Unit::Amx && tiles.unit() == Unit::Amx);
    debug_assert!(s.weights.addr().is_multiple_of(64));
    let (group, chunks) = (shape.group(), shape.pairs() / ROWS);
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
    let column = shape.column();
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
