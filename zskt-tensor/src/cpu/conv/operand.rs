//! What a canvas holds, and how correlations are computed from it.

#![expect(unsafe_code, reason = "kernels read through pointers")]

use std::ops::Range;

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::sub_kernels::Taps;
use crate::cpu::kernels::prologue::Read;
use crate::cpu::simd::float::Real;
use crate::cpu::simd::instruction_set::Instructions;

/// Sums that are computed at once, for them to stay in the first-level cache.
pub const STRIP: usize = 4096;

/// Some rows of outputs of a correlation, for some blocks of output channels.
pub struct Rows<'a, C: Operand> {
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
    pub start: &'a [C::Real],
    /// Where the sums go.
    pub y: *mut C::Real,
    /// Room for what the form needs.
    pub scratch: *mut C::Real,
    /// Outputs in a row.
    pub columns: usize,
    /// The blocks.
    pub blocks: Range<usize>,
}

/// The shape of a phase of a correlation.
#[derive(Clone, Copy, Debug)]
pub struct PhaseShape {
    /// Output channels.
    pub outputs: usize,
    /// Rows and columns of outputs.
    pub count: [usize; 2],
    /// Rows and columns of taps.
    pub taps: [usize; 2],
    /// Pixels in a row of the canvas.
    pub canvas_columns: usize,
    /// Elements of a pixel of the canvas.
    pub pixel: usize,
    /// Elements between the inputs of neighbouring outputs.
    pub step: usize,
}

/// How the sums of some rows lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct Form<K> {
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

impl<K> Form<K> {
    /// Elements of all the sums, with `pitch` for each pixel, in whole lines of the cache.
    pub fn sums(&self, pitch: usize) -> usize {
        (self.pixels * pitch).next_multiple_of(16)
    }
}

/// An element type that correlations are computed from.
pub trait Operand: Read<Self::Real> {
    /// What is computed with.
    type Real: Real;

    /// How the output channels of a correlation are divided, and what a vector runs over.
    type Layout: Copy + Send + Sync;

    /// What computes some rows.
    type Kernel: Copy + Send + Sync;

    /// The layout for a correlation of pixels of so many elements.
    fn layout(set: Instructions, pixel: usize, outputs: usize) -> Self::Layout;

    /// Elements of a pixel of so many channels on a canvas.
    fn pixel(channels: usize) -> usize;

    /// What a thread holds while it computes.
    type Session;

    /// Begins to compute on this thread.
    fn session() -> Self::Session;

    /// Output channels in a block.
    fn block(layout: Self::Layout) -> usize;

    /// Output channels of a pixel of sums.
    fn pitch(layout: Self::Layout, outputs: usize) -> usize;

    /// Elements that are read behind the last pixel of a canvas on which the inputs of neighbouring outputs are `step`
    /// elements apart.
    fn behind(step: usize) -> usize;

    /// The weights of some taps, for canvases with such a step.
    fn pack(
        set: Instructions,
        layout: Self::Layout,
        form: &Form<Self::Kernel>,
        taps: &Taps<Self::Real>,
        step: usize,
        rows: &[Range<usize>],
        columns: &[Range<usize>],
    ) -> Buffer<Self>;

    /// How the sums of a phase lie.
    fn form(set: Instructions, layout: Self::Layout, phase: &PhaseShape) -> Form<Self::Kernel>;

    /// Computes sums, `[row][pixel][pitch]` in the given form.
    ///
    /// # Safety
    ///
    /// The canvas has every input, and [`behind`](Self::behind) it finite elements; `y` has room for the form.
    unsafe fn sum(
        session: &Self::Session,
        layout: Self::Layout,
        form: &Form<Self::Kernel>,
        outputs: usize,
        rows: &Rows<'_, Self>,
    );
}
