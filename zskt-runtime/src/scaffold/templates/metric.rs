//! How sure a network is.

use std::sync::Arc;

use zskt_api::candle_core::{D, DType, Tensor};
use zskt_api::candle_nn::ops::softmax;
use zskt_api::{
    ClassifierNetwork, Dataset, Error, ForwardMode, Measurement, Metric, MetricContext, Picture,
    Result, params, ports,
};

params! {
    /// The mean probability that a network gives to the class it holds for most probable.
    pub struct ExampleMetric {
        /// Images looked at together.
        pub batch_size: usize = 128 => 1..=1_000_000,
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

    fn evaluate(
        &self,
        inputs: &ExampleMetricInputs,
        context: &MetricContext,
    ) -> Result<Measurement> {
        let (device, dtype) = (&context.build.device, context.build.precision.dtype());
        let images = inputs.dataset.signature().images;
        let mut sure = Vec::with_capacity(images);
        for start in (0..images).step_by(self.batch_size) {
            if (context.interrupted)() {
                return Err(Error::interrupted());
            }
            let indices: Vec<usize> = (start..images.min(start + self.batch_size)).collect();
            let batch = inputs.dataset.batch(&indices, None, dtype, device)?;
            let output = inputs
                .classifier
                .forward
                .forward(&batch.images, ForwardMode::eval())?;
            sure.extend(confidences(&output.logits)?);
        }
        let confidence = sure.iter().sum::<f64>() / images as f64;
        Ok(
            Measurement::new(format!("{:.1} % sure on average", 100.0 * confidence))
                .figure("confidence", confidence)
                .picture("histogram", histogram(&sure)?),
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
fn histogram(confidences: &[f64]) -> Result<Picture> {
    const COLUMNS: usize = 50;
    const ROWS: usize = 32;
    let mut counts = [0; COLUMNS];
    for confidence in confidences {
        counts[((confidence * COLUMNS as f64) as usize).min(COLUMNS - 1)] += 1;
    }
    let most = counts.iter().max().copied().unwrap_or(0).max(1);
    let mut shades = vec![255; COLUMNS * ROWS];
    for (column, count) in counts.iter().enumerate() {
        for row in ROWS - count * ROWS / most..ROWS {
            shades[row * COLUMNS + column] = 60;
        }
    }
    Picture::grey(COLUMNS, ROWS, shades)
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
        conforms("ExampleMetric(batch_size: 8)")
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
