//! Batch normalization and the activation behind it, on GPUs.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::activation::Rectifier;
use crate::autograd::{self, Node, TensorInput};
use crate::cuda::conv::{self, Normalization, Towards};
use crate::cuda::exact_sums::{self, GradientSums, MomentSums, UnfinishedGradients, UnfinishedMoments};
use crate::cuda::fusion::gradient::{BehindBatchNorm, Gradient, GradientAccumulator, Part};
use crate::cuda::fusion::lazy_map::{LazyInput, LazyMap, Normalized};
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{self, Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{blocks_of_packs, blocks_of_pixels, empty, launch, partial_sums};
use crate::cuda::map::CudaMap;
use crate::cuda::pending_gradients;
use crate::cuda::sum::plus;
use crate::cuda::ticket::ticket;
use crate::dense::dense;
use crate::precision::Precision;
use crate::statistics::{BatchNormStatistics, RunningStatistics, bessel_correction};

/// Pixels of all images, and channels.
fn extent(values: &Tensor) -> (usize, usize) {
    let channels = values.dims()[3];
    (values.elem_count() / channels.max(1), channels)
}

/// Mean and biased variance of each channel, `[C]`.
///
/// # Errors
/// When the device fails.
pub fn moments(x: &CudaMap) -> Result<BatchNormStatistics> {
    let pixels = extent(x.values()?).0;
    let BatchNormStatistics { mean, variance, .. } = moments_and_track(x, None)?;
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

/// [`moments`] through which no gradient flows, and running statistics that they move, by a momentum: in one kernel.
///
/// # Errors
/// When the device fails.
fn moments_and_track(x: &CudaMap, running: Option<(RunningStatistics<'_>, f64)>) -> Result<BatchNormStatistics> {
    let [mean, variance] = [(); 2].map(|()| empty(x.shape().channels, x.precision.dtype(), x.device()));
    let (mean, variance) = (mean?, variance?);
    let (values, precision) = (x.values()?, x.precision);
    let (device, dtype) = (values.device(), precision.dtype());
    let (pixels, channels) = extent(values);
    let (variant, ticket) = (KernelVariant::of(precision, channels), ticket(device)?);
    let (partial, blocks) = partial_sums(variant, pixels, channels, dtype, device)?;
    let running = running.map(|(running, momentum)| (detached(running), momentum));
    let (moved, momentum) = match &running {
        Some((running, momentum)) if running[0].dtype() == dtype => (running.each_ref().map(Of), *momentum),
        Some((running, _)) => bail!("running statistics of {:?} and a batch's of {dtype:?}", running[0].dtype()),
        None => ([Nothing; 3], 0.0),
    };
    let tensors = [Of(values), Of(&partial), Of(&ticket), Of(&mean), Of(&variance)];
    let scalars = [Count(pixels), Count(channels), Real(momentum), Real(bessel_correction(pixels))];
    launch(device, variant, "moments", blocks, &[&tensors[..], &moved, &scalars].concat())?;
    Ok(BatchNormStatistics { mean, variance, of_batch: true })
}

fn detached(running: RunningStatistics<'_>) -> [Tensor; 3] {
    [running.mean, running.variance, running.batches].map(|var| var.detach())
}

/// Adds `by_value · x + constant`, per channel, to the gradient of a map.
fn accumulate(x: &CudaMap, by_value: &Tensor, constant: &Tensor) -> Result<()> {
    x.accumulate(|earlier| {
        // A normalization that leaves the map as it is, then scales and shifts it.
        let (gamma, beta) = (by_value.clone(), constant.clone());
        let gradient = normalized(x.values()?, x.precision, &identity(gamma, beta)?)?;
        plus(gradient, earlier, x.precision)
    })
}

/// A normalization that only multiplies by gamma and adds beta.
fn identity(gamma: Tensor, beta: Tensor) -> Result<Normalization> {
    let (mean, variance) = (gamma.zeros_like()?, gamma.ones_like()?);
    Ok(Normalization { gamma, beta, mean, variance, epsilon: 0.0, rectifier: Rectifier::NONE, unfinished: None })
}

/// What a normalization makes of a map's numbers.
///
/// # Errors
/// When the device fails.
pub fn normalized(x: &Tensor, precision: Precision, normalization: &Normalization) -> Result<Tensor> {
    normalization.finish()?;
    let values = empty(x.shape(), x.dtype(), x.device())?;
    let (pixels, channels) = extent(x);
    let variant = KernelVariant::of(precision, channels);
    let scalars = scalars(pixels, channels, normalization);
    let arguments = [&[Of(x)][..], &parameters(normalization), &[Of(&values)], &scalars].concat();
    launch(x.device(), variant, "normalize", blocks_of_pixels(variant, pixels, channels), &arguments)?;
    Ok(values)
}

/// `a · gradient + b · x + c + plus`, per channel.
///
/// # Errors
/// When the device fails.
pub fn combined(
    gradient: &Tensor,
    x: &Tensor,
    [a, b, c]: &[Tensor; 3],
    plus: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    gradient_of(x, gradient, plus, precision, &identity(a.clone(), a.zeros_like()?)?, Some([b, c]))
}

/// The gradient of what is normalized, from that behind it, plus what comes from elsewhere; without factors and constants of x the
/// statistics are not its own.
fn gradient_of(
    x: &Tensor,
    gradient: &Tensor,
    plus: Option<&Tensor>,
    precision: Precision,
    normalization: &Normalization,
    along: Option<[&Tensor; 2]>,
) -> Result<Tensor> {
    normalization.finish()?;
    let of_x = empty(x.shape(), x.dtype(), x.device())?;
    let (pixels, channels) = extent(x);
    let variant = KernelVariant::of(precision, channels);
    let along = along.map_or([Nothing; 2], |along| along.map(Of));
    let maps = [Of(x), Of(gradient), plus.into()];
    let scalars = scalars(pixels, channels, normalization);
    let arguments = [&maps[..], &parameters(normalization), &along, &[Of(&of_x)], &scalars].concat();
    launch(x.device(), variant, "normalize_gradient", blocks_of_pixels(variant, pixels, channels), &arguments)?;
    Ok(of_x)
}

fn parameters(normalization: &Normalization) -> [Argument<'_>; 4] {
    let Normalization { gamma, beta, mean, variance, .. } = normalization;
    [gamma, beta, mean, variance].map(Of)
}

fn scalars(pixels: usize, channels: usize, normalization: &Normalization) -> [Argument<'static>; 5] {
    let Normalization { epsilon, rectifier, .. } = normalization;
    [Count(pixels), Count(channels), Real(*epsilon), Real(rectifier.slope), Real(rectifier.limit)]
}

/// Moves running statistics by those of a batch of `count` numbers per channel.
///
/// # Errors
/// When the device fails.
pub fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()> {
    let channels = batch.mean.elem_count();
    let [mean, variance, batches] = detached(running);
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

/// [`moments`] as constants, which move running statistics: their sums are taken as the map's convolution is computed, if nobody has read
/// it yet, and finished by who reads the normalized map, for whom [`exact_sums::moments_of`] has them.
///
/// # Errors
/// When the device fails.
pub fn tracked_moments(x: &CudaMap, running: RunningStatistics<'_>, momentum: f64) -> Result<BatchNormStatistics> {
    if x.input.is_plain() && x.input.map.is_pending() {
        let (shape, device) = (x.shape(), x.device());
        let [mean, variance] = [(); 2].map(|()| empty(shape.channels, x.precision.dtype(), device));
        let statistics = BatchNormStatistics { mean: mean?, variance: variance?, of_batch: true };
        let moments = Arc::new(UnfinishedMoments::new(MomentSums {
            limbs: exact_sums::zeros(shape.channels, device)?,
            mean: statistics.mean.clone(),
            variance: statistics.variance.clone(),
            running: Some((detached(running), momentum)),
            pixels: shape.batch * shape.height * shape.width,
        }));
        if x.input.map.evaluate_with(&moments)? {
            exact_sums::leave_moments(moments);
            return Ok(statistics);
        }
    }
    moments_and_track(&x.detach(), Some((running, momentum)))
}

/// `act(gamma · (x − mean) / √(variance + epsilon) + beta)` of a map that is not upsampled.
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
    let (dtype, precision) = (x.precision.dtype(), x.precision);
    let in_dtype = |tensor: &Tensor| dense(&tensor.detach().to_dtype(dtype)?);
    let [gamma_values, beta_values] = [in_dtype(gamma)?, in_dtype(beta)?];
    let [mean, variance] = [in_dtype(&statistics.mean)?, in_dtype(&statistics.variance)?];
    let unfinished = exact_sums::moments_of(statistics);
    let normalization =
        Normalization { gamma: gamma_values, beta: beta_values, mean, variance, epsilon, rectifier, unfinished };
    let weights = [TensorInput::of(gamma)?, TensorInput::of(beta)?];
    let map = match x.input.is_plain() {
        true => Arc::clone(&x.input.map),
        false => Arc::new(LazyMap::of(x.values()?.clone(), precision)),
    };
    let normalized = Arc::new(Normalized::new(normalization));
    let input = LazyInput { map, normalized: Some(Arc::clone(&normalized)), upsampling: 1 };
    if !conv::are_enabled(precision) {
        input.values()?;
    }
    let (map, of_batch) = (Arc::clone(&input.map), statistics.of_batch);
    let node = |gradient| BatchNorm { x: x.clone(), map, normalized, weights: weights.clone(), of_batch, gradient };
    CudaMap::record_lazy(input, precision, &[x], &weights, node)
}

struct BatchNorm {
    x: CudaMap,
    /// What is normalized, as it is.
    map: Arc<LazyMap>,
    normalized: Arc<Normalized>,
    /// Gamma and beta.
    weights: [TensorInput; 2],
    of_batch: bool,
    gradient: GradientAccumulator,
}

impl Node for BatchNorm {
    fn backward(&self) -> Result<()> {
        let (x, normalization) = (&self.x, &self.normalized.normalization);
        let mut parts = self.gradient.take(x.precision)?;
        let learns = self.weights.iter().any(TensorInput::is_tracked);
        if !self.of_batch && learns {
            return self.backward_of(&parts.sum()?.dense()?);
        }
        // What a convolution passes back last takes the others' gradients along on its way through the rectifier.
        let Some(last) = parts.convolutions.pop() else { return self.backward_of(&parts.sum()?.dense()?) };
        let plus = match parts.is_empty() {
            true => None,
            false => Some(parts.sum()?.dense()?),
        };
        let (plus, values) = (plus.as_ref(), self.map.values()?);
        if !self.of_batch {
            return x.accumulate(|behind| last.run(&Towards::FixedNorm { x: values, normalization, plus, behind }));
        }
        let sums = Arc::new(UnfinishedGradients::new(self.empty_sums()?));
        let behind = last.run(&Towards::BatchNorm { x: values, normalization, plus, sums: &sums })?;
        exact_sums::leave_gradients(Arc::clone(&sums));
        for (weight, gradient) in self.weights.iter().zip([&sums.sums.of_gamma, &sums.sums.of_beta]) {
            if weight.is_tracked() {
                pending_gradients::accumulate(weight, gradient.clone())?;
            }
        }
        let gradient = BehindBatchNorm::new(behind, Arc::clone(&self.map), sums);
        x.accumulate_part(Part::Complete(Gradient::BehindBatchNorm(Arc::new(gradient))));
        Ok(())
    }

    fn reset(&self) {
        self.gradient.reset();
    }
}

impl BatchNorm {
    fn empty_sums(&self) -> Result<GradientSums> {
        let (shape, Normalization { gamma, mean, variance, epsilon, .. }) =
            (self.map.shape, &self.normalized.normalization);
        let channel = || empty(shape.channels, self.x.precision.dtype(), self.x.device());
        Ok(GradientSums {
            limbs: exact_sums::zeros(shape.channels, self.x.device())?,
            norm: [gamma, mean, variance].map(Tensor::clone),
            epsilon: *epsilon,
            of_gamma: channel()?,
            of_beta: channel()?,
            coefficients: [channel()?, channel()?, channel()?],
            pixels: shape.batch * shape.height * shape.width,
        })
    }

    /// From the whole gradient behind it.
    fn backward_of(&self, gradient: &Tensor) -> Result<()> {
        let x = &self.x;
        let through_statistics = self.of_batch && x.is_tracked();
        let wanted = through_statistics || self.weights.iter().any(TensorInput::is_tracked);
        let sums = wanted.then(|| self.sums(gradient)).transpose()?;
        if let Some([of_gamma, of_beta, ..]) = &sums {
            self.weights[0].accumulate(|| Ok(of_gamma.clone()))?;
            self.weights[1].accumulate(|| Ok(of_beta.clone()))?;
        }
        x.accumulate(|plus| {
            let along = match &sums {
                Some([_, _, by_value, constant]) if through_statistics => Some([by_value, constant]),
                _ => None,
            };
            gradient_of(self.map.values()?, gradient, plus, x.precision, &self.normalized.normalization, along)
        })
    }

    /// The gradients of gamma and beta, and per channel the factor of x and the constant in the gradient of x.
    fn sums(&self, gradient: &Tensor) -> Result<[Tensor; 4]> {
        let (values, normalization) = (self.map.values()?, &self.normalized.normalization);
        normalization.finish()?;
        let (device, dtype) = (gradient.device(), self.x.precision.dtype());
        let (pixels, channels) = extent(values);
        let variant = KernelVariant::of(self.x.precision, channels);
        let (partial, blocks) = partial_sums(variant, pixels, channels, dtype, device)?;
        let channel = || empty(channels, dtype, device);
        let results = [channel()?, channel()?, channel()?, channel()?];
        let (maps, ticket) = ([Of(values), Of(gradient)], ticket(device)?);
        let (kept, written) = ([Of(&partial), Of(&ticket)], results.each_ref().map(Of));
        let numbers = scalars(pixels, channels, normalization);
        let arguments = [&maps[..], &parameters(normalization), &kept, &written, &numbers].concat();
        launch(device, variant, "normalize_sums", blocks, &arguments)?;
        Ok(results)
    }
}
