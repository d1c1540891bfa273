//! Two-dimensional convolution.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};
use crate::trace::{self, TracedOperation};

/// Convolves `x` `[B, I, H, W]` with `weight` `[O, I / groups, K, K]` and adds `bias` `[O]`; zero padding and stride are the same
/// for both axes. Each of `groups` equal parts of the outputs is made of its part of the inputs alone: with as many groups as
/// inputs, a depthwise convolution. The result is a map of the given precision.
///
/// A kernel with other rows than columns, or with its taps apart (a dilation), is one of these with zeros in it; a padding that
/// differs from side to side is one by [`pad`](crate::ops::pad).
///
/// # Errors
/// When the shapes or types do not fit or the device fails.
pub fn conv2d(
    x: &FeatureMap,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    groups: usize,
    precision: Precision,
) -> Result<FeatureMap> {
    let geometry = geometry(x.shape(), weight, stride, padding, groups)?;
    if let Some(bias) = bias
        && bias.dims() != [geometry.out_channels]
    {
        let message = format!("a bias {:?} does not fit {} output channels", bias.dims(), geometry.out_channels);
        return Err(Error::new(message));
    }
    let of_bias = bias.map_or(weight.dtype(), Tensor::dtype);
    if [x.dtype(), precision.dtype(), of_bias] != [weight.dtype(); 3] {
        let message =
            format!("a weight of {:?} does not fit maps of {:?} and {precision:?}", weight.dtype(), x.dtype());
        return Err(Error::new(message));
    }
    x.check_device(&[Some(weight), bias].into_iter().flatten().collect::<Vec<_>>())?;
    let convolved = on_backend!(x, x => x.conv2d(&geometry, weight, bias, precision)?.into());
    let operation = || TracedOperation::Convolution {
        weight: trace::weight(weight),
        bias: bias.map(trace::weight),
        stride,
        padding,
        groups,
    };
    Ok(trace::map(&[x], operation, convolved))
}

fn geometry(x: MapShape, weight: &Tensor, stride: usize, padding: usize, groups: usize) -> Result<ConvGeometry> {
    let MapShape { batch, height, width, channels: in_channels } = x;
    let (out_channels, expected, kernel, other) = weight.dims4()?;
    // Channels of which there are none cannot be divided.
    let divides = groups == 1 || expected > 0 && out_channels > 0;
    let grouped = divides
        && groups > 0
        && out_channels.is_multiple_of(groups)
        && expected.checked_mul(groups) == Some(in_channels);
    if !grouped || kernel != other || kernel == 0 || stride == 0 {
        let shape = weight.dims();
        let groups = if groups == 1 { String::new() } else { format!(" in {groups} groups") };
        let message = format!("a kernel {shape:?} with stride {stride} does not fit {in_channels} channels{groups}");
        return Err(Error::new(message));
    }
    let padded = |size: usize| padding.checked_mul(2).and_then(|padding| padding.checked_add(size));
    let extents = [Some(batch), padded(height), padded(width), Some(in_channels.max(out_channels))];
    if !MapShape::is_countable(extents) {
        return Err(Error::new(format!("{height}×{width} padded by {padding} has more numbers than memory")));
    }
    if height + 2 * padding < kernel || width + 2 * padding < kernel {
        let message = format!("a {kernel}×{kernel} kernel does not fit into {height}×{width} padded by {padding}");
        return Err(Error::new(message));
    }
    Ok(ConvGeometry { batch, height, width, upsampling: 1, in_channels, out_channels, kernel, stride, padding, groups })
}
