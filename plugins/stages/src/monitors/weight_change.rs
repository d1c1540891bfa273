//! How far a batch moves the student.

use zskt_api::candle_core::{DType, Tensor};
use zskt_api::{Parameter, Result, Weights};

/// A batch that changes the weights by less, relative to their norm, is lost in the rounding of f32.
const STILL: f64 = 1e-7;

/// A network's parameters before a batch.
pub struct WeightsBefore {
    parameters: Vec<(Parameter, Tensor)>,
}

impl WeightsBefore {
    /// Copies what is learnt by gradient.
    pub fn take(weights: &Weights) -> Result<Self> {
        let copies = weights.parameters().map(|parameter| Ok((parameter.clone(), parameter.value().copy()?)));
        Ok(Self { parameters: copies.collect::<Result<_>>()? })
    }

    /// How far the parameters are from there now.
    pub fn change(&self) -> Result<WeightChange> {
        let mut squares = Vec::with_capacity(2 * self.parameters.len());
        for (parameter, before) in &self.parameters {
            let sum = |tensor: &Tensor| tensor.sqr()?.sum_all()?.to_dtype(DType::F64);
            squares.extend([sum(&(parameter.value() - before)?)?, sum(before)?]);
        }
        // Read at once: an accelerator stops for each reading.
        let squares = if squares.is_empty() { Vec::new() } else { Tensor::stack(&squares, 0)?.to_vec1::<f64>()? };
        let (mut moved, mut whole) = (0.0, 0.0);
        for pair in squares.as_chunks::<2>().0 {
            moved += pair[0];
            whole += pair[1];
        }
        Ok(WeightChange(f64::sqrt(moved / whole)))
    }
}

/// The norm of a change of weights, relative to that of the weights.
#[derive(Clone, Copy)]
pub struct WeightChange(pub f64);

impl WeightChange {
    /// Whether the network does not move.
    pub fn is_still(self) -> bool {
        self.0 < STILL
    }

    /// What to tell the user then.
    pub fn warning(self) -> String {
        format!(
            "the student no longer moves: a batch changes its weights by {:.1e} of their norm; its losses may have no gradient where it \
             is, or its learning rate may be too small",
            self.0
        )
    }
}
