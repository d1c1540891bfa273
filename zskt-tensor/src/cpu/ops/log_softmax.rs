//! Log-probabilities.

use candle_core::{Device, Result, Tensor};

use crate::candle_function::function;
use crate::cpu::simd::float::Float;
use crate::cpu::tensor_slice::{Dense, dispatch_dtype};

/// The logarithm of the softmax over the classes of `[B, classes]`.
///
/// # Errors
/// When the logits have another type.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let (batch, classes) = logits.dims2()?;
    dispatch_dtype!(logits.dtype(), T => {
        let mut log_probabilities = Dense::of(&logits.contiguous()?).slice::<T>()?.to_vec();
        for row in log_probabilities.chunks_exact_mut(classes.max(1)) {
            // The maximum cancels out; without it, exponentials overflow.
            let most = row.iter().fold(f64::NEG_INFINITY, |most, value| most.max(wide(value)));
            let sum: f64 = row.iter().map(|value| (wide(value) - most).exp()).sum();
            let log_sum = most + sum.ln();
            row.iter_mut().for_each(|value| *value = <T as Float>::from_f64(wide(value) - log_sum));
        }
        let values = Tensor::from_slice(&log_probabilities, (batch, classes), &Device::Cpu)?;
        // The gradient minus the probability times the gradient's sum over the classes.
        function(logits, values, move |gradient| {
            let mut gradients = gradient.flatten_all()?.to_vec1::<T>()?;
            let rows = gradients.chunks_exact_mut(classes.max(1)).zip(log_probabilities.chunks_exact(classes.max(1)));
            for (gradients, log_probabilities) in rows {
                let sum: f64 = gradients.iter().map(wide).sum();
                for (gradient, log_probability) in gradients.iter_mut().zip(log_probabilities) {
                    *gradient = <T as Float>::from_f64(wide(gradient) - wide(log_probability).exp() * sum);
                }
            }
            Tensor::from_vec(gradients, (batch, classes), &Device::Cpu)
        })
    })
}

fn wide<T: Float>(number: &T) -> f64 {
    number.to_f64()
}
