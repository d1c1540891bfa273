//! Sums over the bits of weights: whether what must not change has stayed the same.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::Result;
use crate::feature_map::with_backend;
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
        let weights: Vec<Tensor> = weights.into_iter().map(Parameter::value).collect();
        let mut sums = Vec::with_capacity(weights.len());
        for weights in weights.chunk_by(|one, next| one.device().same_device(next.device())) {
            sums.extend(with_backend!(weights[0].device(), B => B::digest(weights))?);
        }
        Ok(Self { sums })
    }

    /// The first of the same weights, in the same order, that has other bits by now.
    ///
    /// # Errors
    /// When the device fails.
    pub fn first_changed<'a>(&self, weights: impl IntoIterator<Item = &'a Parameter>) -> Result<Option<&'a Parameter>> {
        let weights: Vec<_> = weights.into_iter().collect();
        let now = Self::of(weights.iter().copied())?;
        let changed = self.sums.iter().zip(&now.sums).position(|(before, now)| before != now);
        Ok(changed.map(|changed| weights[changed]))
    }
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
