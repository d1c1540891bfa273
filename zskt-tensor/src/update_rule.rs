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
