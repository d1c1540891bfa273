//! Many tensors in one launch: arrays in a kernel's struct.

use candle_core::Tensor;

use crate::cuda::kernel_source::BLOCK;
use crate::cuda::launch::Argument::{self, Count, Nothing, Tensor as Of};

/// Tensors of one launch, `TENSORS` in the kernels.
pub const TENSORS: usize = 64;

/// The fewest numbers of a block.
const SPAN: usize = 4 * BLOCK;

/// The most blocks of a launch, but for one more of each tensor.
const DIVIDED: usize = 4096;

/// How the blocks of a launch are divided among its tensors: each has as many as its numbers fill, and at least one.
pub struct Division {
    counts: Vec<usize>,
    /// The first block of each tensor.
    first: Vec<usize>,
    /// Numbers of a block.
    span: usize,
    /// Blocks of all.
    pub blocks: usize,
}

impl Division {
    /// Among tensors.
    pub fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        Self::among(tensors.into_iter().map(Tensor::elem_count).collect())
    }

    /// Among tensors of so many numbers each.
    pub fn among(counts: Vec<usize>) -> Self {
        let span = counts.iter().sum::<usize>().div_ceil(DIVIDED).next_multiple_of(SPAN).max(SPAN);
        let mut blocks = 0;
        let divided = counts.iter().map(|count| {
            let first = blocks;
            blocks += count.div_ceil(span).max(1);
            first
        });
        Self { first: divided.collect(), counts, span, blocks }
    }

    /// Puts it as kernels have it.
    pub fn put(&self, arguments: &mut Vec<Argument<'_>>) {
        put_array::<TENSORS>(arguments, self.counts.iter().copied().map(Count), Count(0));
        put_array::<TENSORS>(arguments, self.first.iter().copied().map(Count), Count(self.blocks));
        arguments.push(Count(self.span));
    }
}

/// Arrays of tensors.
pub fn arrays<'a>(tensors: &[Vec<&'a Tensor>]) -> Vec<Argument<'a>> {
    let mut arguments = Vec::with_capacity((tensors.len() + 2) * TENSORS);
    for tensors in tensors {
        put_array::<TENSORS>(&mut arguments, tensors.iter().map(|tensor| Of(tensor)), Nothing);
    }
    arguments
}

/// An array, with `missing` where it has no element.
pub fn put_array<'a, const COUNT: usize>(
    arguments: &mut Vec<Argument<'a>>,
    array: impl Iterator<Item = Argument<'a>>,
    missing: Argument<'a>,
) {
    arguments.extend(array.chain(std::iter::repeat(missing)).take(COUNT));
}
