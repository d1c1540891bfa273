//! A loss is one finite number.

use std::sync::Arc;

use candle_core::Tensor;
use zskt_api::{CheckError, Error, FeatureMap, Loss, LossBatch, LossInputs, OutputShape, Result, TeacherOutput};

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
    fn not_finite(&self, value: f64, batch: &LossBatch<'_>) -> Result<Error> {
        let plugin = self.boundary.plugin;
        let tensors =
            |maps: &[FeatureMap]| maps.iter().map(|map| map.detach().channels_last()).collect::<Result<Vec<_>>>();
        let activations = batch.student.map(|student| tensors(&student.activations)).transpose()?.unwrap_or_default();
        let images = batch.images.map(|images| tensors(std::slice::from_ref(images))).transpose()?.unwrap_or_default();
        let given = [
            (
                "student's logits",
                batch.student.map(|student| std::slice::from_ref(&student.logits)).unwrap_or_default(),
            ),
            ("student's activations", &activations),
            ("teacher's targets", batch.target),
            ("images", &images),
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

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        self.boundary.call(|| self.inner.target(teacher))
    }

    fn replays(&self) -> bool {
        self.boundary.plugin.call(|| self.inner.replays())
    }

    fn node(&self) -> Option<&str> {
        (!self.boundary.plugin.is_nested()).then(|| self.boundary.plugin.node())
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        // Of what it is given it makes a loss of the same type, on the same device.
        let given = batch.student.map(|student| &student.logits).or(batch.target.first());
        let like = given.map(|given| (given.dtype(), given.device()));
        let like = like.or(batch.images.map(|images| (images.dtype(), images.device())));
        let boundary = match like {
            Some((dtype, device)) => self.boundary.asked_for(dtype, device),
            None => self.boundary.clone(),
        };
        let value = boundary.call_changing(&self.looked, &[], || self.inner.value(batch))?;
        if !value.dims().is_empty() {
            let did = format_args!("gave a tensor of shape {:?}", value.dims());
            return Err(boundary.violation("has to give a scalar (shape [])", did));
        }
        boundary.check_tensor("a loss", &value, &[])?;
        if boundary.looks_at_numbers()
            && let Some((_, found)) = first_not_finite(&value)?
        {
            return Err(self.not_finite(found, batch)?);
        }
        Ok(value)
    }
}
