//! The activations.

/// What is done with each number of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, x).
    Relu,
    /// min(max(0, x), 6), as in MobileNetV2 (Sandler et al., CVPR 2018).
    Relu6,
    /// x above zero, slope·x below.
    LeakyRelu(f64),
    /// min(max(x, min), max); no gradient flows where it is `min` or `max`.
    Clip {
        /// The smallest result.
        min: f64,
        /// The largest result.
        max: f64,
    },
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ).
    Tanh,
    /// min(max(alpha·x + beta, 0), 1): PyTorch has 1/6 and 1/2 ([`Activation::HARD_SIGMOID`]), ONNX by itself 0.2 and 0.5.
    HardSigmoid {
        /// The factor.
        alpha: f64,
        /// The term.
        beta: f64,
    },
    /// x · min(max(x/6 + 1/2, 0), 1), as in MobileNetV3 (Howard et al., ICCV 2019).
    HardSwish,
    /// x / (1 + e⁻ˣ), also called swish.
    Silu,
    /// x · (1 + erf(x / √2)) / 2, exactly, as PyTorch's `GELU()` (Hendrycks and Gimpel, arXiv:1606.08415).
    Gelu,
}

/// `x` between zero and `limit`, `limit` above, and `slope`·`x` below zero: what normalizations are fused with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectifier {
    /// 0 for ReLU, 1 for no activation.
    pub slope: f64,
    /// Above zero, perhaps infinite. No gradient flows from it on.
    pub limit: f64,
}

impl Rectifier {
    /// No activation.
    pub const NONE: Self = Self { slope: 1.0, limit: f64::INFINITY };
}

/// An activation that is computed by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// What the number is made into.
    pub gate: Gate,
    /// Whether that is multiplied with the number itself.
    pub times_x: bool,
}

/// What lies between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ).
    Tanh,
    /// (1 + erf(x / √2)) / 2, the standard normal distribution's Φ(x).
    Normal,
    /// min(max(alpha·x + beta, min), max).
    Line { alpha: f64, beta: f64, min: f64, max: f64 },
}

/// How an activation is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// As part of a normalization.
    Rectifier(Rectifier),
    /// By itself.
    Curve(Curve),
}

impl Activation {
    /// PyTorch's `Hardsigmoid`.
    pub const HARD_SIGMOID: Self = Self::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };

    /// How it is computed.
    pub(crate) fn form(self) -> Form {
        let rectifier = |slope, limit| Form::Rectifier(Rectifier { slope, limit });
        let curve = |gate, times_x| Form::Curve(Curve { gate, times_x });
        let hard = |alpha, beta| Gate::Line { alpha, beta, min: 0.0, max: 1.0 };
        match self {
            Self::Identity => Form::Rectifier(Rectifier::NONE),
            Self::Relu => rectifier(0.0, f64::INFINITY),
            Self::LeakyRelu(slope) => rectifier(slope, f64::INFINITY),
            Self::Relu6 => rectifier(0.0, 6.0),
            Self::Clip { min: 0.0, max } if max > 0.0 => rectifier(0.0, max),
            Self::Clip { min, max } => curve(Gate::Line { alpha: 1.0, beta: 0.0, min, max }, false),
            Self::Sigmoid => curve(Gate::Sigmoid, false),
            Self::Tanh => curve(Gate::Tanh, false),
            Self::HardSigmoid { alpha, beta } => curve(hard(alpha, beta), false),
            Self::HardSwish => curve(hard(1.0 / 6.0, 0.5), true),
            Self::Silu => curve(Gate::Sigmoid, true),
            Self::Gelu => curve(Gate::Normal, true),
        }
    }
}
