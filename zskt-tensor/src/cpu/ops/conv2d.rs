//! Two-dimensional convolution: computed when it is read, with what precedes and follows it.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::autograd::{self, Node, TensorInput};
use crate::cpu::fusion::both_gradients::WantedGradients;
use crate::cpu::fusion::conv_gradient::ConvGradient;
use crate::cpu::fusion::convolution::{ConvElement, Convolution};
use crate::cpu::fusion::lazy_map::{LazyMap, LazyOp};
use crate::cpu::kernels::pixel_sums::pixel_sums;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::map::CpuMap;
use crate::cpu::tensor_slice::{Dense, dispatch_dtype};
use crate::flop;
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};

/// Convolves `x` with `weight` `[O, I / groups, K, K]`, whose shapes the geometry has, and adds `bias` `[O]`.
///
/// # Errors
/// When there is no room.
pub fn conv2d(
    x: &CpuMap,
    geometry: &ConvGeometry,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<CpuMap> {
    let upsampling = x.input.prologue.upsampling;
    // A stride or groups over an upsampled map are rare, and would need phases of both.
    if (geometry.stride > 1 || geometry.groups > 1) && upsampling > 1 {
        return conv2d(&x.materialized()?, geometry, weight, bias, precision);
    }
    let MapShape { height, width, .. } = x.input.map.shape;
    let geometry = ConvGeometry { height, width, upsampling, ..*geometry };
    let convolution = packed(&geometry, weight, bias, precision)?;
    flop::add(geometry.multiply_adds(), 1);
    let shape = MapShape {
        batch: geometry.batch,
        height: geometry.out_height(),
        width: geometry.out_width(),
        channels: geometry.out_channels,
    };
    let op = LazyOp::Convolution(Arc::new(convolution), x.input.clone(), None);
    let output = Arc::new(LazyMap::deferred(shape, precision, Some(op)));
    let weight_input = TensorInput::of(weight)?;
    let bias_input = bias.map(TensorInput::of).transpose()?;
    let tensors: Vec<&TensorInput> = [Some(&weight_input), bias_input.as_ref()].into_iter().flatten().collect();
    let node = || Conv2d {
        geometry,
        x: x.clone(),
        weight: weight.detach(),
        output: Arc::clone(&output),
        weight_input: weight_input.clone(),
        bias_input: bias_input.clone(),
    };
    let entry = autograd::record(&Device::Cpu, [x.entry()], &tensors, node)?;
    Ok(CpuMap::new(output, entry))
}

fn packed(
    geometry: &ConvGeometry,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Convolution> {
    let weight = weight.contiguous()?;
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let (weight_data, bias_data) = (Dense::of(&weight), bias.as_ref().map(Dense::of));
    dispatch_dtype!(weight.dtype(), T => {
        let bias = bias_data.as_ref().map(Dense::slice).transpose()?;
        Ok(T::forward(geometry, weight_data.slice()?, bias, precision))
    })
}

struct Conv2d {
    geometry: ConvGeometry,
    x: CpuMap,
    weight: Tensor,
    output: Arc<LazyMap>,
    weight_input: TensorInput,
    bias_input: Option<TensorInput>,
}

impl Node for Conv2d {
    fn backward(&self) -> Result<()> {
        let gradient = self.output.gradient.take(&self.output)?;
        dispatch_dtype!(self.weight.dtype(), T => gradient.read(|dy| self.gradients::<T>(dy)))
    }

    fn reset(&self) {
        self.output.gradient.reset();
    }
}

impl Conv2d {
    fn gradients<T: ConvGradient>(&self, dy: &InputView<T>) -> Result<()> {
        let g = &self.geometry;
        let wanted = WantedGradients { input: self.x.is_tracked(), weight: self.weight_input.is_tracked() };
        flop::add(g.multiply_adds(), u64::from(wanted.input) + u64::from(wanted.weight));
        let weight = self.weight.contiguous()?;
        let weight = Dense::of(&weight);
        let of_weight = T::backward(g, weight.slice()?, &self.x.input, dy, self.output.precision, wanted);
        self.x.schedule();
        if let Some(of_weight) = of_weight {
            self.weight_input.accumulate(|| Tensor::from_vec(of_weight, self.weight.shape(), &Device::Cpu))?;
        }
        match &self.bias_input {
            Some(bias) => bias
                .accumulate(|| Tensor::from_vec(pixel_sums(dy, 1, g.out_channels, 1.0), g.out_channels, &Device::Cpu)),
            None => Ok(()),
        }
    }
}
