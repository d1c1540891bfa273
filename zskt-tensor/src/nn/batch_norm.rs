//! Batch normalization with PyTorch's running statistics.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::observation;
use crate::nn::weights::{Builder, Init, Parameter};
use crate::ops;
use crate::statistics::{BatchNormStatistics, RunningStatistics};

/// Batch normalization of `[B, C, H, W]` over `B·H·W` (Ioffe & Szegedy 2015).
pub struct BatchNorm2d {
    affine: Affine,
    running_mean: Parameter,
    running_variance: Parameter,
    batches: Parameter,
    activation: Activation,
    epsilon: f64,
    momentum: f64,
}

/// What numbers are multiplied by and moved by after they are normalized.
enum Affine {
    Learnt { gamma: Parameter, beta: Parameter },
    Nothing { gamma: Tensor, beta: Tensor },
}

impl Affine {
    fn tensors(&self, mode: ForwardMode) -> [Tensor; 2] {
        match self {
            Self::Learnt { gamma, beta } => [gamma.tensor(mode), beta.tensor(mode)],
            Self::Nothing { gamma, beta } => [gamma.clone(), beta.clone()],
        }
    }
}

impl BatchNorm2d {
    /// How far one batch moves the running statistics, by PyTorch's default.
    pub const MOMENTUM: f64 = 0.1;
    /// What is added to the variance, by PyTorch's default.
    pub const EPSILON: f64 = 1e-5;

