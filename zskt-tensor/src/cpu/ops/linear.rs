//! Fully connected layers.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};

use crate::cpu::conv::linear as kernel;
use crate::cpu::tensor_slice::{Dense, dispatch_dtype, slice};

/// `x · weightᵀ + bias`.
///
/// # Errors
/// When there is no room.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, inputs) = x.dims2()?;
    let op = Linear { batch, inputs, outputs: weight.dims2()?.0 };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

struct Linear {
    batch: usize,
    inputs: usize,
    outputs: usize,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_dtype!(x.dtype(), T => {
            let Self { batch, inputs, outputs } = *self;
            let y = kernel::forward::<T>(batch, inputs, outputs, slice(x, xl)?, slice(w, wl)?, Some(slice(b, bl)?));
            Ok((T::to_cpu_storage_owned(y), (batch, outputs).into()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Self { batch, inputs, outputs } = *self;
        if grad.dims() != [batch, outputs] {
            bail!("the gradient of a linear layer has shape {:?}", grad.dims());
        }
        let grad = grad.contiguous()?;
        let (x_data, w_data, grad_data) = (Dense::of(x), Dense::of(w), Dense::of(&grad));
        dispatch_dtype!(x.dtype(), T => {
            let grad = grad_data.slice::<T>()?;
            let of = |tensor: &Tensor, values: Vec<T>| Tensor::from_vec(values, tensor.shape(), tensor.device());
            let of_x = x.track_op().then(|| of(x, kernel::backward_input::<T>(batch, inputs, outputs, grad, w_data.slice()?)));
            let of_w = w.track_op().then(|| of(w, kernel::backward_weight::<T>(batch, inputs, outputs, x_data.slice()?, grad)));
            let of_b = b.track_op().then(|| of(b, kernel::backward_bias::<T>(outputs, grad)));
            Ok((of_x.transpose()?, of_w.transpose()?, of_b.transpose()?))
        })
    }
}
