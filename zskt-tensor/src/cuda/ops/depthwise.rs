//! Depthwise convolutions by kernels of our own.

use std::sync::LazyLock;

use candle_core::{Result, Tensor};

use crate::autograd::TensorInput;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Nothing, Tensor as Of};
use crate::cuda::launch::{Argument, blocks_of_packs, blocks_of_parts, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::ops::conv2d::of_bias;
use crate::cuda::packed_weights::{self, Packing};
use crate::flop;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// `MOST_TAPS` in the kernels.
const MOST_TAPS: usize = 7;
/// `STRIP` in the kernels.
const STRIP: usize = 4;

#[cfg(test)]
thread_local! {
    /// Whether they are used, whatever the setting.
    pub static ENABLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether a convolution is depthwise, and to be computed here: with `ZSKT_DEPTHWISE=1`, until these are known to be faster than cuDNN's.
pub fn is_ours(geometry: &ConvGeometry) -> bool {
    static SETTING: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("ZSKT_DEPTHWISE").is_some_and(|setting| setting == "1"));
    #[cfg(test)]
    let is_enabled = *SETTING || ENABLED.get();
    #[cfg(not(test))]
    let is_enabled = *SETTING;
    is_enabled && covers(geometry)
}

fn covers(geometry: &ConvGeometry) -> bool {
    let ConvGeometry { groups, in_channels, out_channels, kernel, upsampling, .. } = *geometry;
    groups > 1 && groups == in_channels && groups == out_channels && kernel <= MOST_TAPS && upsampling == 1
}

/// Convolves each channel of `x` with its own weights, `[C, 1, K, K]`, and adds `bias` `[C]`.
///
/// # Errors
/// When the device fails.
pub fn conv2d(x: &CudaMap, geometry: &ConvGeometry, weight: &Tensor, bias: Option<&Tensor>) -> Result<CudaMap> {
    let x = x.enlarged()?;
    let weights = [Some(weight), bias].into_iter().flatten().map(TensorInput::of).collect::<Result<Vec<_>>>()?;
    let packed = packed_weights::packed(weight, Packing::Depthwise(x.precision.storage_dtype()))?;
    let bias = bias.map(|bias| bias.detach().contiguous()).transpose()?;
    let values = forward(geometry, x.precision, x.values()?, &packed, bias.as_ref())?;
    let node = Depthwise { x: x.clone(), packed, geometry: *geometry, weights: weights.clone() };
    CudaMap::record(values, x.precision, &[&x], &weights, || node)
}

struct Depthwise {
    x: CudaMap,
    packed: Tensor,
    geometry: ConvGeometry,
    /// The weight and, if there is one, the bias.
    weights: Vec<TensorInput>,
}

impl Backward for Depthwise {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, packed, geometry, weights } = self;
        x.accumulate(|earlier| data_gradient(geometry, x.precision, gradient, packed, earlier))?;
        weights[0].accumulate(|| weight_gradient(geometry, x.precision, x.values()?, gradient))?;
        match weights.get(1) {
            Some(bias) => bias.accumulate(|| of_bias(gradient, x.precision)),
            None => Ok(()),
        }
    }
}

/// The convolution of a map by packed weights.
///
/// # Errors
/// When the device fails.
pub fn forward(
    geometry: &ConvGeometry,
    precision: Precision,
    x: &Tensor,
    packed: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let [to, from] = [[geometry.out_height(), geometry.out_width()], [geometry.height, geometry.width]];
    convolve("depthwise", (geometry, precision), [to, from], x, packed, [Nothing, bias.into()])
}

/// The gradient of the map from that of the result, with what others gave.
///
/// # Errors
/// When the device fails.
pub fn data_gradient(
    geometry: &ConvGeometry,
    precision: Precision,
    gradient: &Tensor,
    packed: &Tensor,
    plus: Option<&Tensor>,
) -> Result<Tensor> {
    let [to, from] = [[geometry.height, geometry.width], [geometry.out_height(), geometry.out_width()]];
    convolve("depthwise_gradient", (geometry, precision), [to, from], gradient, packed, [plus.into(), Nothing])
}

/// A map with the rows and columns `to`, of one with those of `from`.
fn convolve(
    kernel: &'static str,
    (geometry, precision): (&ConvGeometry, Precision),
    [to, from]: [[usize; 2]; 2],
    map: &Tensor,
    packed: &Tensor,
    [plus, bias]: [Argument<'_>; 2],
) -> Result<Tensor> {
    flop::add(geometry.multiply_adds(), 1);
    let ConvGeometry { batch, in_channels, kernel: side, stride, padding, .. } = *geometry;
    let result = empty((batch, to[0], to[1], in_channels), map.dtype(), map.device())?;
    let variant = KernelVariant::of(precision, in_channels);
    let columns = in_channels / variant.vector_width;
    let maps = [Of(map), Of(packed), plus, bias, Of(&result)];
    let counts = [batch, to[0], to[1], columns, from[0], from[1], side, stride, padding].map(Count);
    let strips = batch * to[0] * to[1].div_ceil(STRIP) * columns;
    launch(map.device(), variant, kernel, blocks_of_packs(strips), &[&maps[..], &counts].concat())?;
    Ok(result)
}

/// The gradient of the weights, `[C, 1, K, K]`, from the map and the gradient of the result.
///
/// # Errors
/// When the device fails.
pub fn weight_gradient(geometry: &ConvGeometry, precision: Precision, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    flop::add(geometry.multiply_adds(), 1);
    let ConvGeometry { batch, height, width, in_channels, kernel, stride, padding, .. } = *geometry;
    let (rows, columns, device) = (geometry.out_height(), geometry.out_width(), x.device());
    let variant = KernelVariant::of(precision, in_channels);
    let count = blocks_of_parts(variant, batch * rows * columns, in_channels);
    let parts = empty((count, kernel, kernel, in_channels), precision.dtype(), device)?;
    let counts = [batch, rows, columns, in_channels, height, width, kernel, stride, padding].map(Count);
    let arguments = [&[Of(x), Of(gradient), Of(&parts)][..], &counts].concat();
    launch(device, variant, "depthwise_weight", kernel * count, &arguments)?;
    let weight = empty((in_channels, 1, kernel, kernel), precision.dtype(), device)?;
    let (taps, blocks) = (kernel * kernel, blocks_of_packs(weight.elem_count()));
    let arguments = [Of(&parts), Of(&weight), Count(count), Count(taps), Count(in_channels)];
    launch(device, variant, "depthwise_weight_sum", blocks, &arguments)?;
    Ok(weight)
}
