//! Gradients of one player.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::nn::Parameter;
use crate::{autograd, ops};

/// Parameters that an error names, at most.
const NAMED: usize = 3;

/// Why none of the parameters has a gradient: what is usually at fault, for the shapes and numbers are right.
fn unreached(parameters: &[&str]) -> Error {
    if parameters.is_empty() {
        return Error::new("there are no parameters that could have gradients");
    }
    let named: Vec<_> = parameters.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = match parameters.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Error::new(format!(
        "no gradient reaches {}{more}: what was computed does not use them, or the way to them is cut, by `detach`, by a weight's `.value()` in \
         place of `.tensor(mode)`, or by an operation of candle that has no gradient",
        named.join(", ")
    ))
}

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
        let (mut store, mut names) = (autograd::backward(loss)?, Vec::new());
        let gradient = |parameter: &'a Parameter| {
            names.push(parameter.name());
            Some((parameter.clone(), store.remove(parameter.var().as_tensor())?))
        };
        let entries: Vec<_> = parameters.filter_map(gradient).collect();
        if entries.is_empty() {
            return Err(unreached(&names));
        }
        Ok(Self { entries })
    }

    /// Gradients that were kept elsewhere.
    pub fn from_entries(entries: Vec<(Parameter, Tensor)>) -> Self {
        Self { entries }
    }

    /// Each parameter with its gradient.
    pub fn iter(&self) -> impl Iterator<Item = (&Parameter, &Tensor)> {
        self.entries.iter().map(|(parameter, gradient)| (parameter, gradient))
    }

    /// Those of the parameters that are chosen, and the others.
    pub fn partition(self, chosen: impl Fn(&Parameter) -> bool) -> (Self, Self) {
        let (entries, others) = self.entries.into_iter().partition(|(parameter, _)| chosen(parameter));
        (Self { entries }, Self { entries: others })
    }

    /// The sums with the gradients of another step. Where only one of them has a gradient of a parameter, that is its sum.
    ///
    /// # Errors
    /// When the device fails.
    pub fn plus(self, other: Self) -> Result<Self> {
        let mut entries = self.entries;
        for (parameter, gradient) in other.entries {
            let same =
                |(own, _): &&mut (Parameter, Tensor)| own.var().as_tensor().id() == parameter.var().as_tensor().id();
            match entries.iter_mut().find(same) {
                Some((_, sum)) => *sum = (&*sum + gradient)?,
                None => entries.push((parameter, gradient)),
            }
        }
        Ok(Self { entries })
    }

    /// The global L2 norm, an `f64` scalar on the gradients' device: on a GPU, reading it waits for all that was
    /// asked of the device before.
    ///
    /// # Errors
    /// When the device fails.
    pub fn norm(&self) -> Result<Tensor> {
        ops::norm(&self.dense()?)
    }

    /// Scales all gradients so that their global L2 norm is at most `limit`, as PyTorch's `clip_grad_norm_` does
    /// (factor `limit / (norm + 1e-6)`). Returns the norm before, like [`norm`](Self::norm); one that is not finite makes the
    /// gradients NaN or leaves them so, which is for the caller to find in it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn clip(&mut self, limit: f64) -> Result<Tensor> {
        let dense = self.dense()?;
        let norm = ops::norm(&dense)?;
        let clipped = ops::clip(&dense, &norm, limit)?;
        for ((_, gradient), clipped) in self.entries.iter_mut().zip(clipped) {
            *gradient = clipped;
        }
        Ok(norm)
    }

    fn dense(&self) -> Result<Vec<Tensor>> {
        self.entries.iter().map(|(_, gradient)| Ok(gradient.contiguous()?)).collect()
    }
}
