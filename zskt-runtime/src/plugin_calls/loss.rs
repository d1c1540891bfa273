//! A loss is one finite number.

use std::sync::Arc;

use candle_core::Tensor;
use zskt_api::{CheckError, ClassifierOutput, Error, Loss, LossInputs, LossTarget, OutputShape, Result};

use super::boundary::Boundary;
use super::inspector::Looked;
use super::numbers::{first_not_finite, largest};

/// A loss whose values are looked at.
pub struct CheckedLoss {
    boundary: Boundary,
    inner: Arc<dyn Loss>,
    looked: Looked,
}

impl CheckedLoss {
    /// Wraps a loss.
    pub fn new(boundary: Boundary, inner: Arc<dyn Loss>) -> Self {
        Self { boundary, inner, looked: Looked::default() }
    }

    /// The error for a value that is not finite: what the loss was given, and whether it is that.
    fn not_finite(&self, value: f64, student: &ClassifierOutput, target: &LossTarget) -> Result<Error> {
        let plugin = self.boundary.plugin;
        let activations: Vec<_> =
            student.activations.iter().map(|map| map.detach().channels_last()).collect::<Result<_>>()?;
        let given = [
            ("student's logits", std::slice::from_ref(&student.logits)),
            ("student's activations", &activations),
            ("teacher's targets", &target.teacher),
        ];
        let mut sizes = Vec::new();
        for (what, tensors) in given {
            let mut size: f64 = 0.0;
            for tensor in tensors {
                if let Some((_, found)) = first_not_finite(tensor)? {
                    return Ok(Error::new(format!(
                        "{plugin} gave a loss of {value}: the {what} that it was given are not finite ({found})"
                    )));
                }
                size = size.max(largest(tensor)?);
            }
            if !tensors.is_empty() {
                sizes.push(format!("the {what} {size:.3e}"));
            }
        }
        Ok(Error::new(format!(
            "{plugin} gave a loss of {value} for finite inputs, of which the largest are: {}; where these are far larger than at \
             the start, training has diverged, and a lower learning rate may help; else it is a fault of the loss",
            sizes.join(", ")
        )))
    }
}

#[warn(clippy::missing_trait_methods)]
impl Loss for CheckedLoss {
    fn needs(&self) -> LossInputs {
        self.boundary.plugin.call(|| self.inner.needs())
    }

    fn check(&self, student: &OutputShape, teacher: Option<&OutputShape>) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check(student, teacher))
    }

    fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        self.boundary.call(|| self.inner.target(teacher))
    }

    fn replays(&self) -> bool {
        self.boundary.plugin.call(|| self.inner.replays())
    }

    fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
        let boundary = self.boundary.asked_for(student.logits.dtype(), student.logits.device());
        let value = boundary.call_changing(&self.looked, &[], || self.inner.value(student, target))?;
        if !value.dims().is_empty() {
            let did = format_args!("gave a tensor of shape {:?}", value.dims());
            return Err(boundary.violation("has to give a scalar (shape [])", did));
        }
        boundary.check_tensor("a loss", &value, &[])?;
        if boundary.looks_at_numbers()
            && let Some((_, found)) = first_not_finite(&value)?
        {
            return Err(self.not_finite(found, student, target)?);
        }
        Ok(value)
    }
}
