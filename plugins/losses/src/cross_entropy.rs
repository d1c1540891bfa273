//! Cross-entropy with the labels.

use zskt_api::candle_core::Tensor;
use zskt_api::ops::log_softmax;
use zskt_api::{Loss, LossBatch, LossInputs, Result, params};

params! {
    /// Cross-entropy of the student's belief with the images' labels, averaged over the batch.
    pub struct CrossEntropy {
        /// Share of each label that is spread evenly over all classes.
        pub label_smoothing: f64 = 0.0 => 0.0..=1.0,
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0 => 0.0..,
    }
}

impl Loss for CrossEntropy {
    fn needs(&self) -> LossInputs {
        LossInputs { labels: true, ..LossInputs::default() }
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let log_belief = log_softmax(&batch.student()?.logits)?;
        let of_label = log_belief.gather(&batch.labels()?.unsqueeze(1)?, 1)?.mean_all()?;
        let likelihood = if self.label_smoothing == 0.0 {
            of_label
        } else {
            ((of_label * (1.0 - self.label_smoothing))? + (log_belief.mean_all()? * self.label_smoothing)?)?
        };
        Ok((likelihood * -self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
