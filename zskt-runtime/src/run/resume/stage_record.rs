//! What a stage did, in figures.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zskt_api::{Progress, Result};

use super::selection_record::SelectionRecord;

/// What a stage did so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Batches done.
    pub batches: usize,
    /// Images learnt from, each step counted.
    pub images: u64,
    /// Seconds that all batches took together; evaluations and checkpoints are not part of it.
    pub seconds: f64,
    /// Floating-point operations of convolutions and fully connected layers, of batches and syntheses; evaluations are not part of it.
    #[serde(default)]
    pub flop: u64,
    /// Seconds that a batch took in the median.
    pub median_batch_seconds: Option<f64>,
    /// What each turn saw last.
    pub figures: Map<String, Value>,
    /// What its evaluations found, where they choose its best weights.
    #[serde(default)]
    pub selection: SelectionRecord,
    /// What it warned of.
    #[serde(default)]
    pub warnings: Vec<StageWarning>,
}

/// What a stage warned of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageWarning {
    /// After which batch.
    pub batch: usize,
    /// One line.
    pub message: String,
}

impl StageRecord {
    /// Adds a batch.
    pub fn add(&mut self, progress: &Progress<'_>) {
        self.batches = progress.batch;
        self.images += progress.images as u64;
        self.seconds += progress.seconds;
        // Not all turns play in each batch.
        let figures = progress.figures.iter().map(|scalar| (scalar.name.clone(), Value::from(scalar.value)));
        self.figures.extend(figures);
    }

    /// Images learnt from in a second; nothing where none were.
    pub fn images_per_second(&self) -> Option<f64> {
        (self.images > 0 && self.seconds > 0.0).then(|| self.images as f64 / self.seconds)
    }
}

/// How long each batch of a stage took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchTimes {
    seconds: Vec<f32>,
}

impl BatchTimes {
    /// Adds a batch.
    pub fn add(&mut self, seconds: f64) {
        self.seconds.push(seconds as f32);
    }

    /// The median, which a slow batch here and there does not move.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            count if count % 2 == 1 => Some(f64::from(sorted[middle])),
            _ => Some((f64::from(sorted[middle - 1]) + f64::from(sorted[middle])) / 2.0),
        }
    }

    /// For a checkpoint.
    ///
    /// # Errors
    /// None are expected.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.seconds, self.seconds.len(), &Device::Cpu)?)
    }

    /// From a checkpoint.
    ///
    /// # Errors
    /// When it is not a list of numbers.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(Self { seconds: tensor.to_dtype(DType::F32)?.to_vec1()? })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_turn_that_does_not_play_in_each_batch_keeps_what_it_saw_last() {
        let mut record = super::StageRecord::default();
        for (batch, name, value) in [(1, "synthesize.loss", 3.0), (1, "imitate.loss", 2.0), (2, "imitate.loss", 1.0)] {
            let figures = [zskt_api::LoggedScalar::new(name, value)];
            record.add(&zskt_api::Progress { batch, batches: 2, images: 1, seconds: 1.0, figures: &figures });
        }
        assert_eq!(
            serde_json::json!(record.figures),
            serde_json::json!({ "synthesize.loss": 3.0, "imitate.loss": 1.0 })
        );
    }

    #[test]
    fn the_median_of_even_and_odd_numbers_of_batches() {
        let mut times = super::BatchTimes::default();
        assert_eq!(times.median(), None);
        for (seconds, median) in [(4.0, 4.0), (1.0, 2.5), (100.0, 4.0)] {
            times.add(seconds);
            assert_eq!(times.median(), Some(median));
        }
    }
}
