//! Weights in the order in which the kernels read them.

use super::buffer;
use super::real::Real;

/// A view of a weight tensor as `[outputs, inputs]` per tap, whichever of its axes these are.
#[derive(Clone, Copy)]
pub struct Taps<'a, T> {
    /// The tensor.
    pub weight: &'a [T],
    /// Output channels of the correlation.
    pub outputs: usize,
    /// Elements between neighbouring output channels.
    pub output_step: usize,
    /// Input channels of the correlation.
    pub inputs: usize,
    /// Elements between neighbouring input channels.
    pub input_step: usize,
    /// Columns of the whole kernel.
    pub kernel: usize,
}

/// Packs the taps `rows` × `columns` as `[block of outputs][tap row][tap column][input][block]`, the last block padded
/// with zeros.
pub fn broadcast<T: Real>(taps: &Taps<T>, rows: &[usize], columns: &[usize], block: usize) -> Vec<T> {
    let block_len = rows.len() * columns.len() * taps.inputs * block;
    let blocks = taps.outputs.div_ceil(block);
    if block_len == 0 {
        return Vec::new();
    }
    let part = buffer::part(block_len);
    buffer::build(blocks * block_len, part, |at, writer| {
        for first in (at / block_len * block..taps.outputs).step_by(block).take(part / block_len) {
            let real = block.min(taps.outputs - first);
            for &row in rows {
                for &column in columns {
                    let from = first * taps.output_step + row * taps.kernel + column;
                    for input in 0..taps.inputs {
                        let from = &taps.weight[from + input * taps.input_step..];
                        writer.extend((0..real).map(|output| from[output * taps.output_step]));
                        writer.fill(T::ZERO, block - real);
                    }
                }
            }
        }
    })
}

/// Packs the taps `rows` × `columns` as `[tap row][run / width][output][width]`, where a run is `[tap column][input]`
/// and a multiple of `width`.
pub fn dot<T: Real>(taps: &Taps<T>, rows: &[usize], columns: &[usize], width: usize) -> Vec<T> {
    let run = columns.len() * taps.inputs;
    let mut packed = Vec::with_capacity(rows.len() * run * taps.outputs);
    for &row in rows {
        for first in (0..run).step_by(width) {
            for output in 0..taps.outputs {
                packed.extend((first..first + width).map(|k| {
                    let (column, input) = (columns[k / taps.inputs], k % taps.inputs);
                    let at = output * taps.output_step + input * taps.input_step + row * taps.kernel + column;
                    taps.weight[at]
                }));
            }
        }
    }
    packed
}
