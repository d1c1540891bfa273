//! The kernels of `kernels/conv/*.cuh`, each compiled for one plan, operand and epilogue.

use crate::activation::Rectifier;
use crate::cuda::conv::tensor_cores::plan::{ConvolutionPlan, Direction, WeightPlan};

/// Templates that all kernels are instantiated from; in front of them come the operations of a GPU, or of the emulator.
#[cfg(any(test, feature = "cuda"))]
pub const TEMPLATES: &str = concat!(
    include_str!("../../kernels/conv/exact_sums.cuh"),
    include_str!("../../kernels/conv/operand.cuh"),
    include_str!("../../kernels/conv/tile.cuh"),
    include_str!("../../kernels/conv/channel_sums.cuh"),
    include_str!("../../kernels/conv/epilogue.cuh"),
    include_str!("../../kernels/conv/implicit_gemm.cuh"),
    include_str!("../../kernels/conv/weight_gradient.cuh"),
    include_str!("../../kernels/conv/add_up.cuh"),
);

/// The operations of a GPU.
#[cfg(any(test, feature = "cuda"))]
pub const DEVICE: &str = include_str!("../../kernels/conv/device.cuh");

/// What follows a batch norm, as far as kernels are compiled for it: `Activation` in the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RectifierKind {
    /// ReLU, which conversions to bf16 do on the way.
    Relu,
    /// Any slope and limit.
    Any,
}

impl RectifierKind {
    /// Of a rectifier.
    pub fn of(rectifier: Rectifier) -> Self {
        if rectifier == (Rectifier { slope: 0.0, limit: f64::INFINITY }) { Self::Relu } else { Self::Any }
    }

    #[cfg(any(test, feature = "cuda"))]
    fn template(self) -> &'static str {
        match self {
            Self::Relu => "RELU",
            Self::Any => "ANY",
        }
    }
}

/// What is done to a map where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandKind {
    /// Nothing.
    Plain,
    /// Batch norm and its rectifier.
    Normalized(RectifierKind),
    /// The gradient in front of a batch norm is made of the one behind it.
    NormGradient,
}

impl OperandKind {
    #[cfg(any(test, feature = "cuda"))]
    fn template(self, number: &str, channels: usize) -> String {
        match self {
            Self::Plain => format!("Plain<{number}, {channels}>"),
            Self::Normalized(rectifier) => format!("Normalized<{number}, {channels}, {}>", rectifier.template()),
            Self::NormGradient => format!("NormGradient<{number}, {channels}>"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Normalized(RectifierKind::Relu) => "relu",
            Self::Normalized(RectifierKind::Any) => "normalized",
            Self::NormGradient => "norm_gradient",
        }
    }
}

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpilogueKind {
    /// Of a convolution; with the moments of it.
    Result { moments: bool },
    /// Of a gradient: nothing.
    Gradient,
    /// Of a gradient: through a rectifier, with sums for its batch norm.
    BatchNorm(RectifierKind),
    /// Of a gradient: through a rectifier and a batch norm with constant statistics.
    FixedNorm(RectifierKind),
}

impl EpilogueKind {
    #[cfg(any(test, feature = "cuda"))]
    fn template(self, number: &str, channels: usize) -> String {
        let gradient = |through, rectifier: RectifierKind| {
            format!("GradientResult<{number}, {channels}, {through}, {}>", rectifier.template())
        };
        match self {
            Self::Result { moments } => format!("Result<{number}, {channels}, {moments}>"),
            Self::Gradient => gradient("NOTHING", RectifierKind::Any),
            Self::BatchNorm(rectifier) => gradient("BATCH", rectifier),
            Self::FixedNorm(rectifier) => gradient("FIXED", rectifier),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Result { moments: false } | Self::Gradient => "as_it_is",
            Self::Result { moments: true } => "moments",
            Self::BatchNorm(RectifierKind::Relu) => "relu_batch_norm",
            Self::BatchNorm(RectifierKind::Any) => "batch_norm",
            Self::FixedNorm(RectifierKind::Relu) => "relu_fixed_norm",
            Self::FixedNorm(RectifierKind::Any) => "fixed_norm",
        }
    }
}

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// A convolution or the gradient of its input.
    Convolution { plan: ConvolutionPlan, operand: OperandKind, epilogue: EpilogueKind },
    /// The gradient of a weight, in parts.
    WeightGradient { plan: WeightPlan, input: OperandKind, gradient: OperandKind },
    /// The sums of these parts.
    AddUp,
    /// The mean and the variance of a map.
    FinishMoments,
    /// What a batch norm's gradients are made of.
    FinishGradients,
}

