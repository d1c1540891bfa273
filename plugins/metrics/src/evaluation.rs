//! What networks predict.

use zskt_api::Result;
use zskt_api::candle_core::{D, DType, Tensor};

/// The class each row of `logits` `[B, classes]` is highest for: none where a logit is NaN or infinite.
pub fn predicted_classes(logits: &Tensor) -> Result<Vec<Option<u32>>> {
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
