//! How sure a network is.

use std::sync::Arc;

use zskt_api::candle_core::{D, DType, Tensor};
use zskt_api::candle_nn::ops::softmax;
use zskt_api::{
    ClassifierNetwork, Dataset, Measurement, Metric, MetricContext, Picture, Result, Signatures,
    params, ports,
};

params! {
    /// The mean probability that a network gives to the class it holds for most probable.
    pub struct ExampleMetric {
        /// Columns of the histogram.
        pub columns: usize = 50 => 1..=1000,
    }
}

ports! {
    /// What is measured on what.
    pub struct ExampleMetricInputs {
        /// The network to measure.
        pub classifier: Arc<ClassifierNetwork>,
        /// The images to measure it on.
        pub dataset: Arc<dyn Dataset>,
    }
}

impl Metric for ExampleMetric {
    type Inputs = ExampleMetricInputs;

    fn figures(&self, _: &Signatures) -> Option<Vec<&'static str>> {
        Some(vec!["confidence"])
    }

    fn evaluate(
        &self,
        inputs: &ExampleMetricInputs,
        context: &MetricContext,
    ) -> Result<Measurement> {
        let predictions = context.predictions(&inputs.classifier, &inputs.dataset)?;
        let sure = confidences(&predictions.logits)?;
        let confidence = sure.iter().sum::<f64>() / sure.len() as f64;
        Ok(
            Measurement::new(format!("{:.1} % sure on average", 100.0 * confidence))
                .figure("confidence", confidence)
                .picture("histogram", histogram(&sure, self.columns)?),
        )
    }
}

/// The highest probability of each row of `logits` `[B, classes]`.
fn confidences(logits: &Tensor) -> Result<Vec<f64>> {
    Ok(softmax(logits, D::Minus1)?
        .max(D::Minus1)?
        .to_dtype(DType::F64)?
        .to_vec1()?)
}

/// How many images a network is how sure of, from 0 at the left to 1 at the right.
fn histogram(confidences: &[f64], columns: usize) -> Result<Picture> {
    const ROWS: usize = 32;
    let mut counts = vec![0; columns];
    for confidence in confidences {
        counts[((confidence * columns as f64) as usize).min(columns - 1)] += 1;
    }
    let most = counts.iter().max().copied().unwrap_or(0).max(1);
    let mut shades = vec![255; columns * ROWS];
    for (column, count) in counts.iter().enumerate() {
        for row in ROWS - count * ROWS / most..ROWS {
            shades[row * columns + column] = 60;
        }
    }
    Picture::grey(columns, ROWS, shades)
}

zskt_api::export! { reads: none; metric: ExampleMetric }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::testing::conforms;

    use super::confidences;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleMetric(columns: 8)")
    }

    #[test]
    fn it_is_the_highest_probability() -> Result<()> {
        let logits = Tensor::new(&[[0.0f64, 0.0], [3f64.ln(), 0.0]], &Device::Cpu)?;
        let found = confidences(&logits)?;
        assert!(
            (found[0] - 0.5).abs() < 1e-12 && (found[1] - 0.75).abs() < 1e-12,
            "{found:?}"
        );
        Ok(())
    }
}
