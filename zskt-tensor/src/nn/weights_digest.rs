//! Sums over the bits of weights: whether what must not change has stayed the same.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor, bail};

use crate::error::Result;
use crate::nn::weights::Parameter;

/// A sum over the bits of each of some weights. Sums are compared within one process only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsDigest {
    sums: Vec<u64>,
}

impl WeightsDigest {
    /// That of the weights as they are now. It waits for the device.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of<'a>(weights: impl IntoIterator<Item = &'a Parameter>) -> Result<Self> {
        let sums = weights.into_iter().map(|weight| Ok(sum(&weight.value())?)).collect::<Result<_>>()?;
        Ok(Self { sums })
    }

    /// The first of the same weights, in the same order, that has other bits by now.
    ///
    /// # Errors
    /// When the device fails.
    pub fn first_changed<'a>(&self, weights: impl IntoIterator<Item = &'a Parameter>) -> Result<Option<&'a Parameter>> {
        for (before, weight) in self.sums.iter().zip(weights) {
            if sum(&weight.value())? != *before {
                return Ok(Some(weight));
            }
        }
        Ok(None)
    }
}

fn sum(tensor: &Tensor) -> candle_core::Result<u64> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a tensor of the CPU is elsewhere") };
    let (start, count) = (layout.start_offset(), layout.shape().elem_count());
    let mut hasher = DefaultHasher::new();
    tensor.dims().hash(&mut hasher);
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
    hasher.write(bytes);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::WeightsDigest;
    use crate::nn::{Builder, Init};
    use crate::precision::Precision;

    #[test]
    fn one_bit_of_one_weight_is_another_digest() {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        builder.parameter("same", &[3], Init::Constant(1.0)).unwrap();
        let zero = builder.parameter("zero", &[2], Init::Constant(0.0)).unwrap();
        let steps = builder.counter("steps").unwrap();
        let weights = builder.weights();
        let before = WeightsDigest::of(weights.iter()).unwrap();
        let changed = || before.first_changed(weights.iter()).unwrap().map(|weight| weight.name().to_owned());
        assert_eq!(changed(), None);
        // −0 equals 0, and has other bits.
        zero.var().set(&zero.value().neg().unwrap()).unwrap();
        assert_eq!(changed().as_deref(), Some("zero"));
        zero.var().set(&zero.value().neg().unwrap()).unwrap();
        steps.var().set(&steps.value().ones_like().unwrap()).unwrap();
        assert_eq!(changed().as_deref(), Some("steps"));
    }
}
