//! One live table of all points: redrawn on a terminal, line by line elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::progress::{PointProgress, PointState};
use crate::run::EventKind;
use crate::text_format;

/// How often a terminal is redrawn.
const BETWEEN_DRAWS: Duration = Duration::from_millis(200);

/// How often a line tells of a running point where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(15);

/// A terminal whose height is not known.
const ROWS: usize = 24;

/// For whom the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Terminal,
    Lines,
    Quiet,
    Json,
}

/// The live table.
pub struct LiveTable {
    mode: Mode,
    /// How many lines of it are on the terminal.
    drawn: usize,
    last: Option<Instant>,
}

impl LiveTable {
    /// As the options and the streams imply.
    pub fn new(quiet: bool, json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let mode = match (json, quiet) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Quiet,
            _ if io::stdout().is_terminal() && io::stderr().is_terminal() && !dumb => Mode::Terminal,
            _ => Mode::Lines,
        };
        Self { mode, drawn: 0, last: None }
    }

    /// A line above the table.
    pub fn line(&mut self, text: &str) {
        match self.mode {
            Mode::Terminal | Mode::Lines => {
                self.clear();
                print(text);
            }
            Mode::Quiet | Mode::Json => {}
        }
    }

    /// Tells that a point's state has changed.
    pub fn changed(&mut self, point: &PointProgress) {
        match self.mode {
            Mode::Json => {
                let reason = if let PointState::Failed(why) = &point.state { Some(why) } else { None };
                let fields = json!({ "point": point.name, "state": point.state.word(), "reason": reason });
                print(&EventKind::Point.with(fields).to_string());
            }
            Mode::Lines => print(&cells(point).join("  ")),
            Mode::Terminal | Mode::Quiet => {}
        }
    }

    /// Hands on what a point's run told.
    pub fn object(&mut self, point: &PointProgress, mut object: Value) {
        if let (Mode::Json, Some(entries)) = (self.mode, object.as_object_mut()) {
            entries.insert("point".into(), point.name.clone().into());
            print(&object.to_string());
        }
    }

    /// Shows how far all is, when it is time to.
    pub fn show(&mut self, points: &[PointProgress], jobs: usize) {
        let between = match self.mode {
            Mode::Terminal => BETWEEN_DRAWS,
            Mode::Lines => BETWEEN_LINES,
            Mode::Quiet | Mode::Json => return,
        };
        if self.last.is_some_and(|last| last.elapsed() < between) {
            return;
        }
        let first = self.last.replace(Instant::now()).is_none();
        if self.mode == Mode::Terminal {
            self.draw(points, jobs);
        } else if !first {
            for point in points.iter().filter(|point| point.state == PointState::Running) {
                print(&cells(point).join("  "));
            }
        }
    }

    /// Removes what is on the terminal.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) > 0 {
            // The cursor stands below the table.
            let _ = write!(io::stderr(), "\x1b[J");
        }
    }

    fn draw(&mut self, points: &[PointProgress], jobs: usize) {
        let room = height().saturating_sub(2).max(3);
        let shown = chosen(points, room);
        let rows: Vec<_> = shown.iter().map(|point| cells(point)).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..5).map(width).collect();
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines: Vec<_> = rows.iter().map(line).collect();
        lines.push(counts(points, jobs));
        // Without line wrap, what is too long for the terminal is cut, not spread over lines that stay.
        let text: String = lines.iter().map(|line| format!("\x1b[?7l{line}\x1b[?7h\x1b[K\n")).collect();
        // The cursor goes back to where the table begins, so that whatever comes next takes its place.
        let _ = write!(io::stderr(), "{text}\x1b[J\x1b[{}A\r", lines.len());
        self.drawn = lines.len();
    }
}

