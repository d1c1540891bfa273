//! What happened in a run, read from `metrics.jsonl`, also while it is being written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::{Map, Value};
use zskt_api::Diagnostic;

use crate::text_format;

/// More classes have no curve each.
const MOST_CLASSES: usize = 20;
/// A longer line is not one of a run.
const MAX_LINE: u64 = 16 << 20;

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Everything that was logged of batches, evaluations and monitors, in the order in which it first came.
    pub curves: Vec<Curve>,
    /// What stages warned of.
    pub warnings: Vec<LoggedWarning>,
    /// How far each stage came: its batch, and the seconds that all batches took together; in the order of their beginning.
    pub stages: Vec<StageProgress>,
    /// Why the run ended before its end, if it said so.
    pub end: Option<LoggedEnd>,
    /// When the last line was written.
    pub last_time: Option<String>,
    index: HashMap<(Option<String>, String), usize>,
}

/// A figure over the batches of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// As TensorBoard has it: `distill/imitate.loss`, `accuracy/top1`, `distill/monitor/classes`.
    pub key: String,
    /// The stage whose batches are counted; nothing for what was measured before the first.
    pub stage: Option<String>,
    /// Whether a metric found it.
    pub of_metric: bool,
    /// The class whose share of made images it is.
    pub share_of_class: Option<usize>,
    /// Batch and value, the batches in ascending order.
    pub points: Vec<(usize, f64)>,
}

/// How far a stage came.
#[derive(Clone, Debug, PartialEq)]
pub struct StageProgress {
    /// The stage.
    pub stage: String,
    /// The last batch that was logged.
    pub batch: usize,
    /// How many there will be, as far as it is known.
    pub batches: Option<usize>,
    /// Images that a batch learnt from, the last that was logged.
    pub images: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What a stage warned of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedWarning {
    /// The stage.
    pub stage: String,
    /// After which batch.
    pub batch: usize,
    /// One line.
    pub message: String,
}

/// Why a run ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedEnd {
    /// It was asked to stop.
    Interrupted,
    /// Its budget was used up.
    OutOfBudget,
    /// It failed: why.
    Failed(String),
}

impl Log {
    /// Adds a line; one that says nothing of a run is passed over.
    pub fn add_line(&mut self, line: &str) {
        let Ok(Value::Object(entries)) = serde_json::from_str(line) else { return };
        let text = |name: &str| entries.get(name).and_then(Value::as_str).map(str::to_owned);
        let number =
            |name: &str| entries.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        let batch = number("batch");
        self.last_time = text("time").or(self.last_time.take());
        self.end = None;
        let stage = text("stage");
        match (text("event").as_deref(), text("metric"), &stage) {
            (Some("distributions"), _, Some(name)) => self.add_classes(name, &stage, batch, &entries),
            (Some("monitor"), _, Some(name)) => {
                self.add_figures(&format!("{name}/monitor"), &stage, batch, &entries, false);
            }
            (Some("warning"), _, Some(name)) => self.warnings.push(LoggedWarning {
                stage: name.clone(),
                batch: batch.unwrap_or_default(),
                message: text("message").unwrap_or_default(),
            }),
            (Some("interrupted"), ..) => {
                let is_of_budget = entries.contains_key("budget_seconds");
                self.end = Some(if is_of_budget { LoggedEnd::OutOfBudget } else { LoggedEnd::Interrupted });
            }
            (Some("failed"), ..) => self.end = Some(LoggedEnd::Failed(text("message").unwrap_or_default())),
            // Earlier versions did not say so.
            (Some("metric") | None, Some(metric), _) => {
                let stage = stage.or_else(|| text("after"));
                let last = stage.as_ref().and_then(|stage| self.stages.iter().find(|known| known.stage == *stage));
                let batch = batch.or(last.map(|stage| stage.batch));
                self.add_figures(&metric, &stage, batch, &entries, true);
            }
            (Some("batch") | None, None, Some(name)) => {
                let progress = StageProgress {
                    stage: name.clone(),
                    batch: batch.unwrap_or_default(),
                    batches: number("batches"),
                    images: entries.get("images").and_then(Value::as_u64).unwrap_or_default(),
                    seconds: entries.get("seconds").and_then(Value::as_f64).unwrap_or_default(),
                };
                match self.stages.iter_mut().find(|known| known.stage == *name) {
                    Some(known) => *known = progress,
                    None => self.stages.push(progress),
                }
                self.add_figures(&name.clone(), &stage, batch, &entries, false);
            }
            _ => {}
        }
    }

