//! Sums over the bits of tensors.

use std::hash::{DefaultHasher, Hasher};

use candle_core::{CpuStorage, DType, Result, Storage, Tensor, bail};

/// A sum over the bits of each of some tensors.
///
/// # Errors
/// When one is elsewhere.
pub fn digest(tensors: &[Tensor]) -> Result<Vec<u64>> {
    tensors.iter().map(sum).collect()
}

fn sum(tensor: &Tensor) -> Result<u64> {
    let tensor = tensor.detach().contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a tensor of the CPU is elsewhere") };
    let (start, count) = (layout.start_offset(), layout.shape().elem_count());
    let bytes: &[u8] = match storage {
        CpuStorage::F32(numbers) => bytemuck::cast_slice(&numbers[start..][..count]),
        CpuStorage::F64(numbers) => bytemuck::cast_slice(&numbers[start..][..count]),
        CpuStorage::BF16(numbers) => bytemuck::cast_slice(&numbers[start..][..count]),
        CpuStorage::F16(numbers) => bytemuck::cast_slice(&numbers[start..][..count]),
        CpuStorage::I64(numbers) => bytemuck::cast_slice(&numbers[start..][..count]),
        CpuStorage::U32(numbers) => bytemuck::cast_slice(&numbers[start..][..count]),
        CpuStorage::U8(numbers) => &numbers[start..][..count],
        _ => return sum(&tensor.to_dtype(DType::F64)?),
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    Ok(hasher.finish())
}
