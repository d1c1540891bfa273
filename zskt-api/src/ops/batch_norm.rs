//! Batch normalization and the activation behind it, as one operation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor, WithDType};

use super::storage::{Dense, Element, by_dtype, slice};
use crate::kernels::batch_norm as kernel;
use crate::{FeatureMap, Result};

/// The statistics that normalize a feature map.
#[derive(Clone, Debug)]
pub struct BatchNormStatistics {
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Biased variance of each channel.
    pub variance: Vec<f64>,
    /// Whether they come from the very map they normalize, so that the gradient flows through them too.
    pub of_batch: bool,
}

/// Mean and biased variance of each channel of `x` `[B, C, H, W]` over `B·H·W`, accumulated in f64.
///
/// # Errors
/// When the device fails.
pub fn batch_moments(x: &FeatureMap) -> Result<BatchNormStatistics> {
    let tensor = x.channels_last();
    let data = Dense::of(tensor);
    let moments = || by_dtype!(tensor.dtype(), T => Ok(kernel::moments::<T>(data.slice()?, x.image().channels)));
    let (mean, variance) = moments()?;
    Ok(BatchNormStatistics { mean, variance, of_batch: true })
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)` for `x` `[B, C, H, W]`, `gamma` and `beta` `[C]`, where
/// act(v) is v above zero and `slope`·v below: 0 for ReLU, 1 for no activation.
///
/// # Errors
/// When the shapes do not fit or the device fails.
pub fn batch_norm(
    x: &FeatureMap,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: BatchNormStatistics,
    epsilon: f64,
    slope: f64,
) -> Result<FeatureMap> {
    let channels = x.image().channels;
    let lengths = [gamma.elem_count(), beta.elem_count(), statistics.mean.len(), statistics.variance.len()];
    if lengths.iter().any(|length| *length != channels) {
        return Err(crate::Error::new(format!("batch norm of {} channels does not fit {channels}", lengths[0])));
    }
    let inv_std = statistics.variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let op = BatchNorm { mean: statistics.mean, inv_std, of_batch: statistics.of_batch, slope };
    FeatureMap::from_channels_last(x.channels_last().apply_op3(gamma, beta, op)?)
}

struct BatchNorm {
    mean: Vec<f64>,
    inv_std: Vec<f64>,
    of_batch: bool,
    slope: f64,
}

impl BatchNorm {
    /// The affine map `scale · x + shift` that normalization, gamma and beta come to.
    fn affine<T: Element>(&self, gamma: &[T], beta: &[T]) -> (Vec<T>, Vec<T>) {
        let number = |x: &T| crate::kernels::Real::to_f64(*x);
        let scale: Vec<f64> = gamma.iter().zip(&self.inv_std).map(|(gamma, inv_std)| number(gamma) * inv_std).collect();
        let shift =
            beta.iter().zip(scale.iter().zip(&self.mean)).map(|(beta, (scale, mean))| number(beta) - scale * mean);
        let real = <T as crate::kernels::Real>::from_f64;
        (scale.iter().map(|x| real(*x)).collect(), shift.map(real).collect())
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), T => {
            let (scale, shift) = self.affine::<T>(slice(gamma, gl)?, slice(beta, bl)?);
            let slope = <T as crate::kernels::Real>::from_f64(self.slope);
            let y = kernel::apply(slice(x, xl)?, scale.len(), &scale, &shift, slope);
            Ok((T::to_cpu_storage_owned(y), xl.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x_data, gamma_data, beta_data, grad_data) =
            (Dense::of(x), Dense::of(gamma), Dense::of(beta), Dense::of(&grad));
        by_dtype!(x.dtype(), T => {
            let (values, grad) = (x_data.slice::<T>()?, grad_data.slice::<T>()?);
            let (scale, shift) = self.affine::<T>(gamma_data.slice()?, beta_data.slice()?);
            let channels = scale.len();
            let slope = <T as crate::kernels::Real>::from_f64(self.slope);
            let activation = kernel::Activation { scale: &scale, shift: &shift, slope };
            let normalization = kernel::Normalization { mean: &self.mean, inv_std: &self.inv_std };
            let learns = gamma.track_op() || beta.track_op();
            let sums = (learns || self.of_batch)
                .then(|| kernel::backward_sums(values, grad, channels, &activation, &normalization));
            let of_x = match (&sums, x.track_op()) {
                (_, false) => None,
                (Some(sums), true) if self.of_batch => Some(kernel::backward_batch_statistics(
                    values, grad, channels, &activation, &normalization, sums,
                )),
                _ => Some(kernel::backward_running_statistics(values, grad, channels, &activation)),
            };
            let of_x = of_x.map(|values| Tensor::from_vec(values, x.shape(), x.device())).transpose()?;
            let per_channel = |of: &Tensor, sum: fn(&kernel::BackwardSums) -> &[f64]| match &sums {
                Some(sums) if of.track_op() => {
                    Tensor::from_slice(sum(sums), of.shape(), of.device())?.to_dtype(of.dtype()).map(Some)
                }
                _ => Ok(None),
            };
            let of_gamma = per_channel(gamma, |sums| &sums.projection)?;
            Ok((of_x, of_gamma, per_channel(beta, |sums| &sums.gradient)?))
        })
    }
}
