//! Convolutions of maps `[B, H, W, C]`: by cuDNN, with the gradients that are asked for and no others.

use candle_core::{Result, Tensor};

use crate::autograd::TensorInput;
use crate::cuda::convolution::{Convolution, Direction};
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{blocks_of_finish, blocks_of_packs, blocks_of_pixels, blocks_of_sums, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::sum::plus;
use crate::flop;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// Computes a convolution, or one of its gradients, of dense tensors.
fn convolve(convolution: &Convolution, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    flop::add(convolution.geometry.multiply_adds(), 1);
    match a.device() {
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(_) => crate::cuda::cudnn::convolve(convolution, a, b),
        #[cfg(test)]
        candle_core::Device::Cpu => crate::cuda::tests::convolve(convolution, a, b),
        other => candle_core::bail!("there is no {convolution:?} of {:?} and {:?} for {other:?}", a.dims(), b.dims()),
    }
}

/// Convolves `x` with `weight` `[O, I / groups, K, K]`, whose shapes the geometry has, and adds `bias` `[O]`.
///
/// # Errors
/// When the device fails.
pub fn conv2d(x: &CudaMap, geometry: &ConvGeometry, weight: &Tensor, bias: Option<&Tensor>) -> Result<CudaMap> {
    let (geometry, device, precision) = (*geometry, x.values.device(), x.precision);
    let mut weights = vec![TensorInput::of(weight)?];
    let ConvGeometry { out_channels, kernel, .. } = geometry;
    let packed = empty((out_channels, kernel, kernel, geometry.group_inputs()), precision.storage_dtype(), device)?;
    let dense = weight.detach().contiguous()?;
    launch_layout("pack_weight", &geometry, precision, &dense, &packed)?;
    let convolution = Convolution { geometry, direction: Direction::Forward, precision };
    let values = convolve(&convolution, &x.values, &packed)?;
    if let Some(bias) = bias {
        weights.push(TensorInput::of(bias)?);
        let (variant, pixels) = (KernelVariant::of(precision, out_channels), values.elem_count() / out_channels);
        let bias = bias.detach().contiguous()?;
        let arguments = [Of(&values), Of(&bias), Count(pixels), Count(out_channels)];
        launch(device, variant, "add_bias", blocks_of_pixels(variant, pixels, out_channels), &arguments)?;
    }
    let node = Conv2d { x: x.clone(), packed, convolution, weights: weights.clone() };
    CudaMap::record(values, precision, &[x], &weights, || node)
}

/// From weights to packed weights or back.
fn launch_layout(
    kernel: &'static str,
    geometry: &ConvGeometry,
    precision: Precision,
    from: &Tensor,
    to: &Tensor,
) -> Result<()> {
    let ConvGeometry { out_channels, kernel: side, .. } = *geometry;
    let counts = [Count(out_channels), Count(geometry.group_inputs()), Count(side * side)];
    let arguments = [&[Of(from), Of(to)][..], &counts].concat();
    launch(from.device(), KernelVariant::of(precision, 1), kernel, blocks_of_packs(from.elem_count()), &arguments)
}

struct Conv2d {
    x: CudaMap,
    packed: Tensor,
    convolution: Convolution,
    /// The weight and, if there is one, the bias.
    weights: Vec<TensorInput>,
}

impl Backward for Conv2d {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, packed, convolution, weights } = self;
        let towards = |direction| Convolution { direction, ..*convolution };
        x.accumulate(|earlier| plus(convolve(&towards(Direction::Input), gradient, packed)?, earlier, x.precision))?;
        weights[0].accumulate(|| {
            let geometry = &convolution.geometry;
            let of_packed = convolve(&towards(Direction::Weight), &x.values, gradient)?;
            let ConvGeometry { out_channels, kernel, .. } = *geometry;
            let shape = (out_channels, geometry.group_inputs(), kernel, kernel);
            let of_weight = empty(shape, x.precision.dtype(), gradient.device())?;
            launch_layout("unpack_weight", geometry, x.precision, &of_packed, &of_weight)?;
            Ok(of_weight)
        })?;
        match weights.get(1) {
            Some(bias) => bias.accumulate(|| self.of_bias(gradient)),
            None => Ok(()),
        }
    }
}

impl Conv2d {
    fn of_bias(&self, gradient: &Tensor) -> Result<Tensor> {
        let (precision, channels) = (self.x.precision, self.convolution.geometry.out_channels);
        let (device, variant) = (gradient.device(), KernelVariant::of(precision, channels));
        let pixels = gradient.elem_count() / channels;
        let blocks = blocks_of_sums(variant, pixels, channels);
        let partial = empty((blocks, 2, channels), precision.dtype(), device)?;
        let arguments = [Of(gradient), Of(&partial), Count(pixels), Count(channels)];
        launch(device, variant, "bias_sums", blocks, &arguments)?;
        let of_bias = empty(channels, precision.dtype(), device)?;
        let arguments = [Of(&partial), Of(&of_bias), Count(blocks), Count(channels)];
        launch(device, variant, "finish_bias", blocks_of_finish(channels), &arguments)?;
        Ok(of_bias)
    }
}
