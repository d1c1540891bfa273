//! What optimizers do to weights and to their own state.

use candle_core::Tensor;

/// What becomes of a target number `t`, given two sources `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateRule {
    /// `t ← decay·t + share·(a + weight_decay·b)`: a running average of gradients `a`, with `b` the weight.
    Average {
        /// What is kept of the average.
        decay: f64,
        /// What is taken of the gradient.
        share: f64,
        /// How much of the weight counts as gradient.
        weight_decay: f64,
    },
    /// `t ← decay·t + (1 − decay)·(a + weight_decay·b)²`: a running average of squared gradients.
    AverageOfSquares {
        /// What is kept of the average.
        decay: f64,
        /// How much of the weight counts as gradient.
        weight_decay: f64,
    },
    /// `t ← keep·t − rate·a / (√b / root_bias + epsilon)`: Adam's step, with `a` the average gradient and `b` the average
    /// of its square.
    Adam {
        /// What is kept of the weight: below 1 for decoupled weight decay.
        keep: f64,
        /// Learning rate over the first moment's bias correction.
        rate: f64,
        /// Square root of the second moment's bias correction.
        root_bias: f64,
        /// Keeps the denominator from zero.
        epsilon: f64,
    },
    /// `t ← keep·t + x·a + y·b`: a step along two directions.
    Step {
        /// What is kept of the weight.
        keep: f64,
        /// How much of the first source is added.
        x: f64,
        /// How much of the second source is added.
        y: f64,
    },
}

/// A tensor to be updated in place, and the two of its shape that it is updated from.
#[derive(Clone, Copy)]
pub struct UpdateOperands<'a> {
    /// What is updated.
    pub target: &'a Tensor,
    /// The first source.
    pub a: &'a Tensor,
    /// The second source.
    pub b: &'a Tensor,
}

/// A step of Adam, with the averages of the gradient and of its square that it takes: [`UpdateRule::Average`],
/// [`UpdateRule::AverageOfSquares`] and [`UpdateRule::Adam`] in one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// What the averages of the gradient and of its square keep.
    pub betas: [f64; 2],
    /// How much of the weight counts as gradient.
    pub weight_decay: f64,
    /// What is kept of the weight: below 1 for decoupled weight decay.
    pub keep: f64,
    /// Learning rate over the first moment's bias correction.
    pub rate: f64,
    /// Square root of the second moment's bias correction.
    pub root_bias: f64,
    /// Keeps the denominator from zero.
    pub epsilon: f64,
}

/// A weight that Adam moves by its gradient, and both averages, which are updated too: four tensors of one shape.
#[derive(Clone, Copy)]
pub struct AdamOperands<'a> {
    /// What is moved.
    pub weight: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// The running average of the gradient.
    pub average: &'a Tensor,
    /// The running average of the gradient's square.
    pub average_of_squares: &'a Tensor,
}

impl<'a> AdamOperands<'a> {
    /// The three updates that a step is made of, in their order, each by its rule.
    pub(crate) fn updates(self, step: AdamStep) -> [(UpdateOperands<'a>, UpdateRule); 3] {
        let Self { weight, gradient, average, average_of_squares } = self;
        let AdamStep { betas: [beta1, beta2], weight_decay, keep, rate, root_bias, epsilon } = step;
        [
            (
                UpdateOperands { target: average, a: gradient, b: weight },
                UpdateRule::Average { decay: beta1, share: 1.0 - beta1, weight_decay },
            ),
            (
                UpdateOperands { target: average_of_squares, a: gradient, b: weight },
                UpdateRule::AverageOfSquares { decay: beta2, weight_decay },
            ),
            (
                UpdateOperands { target: weight, a: average, b: average_of_squares },
                UpdateRule::Adam { keep, rate, root_bias, epsilon },
            ),
        ]
    }
}
