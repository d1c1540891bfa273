//! Convolutions of f32 and f64 padded inputs, by fused multiply-adds.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::operand::{ConvFloat, Operand, PhaseShape, RowBlock, STRIP, SumLayout};
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::conv::winograd_conv;
use crate::cpu::kernels::kernel_table::RegisterTile;
use crate::cpu::kernels::microkernel::{Strip, StripKernel};
use crate::cpu::kernels::winograd::{WinogradKernels, WinogradTiles, point};
use crate::cpu::simd::instruction_set::InstructionSet;

/// Elements of both sides of a product of minimal filtering, per point.
const TILES: usize = 1024;

/// Outputs of a map in tiles of 4×4, whose many weights are worth loading only for so many.
const LARGE: usize = 256;

/// How some rows are computed by fused multiply-adds.
#[derive(Clone, Copy)]
pub enum RowKernel<T> {
    /// By the definition, so many rows at once.
    Strips(StripKernel<T>, usize),
    /// By tiles of outputs of some size.
    Winograd(WinogradKernels<T>, usize),
}

/// What a vector runs over.
#[derive(Clone, Copy, Debug)]
pub enum DirectBlocking {
    /// Output channels, by this many vectors; inputs are broadcast.
    Outputs(usize, usize),
    /// Inputs, when there are only a few output channels.
    Inputs(usize),
}

/// The fused multiply-add kernel for so many output pixels, with its tile.
fn kernel<T: ConvFloat>(
    set: InstructionSet,
    blocking: DirectBlocking,
    count: [usize; 2],
    step: usize,
) -> (StripKernel<T>, RegisterTile) {
    let vectors = match blocking {
        DirectBlocking::Outputs(vectors, _) => vectors,
        DirectBlocking::Inputs(outputs) => {
            return T::dot(set, outputs, count[1]).expect("asked before choosing it");
        }
    };
    // Fewer than eight accumulators wait for each other, however few there are.
    let cost = |tile: &&RegisterTile| {
        let blocks = count[0].div_ceil(tile.rows) * count[1].div_ceil(tile.columns);
        blocks * (tile.rows * tile.columns * vectors).max(8)
    };
    let tile = *T::tiles(set, vectors)
        .iter()
        .filter(|tile| tile.rows <= count[0] && tile.columns <= count[1])
        .min_by_key(cost)
        .expect("there is a tile of a single pixel");
    (T::strip(set, vectors, tile, step), tile)
}