    fn add_figures(
        &mut self,
        prefix: &str,
        stage: &Option<String>,
        batch: Option<usize>,
        entries: &Map<String, Value>,
        of_metric: bool,
    ) {
        // What a metric calls `images` is how many it looked at, which is no curve.
        for (name, value) in figures(entries).filter(|(name, _)| !(of_metric && *name == "images")) {
            let Some(value) = value.as_f64() else { continue };
            let new = || Curve { of_metric, ..Curve::default() };
            self.add_point(format!("{prefix}/{name}"), stage, batch, value, new);
        }
    }

    /// How images are spread over classes, which have a bin each: the share of each is a curve. Of many classes there would be too many.
    fn add_classes(
        &mut self,
        prefix: &str,
        stage: &Option<String>,
        batch: Option<usize>,
        entries: &Map<String, Value>,
    ) {
        for (name, histogram) in figures(entries) {
            let numbers = |part: &str| -> Vec<f64> {
                let part = histogram[part].as_array().filter(|list| list.len() <= MOST_CLASSES + 1);
                part.into_iter().flatten().filter_map(Value::as_f64).collect()
            };
            let (edges, counts) = (numbers("edges"), numbers("counts"));
            let by_class = edges.len() == counts.len() + 1
                && edges.iter().enumerate().all(|(class, edge)| *edge == class as f64 - 0.5);
            let all: f64 = counts.iter().sum();
            if !(by_class && all > 0.0 && all.is_finite()) {
                continue;
            }
            for (class, count) in counts.iter().enumerate() {
                let new = || Curve { share_of_class: Some(class), ..Curve::default() };
                self.add_point(format!("{prefix}/monitor/{name}.{class}"), stage, batch, count / all, new);
            }
        }
    }

    /// Adds a point to a curve; a new one is as `new` has it.
    fn add_point(
        &mut self,
        key: String,
        stage: &Option<String>,
        batch: Option<usize>,
        value: f64,
        new: impl FnOnce() -> Curve,
    ) {
        let place = *self.index.entry((stage.clone(), key.clone())).or_insert_with(|| {
            self.curves.push(Curve { key, stage: stage.clone(), ..new() });
            self.curves.len() - 1
        });
        let (points, batch) = (&mut self.curves[place].points, batch.unwrap_or_default());
        // A run that went on from a checkpoint does again what came after it.
        while points.last().is_some_and(|(last, _)| *last >= batch) {
            points.pop();
        }
        points.push((batch, value));
    }
}

/// What an event has under names that plugins chose.
fn figures(entries: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    // Earlier versions had them beside its own entries.
    let fixed =
        ["time", "event", "stage", "batch", "batches", "images", "seconds", "metric", "after", "best", "pictures"];
    let nested = entries.get("figures").and_then(Value::as_object);
    let is_figure = move |name: &str| nested.is_some() || !fixed.contains(&name);
    nested.unwrap_or(entries).iter().filter(move |(name, _)| is_figure(name))
}

/// Reads the log of a run, and what is added to it later.
pub struct LogReader {
    path: PathBuf,
    read: u64,
    log: Log,
}

