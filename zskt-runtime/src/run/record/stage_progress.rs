//! How a stage's progress is shown, and how often it is logged.

use std::time::{Duration, Instant};

use zskt_api::{LoggedScalar, Progress, SynthesisProgress};

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
        if self.batches == 0 {
            // What comes before the first batch, such as a warm-up, does not come again.
            self.started = Instant::now();
        }
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
        self.show_text(console, |stage| stage.describe(progress));
    }

    /// Shows how far a synthesis of it is, when it is time to.
    pub fn show_synthesis(&mut self, progress: &SynthesisProgress<'_>, console: &mut Console) {
        let SynthesisProgress { turn, synthesis, step, steps, loss } = progress;
        self.show_text(console, |stage| {
            let loss = loss.map_or(String::new(), |loss| format!("  {turn}.loss {}", text_format::figure(loss)));
            format!("{}  {turn}: synthesis {}, step {step}/{steps}{loss}", stage.stage, synthesis + 1)
        });
    }

    fn show_text(&mut self, console: &mut Console, text: impl FnOnce(&Self) -> String) {
        let between = if console.mode() == OutputMode::Terminal { BETWEEN_LIVE } else { BETWEEN_LINES };
        if self.shown.elapsed() < between {
            return;
        }
        self.shown = Instant::now();
        let text = text(self);
        match console.mode() {
            OutputMode::Terminal => console.live(&text),
            _ => console.line(&text),
        }
    }

    fn describe(&self, progress: &Progress<'_>) -> String {
        let Progress { batch, batches, .. } = progress;
        let mut parts = vec![format!("{}  {batch}/{batches}", self.stage)];
        let shown: Vec<_> = progress.figures.iter().filter(|scalar| scalar.on_progress_line).collect();
        let is_part_of = |whole: &str, part: &str| part.strip_prefix(whole).is_some_and(|rest| rest.starts_with('.'));
        // A terminal cuts off what it has no room for: the parts of a loss come last.
        let (details, whole): (Vec<_>, Vec<_>) =
            shown.iter().partition(|scalar| shown.iter().any(|whole| is_part_of(&whole.name, &scalar.name)));
        let text = |scalar: &LoggedScalar| format!("{} {}", scalar.name, text_format::figure(scalar.value));
        parts.extend(whole.into_iter().map(text));
        if self.images > 0 && self.seconds > 0.0 {
            parts.push(format!("{} images/s", text_format::figure(self.images as f64 / self.seconds)));
        }
        // What evaluations and checkpoints cost so far is part of what they will cost.
        if self.batches > 1 {
            let each = self.started.elapsed().as_secs_f64() / (self.batches - 1) as f64;
            parts.push(format!("{} left", text_format::duration(each * batches.saturating_sub(*batch) as f64)));
        }
        parts.extend(details.into_iter().map(text));
        parts.join("  ")
    }
}
