//! Convolutions of maps `[B, H, W, C]`: by our own kernels with what precedes and follows them, or by cuDNN; with the gradients
//! that are asked for and no others.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::autograd::{Node, TensorInput};
use crate::cuda::conv;
use crate::cuda::convolution::{Convolution, Direction};
use crate::cuda::fusion::gradient::{DataGradient, GradientAccumulator, ParameterGradients, Part};
use crate::cuda::fusion::lazy_map::{LazyInput, LazyMap, PendingConvolution};
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{blocks_of_packs, empty, launch, partial_sums};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::ops::depthwise;
use crate::cuda::packed_weights::{self, Packing};
use crate::cuda::sum::plus;
use crate::cuda::ticket::ticket;
use crate::dense::dense;
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
    let (LazyInput { map, upsampling, .. }, precision) = (&x.input, x.precision);
    let stored =
        ConvGeometry { height: map.shape.height, width: map.shape.width, upsampling: *upsampling, ..*geometry };
    if conv::is_ours(x.device(), &stored, precision)? {
        return fused(x, stored, weight, bias);
    }
    if depthwise::is_ours(geometry) {
        return depthwise::conv2d(x, geometry, weight, bias);
    }
    let (x, geometry, device) = (&x.enlarged()?, *geometry, x.device());
    let mut weights = vec![TensorInput::of(weight)?];
    let packed = packed_weights::packed(weight, Packing::Whole(precision.storage_dtype()))?;
    let convolution = Convolution { geometry, direction: Direction::Forward, precision };
    let values = convolve(&convolution, x.values()?, &packed)?;
    if let Some(bias) = bias {
        weights.push(TensorInput::of(bias)?);
        let out_channels = geometry.out_channels;
        let variant = KernelVariant::of(precision, out_channels);
        let packs = values.elem_count() / variant.vector_width;
        let bias = bias.detach().contiguous()?;
        let arguments = [Of(&values), Of(&bias), Count(packs), Count(out_channels / variant.vector_width)];
        launch(device, variant, "add_bias", blocks_of_packs(packs), &arguments)?;
    }
    let node = Conv2d { x: x.clone(), packed, convolution, weights: weights.clone() };
    CudaMap::record(values, precision, &[x], &weights, || node)
}

/// A convolution by our own kernels, with all that precedes and follows it: computed when it is read.
fn fused(x: &CudaMap, geometry: ConvGeometry, weight: &Tensor, bias: Option<&Tensor>) -> Result<CudaMap> {
    flop::add(geometry.multiply_adds(), 1);
    let packed = packed_weights::packed(weight, conv::tensor_cores::packing(x.precision))?;
    let weights = [Some(weight), bias].into_iter().flatten().map(TensorInput::of).collect::<Result<Vec<_>>>()?;
    let bias = bias.map(|bias| dense(&bias.detach())).transpose()?;
    let (weight, input) = (packed.clone(), LazyInput { upsampling: 1, ..x.input.clone() });
    let convolution = PendingConvolution { geometry, weight, bias, input, residual: None };
    let output = LazyInput::new(Arc::new(LazyMap::convolved(convolution, x.precision)));
    let node = |gradient| FusedConv2d { x: x.clone(), geometry, packed, weights: weights.clone(), gradient };
    CudaMap::record_lazy(output, x.precision, &[x], &weights, node)
}

struct FusedConv2d {
    x: CudaMap,
    geometry: ConvGeometry,
    packed: Tensor,
    /// The weight and, if there is one, the bias.
    weights: Vec<TensorInput>,
    gradient: GradientAccumulator,
}

impl Node for FusedConv2d {
    fn backward(&self) -> Result<()> {
        let Self { x, geometry, packed, weights, .. } = self;
        let (geometry, precision) = (*geometry, x.precision);
        let gradient = self.gradient.take(precision)?.sum()?;
        let input = LazyInput { upsampling: 1, ..x.input.clone() };
        let parameters = ParameterGradients { input, weights: weights.clone() };
        let mut parameters = weights.iter().any(TensorInput::is_tracked).then_some(parameters);
        if weights.iter().any(TensorInput::is_made)
            && let Some(parameters) = parameters.take()
        {
            parameters.run(&geometry, precision, &gradient)?;
        }
        if x.is_tracked() {
            let weight = packed.clone();
            x.accumulate_part(Part::Convolution(DataGradient { geometry, precision, weight, gradient, parameters }));
            return Ok(());
        }
        parameters.map_or(Ok(()), |parameters| parameters.run(&geometry, precision, &gradient))
    }

    fn reset(&self) {
        self.gradient.reset();
    }
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
            let of_packed = convolve(&towards(Direction::Weight), x.values()?, gradient)?;
            let ConvGeometry { out_channels, kernel, .. } = *geometry;
            let shape = (out_channels, geometry.group_inputs(), kernel, kernel);
            let of_weight = empty(shape, x.precision.dtype(), gradient.device())?;
            let counts = [Count(out_channels), Count(geometry.group_inputs()), Count(kernel * kernel)];
            let arguments = [&[Of(&of_packed), Of(&of_weight)][..], &counts].concat();
            let (variant, blocks) = (KernelVariant::of(x.precision, 1), blocks_of_packs(of_weight.elem_count()));
            launch(of_weight.device(), variant, "unpack_weight", blocks, &arguments)?;
            Ok(of_weight)
        })?;
        match weights.get(1) {
            Some(bias) => bias.accumulate(|| of_bias(gradient, x.precision)),
            None => Ok(()),
        }
    }
}

/// The gradient of a bias, from that of the convolution's result.
///
/// # Errors
/// When the device fails.
pub fn of_bias(gradient: &Tensor, precision: Precision) -> Result<Tensor> {
    let channels = gradient.dims()[3];
    let (device, variant) = (gradient.device(), KernelVariant::of(precision, channels));
    let pixels = gradient.elem_count() / channels;
    let (partial, blocks) = partial_sums(variant, pixels, channels, precision.dtype(), device)?;
    let (of_bias, ticket) = (empty(channels, precision.dtype(), device)?, ticket(device)?);
    let arguments = [Of(gradient), Of(&partial), Of(&ticket), Of(&of_bias), Count(pixels), Count(channels)];
    launch(device, variant, "bias_sums", blocks, &arguments)?;
    Ok(of_bias)
}
