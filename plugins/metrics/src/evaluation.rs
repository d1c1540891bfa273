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

/// Rows of logits that are looked at together, so that little of a large set is copied from a GPU at once.
const ROWS: usize = 4096;

/// For each row of `logits` `[B, classes]` how many classes come before that of its label: those whose logit is larger, and of equal ones
/// those with a smaller number, so that a network that says the same of all classes is not right about all of them. Where a logit is NaN,
/// it tells nothing.
pub fn classes_before(logits: &Tensor, labels: &[u32]) -> Result<Vec<usize>> {
    let mut before = Vec::with_capacity(labels.len());
    for start in (0..labels.len()).step_by(ROWS) {
        let rows = ROWS.min(labels.len() - start);
        let found: Vec<Vec<f64>> = logits.narrow(0, start, rows)?.to_dtype(DType::F64)?.to_vec2()?;
        before.extend(found.iter().zip(&labels[start..]).map(|(row, label)| {
            let label = *label as usize;
            let own = row.get(label).copied().unwrap_or(f64::NEG_INFINITY);
            row.iter().enumerate().filter(|(class, logit)| **logit > own || **logit == own && *class < label).count()
        }));
    }
    Ok(before)
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

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::candle_core::{Device, Tensor};

    use super::classes_before;

    #[test]
    fn of_equal_classes_the_first_comes_before() -> Result<()> {
        let logits =
            Tensor::new(&[[0.5f32, 2.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 1.0, 2.0]], &Device::Cpu)?;
        for (labels, expected) in
            [([1, 0, 0], [0, 0, 0]), ([2, 3, 1], [1, 3, 3]), ([0, 2, 2], [2, 2, 2]), ([3, 1, 3], [3, 1, 1])]
        {
            assert_eq!(classes_before(&logits, &labels)?, expected, "{labels:?}");
        }
        // More rows than are looked at together.
        let many = Tensor::cat(&vec![logits; 2000], 0)?;
        assert_eq!(classes_before(&many, &[2, 3, 1].repeat(2000))?, [1, 3, 3].repeat(2000));
        Ok(())
    }
}
