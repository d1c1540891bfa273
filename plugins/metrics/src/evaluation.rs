//! Going through a dataset.

use zskt_api::candle_core::{D, DType, Tensor};
use zskt_api::{Batch, Dataset, Error, MetricContext, Result};

/// Images looked at together.
const BATCH: usize = 128;

/// Images looked at together on an accelerator, which is idle between one batch and the next.
const ACCELERATOR_BATCH: usize = 512;

/// Calls `look` with each batch of a dataset, in order and not augmented, until it says that it has seen enough.
pub fn each_batch(
    dataset: &dyn Dataset,
    context: &MetricContext,
    mut look: impl FnMut(Batch) -> Result<bool>,
) -> Result<()> {
    let count = dataset.signature().images;
    let batch = if context.build.device.is_cpu() { BATCH } else { ACCELERATOR_BATCH };
    for start in (0..count).step_by(batch) {
        if (context.interrupted)() {
            return Err(Error::interrupted());
        }
        let indices: Vec<usize> = (start..(start + batch).min(count)).collect();
        if !look(dataset.batch(&indices, None, context.build.precision.dtype(), &context.build.device)?)? {
            break;
        }
    }
    Ok(())
}

/// The class each row of `logits` `[B, classes]` is highest for: none where a logit is NaN or infinite.
pub fn predictions(logits: &Tensor) -> Result<Vec<Option<u32>>> {
    // Zero times what is not finite is NaN.
    let zeros: Vec<f64> = (logits * 0.0)?.sum(D::Minus1)?.to_dtype(DType::F64)?.to_vec1()?;
    let classes: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
    Ok(classes.into_iter().zip(zeros).map(|(class, zero)| (zero == 0.0).then_some(class)).collect())
}

/// What a summary says of images without a prediction, if there are any.
pub fn without_prediction(images: usize, consequence: &str) -> String {
    match images {
        0 => String::new(),
        _ => format!("; {images} of them have logits that are NaN or infinite, {consequence}"),
    }
}

/// A share as a fraction; zero of nothing is zero.
pub fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
