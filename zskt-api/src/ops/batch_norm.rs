//! Batch normalization and the activation behind it: noted down, and applied where the map is read.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use crate::feature_map::Place;
use crate::map::gradient::Gradient;
use crate::map::host::HostMap;
use crate::map::tape::{self, Node};
use crate::map::{Load, Loaded, Map, Normalization};
use crate::{FeatureMap, Result, device};

/// The statistics that normalize a feature map.
#[derive(Clone, Debug)]
pub struct BatchNormStatistics {
    /// Mean of each channel, `[C]`.
    pub mean: Tensor,
    /// Biased variance of each channel, `[C]`.
    pub variance: Tensor,
    /// Whether they come from the very map they normalize, so that the gradient flows through them too.
    pub of_batch: bool,
}

/// The running statistics of a batch norm.
#[derive(Clone, Copy)]
pub struct RunningStatistics<'a> {
    /// Running mean of each channel, `[C]`.
    pub mean: &'a Var,
    /// Running unbiased variance of each channel, `[C]`.
    pub variance: &'a Var,
    /// Batches seen so far, a scalar of `i64`.
    pub batches: &'a Var,
}

/// Moves running statistics towards those of a batch of `count` numbers per channel, in place, as PyTorch does:
/// `running ← (1 − momentum) · running + momentum · batch`.
///
/// # Errors
/// When the device fails.
pub fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()> {
    // PyTorch normalizes by the biased variance, but its running variance is the unbiased one.
    let unbiased = count as f64 / (count as f64 - 1.0).max(1.0);
    if !batch.mean.device().is_cpu() {
        return Ok(device::track(running, batch, momentum, unbiased)?);
    }
    let average = |running: &Var, batch: &Tensor| {
        let kept = (running.detach().to_dtype(batch.dtype())? * (1.0 - momentum))?;
        let moved = (kept + (batch * momentum)?)?;
        running.set(&moved.to_dtype(running.dtype())?)
    };
    average(running.mean, &batch.mean)?;
    average(running.variance, &(&batch.variance * unbiased)?)?;
    let batches = running.batches.detach();
    Ok(running.batches.set(&(&batches + batches.ones_like()?)?)?)
}

/// Mean and biased variance of each channel of `x` `[B, C, H, W]` over `B·H·W`; on the CPU in f64.
///
/// # Errors
/// When the device fails.
pub fn batch_moments(x: &FeatureMap) -> Result<BatchNormStatistics> {
    let x = match &x.0 {
        Place::Host(x) => x.settled()?,
        Place::Device(x) => return x.batch_moments(),
    };
    let map = &x.input.map;
    let count = (map.shape.len() / map.shape.channels.max(1)) as f64;
    let sums = map.moments();
    let mean: Vec<f64> = sums.first.iter().map(|sum| sum / count).collect();
    let variance = sums.second.iter().zip(&mean).map(|(sum, mean)| {
        let variance = sum / count - mean * mean;
        // `max` would turn a NaN into 0, and hide it.
        if variance < 0.0 { 0.0 } else { variance }
    });
    let variance = Tensor::from_iter(variance.collect::<Vec<f64>>(), &Device::Cpu)?;
    Ok(BatchNormStatistics { mean: Tensor::new(mean, &Device::Cpu)?, variance, of_batch: true })
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
    statistics: &BatchNormStatistics,
    epsilon: f64,
    slope: f64,
) -> Result<FeatureMap> {
    let channels = x.image().channels;
    let BatchNormStatistics { mean, variance, of_batch } = statistics;
    let lengths = [gamma, beta, mean, variance].map(Tensor::elem_count);
    if lengths.iter().any(|length| *length != channels) {
        return Err(crate::Error::new(format!("batch norm of {} channels does not fit {channels}", lengths[0])));
    }
    let x = match &x.0 {
        Place::Host(x) => x.settled()?,
        Place::Device(x) => return Ok(x.batch_norm(gamma, beta, statistics, epsilon, slope)?.into()),
    };
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (gammas, betas, mean, variance) = (numbers(gamma), numbers(beta), numbers(mean)?, numbers(variance)?);
    let inv_std: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let scale: Vec<f64> = gammas?.iter().zip(&inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
    let shift = betas?.iter().zip(scale.iter().zip(&mean)).map(|(beta, (scale, mean))| beta - scale * mean).collect();
    let normalization = Arc::new(Normalization::new(scale, shift, slope, mean));
    let map = Arc::clone(&x.input.map);
    let node = BatchNorm { map, normalization: Arc::clone(&normalization), inv_std, of_batch: *of_batch };
    let token = tape::map(&[&x.token, gamma, beta], node)?;
    Ok(normalized(&x.input.map, normalization, token).into())
}

/// The map, to be normalized where it is read.
pub(super) fn normalized(map: &Arc<Map>, normalization: Arc<Normalization>, token: Tensor) -> HostMap {
    let load = Load { normalization: Some(normalization), upsampling: 1 };
    HostMap { input: Loaded { map: Arc::clone(map), load }, token }
}

struct BatchNorm {
    map: Arc<Map>,
    normalization: Arc<Normalization>,
    inv_std: Vec<f64>,
    of_batch: bool,
}

impl Node for BatchNorm {
    const NAME: &'static str = "batch norm";

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Normalization { scale, mean, .. } = &*self.normalization;
        let (values, sums) = self.normalization.take_gradient()?;
        let projection: Vec<f64> = sums.second.iter().zip(&self.inv_std).map(|(sum, inv_std)| sum * inv_std).collect();
        if inputs[0].track_op() {
            let values = Arc::new(values);
            self.map.slot.push(if self.of_batch {
                // scale · (g' − mean(g') − xhat · mean(g' · xhat)) with xhat = (x − mean) · inv_std
                let count = (self.map.shape.len() / scale.len().max(1)) as f64;
                let of = |formula: &dyn Fn(usize) -> f64| (0..scale.len()).map(formula).collect::<Vec<f64>>();
                let by_value = of(&|c| -scale[c] * self.inv_std[c] * projection[c] / count);
                let constant = of(&|c| -scale[c] * sums.first[c] / count - by_value[c] * mean[c]);
                let coefficients = Arc::new([scale.clone(), by_value, constant]);
                Gradient::Affine { behind: values, x: Arc::clone(&self.map), coefficients }
            } else {
                Gradient::Scaled(values, scale.as_slice().into())
            });
        }
        let per_channel = |of: &Tensor, sums: &[f64]| match of.track_op() {
            true => Tensor::from_slice(sums, of.shape(), of.device())?.to_dtype(of.dtype()).map(Some),
            false => Ok(None),
        };
        let (of_gamma, of_beta) = (per_channel(inputs[1], &projection)?, per_channel(inputs[2], &sums.first)?);
        Ok(vec![tape::passed(inputs[0])?, of_gamma, of_beta])
    }
}