impl LogReader {
    /// For a file that need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: 0, log: Log::default() }
    }

    /// What was read.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What was read, and nothing more.
    pub fn into_log(self) -> Log {
        self.log
    }

    /// Reads the whole lines that were added, and says whether there were any. A log that became shorter, as by a run that went on
    /// from a checkpoint, is read anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_on(&mut self) -> Result<bool, Diagnostic> {
        let failed = |error: &std::io::Error| {
            Diagnostic::global(format!("cannot read {}: {}", self.path.display(), text_format::reason(error)))
        };
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|error| failed(&error))?,
        };
        let length = file.metadata().map_err(|error| failed(&error))?.len();
        if length < self.read || !ends_a_line(&mut file, self.read).map_err(|error| failed(&error))? {
            (self.read, self.log) = (0, Log::default());
        }
        file.seek(SeekFrom::Start(self.read)).map_err(|error| failed(&error))?;
        let (mut lines, mut line, mut found) = (BufReader::new(file), Vec::new(), false);
        loop {
            line.clear();
            let count = (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line).map_err(|error| failed(&error))?;
            // A line that is still being written is read when it is whole.
            if line.last() != Some(&b'\n') {
                if count as u64 == MAX_LINE {
                    return Err(Diagnostic::global(format!(
                        "{} is not the log of a run: it has a line of more than {} MB",
                        self.path.display(),
                        MAX_LINE >> 20
                    )));
                }
                return Ok(found);
            }
            self.read += count as u64;
            found = true;
            self.log.add_line(&String::from_utf8_lossy(&line));
        }
    }
}

/// Whether a line ends at this place, or the file begins there.
fn ends_a_line(file: &mut File, at: u64) -> std::io::Result<bool> {
    let Some(before) = at.checked_sub(1) else { return Ok(true) };
    let mut last = [0];
    file.seek(SeekFrom::Start(before))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::{Log, LogReader, LoggedEnd};

    #[test]
    fn a_log_is_read_while_it_is_written_and_anew_when_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut reader = LogReader::new(path.clone());
        assert!(!reader.read_on().unwrap());
        let lines = [
            r#"{"event":"batch","stage":"distill","batch":1,"images":64,"seconds":0.5,"figures":{"imitate.loss":2.0},"time":"t1"}"#,
            r#"{"event":"metric","metric":"accuracy","stage":"distill","batch":1,"figures":{"top1":0.5,"per_class":[0.5],"images":10},"best":true}"#,
            r#"{"event":"monitor","stage":"distill","batch":1,"figures":{"classes":0.3,"batch":7}}"#,
            r#"{"event":"warning","stage":"distill","batch":1,"message":"collapsed"}"#,
            r#"{"event":"metric","metric":"accuracy","after":"distill","figures":{"top1":0.75}}"#,
            r#"{"event":"failed","message":"disk"}"#,
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        assert!(reader.read_on().unwrap());
        // The last line has no end yet.
        assert_eq!(reader.log().end, None);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n").unwrap();
        assert!(reader.read_on().unwrap() && !reader.read_on().unwrap());
        let log = reader.log();
        assert_eq!(log.end, Some(LoggedEnd::Failed("disk".into())));
        let curves: Vec<_> = log.curves.iter().map(|curve| (curve.key.as_str(), curve.points.clone())).collect();
        let expected = [
            ("distill/imitate.loss", vec![(1, 2.0)]),
            ("accuracy/top1", vec![(1, 0.75)]),
            // Whatever a figure is called, it is no field of the event.
            ("distill/monitor/batch", vec![(1, 7.0)]),
            ("distill/monitor/classes", vec![(1, 0.3)]),
        ];
        assert_eq!(curves, expected);
        assert_eq!((log.warnings.len(), log.stages[0].batch), (1, 1));
        fs::write(&path, format!("{}\n", lines[0])).unwrap();
        reader.read_on().unwrap();
        assert_eq!((reader.log().curves.len(), reader.log().end.clone()), (1, None));
        // Cut and longer again before anybody looked.
        let long = "x".repeat(lines[0].len());
        fs::write(&path, format!("{}\n{long}\n", lines[1])).unwrap();
        reader.read_on().unwrap();
        assert_eq!(reader.log().curves[0].key, "accuracy/top1");
    }

    #[test]
    fn what_a_run_does_again_takes_the_place_of_what_it_did() {
        let mut log = Log::default();
        for (batch, loss) in [(1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5)] {
            log.add_line(&format!(r#"{{"stage":"distill","batch":{batch},"batches":9,"loss":{loss}}}"#));
        }
        assert_eq!(log.curves[0].points, [(1, 3.0), (2, 2.5)]);
        assert_eq!((log.curves.len(), log.stages[0].batches), (1, Some(9)));
    }
}
