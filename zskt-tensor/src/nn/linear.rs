//! Fully connected layers.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::observation;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;

/// A fully connected layer, `[B, input]` to `[B, output]`.
pub struct Linear {
    weight: Parameter,
    bias: Bias,
}

enum Bias {
    Learnt(Parameter),
    Zero(Tensor),
}

impl Linear {
    /// Initialized as PyTorch does: weight and bias uniform within ±1/√input.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, input: usize, output: usize) -> Result<Self> {
        let init = Init::Uniform { bound: 1.0 / (input as f64).sqrt() };
        Self::with_bias(builder, input, output, init)
    }

    /// With the bias initialized in another way than the weight.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn with_bias(builder: &Builder, input: usize, output: usize, bias: Init) -> Result<Self> {
        Ok(Self {
            weight: weight(builder, input, output)?,
            bias: Bias::Learnt(builder.parameter("bias", &[output], bias)?),
        })
    }

    /// Without a bias, PyTorch's `bias=False`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn without_bias(builder: &Builder, input: usize, output: usize) -> Result<Self> {
        let zero = builder.constant("bias", &[output], Init::Constant(0.0))?;
        Ok(Self { weight: weight(builder, input, output)?, bias: Bias::Zero(zero) })
    }

    /// Computes `x · weightᵀ + bias`.
    ///
    /// # Errors
    /// When the lengths do not fit or the device fails.
    pub fn forward(&self, x: &Tensor, mode: ForwardMode) -> Result<Tensor> {
        observation::linear_input(x);
        let bias = match &self.bias {
            Bias::Learnt(bias) => bias.tensor(mode),
            Bias::Zero(zero) => zero.clone(),
        };
        self.weight.in_layer(|| ops::linear(x, &self.weight.tensor(mode), &bias))
    }
}

fn weight(builder: &Builder, input: usize, output: usize) -> Result<Parameter> {
    builder.parameter("weight", &[output, input], Init::Uniform { bound: 1.0 / (input as f64).sqrt() })
}
