//! Many tensors in one launch: arrays in a kernel's struct.

use candle_core::Tensor;

use crate::cuda::kernel_source::BLOCK;
use crate::cuda::launch::Argument::{self, Count, Nothing, Tensor as Of};

/// Tensors of one launch, `TENSORS` in the kernels.
pub const TENSORS: usize = 64;

/// Blocks of each tensor, of those with so many numbers.
pub fn blocks_of_each(counts: &[usize]) -> usize {
    counts.iter().max().copied().unwrap_or_default().div_ceil(BLOCK).clamp(1, 64)
}

/// Arrays of tensors, then one of how many numbers they have.
pub fn arrays<'a>(tensors: &[Vec<&'a Tensor>], counts: &[usize]) -> Vec<Argument<'a>> {
    let mut arguments = Vec::with_capacity((tensors.len() + 1) * TENSORS);
    for tensors in tensors {
        put_array::<TENSORS>(&mut arguments, tensors.iter().map(|tensor| Of(tensor)), Nothing);
    }
    put_array::<TENSORS>(&mut arguments, counts.iter().map(|count| Count(*count)), Count(0));
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
