//! Convolution layers.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;
use crate::precision::Precision;

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dShape {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zero pixels at each side.
    pub padding: usize,
    /// Equal parts of the channels: each part of the outputs is made of its part of the inputs alone. With as many groups as inputs
    /// and outputs, the convolution is depthwise.
    pub groups: usize,
    /// Pixels from one tap of the kernel to the next: 1 where they are neighbours.
    pub dilation: usize,
}

impl Conv2dShape {
    /// An odd kernel that keeps the map's size. (With a `dilation`, a `padding` of `dilation` times half the kernel does.)
    pub fn same(input: usize, output: usize, kernel: usize) -> Self {
        Self { input, output, kernel, stride: 1, padding: kernel / 2, groups: 1, dilation: 1 }
    }

    /// Input channels that an output is made of.
    fn group_inputs(&self) -> Result<usize> {
        let Self { input, output, groups, .. } = *self;
        if groups == 0 || !input.is_multiple_of(groups) || !output.is_multiple_of(groups) {
            let message = format!("{groups} groups do not divide {input} input channels and {output} output channels");
            return Err(Error::new(message));
        }
        Ok(input / groups)
    }
}

/// A two-dimensional convolution, `[B, input, H, W]` to `[B, output, H', W']`.
pub struct Conv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    stride: usize,
    padding: usize,
    groups: usize,
    dilation: usize,
    precision: Precision,
}

impl Conv2d {
    /// With a bias, initialized as PyTorch does: uniform within ±1/√(input/groups·kernel²).
    ///
    /// # Errors
    /// When the groups do not divide the channels, or the device has no room.
    pub fn new(builder: &Builder, shape: Conv2dShape) -> Result<Self> {
        let bound = 1.0 / ((shape.group_inputs()? * shape.kernel * shape.kernel) as f64).sqrt();
        let bias = builder.parameter("bias", &[shape.output], Init::Uniform { bound })?;
        Ok(Self { bias: Some(bias), ..Self::without_bias(builder, shape, Init::Uniform { bound })? })
    }

    /// Without a bias.
    ///
    /// # Errors
    /// When the groups do not divide the channels, or the device has no room.
    pub fn without_bias(builder: &Builder, shape: Conv2dShape, init: Init) -> Result<Self> {
        let Conv2dShape { output, kernel, stride, padding, groups, dilation, .. } = shape;
        if dilation == 0 {
            return Err(Error::new("a dilation of 0: neighbouring taps are 1 apart"));
        }
        let weight = builder.parameter("weight", &[output, shape.group_inputs()?, kernel, kernel], init)?;
        Ok(Self { weight, bias: None, stride, padding, groups, dilation, precision: builder.precision() })
    }

    /// Convolves.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        self.weight.in_layer(|| {
            let bias = self.bias.as_ref().map(|bias| bias.tensor(mode));
            let weight = dilated(&self.weight.tensor(mode), self.dilation)?;
            ops::conv2d(x, &weight, bias.as_ref(), self.stride, self.padding, self.groups, self.precision)
        })
    }
}

/// The kernels with zeros between their taps.
fn dilated(weight: &Tensor, dilation: usize) -> Result<Tensor> {
    let (output, input, kernel, _) = weight.dims4()?;
    if dilation == 1 || kernel < 2 {
        return Ok(weight.clone());
    }
    let spread = weight.reshape((output, input, kernel, 1, kernel, 1))?;
    let spread = spread.pad_with_zeros(3, 0, dilation - 1)?.pad_with_zeros(5, 0, dilation - 1)?;
    let spread = spread.reshape((output, input, kernel * dilation, kernel * dilation))?;
    let extent = dilation * (kernel - 1) + 1;
    Ok(spread.narrow(2, 0, extent)?.narrow(3, 0, extent)?.contiguous()?)
}
