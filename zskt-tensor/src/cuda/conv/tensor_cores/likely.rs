//! Which kernels are likely to be launched soon after one: they are compiled beside it, in as much time as it alone takes.

use crate::cuda::conv::tensor_cores::kernel::{EpilogueKind, Kernel, OperandKind};
use crate::cuda::conv::tensor_cores::layer::Numbers;
use crate::cuda::conv::tensor_cores::plan::{ConvolutionPlan, Direction, WeightPlan};
use crate::shape::ConvGeometry;

/// What becomes of a convolution's result.
#[derive(Clone, Copy)]
pub enum Use {
    /// A batch norm by the statistics of the batch: the network learns.
    BatchNorm,
    /// No batch norm: it is added to another, say. But what is convolved is normalized by the statistics of the batch, so the network learns.
    Other,
    /// Anything, in a frozen network or one that is evaluated.
    Evaluation,
}

/// After a convolution that reads a map so: in a network that learns both its gradients, with or without a batch norm behind it, and itself in
/// evaluation; in a frozen one the gradient that goes through.
pub fn likely_after(geometry: &ConvGeometry, numbers: Numbers, operand: OperandKind, result: Use) -> Vec<Kernel> {
    let [forward, data] =
        [Direction::Forward, Direction::Data].map(|direction| ConvolutionPlan::of(direction, geometry, numbers));
    let convolution = |plan: &Option<ConvolutionPlan>, operand, epilogue| {
        plan.map(|plan| Kernel::Convolution { plan, operand, epilogue })
    };
    let weight = |gradient| {
        let plan = WeightPlan::of(geometry, numbers, gradient == OperandKind::NormGradient);
        plan.map(|plan| Kernel::WeightGradient { plan, input: operand, gradient })
    };
    let through = match operand {
        OperandKind::Plain | OperandKind::NormGradient => EpilogueKind::Gradient,
        OperandKind::Normalized(rectifier) => match result {
            Use::BatchNorm | Use::Other => EpilogueKind::BatchNorm(rectifier),
            Use::Evaluation => EpilogueKind::FixedNorm(rectifier),
        },
    };
    let kernels = match result {
        Use::BatchNorm => vec![
            convolution(&forward, operand, EpilogueKind::Result { moments: false }),
            convolution(&data, OperandKind::NormGradient, through),
            convolution(&data, OperandKind::Plain, through),
            weight(OperandKind::NormGradient),
            weight(OperandKind::Plain),
            Some(Kernel::AddUp),
            Some(Kernel::FinishMoments),
            Some(Kernel::FinishGradients),
        ],
        Use::Other => vec![
            convolution(&data, OperandKind::Plain, through),
            // Where another reader's gradient is added, and goes through.
            convolution(&data, OperandKind::Plain, EpilogueKind::Gradient),
            weight(OperandKind::Plain),
        ],
        Use::Evaluation => vec![convolution(&data, OperandKind::Plain, through)],
    };
    kernels.into_iter().flatten().collect()
}
