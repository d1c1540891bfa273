//! How fast a run goes, and how long its stage will still take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::runs::{Log, StageProgress};

/// Over how long the speed is measured: evaluations are part of it.
const WINDOW: Duration = Duration::from_secs(120);
/// Before that, what a batch says of itself is closer.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// When a run was how far.
#[derive(Default)]
pub struct Speed {
    stage: String,
    seen: VecDeque<(Instant, usize)>,
}

impl Speed {
    /// Takes note of how far the run is.
    pub fn note(&mut self, log: &Log, running: bool, now: Instant) {
        let Some(stage) = log.stages.last().filter(|_| running) else { return self.seen.clear() };
        let went_back = self.seen.back().is_some_and(|(_, batch)| stage.batch < *batch);
        if self.stage != stage.stage || went_back {
            self.seen.clear();
            self.stage.clone_from(&stage.stage);
        }
        self.seen.push_back((now, stage.batch));
        while self.seen.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
            self.seen.pop_front();
        }
    }

    /// Batches in a second; nothing when nothing moves.
    pub fn batches_per_second(&self, stage: &StageProgress) -> Option<f64> {
        let ((began, first), (now, last)) = (self.seen.front()?, self.seen.back()?);
        let time = now.duration_since(*began);
        if time >= LONG_ENOUGH && last > first {
            return Some((last - first) as f64 / time.as_secs_f64());
        }
        (stage.seconds > 0.0).then(|| 1.0 / stage.seconds)
    }

    /// How long the stage will still take, in seconds, if it goes on so.
    pub fn seconds_left(&self, stage: &StageProgress) -> Option<f64> {
        let left = stage.batches?.saturating_sub(stage.batch);
        Some(left as f64 / self.batches_per_second(stage)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Speed;
    use crate::runs::Log;

    #[test]
    fn the_time_left_follows_from_what_was_seen_last() {
        let (mut log, mut speed, began) = (Log::default(), Speed::default(), Instant::now());
        let mut at = |second: u64, batch: usize, log: &mut Log| {
            log.add_line(&format!(
                r#"{{"stage":"distill","batch":{batch},"batches":1000,"images":64,"seconds":0.25}}"#
            ));
            speed.note(log, true, began + Duration::from_secs(second));
            let stage = log.stages.last().unwrap().clone();
            (speed.batches_per_second(&stage), speed.seconds_left(&stage))
        };
        assert_eq!(at(0, 100, &mut log), (Some(4.0), Some(225.0)), "as the batch says");
        assert_eq!(at(100, 300, &mut log), (Some(2.0), Some(350.0)), "as it was seen, evaluations included");
        assert_eq!(at(110, 200, &mut log), (Some(4.0), Some(200.0)), "it went back to a checkpoint");
        speed.note(&log, false, began);
        assert_eq!(speed.batches_per_second(&log.stages[0]), None, "it stands still");
    }
}