impl Drop for LiveTable {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The points that there is room for: first those that run or failed, then those that wait, then those that are finished.
fn chosen(points: &[PointProgress], room: usize) -> Vec<&PointProgress> {
    let rank = |point: &PointProgress| match point.state {
        PointState::Running => 0,
        PointState::Failed(_) => 1,
        PointState::Elsewhere | PointState::Interrupted => 2,
        PointState::Waiting => 3,
        PointState::Finished => 4,
    };
    let mut places: Vec<_> = (0..points.len()).collect();
    places.sort_by_key(|place| rank(&points[*place]));
    places.truncate(room);
    places.sort_unstable();
    places.into_iter().map(|place| &points[place]).collect()
}

/// What is said of a point: name, state, batches, metric, time.
fn cells(point: &PointProgress) -> Vec<String> {
    let time = match (&point.state, point.seconds) {
        (PointState::Failed(why), _) => text_format::one_line(why),
        (PointState::Finished | PointState::Interrupted, Some(seconds)) => text_format::duration(seconds),
        _ => point.seconds_left().map(|left| format!("{} left", text_format::duration(left))).unwrap_or_default(),
    };
    let cells = [point.name.clone(), point.state.word().to_owned(), point.batches(), point.metric(), time];
    cells.to_vec()
}

type IsState = fn(&PointState) -> bool;

/// `3 of 12 finished, 2 running, 1 failed; 4 min 10 s left`.
fn counts(points: &[PointProgress], jobs: usize) -> String {
    let count = |is: IsState| points.iter().filter(|point| is(&point.state)).count();
    let finished = count(|state| *state == PointState::Finished);
    let mut parts = vec![format!("{finished} of {} finished", points.len())];
    let states: [(&str, IsState); 4] = [
        ("running", |state| *state == PointState::Running),
        ("running elsewhere", |state| *state == PointState::Elsewhere),
        ("interrupted", |state| *state == PointState::Interrupted),
        ("failed", |state| matches!(state, PointState::Failed(_))),
    ];
    parts.extend(
        states
            .into_iter()
            .map(|(word, is)| (count(is), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}")),
    );
    let left = seconds_left(points, jobs).map(|left| format!("; {} left", text_format::duration(left)));
    parts.join(", ") + &left.unwrap_or_default()
}

/// Seconds until all is done, if what is left takes as long as what was done.
fn seconds_left(points: &[PointProgress], jobs: usize) -> Option<f64> {
    let done: Vec<_> =
        points.iter().filter(|point| point.state == PointState::Finished).filter_map(|point| point.seconds).collect();
    let each = (!done.is_empty()).then(|| done.iter().sum::<f64>() / done.len() as f64)?;
    let left = |point: &PointProgress| match point.state {
        PointState::Waiting => each,
        PointState::Running => (each - point.began.map_or(0.0, |began| began.elapsed().as_secs_f64())).max(0.0),
        _ => 0.0,
    };
    Some(points.iter().map(left).sum::<f64>() / jobs.max(1) as f64)
}

/// How many lines the terminal has.
fn height() -> usize {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stderr())
        && size.ws_row > 0
    {
        return size.ws_row.into();
    }
    ROWS
}

/// That nobody listens any more does not stop a sweep.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::{chosen, counts};
    use crate::sweep::progress::{PointProgress, PointState};

    #[test]
    fn what_runs_or_failed_is_shown_first_and_the_rest_is_counted() {
        let states = [
            PointState::Finished,
            PointState::Failed("x".into()),
            PointState::Waiting,
            PointState::Running,
            PointState::Waiting,
        ];
        let mut points: Vec<_> = (0..5).map(|place| PointProgress::new(place.to_string())).collect();
        points.iter_mut().zip(states).for_each(|(point, state)| point.state = state);
        let names: Vec<_> = chosen(&points, 3).iter().map(|point| point.name.clone()).collect();
        assert_eq!(names, ["1", "2", "3"]);
        assert_eq!(counts(&points, 1), "1 of 5 finished, 1 running, 1 failed");
    }
}
