//! Tensors that operations take beside maps.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::autograd::anchor::{NOT_GATHERED, anchored};
use crate::autograd::entry::Anchor;
use crate::autograd::made_tensor::MadeTensor;
use crate::autograd::pass::{BACKWARD, GradientSum, Later, next_sequence};

/// A tensor that an operation on maps takes beside them, such as a weight, and where its gradient goes.
#[derive(Clone)]
pub struct TensorInput(pub(super) Destination);

/// Where a tensor's gradient goes.
#[derive(Clone)]
pub enum Destination {
    /// Nobody wants it.
    Constant,
    /// To a variable.
    Variable(Tensor),
    /// What was made on this tape.
    Made(Arc<MadeTensor>),
    /// What candle has made the tensor of.
    Derived(GradientSum, Anchor),
}

impl TensorInput {
    /// That of this tensor.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self(if !tensor.track_op() {
            Destination::Constant
        } else if tensor.is_variable() {
            Destination::Variable(tensor.clone())
        } else {
            let sum = GradientSum::default();
            let anchor = anchored(tensor, &sum, next_sequence())?;
            Destination::Derived(sum, anchor)
        }))
    }

    /// That of a tensor whose gradient need not go by candle's tape.
    pub(super) fn on_tape(tensor: &Tensor) -> Option<Self> {
        Some(Self(if !tensor.track_op() {
            Destination::Constant
        } else if tensor.is_variable() {
            Destination::Variable(tensor.clone())
        } else {
            Destination::Made(MadeTensor::known(tensor)?)
        }))
    }

    /// Whether its gradient is wanted.
    pub fn is_tracked(&self) -> bool {
        !matches!(self.0, Destination::Constant)
    }

    /// Adds a part of its gradient, if it is wanted.
    ///
    /// # Errors
    /// When the device fails, or a variable's gradient is asked for in another way than by [`backward`](crate::autograd::backward).
    pub fn accumulate(&self, gradient: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        match &self.0 {
            Destination::Constant => Ok(()),
            Destination::Made(made) => made.accumulate(gradient()?),
            Destination::Derived(sum, _) => sum.add(gradient()?),
            Destination::Variable(variable) => {
                let gradient = gradient()?;
                // Numbers that are pending may be those that it is added to.
                let later = BACKWARD.with_borrow(|backward| {
                    let gathered = backward.variables.as_ref();
                    backward.later.filter(|_| gathered.is_some_and(|variables| variables.contains_key(&variable.id())))
                });
                later.map_or(Ok(()), |later| (later.complete)())?;
                BACKWARD.with_borrow_mut(|backward| match &mut backward.variables {
                    Some(variables) => {
                        let gradient = match variables.remove(&variable.id()) {
                            Some([_, earlier]) => (earlier + gradient)?,
                            None => gradient,
                        };
                        variables.insert(variable.id(), [variable.clone(), gradient]);
                        Ok(())
                    }
                    None => bail!("{NOT_GATHERED}"),
                })
            }
        }
    }

    /// Whether it is made of other tensors: candle asks for the gradient of what is made as soon as the
    /// operation's own node has run.
    pub fn is_made(&self) -> bool {
        matches!(self.0, Destination::Derived(..) | Destination::Made(_))
    }

    /// Adds a part of its gradient, which is wanted and whose numbers `later` computes: before anybody reads them, and at the latest
    /// when the pass ends.
    ///
    /// # Errors
    /// As [`accumulate`](Self::accumulate).
    pub fn accumulate_later(&self, gradient: Tensor, later: Later) -> Result<()> {
        if self.is_made() {
            (later.complete)()?;
        } else {
            BACKWARD.with_borrow_mut(|backward| backward.later = Some(later));
        }
        self.accumulate(|| Ok(gradient))
    }
}

/// The gradient of a variable, as an operation of candle's returns it: none where it is gathered.
///
/// # Errors
/// When the device fails.
pub fn gathered(tensor: &Tensor, gradient: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    if !tensor.track_op() {
        return Ok(None);
    }
    let gathers = BACKWARD.with_borrow(|backward| backward.variables.is_some());
    if tensor.is_variable() && gathers {
        TensorInput(Destination::Variable(tensor.clone())).accumulate(gradient)?;
        return Ok(None);
    }
    gradient().map(Some)
}
