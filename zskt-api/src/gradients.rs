//! Gradients of one player.

use candle_core::Tensor;

use crate::{Error, Parameter, Result, ops};

/// The gradients of some parameters.
pub struct Gradients {
    entries: Vec<(Parameter, Tensor)>,
}

impl Gradients {
    /// The gradients of a scalar with respect to `parameters`.
    ///
    /// # Errors
    /// When the loss reaches none of them, or the device fails.
    pub fn of<'a>(loss: &Tensor, parameters: impl Iterator<Item = &'a Parameter>) -> Result<Self> {
        let mut store = loss.backward()?;
        let entries: Vec<_> = parameters
            .filter_map(|parameter| {
                let gradient = store.remove(parameter.var().as_tensor())?;
                Some((parameter.clone(), gradient))
            })
            .collect();
        if entries.is_empty() {
            return Err(Error::new("the loss does not depend on any parameter of its player"));
        }
        Ok(Self { entries })
    }

    /// Each parameter with its gradient.
    pub fn iter(&self) -> impl Iterator<Item = (&Parameter, &Tensor)> {
        self.entries.iter().map(|(parameter, gradient)| (parameter, gradient))
    }

    /// The global L2 norm.
    ///
    /// # Errors
    /// When the device fails.
    pub fn norm(&self) -> Result<f64> {
        Ok(ops::sum_of_squares(self.entries.iter().map(|(_, gradient)| gradient))?.sqrt())
    }

    /// Scales all gradients so that their global L2 norm is at most `limit`, as PyTorch's `clip_grad_norm_` does
    /// (factor `limit / (norm + 1e-6)`). Returns the norm before.
    ///
    /// # Errors
    /// When the norm is not a finite number, or the device fails.
    pub fn clip(&mut self, limit: f64) -> Result<f64> {
        let norm = self.norm()?;
        if !norm.is_finite() {
            return Err(Error::new(format!("the gradient's norm is {norm}: training has diverged")));
        }
        let factor = limit / (norm + 1e-6);
        if factor < 1.0 {
            for (_, gradient) in &mut self.entries {
                *gradient = gradient.affine(factor, 0.0)?;
            }
        }
        Ok(norm)
    }
}
