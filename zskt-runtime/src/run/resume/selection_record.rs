//! What the evaluations of a stage found that chooses its best weights.

use serde::{Deserialize, Serialize};

use crate::plan::StageSelection;

/// What the evaluations of a stage found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelectionRecord {
    /// The best one; nothing before the first with a number.
    pub best: Option<Evaluation>,
    /// The last one.
    pub last: Option<Evaluation>,
    /// The value at the last improvement that patience counts.
    improved: Option<f64>,
    /// Evaluations since then.
    waited: usize,
    /// Whether patience ended the stage before its last batch.
    pub ended_early: bool,
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The batch it came after.
    pub batch: usize,
    /// The value of the metric's figure; nothing where that was no number.
    pub value: Option<f64>,
    /// One line for a person.
    pub summary: String,
}

impl SelectionRecord {
    /// Takes note of an evaluation, and says whether it is the best so far: the first of equal ones stays it. What is no number is never
    /// an improvement.
    pub fn note(&mut self, chosen_by: &StageSelection, evaluation: Evaluation) -> bool {
        let gain = |than: Option<f64>| match (evaluation.value, than) {
            (None, _) => f64::NEG_INFINITY,
            (Some(_), None) => f64::INFINITY,
            (Some(value), Some(than)) => chosen_by.score.gain(value, than),
        };
        let is_best = gain(self.best.as_ref().and_then(|best| best.value)) > 0.0;
        let gain = gain(self.improved);
        if gain > 0.0 && gain >= chosen_by.selection.min_delta {
            self.improved = evaluation.value;
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        if is_best {
            self.best = Some(evaluation.clone());
        }
        self.last = Some(evaluation);
        is_best
    }

    /// Whether there was no improvement for as long as the stage has patience.
    pub fn is_out_of_patience(&self, chosen_by: &StageSelection) -> bool {
        chosen_by.selection.patience.is_some_and(|patience| self.waited >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::{Evaluation, SelectionRecord};
    use crate::plan::StageSelection;
    use zskt_api::{Objective, Score, Selection};

    /// Which evaluations were the best so far, and after which patience was at its end.
    fn course(objective: Objective, min_delta: f64, values: &[f64]) -> (Vec<usize>, Option<usize>) {
        let selection = Selection { metric: "metric".into(), patience: Some(2), min_delta };
        let chosen_by = StageSelection { selection, score: Score { figure: "f", objective }, chosen_on: Vec::new() };
        let (mut record, mut best, mut ended) = (SelectionRecord::default(), Vec::new(), None);
        for (batch, value) in values.iter().enumerate() {
            let value = value.is_finite().then_some(*value);
            if record.note(&chosen_by, Evaluation { batch, value, summary: String::new() }) {
                best.push(batch);
            }
            ended = ended.or(record.is_out_of_patience(&chosen_by).then_some(batch));
        }
        assert_eq!(record.best.map(|best| best.batch), best.last().copied());
        (best, ended)
    }

    #[test]
    fn the_best_and_the_end_of_patience() {
        let (up, down, nan) = (Objective::Maximize, Objective::Minimize, f64::NAN);
        assert_eq!(course(up, 0.0, &[0.1, 0.3, 0.2, 0.4, 0.4, 0.1]), (vec![0, 1, 3], Some(5)));
        assert_eq!(course(down, 0.0, &[0.1, 0.3, 0.05, 0.2]), (vec![0, 2], None));
        // Small steps are the best all the same, and lead to an improvement together.
        assert_eq!(course(up, 0.25, &[0.0, 0.125, 0.25, 0.375, 0.375]), (vec![0, 1, 2, 3], Some(4)));
        // What is no number is never the best, and is waited for.
        assert_eq!(course(up, 0.0, &[nan, nan, 0.1]), (vec![2], Some(1)));
        assert_eq!(course(down, 0.0, &[0.2, nan, 0.1, nan]), (vec![0, 2], None));
    }
}
