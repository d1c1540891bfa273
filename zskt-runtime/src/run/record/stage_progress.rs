//! How a stage's progress is shown, and how often it is logged.

use std::time::{Duration, Instant};

use zskt_api::Progress;

use super::console::{Console, OutputMode};
use crate::text_format;

/// A stage with no more batches than this is logged batch by batch.
const FULLY_LOGGED: usize = 1000;
/// A longer one, not more often than this: a curve needs no more points, and a log should stay readable.
const BETWEEN_RECORDS: Duration = Duration::from_millis(100);
/// How often the live line changes.
const BETWEEN_LIVE: Duration = Duration::from_millis(100);
/// How often a line of progress is printed where there is no live line.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// The pace of one stage in this session.
pub struct StageProgress {
    stage: String,
    started: Instant,
    batches: usize,
    images: usize,
    seconds: f64,
    logged: Option<Instant>,
    shown: Instant,
}

impl StageProgress {
    /// For a stage that starts now.
    pub fn new(stage: &str) -> Self {
        let now = Instant::now();
        Self { stage: stage.to_owned(), started: now, batches: 0, images: 0, seconds: 0.0, logged: None, shown: now }
    }

    /// Takes note of a batch, and says whether it is to be logged. The first and the last always are.
    pub fn note(&mut self, progress: &Progress<'_>) -> bool {
        self.batches += 1;
        self.images += progress.images;
        self.seconds += progress.seconds;
        let due = progress.batches <= FULLY_LOGGED
            || progress.batch >= progress.batches
            || self.logged.is_none_or(|logged| logged.elapsed() >= BETWEEN_RECORDS);
        if due {
            self.logged = Some(Instant::now());
        }
        due
    }

    /// Shows how far the stage is, when it is time to.
    pub fn show(&mut self, progress: &Progress<'_>, console: &mut Console) {
        let between = if console.mode() == OutputMode::Terminal { BETWEEN_LIVE } else { BETWEEN_LINES };
        if self.shown.elapsed() < between {
            return;
        }
        self.shown = Instant::now();
        let text = self.describe(progress);
        match console.mode() {
            OutputMode::Terminal => console.live(&text),
            _ => console.line(&text),
        }
    }

    fn describe(&self, progress: &Progress<'_>) -> String {
        let Progress { batch, batches, .. } = progress;
        let mut parts = vec![format!("{}  {batch}/{batches}", self.stage)];
        let shown = progress.figures.iter().filter(|scalar| scalar.on_progress_line);
        parts.extend(shown.map(|scalar| format!("{} {}", scalar.name, text_format::figure(scalar.value))));
        if self.images > 0 && self.seconds > 0.0 {
            parts.push(format!("{} images/s", text_format::figure(self.images as f64 / self.seconds)));
        }
        // What evaluations and checkpoints cost so far is part of what they will cost.
        let left = self.started.elapsed().as_secs_f64() / self.batches as f64 * batches.saturating_sub(*batch) as f64;
        parts.push(format!("{} left", text_format::duration(left)));
        parts.join("  ")
    }
}
