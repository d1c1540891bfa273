//! 3×3 convolutions by minimal filtering: weights are transformed once, then tiles of inputs, their products, tiles of outputs.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::kernels::microkernel::Strip;
use crate::cpu::kernels::winograd::{WinogradKernels, WinogradTiles, kernel_line, point, points};
use crate::cpu::simd::float::Float;
use crate::cpu::threads;

/// `G g Gᵀ` of every pair of channels, `[block of outputs][point][input][block]`.
pub fn weights<T: Float>(
    taps: &SubKernels<T>,
    rows: &[Range<usize>],
    columns: &[Range<usize>],
    block: usize,
    size: usize,
) -> Buffer<T> {
    let (side, points, matrix) = (size + 2, points(size), taps.inputs * block);
    let mut packed = Buffer::new(points * taps.outputs * taps.inputs);
    threads::update(&mut packed, points * matrix, |at, packed| {
        let first = at / (points * matrix) * block;
        for (lane, input) in (0..block).flat_map(|lane| (0..taps.inputs).map(move |input| (lane, input))) {
            let tap = |row: usize, column: usize| taps.weight(first + lane, input, &rows[row], &columns[column]);
            let columns: [[T; 6]; 3] = [0, 1, 2].map(|column| kernel_line(size, [0, 1, 2].map(|row| tap(row, column))));
            for row in 0..side {
                let line = kernel_line(size, columns.map(|column| column[row]));
                for column in 0..side {
                    packed[(row * side + column) * matrix + input * block + lane] = line[column];
                }
            }
        }
    });
    packed
}

/// What a convolution with 3×3 taps of some rows takes, in tiles.
pub struct WinogradConv<'a, T> {
    /// The kernels.
    pub kernels: WinogradKernels<T>,
    /// The first input of the first output.
    pub x: *const T,
    /// The tiles of inputs.
    pub inputs: WinogradTiles<T>,
    /// The tiles of outputs, of one block of channels.
    pub outputs: WinogradTiles<T>,
    /// The transformed weights, of all blocks.
    pub weights: &'a [T],
    /// What is added to the outputs.
    pub start: &'a [T],
    /// Where the first output goes.
    pub y: *mut T,
    /// Room for [`scratch`] elements.
    pub scratch: *mut T,
}

/// Elements of scratch memory for so many tiles.
pub fn scratch(size: usize, tiles: usize, inputs: usize, block: usize) -> usize {
    points(size) * (point(tiles, inputs) + point(tiles, block)) + block
}

/// Computes a convolution for some blocks of output channels.
///
/// # Safety
///
/// The processor has the instructions of the kernels, whole vectors of channels and blocks, and the pointers are good for
/// all tiles.
pub unsafe fn run<T: Float>(c: &WinogradConv<'_, T>, blocks: Range<usize>) {
    let (tiles, inputs, block) = (c.inputs.all(), c.inputs.channels, c.outputs.channels);
    let (points, matrix) = (points(c.inputs.size), inputs * block);
    // SAFETY: the scratch memory has room for both sides of the products, and for a block of zeros.
    unsafe {
        let products = c.scratch.add(points * c.inputs.point);
        let zeros = products.add(points * c.outputs.point);
        std::slice::from_raw_parts_mut(zeros, block).fill(T::ZERO);
        (c.kernels.inputs)(&c.inputs, c.x, c.scratch);
        for index in blocks {
            for point in 0..points {
                (c.kernels.product)(&Strip {
                    x: c.scratch.add(point * c.inputs.point),
                    x_row: 0,
                    x_down: 0,
                    x_step: inputs,
                    kernel_rows: 1,
                    run: inputs,
                    weights: c.weights[(index * points + point) * matrix..].as_ptr(),
                    start: zeros,
                    y: products.add(point * c.outputs.point),
                    y_down: 0,
                    y_step: block,
                    channels: block,
                    columns: tiles,
                });
            }
            (c.kernels.outputs)(&c.outputs, products, c.start[index * block..].as_ptr(), c.y.add(index * block));
        }
    }
}
