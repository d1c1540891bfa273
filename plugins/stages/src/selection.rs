//! The parameters by which `Transfer` and `Train` keep their best weights and end early.

use zskt_api::{CheckError, Keep, Selection};

/// What the stage keeps and when it ends; the meaning of the parameters is documented there.
pub struct SelectionOptions {
    pub keep: Keep,
    pub patience: Option<usize>,
    pub min_delta: f64,
}

impl SelectionOptions {
    /// What the run has to know of them.
    pub fn selection(&self) -> Option<Selection> {
        let Keep::Best(metric) = &self.keep else { return None };
        Some(Selection { metric: metric.clone(), patience: self.patience, min_delta: self.min_delta })
    }

    /// What is wrong with them by themselves; whether there is such a metric, the run finds.
    pub fn check(&self, evaluate_every: Option<usize>) -> Vec<CheckError> {
        let mut faults = Vec::new();
        if matches!(self.keep, Keep::Best(_)) && evaluate_every.is_none() {
            faults.push(
                CheckError::parameter("keep", "`Best` compares evaluations, and there is none before the stage's end")
                    .help("add `evaluate_every: 100`, the batches between two evaluations, or leave `keep` out"),
            );
        }
        if self.keep == Keep::Last && self.patience.is_some() {
            faults.push(
                CheckError::parameter("patience", "no metric says what an improvement is").help(
                    "add `keep: Best(\"METRIC\")` with the node of a metric of this stage, or leave `patience` out",
                ),
            );
        }
        if self.min_delta > 0.0 && self.patience.is_none() {
            faults.push(
                CheckError::parameter("min_delta", "it says what an improvement is for `patience`, which is not set")
                    .help("add `patience: 5`, the evaluations to wait for an improvement, or leave `min_delta` out"),
            );
        }
        faults
    }
}
