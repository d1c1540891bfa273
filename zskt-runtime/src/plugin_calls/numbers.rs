//! Whether the numbers of tensors are finite.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use zskt_api::{FeatureMap, Result};

/// The first number that is not finite, and its place.
///
/// # Errors
/// When the device fails.
pub fn first_not_finite(tensor: &Tensor) -> Result<Option<(usize, f64)>> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (start, count) = (layout.start_offset(), layout.shape().elem_count());
    Ok(match &*storage {
        Storage::Cpu(CpuStorage::F32(numbers)) => first(&numbers[start..][..count], f32::is_finite, f64::from),
        Storage::Cpu(CpuStorage::F64(numbers)) => first(&numbers[start..][..count], f64::is_finite, |number| number),
        _ if tensor.dtype().is_int() => None,
        _ => first(&tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?, f64::is_finite, |number: f64| number),
    })
}

/// The first number of a map that is not finite, and its place among `[B, H, W, C]`.
///
/// # Errors
/// When the device fails.
pub fn first_not_finite_of_map(map: &FeatureMap) -> Result<Option<(usize, f64)>> {
    first_not_finite(&map.detach().channels_last()?)
}

/// The largest absolute value; 0 of nothing.
///
/// # Errors
/// When the device fails.
pub fn largest(tensor: &Tensor) -> Result<f64> {
    if tensor.elem_count() == 0 {
        return Ok(0.0);
    }
    Ok(tensor.to_dtype(DType::F64)?.abs()?.flatten_all()?.max(0)?.to_scalar()?)
}

fn first<T: Copy>(numbers: &[T], is_finite: fn(T) -> bool, wide: fn(T) -> f64) -> Option<(usize, f64)> {
    // Without a branch for each number it is a vector's work.
    if numbers.iter().fold(true, |all, number| all & is_finite(*number)) {
        return None;
    }
    let place = numbers.iter().position(|number| !is_finite(*number))?;
    Some((place, wide(numbers[place])))
}
