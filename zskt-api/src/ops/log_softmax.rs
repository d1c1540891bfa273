//! Log-probabilities.

use candle_core::Tensor;

use super::storage::{Dense, by_dtype};
use crate::kernels::Real;
use crate::map::tape::{self, Node};
use crate::map::values::Number;
use crate::{Error, Result, device};

/// The logarithm of the softmax over the classes of `logits` `[B, classes]`.
///
/// # Errors
/// When the logits have another rank or type, or the device fails.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let expected = |_| Error::new(format!("expected logits [B, classes], found {:?}", logits.dims()));
    let (_, classes) = logits.dims2().map_err(expected)?;
    if !logits.device().is_cpu() {
        return Ok(device::log_softmax(logits)?);
    }
    let logits = logits.contiguous()?;
    let log_beliefs = || {
        by_dtype!(logits.dtype(), T => {
            let mut values = Dense::of(&logits).slice::<T>()?.to_vec();
            for row in values.chunks_exact_mut(classes.max(1)) {
                // The maximum cancels out; without it, exponentials overflow.
                let most = row.iter().fold(f64::NEG_INFINITY, |most, value| most.max(wide(value)));
                let sum: f64 = row.iter().map(|value| (wide(value) - most).exp()).sum();
                let log_sum = most + sum.ln();
                row.iter_mut().for_each(|value| *value = <T as Real>::from_f64(wide(value) - log_sum));
            }
            let node = LogSoftmax { log_beliefs: values.clone(), classes };
            tape::tensor(&[&logits], values, logits.shape().clone(), node)
        })
    };
    Ok(log_beliefs()?)
}

fn wide<T: Real>(number: &T) -> f64 {
    number.to_f64()
}

struct LogSoftmax<T> {
    log_beliefs: Vec<T>,
    classes: usize,
}

impl<T: Number> Node for LogSoftmax<T> {
    const NAME: &'static str = "log softmax";

    /// The gradient minus the belief times the gradient's sum over the classes.
    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut values = gradient.flatten_all()?.to_vec1::<T>()?;
        let rows = values.chunks_exact_mut(self.classes.max(1)).zip(self.log_beliefs.chunks_exact(self.classes.max(1)));
        for (gradients, log_beliefs) in rows {
            let sum: f64 = gradients.iter().map(wide).sum();
            for (gradient, log_belief) in gradients.iter_mut().zip(log_beliefs) {
                *gradient = <T as Real>::from_f64(wide(gradient) - wide(log_belief).exp() * sum);
            }
        }
        Ok(vec![tape::gradient(inputs[0], || Ok(values))?])
    }
}