macro_rules! multiply_add {
    ($type:ty) => {
        impl Operand for $type {
            type Accumulator = $type;
            type ChannelBlocking = DirectBlocking;
            type Kernel = RowKernel<$type>;

            fn blocking(set: InstructionSet, pixel: usize, outputs: usize) -> DirectBlocking {
                let width = <$type as crate::cpu::kernels::kernel_table::KernelTable>::width(set);
                if pixel.is_multiple_of(width)
                    && <$type as crate::cpu::kernels::kernel_table::KernelTable>::dot(set, outputs, 1).is_some()
                {
                    return DirectBlocking::Inputs(outputs);
                }
                let vectors =
                    <$type as crate::cpu::kernels::kernel_table::KernelTable>::vectors(set, outputs.div_ceil(width));
                DirectBlocking::Outputs(vectors, vectors * width)
            }

            fn pixel(channels: usize) -> usize {
                channels
            }

            type ThreadState = ();

            fn thread_state() {}

            fn block(blocking: DirectBlocking) -> usize {
                match blocking {
                    DirectBlocking::Outputs(_, block) | DirectBlocking::Inputs(block) => block,
                }
            }

            fn pitch(_: DirectBlocking, outputs: usize) -> usize {
                outputs
            }

            fn behind(_: usize) -> usize {
                0
            }

            fn pack(
                set: InstructionSet,
                blocking: DirectBlocking,
                sum_layout: &SumLayout<Self::Kernel>,
                taps: &SubKernels<$type>,
                _: usize,
                rows: &[Range<usize>],
                columns: &[Range<usize>],
            ) -> Buffer<$type> {
                match (blocking, sum_layout.kernel) {
                    (DirectBlocking::Outputs(_, block), RowKernel::Winograd(_, size)) => {
                        winograd_conv::weights(taps, rows, columns, block, size)
                    }
                    (DirectBlocking::Outputs(_, block), RowKernel::Strips(..)) => taps.broadcast(rows, columns, block),
                    (DirectBlocking::Inputs(_), _) => {
                        taps.dot(rows, columns, <$type as crate::cpu::kernels::kernel_table::KernelTable>::width(set))
                    }
                }
            }

            fn sum_layout(
                set: InstructionSet,
                blocking: DirectBlocking,
                phase: &PhaseShape,
            ) -> SumLayout<Self::Kernel> {
                let PhaseShape { outputs, count, taps, pixel, step, .. } = *phase;
                let width = <$type as crate::cpu::kernels::kernel_table::KernelTable>::width(set);
                if let DirectBlocking::Outputs(vectors, block) = blocking
                    && taps == [3, 3]
                    && step == pixel
                    && pixel.is_multiple_of(width)
                    && outputs.is_multiple_of(block)
                    && count.iter().all(|count| *count > 0 && count.is_multiple_of(2))
                {
                    // Tiles for whole blocks of the product, as far as their operands leave the cache to it.
                    let large = count.iter().all(|count| count.is_multiple_of(4)) && count[0] * count[1] >= LARGE;
                    let size = if large { 4 } else { 2 };
                    let per_row = count[1] / size;
                    let rows = (TILES / (per_row * (pixel + block))).max(16 / per_row).clamp(1, count[0] / size);
                    let tiles = rows * per_row;
                    if let Some(kernels) =
                        <$type as crate::cpu::kernels::kernel_table::KernelTable>::winograd(set, vectors, tiles, pixel)
                    {
                        let scratch = winograd_conv::scratch(size, tiles, pixel, block);
                        let (rows, row) = (size * rows, count[1]);
                        return SumLayout {
                            kernel: RowKernel::Winograd(kernels, size),
                            rows,
                            row,
                            pixels: rows * row,
                            scratch,
                        };
                    }
                }
                let (kernel, tile) = kernel::<$type>(set, blocking, count, step);
                let pitch = Self::pitch(blocking, outputs);
                let rows = (STRIP / (count[1] * pitch).max(1)).clamp(tile.rows, count[0]);
                let kernel = RowKernel::Strips(kernel, tile.rows);
                SumLayout { kernel, rows, row: count[1], pixels: rows * count[1], scratch: 0 }
            }

            unsafe fn sum(
                (): &(),
                blocking: DirectBlocking,
                sum_layout: &SumLayout<Self::Kernel>,
                outputs: usize,
                rows: &RowBlock<'_, $type>,
            ) {
                let block_len = Self::block(blocking);
                let weights = rows.taps * rows.run * block_len;
                let (kernel, tile) = match sum_layout.kernel {
                    RowKernel::Strips(kernel, tile) => (kernel, tile),
                    RowKernel::Winograd(kernels, size) => {
                        let (count, of) = ([sum_layout.rows / size, sum_layout.row / size], std::marker::PhantomData);
                        let tiles = count[0] * count[1];
                        let conv = winograd_conv::WinogradConv {
                            kernels,
                            x: rows.x,
                            inputs: WinogradTiles {
                                size,
                                count,
                                channels: rows.x_step,
                                down: rows.x_down,
                                step: rows.x_step,
                                point: point(tiles, rows.x_step),
                                of,
                            },
                            outputs: WinogradTiles {
                                size,
                                count,
                                channels: block_len,
                                down: sum_layout.row * outputs,
                                step: outputs,
                                point: point(tiles, block_len),
                                of,
                            },
                            weights: rows.weights,
                            start: rows.start,
                            y: rows.y,
                            scratch: rows.scratch,
                        };
                        // SAFETY: the caller's promise; the layout was chosen for whole vectors, blocks and tiles.
                        unsafe { winograd_conv::run(&conv, rows.blocks.clone()) };
                        return;
                    }
                };
                let tiles = sum_layout.rows.div_ceil(tile);
                for (block, index) in rows.blocks.clone().flat_map(|block| (0..tiles).map(move |index| (block, index)))
                {
                    let channel = block * block_len;
                    // As the last block of a row, the last rows are moved up to end with the others.
                    let row = (index * tile).min(sum_layout.rows - tile);
                    let strip = Strip {
                        x: rows.x.wrapping_add(row * rows.x_down),
                        x_row: rows.x_row,
                        x_down: rows.x_down,
                        x_step: rows.x_step,
                        kernel_rows: rows.taps,
                        run: rows.run,
                        weights: rows.weights[block * weights..].as_ptr(),
                        start: rows.start[channel..].as_ptr(),
                        // SAFETY: the pixel and the channel exist.
                        y: unsafe { rows.y.add(row * sum_layout.row * outputs + channel) },
                        y_down: sum_layout.row * outputs,
                        y_step: outputs,
                        channels: block_len.min(outputs - channel),
                        columns: rows.columns,
                    };
                    // SAFETY: the padded input has every input, and the tile fits into the rows.
                    unsafe { kernel(&strip) };
                }
            }
        }
    };
}

multiply_add!(f32);
multiply_add!(f64);
