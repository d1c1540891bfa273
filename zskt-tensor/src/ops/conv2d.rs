//! Two-dimensional convolution.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};

/// Convolves `x` `[B, I, H, W]` with `weight` `[O, I, K, K]` and adds `bias` `[O]`; zero padding and stride are the same
/// for both axes. The result is a map of the given precision.
///
/// # Errors
/// When the shapes or types do not fit or the device fails.
pub fn conv2d(
    x: &FeatureMap,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    precision: Precision,
) -> Result<FeatureMap> {
    let geometry = geometry(x.shape(), weight, stride, padding)?;
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
    on_backend!(x, x => Ok(x.conv2d(&geometry, weight, bias, precision)?.into()))
}

fn geometry(x: MapShape, weight: &Tensor, stride: usize, padding: usize) -> Result<ConvGeometry> {
    let MapShape { batch, height, width, channels: in_channels } = x;
    let (out_channels, expected, kernel, other) = weight.dims4()?;
    if expected != in_channels || kernel != other || kernel == 0 || stride == 0 {
        let shape = weight.dims();
        return Err(Error::new(format!("a kernel {shape:?} with stride {stride} does not fit {in_channels} channels")));
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
    Ok(ConvGeometry { batch, height, width, upsampling: 1, in_channels, out_channels, kernel, stride, padding })
}
