//! What a padded input holds, and how convolutions are computed from it.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::read::InputElement;
use crate::cpu::simd::instruction_set::InstructionSet;

/// Sums that are computed at once, for them to stay in the first-level cache.
pub const STRIP: usize = 4096;

/// Some rows of outputs of a convolution, for some blocks of output channels.
pub struct RowBlock<'a, C: Operand> {
    /// The first input of the first pixel.
    pub x: *const C,
    /// Between the inputs of one row of taps and the next.
    pub x_row: usize,
    /// Between the inputs of neighbouring outputs, in elements.
    pub x_step: usize,
    /// Between the inputs of outputs one row apart, in elements.
    pub x_down: usize,
    /// Rows of taps.
    pub taps: usize,
    /// Contiguous inputs under one of them.
    pub run: usize,
    /// The packed weights of all blocks.
    pub weights: &'a [C],
    /// What sums start from: the bias, padded to whole blocks.
    pub start: &'a [C::Accumulator],
    /// Where the sums go.
    pub y: *mut C::Accumulator,
    /// Room for what the layout needs.
    pub scratch: *mut C::Accumulator,
    /// Outputs in a row.
    pub columns: usize,
    /// The blocks.
    pub blocks: Range<usize>,
}

/// The shape of a phase of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct PhaseShape {
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of outputs.
    pub count: [usize; 2],
    /// Rows and columns of taps.
    pub taps: [usize; 2],
    /// Pixels in a row of the padded input.
    pub canvas_columns: usize,
    /// Elements of a pixel of the padded input.
    pub pixel: usize,
    /// Elements between the inputs of neighbouring outputs.
    pub step: usize,
}

/// How the sums of some rows lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct SumLayout<K> {
    /// What computes them.
    pub kernel: K,
    /// Rows that are best computed at once.
    pub rows: usize,
    /// Pixels between one row and the next.
    pub row: usize,
    /// Pixels in all that may be written.
    pub pixels: usize,
    /// Elements of scratch memory.
    pub scratch: usize,
}

impl<K> SumLayout<K> {
    /// Elements of all the sums, with `pitch` for each pixel, in whole lines of the cache.
    pub fn sums(&self, pitch: usize) -> usize {
        (self.pixels * pitch).next_multiple_of(16)
    }
}

/// An element type that convolutions are computed from.
pub trait Operand: InputElement<Self::Accumulator> {
    /// What is computed with.
    type Accumulator: KernelTable;

    /// How the output channels of a convolution are divided, and what a vector runs over.
    type ChannelBlocking: Copy + Send + Sync;

    /// What computes some rows.
    type Kernel: Copy + Send + Sync;

    /// The blocking for a convolution of pixels of so many elements.
    fn blocking(set: InstructionSet, pixel: usize, outputs: usize) -> Self::ChannelBlocking;

    /// Elements of a pixel of so many channels in a padded input.
    fn pixel(channels: usize) -> usize;

    /// What a thread holds while it computes.
    type ThreadState;

    /// Begins to compute on this thread.
    fn thread_state() -> Self::ThreadState;

    /// Output channels in a block.
    fn block(blocking: Self::ChannelBlocking) -> usize;

    /// Output channels of a pixel of sums.
    fn pitch(blocking: Self::ChannelBlocking, outputs: usize) -> usize;

    /// Elements that are read behind the last pixel of a padded input in which the inputs of neighbouring outputs are `step`
    /// elements apart.
    fn behind(step: usize) -> usize;

    /// The weights of some taps, for padded inputs with such a step.
    fn pack(
        set: InstructionSet,
        blocking: Self::ChannelBlocking,
        sum_layout: &SumLayout<Self::Kernel>,
        taps: &SubKernels<Self::Accumulator>,
        step: usize,
        rows: &[Range<usize>],
        columns: &[Range<usize>],
    ) -> Buffer<Self>;

    /// How the sums of a phase lie.
    fn sum_layout(set: InstructionSet, blocking: Self::ChannelBlocking, phase: &PhaseShape) -> SumLayout<Self::Kernel>;

    /// Computes sums, `[row][pixel][pitch]` in the given layout.
    ///
    /// # Safety
    ///
    /// The padded input has every input, and [`behind`](Self::behind) it finite elements; `y` has room for the layout.
    unsafe fn sum(
        thread_state: &Self::ThreadState,
        blocking: Self::ChannelBlocking,
        sum_layout: &SumLayout<Self::Kernel>,
        outputs: usize,
        rows: &RowBlock<'_, Self>,
    );
}

/// A type that convolutions are computed from and in.
pub trait ConvFloat: KernelTable + Operand<Accumulator = Self> {}

impl<T: KernelTable + Operand<Accumulator = T>> ConvFloat for T {}
