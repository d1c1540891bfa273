//! Batch normalization and the activation behind it, on GPUs.

use candle_core::{Result, Tensor};

use crate::activation::Rectifier;
use crate::autograd::{self, TensorInput};
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{blocks_of_finish, blocks_of_packs, blocks_of_pixels, blocks_of_sums, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::sum::plus;
use crate::statistics::{BatchNormStatistics, RunningStatistics, bessel_correction};

/// Pixels of all images, and channels.
fn extent(x: &CudaMap) -> (usize, usize) {
    let shape = x.shape();
    (shape.batch * shape.height * shape.width, shape.channels)
}

/// Mean and biased variance of each channel, `[C]`.
///
/// # Errors
/// When the device fails.
pub fn moments(x: &CudaMap) -> Result<BatchNormStatistics> {
    let (device, dtype) = (x.values.device(), x.precision.dtype());
    let ((pixels, channels), variant) = (extent(x), KernelVariant::of(x.precision, x.shape().channels));
    let blocks = blocks_of_sums(variant, pixels, channels);
    let partial = empty((blocks, 2, channels), dtype, device)?;
    let arguments = [Of(&x.values), Of(&partial), Count(pixels), Count(channels)];
    launch(device, variant, "moments", blocks, &arguments)?;
    let [mean, variance] = [empty(channels, dtype, device)?, empty(channels, dtype, device)?];
    let counts = [Count(blocks), Count(pixels), Count(channels)];
    let arguments = [&[Of(&x.values), Of(&partial), Of(&mean), Of(&variance)][..], &counts].concat();
    launch(device, variant, "finish_moments", blocks_of_finish(channels), &arguments)?;
    let (of_mean, of_variance, constant_mean) = (x.clone(), x.clone(), mean.clone());
    let mean = autograd::to_tensor(x.entry(), &[], mean, move |gradient| {
        let constant = (gradient / pixels as f64)?;
        accumulate(&of_mean, &constant.zeros_like()?, &constant)
    })?;
    let variance = autograd::to_tensor(x.entry(), &[], variance, move |gradient| {
        let by_value = (gradient * (2.0 / pixels as f64))?;
        accumulate(&of_variance, &by_value, &(&by_value * &constant_mean)?.neg()?)
    })?;
    Ok(BatchNormStatistics { mean, variance, of_batch: true })
}

/// Adds `by_value · x + constant`, per channel, to the gradient of a map.
fn accumulate(x: &CudaMap, by_value: &Tensor, constant: &Tensor) -> Result<()> {
    x.accumulate(|earlier| {
        // A normalization that leaves the map as it is, then scales and shifts it.
        let [mean, variance] = [constant.zeros_like()?, constant.ones_like()?];
        let gradient = normalized(x, [by_value, constant, &mean, &variance], 0.0, Rectifier::NONE)?;
        plus(gradient, earlier, x.precision)
    })
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)` of dense gamma, beta, mean and variance.
fn normalized(x: &CudaMap, parameters: [&Tensor; 4], epsilon: f64, rectifier: Rectifier) -> Result<Tensor> {
    let values = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
    let ((pixels, channels), variant) = (extent(x), KernelVariant::of(x.precision, x.shape().channels));
    let scalars = [Count(pixels), Count(channels), Real(epsilon), Real(rectifier.slope), Real(rectifier.limit)];
    let arguments = [&[Of(&x.values)][..], &parameters.map(Of), &[Of(&values)], &scalars].concat();
    launch(x.values.device(), variant, "normalize", blocks_of_pixels(variant, pixels, channels), &arguments)?;
    Ok(values)
}

/// Moves running statistics by those of a batch of `count` numbers per channel.
///
/// # Errors
/// When the device fails.
pub fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()> {
    let channels = batch.mean.elem_count();
    let [mean, variance, batches] = [running.mean, running.variance, running.batches].map(|var| var.detach());
    launch(
        mean.device(),
        KernelVariant::of_tensors(mean.dtype())?,
        "track",
        blocks_of_packs(channels),
        &[
            Of(&batch.mean),
            Of(&batch.variance),
            Of(&mean),
            Of(&variance),
            Of(&batches),
            Count(channels),
            Real(momentum),
            Real(bessel_correction(count)),
        ],
    )
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)`.
///
/// # Errors
/// When the device fails.
pub fn normalize(
    x: &CudaMap,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: &BatchNormStatistics,
    epsilon: f64,
    rectifier: Rectifier,
) -> Result<CudaMap> {
    let dtype = x.precision.dtype();
    let dense = |tensor: &Tensor| tensor.detach().to_dtype(dtype)?.contiguous();
    let [mean, variance] = [dense(&statistics.mean)?, dense(&statistics.variance)?];
    let weights = [TensorInput::of(gamma)?, TensorInput::of(beta)?];
    let norm = BatchNorm {
        x: x.clone(),
        weights: weights.clone(),
        gamma: dense(gamma)?,
        beta: dense(beta)?,
        mean,
        variance,
        of_batch: statistics.of_batch,
        epsilon,
        rectifier,
    };
    let values = normalized(x, [&norm.gamma, &norm.beta, &norm.mean, &norm.variance], epsilon, rectifier)?;
    CudaMap::record(values, x.precision, &[x], &weights, || norm)
}

struct BatchNorm {
    x: CudaMap,
    /// Gamma and beta.
    weights: [TensorInput; 2],
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    variance: Tensor,
    of_batch: bool,
    epsilon: f64,
    rectifier: Rectifier,
}

impl BatchNorm {
    fn parameters(&self) -> [crate::cuda::launch::Argument<'_>; 4] {
        [Of(&self.gamma), Of(&self.beta), Of(&self.mean), Of(&self.variance)]
    }

    /// The gradients of gamma and beta, and per channel the factor of x and the constant in the gradient of x.
    fn sums(&self, gradient: &Tensor, variant: KernelVariant) -> Result<[Tensor; 4]> {
        let (device, dtype) = (gradient.device(), self.x.precision.dtype());
        let (pixels, channels) = extent(&self.x);
        let blocks = blocks_of_sums(variant, pixels, channels);
        let partial = empty((blocks, 2, channels), dtype, device)?;
        let scalars = [
            Count(pixels),
            Count(channels),
            Real(self.epsilon),
            Real(self.rectifier.slope),
            Real(self.rectifier.limit),
        ];
        let maps = [Of(&self.x.values), Of(gradient)];
        let arguments = [&maps[..], &self.parameters(), &[Of(&partial)], &scalars].concat();
        launch(device, variant, "normalize_sums", blocks, &arguments)?;
        let channel = || empty(channels, dtype, device);
        let results = [channel()?, channel()?, channel()?, channel()?];
        let inputs = [Of(&partial), Of(&self.gamma), Of(&self.mean), Of(&self.variance)];
        let scalars = [Count(blocks), Count(pixels), Count(channels), Real(self.epsilon)];
        let arguments = [&inputs[..], &results.each_ref().map(Of), &scalars].concat();
        launch(device, variant, "finish_normalize", blocks_of_finish(channels), &arguments)?;
        Ok(results)
    }
}

impl Backward for BatchNorm {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let x = &self.x;
        let ((pixels, channels), variant) = (extent(x), KernelVariant::of(x.precision, x.shape().channels));
        let through_statistics = self.of_batch && x.is_tracked();
        let wanted = through_statistics || self.weights.iter().any(TensorInput::is_tracked);
        let sums = wanted.then(|| self.sums(gradient, variant)).transpose()?;
        if let Some([of_gamma, of_beta, ..]) = &sums {
            self.weights[0].accumulate(|| Ok(of_gamma.clone()))?;
            self.weights[1].accumulate(|| Ok(of_beta.clone()))?;
        }
        x.accumulate(|plus| {
            let of_x = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
            let along = match &sums {
                Some([_, _, by_value, constant]) if through_statistics => [Of(by_value), Of(constant)],
                _ => [Nothing, Nothing],
            };
            let scalars = [
                Count(pixels),
                Count(channels),
                Real(self.epsilon),
                Real(self.rectifier.slope),
                Real(self.rectifier.limit),
            ];
            let maps = [Of(&x.values), Of(gradient), plus.into()];
            let arguments = [&maps[..], &self.parameters(), &along, &[Of(&of_x)], &scalars].concat();
            let blocks = blocks_of_pixels(variant, pixels, channels);
            launch(x.values.device(), variant, "normalize_gradient", blocks, &arguments)?;
            Ok(of_x)
        })
    }
}
