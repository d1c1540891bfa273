//! Outputs of a convolution for some rows of pixels.
#![expect(unsafe_code, reason = "reads and writes memory through pointers")]

use std::ptr::{null, null_mut};

use half::bf16;

use crate::cpu::bf16_tiles::dot_product::products::{QUAD, Quads};
use crate::cpu::bf16_tiles::shape::StripShape;

/// Rows of output pixels of a convolution, for 16 of its outputs. Distances are in elements.
///
/// With `s` for the shape: `y[r][p][o] = start[o] + sum over k, i of x[r * x_down + p * s.x_step + k * x_row + i] *
/// weight(o, k, i)`.
#[derive(Clone, Copy, Debug)]
pub struct DotStrip {
    /// The sizes, and what the weights were packed for.
    pub shape: StripShape,
    /// The first input of the first pixel.
    pub x: *const bf16,
    /// Between one row of the kernel and the next.
    pub x_row: usize,
    /// Between the inputs of one row of pixels and the next.
    pub x_down: usize,
    /// The packed weights of the 16 outputs.
    pub weights: *const bf16,
    /// What the sums start from.
    pub start: *const f32,
    /// The first output of the first pixel.
    pub y: *mut f32,
    /// Between neighbouring pixels.
    pub y_step: usize,
    /// Between one row of pixels and the next.
    pub y_down: usize,
    /// Rows of pixels, at least 1.
    pub rows: usize,
    /// Pixels in a row, at least 1.
    pub columns: usize,
}

/// Computes rows of pixels, see [`DotStrip`].
///
/// # Safety
/// The processor has AVX-512 with BF16. The inputs of all pixels, the packed weights of 16 outputs and as many starts can
/// be read; 16 outputs of every pixel can be written and overlap nothing that is read.
pub unsafe fn strip(s: &DotStrip) {
    let shape = &s.shape;
    let element = size_of::<bf16>();
    // A row of fewer than four pixels has a four for each, of which all rows are the same.
    let (single, four) = if s.columns < QUAD { (0, 1) } else { (1, QUAD) };
    let pairs = shape.pairs();
    let mut quads = Quads {
        a: [null(); 4],
        b: s.weights,
        from: [s.start; 4],
        to: [null_mut(); 4],
        a_stride: single * shape.x_step * element,
        a_pair: 2 * element,
        a_gap: (s.x_row * element) as isize - (pairs * 2 * element) as isize,
        b_gap: 0,
        pairs,
        rows: shape.kernel_rows,
        from_stride: 0,
        to_stride: single * s.y_step * size_of::<f32>(),
    };
    let (mut row, mut column) = (0, 0);
    while row < s.rows {
        let mut count = 0;
        while count < 4 && row < s.rows {
            // As the last of a row, a four is moved left to end with it: some pixels are then computed twice, with the same
            // result.
            let first = column.min(s.columns - four);
            // SAFETY: four pixels from `first` on, or the one, are in the row.
            unsafe {
                quads.a[count] = s.x.add(row * s.x_down + first * shape.x_step);
                quads.to[count] = s.y.add(row * s.y_down + first * s.y_step);
            }
            count += 1;
            column += four;
            if column >= s.columns {
                (row, column) = (row + 1, 0);
            }
        }
        // SAFETY: the caller vouches for the pixels, the weights and the starts.
        unsafe { quads.sum(count) };
    }
}