/// Weights whose parts are added up by one launch, `AddUp::MOST` in the kernels.
pub const TOTALS: usize = 40;

/// Numbers of which a block adds up the parts, `AddUp::NUMBERS` in the kernels.
pub const TOTALLED: usize = 128;

impl Kernel {
    /// What it computes, whatever its shape.
    #[cfg(test)]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Convolution { plan, .. } if plan.direction == Direction::Forward => "convolution",
            Self::Convolution { .. } => "convolution, data gradient",
            Self::WeightGradient { .. } => "convolution, weight gradient",
            Self::AddUp => "add_up",
            Self::FinishMoments | Self::FinishGradients => "finish",
        }
    }

    /// The name of its function.
    pub fn name(&self) -> String {
        match self {
            Self::Convolution { plan, operand, epilogue } => {
                let ConvolutionPlan { layer, tile, channels, across, ring, .. } = plan;
                let direction = if plan.direction == Direction::Data { "data" } else { "forward" };
                let (operand, epilogue) = (operand.name(), epilogue.name());
                format!("zskt_conv_{direction}_{layer}_{tile}_c{channels}a{across}r{ring}_{operand}_{epilogue}")
            }
            Self::WeightGradient { plan, input, gradient } => {
                let WeightPlan { layer, tile, outputs, inputs, ahead, .. } = plan;
                let (input, gradient, ahead) = (input.name(), gradient.name(), u8::from(*ahead));
                format!("zskt_conv_weight_{layer}_{tile}_o{outputs}i{inputs}a{ahead}_{input}_{gradient}")
            }
            Self::AddUp => "zskt_conv_weight_add_up".into(),
            Self::FinishMoments => "zskt_conv_finish_moments".into(),
            Self::FinishGradients => "zskt_conv_finish_gradients".into(),
        }
    }

    /// Bytes of shared memory.
    #[cfg(any(test, feature = "cuda"))]
    pub fn shared(&self) -> usize {
        match self {
            Self::Convolution { plan, .. } => plan.shared(),
            Self::WeightGradient { plan, .. } => plan.shared(),
            Self::AddUp => 8 * TOTALLED * size_of::<f64>(),
            Self::FinishMoments | Self::FinishGradients => 0,
        }
    }

    /// What instantiates it, behind the templates.
    #[cfg(any(test, feature = "cuda"))]
    pub fn entry(&self) -> String {
        let (name, shared) = (self.name(), self.shared());
        let finish = |sums| (format!("Finish<{sums}>"), format!("Finish<{sums}>"), format!("finish<{sums}>"));
        let (shape, arguments, function) = match self {
            Self::Convolution { plan, operand, epilogue } => {
                let layer = &plan.layer;
                let (read, made) = match plan.direction {
                    Direction::Forward => (layer.inputs, layer.outputs),
                    Direction::Data => (layer.outputs, layer.inputs),
                };
                let number = layer.number();
                let (operand, epilogue) = (operand.template(number, read), epilogue.template(number, made));
                let shape = format!("Shape<{}>", plan.template());
                (shape, format!("Convolution<{operand}, {epilogue}>"), format!("convolve<of_{name}::S>"))
            }
            Self::WeightGradient { plan, input, gradient } => {
                let (layer, number) = (&plan.layer, plan.layer.number());
                let (input, gradient) =
                    (input.template(number, layer.inputs), gradient.template(number, layer.outputs));
                let shape = format!("WeightShape<{}>", plan.template());
                (shape, format!("WeightGradient<{input}, {gradient}>"), format!("weight_gradient<of_{name}::S>"))
            }
            Self::AddUp => ("AddUp".into(), "AddUp".into(), "add_up".into()),
            Self::FinishMoments => finish("Moments"),
            Self::FinishGradients => finish("GradientSums"),
        };
        format!(
            "namespace of_{name} {{\nusing S = {shape};\nusing Arguments = {arguments};\n\
             static_assert(S::SHARED == {shared}, \"the plan knows shared memory\");\n}}\n\
             ENTRY({name}, of_{name}::S::RESIDENT, of_{name}::Arguments, {function})\n"
        )
    }
}

/// All that is compiled for a GPU.
#[cfg(feature = "cuda")]
pub fn source(kernel: &Kernel) -> String {
    [DEVICE, TEMPLATES, &kernel.entry()].concat()
}

/// The compiler's options for a compute capability, as in `90`.
#[cfg(any(test, feature = "cuda"))]
pub fn options(capability: &str) -> Vec<String> {
    // 177: a function that no kernel of these calls.
    vec![format!("--gpu-architecture=sm_{capability}"), "-std=c++17".into(), "-diag-suppress=177".into()]
}