    /// With gamma 1 and beta 0, followed by an activation; epsilon is the builder's, 1e-5 unless the network was trained with another, and
    /// momentum 0.1.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(builder: &Builder, channels: usize, activation: Activation) -> Result<Self> {
        let epsilon = builder.batch_norm_epsilon().unwrap_or(Self::EPSILON);
        Self::with_constants(builder, channels, activation, epsilon, Self::MOMENTUM)
    }

    /// Without gamma and beta, PyTorch's `affine=False`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn without_affine(builder: &Builder, channels: usize) -> Result<Self> {
        let gamma = builder.constant("weight", &[channels], Init::Constant(1.0))?;
        let affine = Affine::Nothing { beta: gamma.zeros_like()?, gamma };
        let epsilon = builder.batch_norm_epsilon().unwrap_or(Self::EPSILON);
        Self::with_affine(builder, channels, affine, Activation::Identity, epsilon, Self::MOMENTUM)
    }

    /// The same, with `epsilon` added to the variance, to keep it from zero, and a `momentum` by which one batch moves the running
    /// statistics: `running ← (1 − momentum) · running + momentum · batch`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn with_constants(
        builder: &Builder,
        channels: usize,
        activation: Activation,
        epsilon: f64,
        momentum: f64,
    ) -> Result<Self> {
        let affine = Affine::Learnt {
            gamma: builder.parameter("weight", &[channels], Init::Constant(1.0))?,
            beta: builder.parameter("bias", &[channels], Init::Constant(0.0))?,
        };
        Self::with_affine(builder, channels, affine, activation, epsilon, momentum)
    }

    fn with_affine(
        builder: &Builder,
        channels: usize,
        affine: Affine,
        activation: Activation,
        epsilon: f64,
        momentum: f64,
    ) -> Result<Self> {
        Ok(Self {
            affine,
            running_mean: builder.buffer("running_mean", &[channels], 0.0)?,
            running_variance: builder.buffer("running_var", &[channels], 1.0)?,
            batches: builder.counter("num_batches_tracked")?,
            activation,
            epsilon,
            momentum,
        })
    }

    /// Normalizes by the batch's statistics, which move the running ones, or by the running ones, as the mode says.
    ///
    /// # Errors
    /// When the channels do not fit or the device fails.
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        // Before the running statistics are moved by those of other channels.
        self.running_mean.in_layer(|| ops::check_channels(x, self.running_mean.var().elem_count()))?;
        // Once for the statistics and what they normalize. What fails here is of the layers before.
        let x = x.materialized()?;
        self.running_mean.in_layer(|| self.normalized(&x, mode))
    }

    fn normalized(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        // As PyTorch's hooks see it: before the running statistics move.
        observation::batch_norm_input(x, || [self.running_mean.value(), self.running_variance.value()])?;
        let statistics = if mode.uses_batch_statistics() {
            // The normalization itself takes the gradient through them.
            let running = RunningStatistics {
                mean: self.running_mean.var(),
                variance: self.running_variance.var(),
                batches: self.batches.var(),
            };
            ops::batch_moments_to_normalize(x, running, self.momentum)?
        } else {
            // What moves them may not have been read.
            ops::finish_batch_moments()?;
            let (mean, variance) = (self.running_mean.value(), self.running_variance.value());
            BatchNormStatistics { mean, variance, of_batch: false }
        };
        let [gamma, beta] = self.affine.tensors(mode);
        ops::batch_norm(x, &gamma, &beta, &statistics, self.epsilon, self.activation)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::BatchNorm2d;
    use crate::activation::Activation;
    use crate::feature_map::FeatureMap;
    use crate::nn::{Builder, Conv2d, Conv2dShape, ForwardMode, LayerNorm, Linear};
    use crate::precision::Precision;

    #[test]
    fn what_is_added_to_the_variance_is_the_builders_in_all_its_parts() {
        let builder = Builder::zeros(Precision::F64, &Device::Cpu);
        let ones = FeatureMap::from_nchw(&Tensor::ones((1, 1, 1, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        // Mean and variance are 0 and 1.
        for (name, builder, epsilon) in
            [("usual", builder.clone(), 1e-5), ("other", builder.with_batch_norm_epsilon(3.0), 3.0)]
        {
            let layer = BatchNorm2d::new(&builder.at(name), 1, Activation::Identity).unwrap();
            let normalized = layer.forward(&ones, ForwardMode::eval()).unwrap().to_nchw().unwrap();
            let found = normalized.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
            assert!((found - 1.0 / (1.0_f64 + epsilon).sqrt()).abs() < 1e-12, "{name}: {found}");
        }
    }

    #[test]
    fn a_shape_that_does_not_fit_is_told_with_the_layer() {
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        let map = Tensor::ones((2, 16, 4, 4), DType::F32, &Device::Cpu).unwrap();
        let map = FeatureMap::from_nchw(&map).unwrap();
        let norm = BatchNorm2d::new(&builder.at("block0").at("bn"), 8, Activation::Identity).unwrap();
        for mode in [ForwardMode::train(), ForwardMode::eval()] {
            let error = norm.forward(&map, mode).err().unwrap().to_string();
            assert_eq!(error, "layer `block0.bn`: batch norm of 8 channels does not fit 16");
        }
        let tracked = builder.weights().iter().find(|weight| weight.name() == "block0.bn.num_batches_tracked").cloned();
        assert_eq!(tracked.unwrap().value().to_scalar::<i64>().unwrap(), 0, "the statistics have not moved");
        let conv = Conv2d::new(&builder.at("conv"), Conv2dShape::same(8, 8, 3)).unwrap();
        let error = conv.forward(&map, ForwardMode::train()).err().unwrap().to_string();
        assert!(error.starts_with("layer `conv`: a kernel [8, 8, 3, 3]"), "{error}");
        let norm = LayerNorm::new(&builder.at("ln"), 8).unwrap();
        let error = norm.forward(&map, ForwardMode::train()).err().unwrap().to_string();
        assert!(error.starts_with("layer `ln`: "), "{error}");
        let linear = Linear::new(&builder, 12, 10).unwrap();
        let vectors = Tensor::ones((2, 8), DType::F32, &Device::Cpu).unwrap();
        // A network that is one layer has no name for it.
        let error = linear.forward(&vectors, ForwardMode::train()).unwrap_err().to_string();
        assert!(error.starts_with("a weight [10, 12]"), "{error}");
    }
}
