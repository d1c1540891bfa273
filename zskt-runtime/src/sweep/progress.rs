//! How far each point is, as far as its run tells.

use std::time::Instant;

use serde_json::Value;

use crate::text_format;

/// How far a point is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointState {
    /// Its turn will come.
    Waiting,
    /// A child of this sweep runs it.
    Running,
    /// Another program runs it.
    Elsewhere,
    /// Its run came to its end.
    Finished,
    /// Its run stopped at a checkpoint.
    Interrupted,
    /// Its run failed: why.
    Failed(String),
}

impl PointState {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Elsewhere => "running elsewhere",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}

/// A point, and what it told last.
#[derive(Debug)]
pub struct PointProgress {
    /// The name of its folder.
    pub name: String,
    /// How far it is.
    pub state: PointState,
    /// Since when it runs, and in the end how long it ran in this session.
    pub began: Option<Instant>,
    /// Seconds that it ran in this session, when it has ended.
    pub seconds: Option<f64>,
    stage: Option<StageSeen>,
    /// The figure that a metric found last: its key and value.
    metric: Option<(String, f64)>,
}

/// A stage as its batches tell of it.
#[derive(Debug)]
struct StageSeen {
    name: String,
    first: (Instant, u64),
    batch: u64,
    batches: Option<u64>,
}

impl PointProgress {
    /// A point that waits.
    pub fn new(name: String) -> Self {
        Self { name, state: PointState::Waiting, began: None, seconds: None, stage: None, metric: None }
    }

    /// Takes note of what its run told; `headline` says which figures matter.
    pub fn note(&mut self, object: &Value, headline: &[String]) {
        if let Some(metric) = object["metric"].as_str() {
            let shown = headline
                .iter()
                .filter_map(|key| {
                    Some((key, object["figures"][key.strip_prefix(metric)?.strip_prefix('.')?].as_f64()?))
                })
                .next();
            self.metric = shown.map(|(key, value)| (key.clone(), value)).or(self.metric.take());
        } else if let (Some(stage), Some(batch), true) =
            (object["stage"].as_str(), object["batch"].as_u64(), object["event"] == "batch")
        {
            let batches = object["batches"].as_u64();
            match &mut self.stage {
                Some(seen) if seen.name == stage => (seen.batch, seen.batches) = (batch, batches),
                _ => {
                    let first = (Instant::now(), batch);
                    self.stage = Some(StageSeen { name: stage.to_owned(), first, batch, batches });
                }
            }
        }
    }

    /// How far its stage is, as `distill 456/1500`.
    pub fn batches(&self) -> String {
        let Some(StageSeen { name, batch, batches, .. }) = &self.stage else { return String::new() };
        let name = text_format::one_line(name);
        batches.map_or_else(|| format!("{name} {batch}"), |batches| format!("{name} {batch}/{batches}"))
    }

    /// The last figure of a metric, as `accuracy.top1 0.931`.
    pub fn metric(&self) -> String {
        let shown = self
            .metric
            .as_ref()
            .map(|(key, value)| format!("{} {}", text_format::one_line(key), text_format::figure(*value)));
        shown.unwrap_or_default()
    }

    /// Seconds until its stage is done, at the pace so far.
    pub fn seconds_left(&self) -> Option<f64> {
        let seen = self.stage.as_ref().filter(|_| self.state == PointState::Running)?;
        let (since, first) = seen.first;
        let played = seen.batch.checked_sub(first).filter(|played| *played > 0)?;
        Some(since.elapsed().as_secs_f64() / played as f64 * seen.batches?.saturating_sub(seen.batch) as f64)
    }

    /// Takes note that it begins to run.
    pub fn begin(&mut self) {
        (self.state, self.began, self.seconds) = (PointState::Running, Some(Instant::now()), None);
    }

    /// Takes note that it has ended so.
    pub fn end(&mut self, state: PointState) {
        self.seconds = self.began.map(|began| began.elapsed().as_secs_f64());
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PointProgress;

    #[test]
    fn what_a_run_tells_is_its_progress() {
        let mut point = PointProgress::new("seed=0".into());
        let headline = ["accuracy.top1".to_owned()];
        point.note(&json!({ "event": "batch", "stage": "distill", "batch": 3, "batches": 10, "images": 4 }), &headline);
        point.note(&json!({ "event": "monitor", "stage": "distill", "batch": 99 }), &headline);
        point.note(
            &json!({ "event": "metric", "metric": "accuracy", "stage": "distill", "batch": 3, "figures": { "top1": 0.5 } }),
            &headline,
        );
        point.note(&json!({ "metric": "other", "figures": { "mean": 2.0 } }), &headline);
        assert_eq!((point.batches().as_str(), point.metric().as_str()), ("distill 3/10", "accuracy.top1 0.500"));
    }
}
