//! Convolution layers.

use crate::error::Result;
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
}

impl Conv2dShape {
    /// An odd kernel that keeps the map's size.
    pub fn same(input: usize, output: usize, kernel: usize) -> Self {
        Self { input, output, kernel, stride: 1, padding: kernel / 2 }
    }
}

/// A two-dimensional convolution, `[B, input, H, W]` to `[B, output, H', W']`.
pub struct Conv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    stride: usize,
    padding: usize,
    precision: Precision,
}

impl Conv2d {
    /// With a bias, initialized as PyTorch does: uniform within ±1/√(input·kernel²).
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, shape: Conv2dShape) -> Result<Self> {
        let bound = 1.0 / ((shape.input * shape.kernel * shape.kernel) as f64).sqrt();
        let bias = builder.parameter("bias", &[shape.output], Init::Uniform { bound })?;
        Ok(Self { bias: Some(bias), ..Self::without_bias(builder, shape, Init::Uniform { bound })? })
    }

    /// Without a bias.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn without_bias(builder: &Builder, shape: Conv2dShape, init: Init) -> Result<Self> {
        let Conv2dShape { input, output, kernel, stride, padding } = shape;
        let weight = builder.parameter("weight", &[output, input, kernel, kernel], init)?;
        Ok(Self { weight, bias: None, stride, padding, precision: builder.precision() })
    }

    /// Convolves.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        let bias = self.bias.as_ref().map(|bias| bias.tensor(mode));
        ops::conv2d(x, &self.weight.tensor(mode), bias.as_ref(), self.stride, self.padding, self.precision)
    }
}
