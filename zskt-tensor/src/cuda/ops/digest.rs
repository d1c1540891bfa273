//! Sums over the bits of tensors, on GPUs.

use candle_core::{DType, Result, Tensor};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Nothing, Tensor as Of};
use crate::cuda::launch::launch;
use crate::cuda::tensor_array::{Division, TENSORS, put_array};

/// A sum over the bits of each of some tensors of one device, by one launch for 64 of them.
///
/// # Errors
/// When the device fails.
pub fn digest(tensors: &[Tensor]) -> Result<Vec<u64>> {
    let mut digest = Vec::with_capacity(tensors.len());
    for tensors in tensors.chunks(TENSORS) {
        let device = tensors[0].device();
        let dense = tensors.iter().map(|tensor| in_words(&tensor.detach())?.contiguous());
        let dense = dense.collect::<Result<Vec<_>>>()?;
        let words = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes() / size_of::<u32>();
        let division = Division::among(dense.iter().map(words).collect());
        let sums = Tensor::zeros(dense.len(), DType::I64, device)?;
        let mut arguments = Vec::new();
        put_array::<TENSORS>(&mut arguments, dense.iter().map(Of), Nothing);
        arguments.push(Of(&sums));
        division.put(&mut arguments);
        // What it computes with does not depend on the variant: weights are compiled already.
        let variant = KernelVariant::of_tensors(DType::F32)?;
        launch(device, variant, "digest", division.blocks, &arguments)?;
        digest.extend(sums.to_vec1::<i64>()?.into_iter().map(i64::cast_unsigned));
    }
    Ok(digest)
}

/// Numbers that kernels read in whole words; others become what has a number for each of theirs.
fn in_words(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F32 | DType::F64 | DType::I64 | DType::U32 => Ok(tensor.clone()),
        _ => tensor.to_dtype(DType::F64),
    }
}
