//! Batch normalization and the activation behind it: noted down, and applied where the map is read.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};

use crate::activation::Rectifier;
use crate::autograd::{self, Node, TensorInput};
use crate::cpu::fusion::gradient::GradientPart;
use crate::cpu::fusion::lazy_map::{LazyInput, Normalization};
use crate::cpu::map::CpuMap;
use crate::statistics::{BatchNormStatistics, RunningStatistics, bessel_correction};

/// Moves running statistics towards those of a batch of `count` numbers per channel, in place.
///
/// # Errors
/// When there is no room.
pub fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()> {
    let average = |running: &Var, batch: &Tensor| {
        let kept = (running.detach().to_dtype(batch.dtype())? * (1.0 - momentum))?;
        let moved = (kept + (batch * momentum)?)?;
        running.set(&moved.to_dtype(running.dtype())?)
    };
    average(running.mean, &batch.mean)?;
    average(running.variance, &(&batch.variance * bessel_correction(count))?)?;
    let batches = running.batches.detach();
    running.batches.set(&(&batches + batches.ones_like()?)?)
}

/// Mean and biased variance of each channel over batch and pixels, in f64.
///
/// # Errors
/// When there is no room.
pub fn moments(x: &CpuMap) -> Result<BatchNormStatistics> {
    let x = x.materialized()?;
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
    let [of_mean, of_variance] = [x.clone(), x.clone()];
    let mean_of_map =
        autograd::to_tensor(x.entry(), &[], Tensor::new(mean.as_slice(), &Device::Cpu)?, move |gradient| {
            let constant: Vec<f64> = gradient.to_vec1::<f64>()?.iter().map(|gradient| gradient / count).collect();
            accumulate(&of_mean, [vec![0.0; constant.len()], constant]);
            Ok(())
        })?;
    let variance_of_map = autograd::to_tensor(x.entry(), &[], variance, move |gradient| {
        let by_value: Vec<f64> = gradient.to_vec1::<f64>()?.iter().map(|gradient| 2.0 * gradient / count).collect();
        let constant = by_value.iter().zip(&mean).map(|(by_value, mean)| -by_value * mean).collect();
        accumulate(&of_variance, [by_value, constant]);
        Ok(())
    })?;
    Ok(BatchNormStatistics { mean: mean_of_map, variance: variance_of_map, of_batch: true })
}

/// Leaves a gradient with a map that is read as it is: per channel a factor of the map, and a constant.
fn accumulate(x: &CpuMap, coefficients: [Vec<f64>; 2]) {
    let map = &x.input.map;
    map.gradient.push(GradientPart::Moments { x: Arc::clone(map), coefficients: Arc::new(coefficients) });
    x.schedule();
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)`.
///
/// # Errors
/// When there is no room.
pub fn normalize(
    x: &CpuMap,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: &BatchNormStatistics,
    epsilon: f64,
    rectifier: Rectifier,
) -> Result<CpuMap> {
    let BatchNormStatistics { mean, variance, of_batch } = statistics;
    let x = x.materialized()?;
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (gammas, betas, mean, variance) = (numbers(gamma), numbers(beta), numbers(mean)?, numbers(variance)?);
    let inv_std: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let scale: Vec<f64> = gammas?.iter().zip(&inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
    let shift = betas?.iter().zip(scale.iter().zip(&mean)).map(|(beta, (scale, mean))| beta - scale * mean).collect();
    let normalization = Arc::new(Normalization::new(scale, shift, rectifier, mean));
    let input = LazyInput::normalized(&x.input.map, Arc::clone(&normalization));
    let weights = [TensorInput::of(gamma)?, TensorInput::of(beta)?];
    let node = || BatchNorm {
        x: x.clone(),
        normalization,
        inv_std,
        of_batch: *of_batch,
        weights: weights.clone(),
        shapes: [gamma, beta].map(|weight| weight.shape().clone()),
        dtype: gamma.dtype(),
    };
    let entry = autograd::record(&Device::Cpu, [x.entry()], &[&weights[0], &weights[1]], node)?;
    Ok(CpuMap::lazy(input, entry))
}

struct BatchNorm {
    x: CpuMap,
    normalization: Arc<Normalization>,
    inv_std: Vec<f64>,
    of_batch: bool,
    /// Gamma and beta.
    weights: [TensorInput; 2],
    shapes: [Shape; 2],
    dtype: DType,
}

impl Node for BatchNorm {
    fn backward(&self) -> Result<()> {
        let Normalization { scale, mean, .. } = &*self.normalization;
        let (values, sums) = self.normalization.take_gradient()?;
        let projection: Vec<f64> = sums.second.iter().zip(&self.inv_std).map(|(sum, inv_std)| sum * inv_std).collect();
        if self.x.is_tracked() {
            let (map, values) = (&self.x.input.map, Arc::new(values));
            map.gradient.push(if self.of_batch {
                // scale · (g' − mean(g') − xhat · mean(g' · xhat)) with xhat = (x − mean) · inv_std
                let count = (map.shape.len() / scale.len().max(1)) as f64;
                let of = |formula: &dyn Fn(usize) -> f64| (0..scale.len()).map(formula).collect::<Vec<f64>>();
                let by_value = of(&|c| -scale[c] * self.inv_std[c] * projection[c] / count);
                let constant = of(&|c| -scale[c] * sums.first[c] / count - by_value[c] * mean[c]);
                let coefficients = Arc::new([scale.clone(), by_value, constant]);
                GradientPart::Affine { behind: values, x: Arc::clone(map), coefficients }
            } else {
                GradientPart::Scaled(values, scale.as_slice().into())
            });
            self.x.schedule();
        }
        for ((weight, shape), sums) in self.weights.iter().zip(&self.shapes).zip([&projection, &sums.first]) {
            weight.accumulate(|| Tensor::from_slice(sums, shape, &Device::Cpu)?.to_dtype(self.dtype))?;
        }
        Ok(())
    }

    fn reset(&self) {
        self.normalization.reset();
    }
}
