//! Two-dimensional convolution.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor, WithDType, bail};

use super::storage::{Dense, by_dtype, slice};
use crate::kernels::{ConvGeometry, conv2d as kernel};
use crate::{FeatureMap, Result};

/// Convolves `x` `[B, I, H, W]` with `weight` `[O, I, K, K]` and adds `bias` `[O]`; zero padding and stride are the same
/// for both axes.
///
/// # Errors
/// When the shapes do not fit or the device fails.
pub fn conv2d(
    x: &FeatureMap,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> Result<FeatureMap> {
    let op = Conv2d(geometry(x.channels_last(), weight, stride, padding)?);
    if let Some(bias) = bias
        && bias.dims() != [op.0.out_channels]
    {
        let message = format!("a bias {:?} does not fit {} output channels", bias.dims(), op.0.out_channels);
        return Err(crate::Error::new(message));
    }
    let weight = weight.contiguous()?;
    FeatureMap::from_channels_last(match bias {
        None => x.channels_last().apply_op2(&weight, op)?,
        Some(bias) => x.channels_last().apply_op3(&weight, &bias.contiguous()?, op)?,
    })
}

fn geometry(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> candle_core::Result<ConvGeometry> {
    let (batch, height, width, in_channels) = x.dims4()?;
    let (out_channels, expected, kernel, other) = weight.dims4()?;
    if expected != in_channels || kernel != other || kernel == 0 || stride == 0 {
        bail!("a kernel {:?} with stride {stride} does not fit {in_channels} channels", weight.dims());
    }
    if height + 2 * padding < kernel || width + 2 * padding < kernel {
        bail!("a {kernel}×{kernel} kernel does not fit into {height}×{width} padded by {padding}");
    }
    Ok(ConvGeometry { batch, height, width, in_channels, out_channels, kernel, stride, padding })
}

struct Conv2d(ConvGeometry);

impl Conv2d {
    fn shape(&self) -> Shape {
        (self.0.batch, self.0.out_height(), self.0.out_width(), self.0.out_channels).into()
    }

    fn gradients(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> candle_core::Result<[Option<Tensor>; 2]> {
        let grad = grad.contiguous()?;
        let (x_data, weight_data, grad_data) = (Dense::of(x), Dense::of(weight), Dense::of(&grad));
        by_dtype!(x.dtype(), T => {
            let grad = grad_data.slice::<T>()?;
            let of_x = if x.track_op() {
                let values = kernel::backward_input::<T>(&self.0, grad, weight_data.slice()?);
                Some(Tensor::from_vec(values, x.shape(), x.device())?)
            } else {
                None
            };
            let of_weight = if weight.track_op() {
                let values = kernel::backward_weight::<T>(&self.0, x_data.slice()?, grad);
                Some(Tensor::from_vec(values, weight.shape(), x.device())?)
            } else {
                None
            };
            Ok([of_x, of_weight])
        })
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), T => {
            let y = kernel::forward::<T>(&self.0, slice(x, xl)?, slice(w, wl)?, None);
            Ok((T::to_cpu_storage_owned(y), self.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight] = self.gradients(x, w, grad)?;
        Ok((of_x, of_weight))
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), T => {
            let y = kernel::forward::<T>(&self.0, slice(x, xl)?, slice(w, wl)?, Some(slice(b, bl)?));
            Ok((T::to_cpu_storage_owned(y), self.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight] = self.gradients(x, w, grad)?;
        let of_bias = if b.track_op() { Some(sum_over_pixels(&self.0, b, grad)?) } else { None };
        Ok((of_x, of_weight, of_bias))
    }
}

fn sum_over_pixels(geometry: &ConvGeometry, bias: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
    let grad = grad.contiguous()?;
    let data = Dense::of(&grad);
    by_dtype!(grad.dtype(), T => {
        Tensor::from_vec(kernel::backward_bias::<T>(geometry, data.slice()?), bias.shape(), bias.device())
    })
}
