//! What `watch` draws.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use super::speed::Speed;
use crate::report_page;
use crate::runs::{Figures, Log, Run, RunState, StageProgress};
use crate::text_format::{count, duration, figure, one_line, short_duration};

const COLOURS: [Color; 6] = [Color::Blue, Color::Yellow, Color::Green, Color::Magenta, Color::Cyan, Color::Red];
/// A chart with fewer rows says nothing.
const LOWEST_CHART: u16 = 9;
const MOST_CHARTS: usize = 3;
const MOST_STAGES: usize = 4;

/// What is known of a run.
pub struct Seen<'a> {
    pub run: &'a Run,
    pub log: &'a Log,
    pub speed: &'a Speed,
}

/// How it is shown.
#[derive(Default)]
pub struct Screen {
    /// Whether values are drawn on a logarithmic scale.
    pub logarithmic: bool,
    /// The chart at the top.
    pub first_chart: usize,
}

impl Screen {
    /// Draws it all.
    pub fn draw(&mut self, frame: &mut Frame<'_>, seen: &Seen<'_>) {
        let head = head(seen);
        let head_rows = u16::try_from(head.len()).unwrap_or(u16::MAX);
        let rows = [Constraint::Length(head_rows), Constraint::Min(0), Constraint::Length(1)];
        let [top, middle, bottom] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Paragraph::new(head), top);
        // A cell of the terminal has two columns of dots, and a column the smallest and the largest.
        let charts = report_page::charts(seen.log, usize::from(middle.width) * 4);
        self.first_chart = self.first_chart.min(charts.len().saturating_sub(1));
        let fitting = usize::from(middle.height / LOWEST_CHART).clamp(1, MOST_CHARTS);
        let shown: Vec<_> = charts.iter().skip(self.first_chart).take(fitting).collect();
        let areas = Layout::vertical(vec![Constraint::Fill(1); shown.len()]).split(middle);
        for (chart, area) in shown.into_iter().zip(areas.iter()) {
            self.chart(frame, chart, *area);
        }
        if charts.is_empty() {
            frame.render_widget(Paragraph::new("nothing was logged yet".dark_gray()), middle);
        }
        let keys =
            format!("q leave   tab other curves ({}/{})   l logarithmic", self.first_chart + 1, charts.len().max(1));
        frame.render_widget(Paragraph::new(keys.reversed()), bottom);
    }

    fn chart(&self, frame: &mut Frame<'_>, chart: &report_page::Chart, area: Rect) {
        let scaled = |(x, y): (f64, f64)| if self.logarithmic { (x, y.log10()) } else { (x, y) };
        let lines = chart.lines.iter().map(|line| {
            let points = line.points.iter().copied().map(scaled).filter(|(_, y)| y.is_finite());
            (one_line(&line.name), points.collect::<Vec<_>>())
        });
        let lines: Vec<_> = lines.collect();
        let points = || lines.iter().flat_map(|(_, points)| points);
        let [x, y] = [bounds(points().map(|point| point.0)), bounds(points().map(|point| point.1))];
        let label = |value: f64| figure(if self.logarithmic { 10f64.powf(value) } else { value });
        let datasets = lines.iter().zip(COLOURS.iter().cycle()).map(|((name, points), colour)| {
            let dataset = Dataset::default().name(name.as_str()).marker(Marker::Braille).graph_type(GraphType::Line);
            dataset.style(Style::new().fg(*colour)).data(points)
        });
        let scale = if self.logarithmic { ", logarithmic" } else { "" };
        let widget = Chart::new(datasets.collect())
            .block(Block::bordered().title(format!(" {}{scale} ", one_line(&chart.title))))
            .x_axis(Axis::default().bounds(x).labels(x.map(|batch| count(batch.max(0.0) as usize))))
            .y_axis(Axis::default().bounds(y).labels([label(y[0]), label(f64::midpoint(y[0], y[1])), label(y[1])]))
            .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)));
        frame.render_widget(widget, area);
    }
}

/// The smallest and the largest of some values, never the same.
fn bounds(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match (low, high) {
        _ if low > high => [0.0, 1.0],
        _ if low == high => {
            let around = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
            [low - around, high + around]
        }
        _ => [low, high],
    }
}

fn head(seen: &Seen<'_>) -> Vec<Line<'static>> {
    let Seen { run, log, speed } = seen;
    let state = match &run.state {
        RunState::Failed(_) | RunState::Killed => run.state.to_string().red(),
        RunState::Finished => run.state.to_string().green(),
        RunState::Running | RunState::Interrupted | RunState::OutOfBudget => run.state.to_string().yellow(),
    };
    let mut lines = vec![Line::from(vec![
        Span::from(one_line(&run.name)).bold(),
        "  ".into(),
        state.bold(),
        format!("  {}", one_line(&run.folder.display().to_string())).dark_gray(),
    ])];
    if let RunState::Failed(why) = &run.state {
        lines.push(Line::from(one_line(why)).red());
    }
    let first = log.stages.len().saturating_sub(MOST_STAGES);
    let last = log.stages.len().saturating_sub(1);
    for (index, stage) in log.stages.iter().enumerate().skip(first) {
        let is_running = index == last && run.state == RunState::Running;
        lines.push(Line::from(stage_line(stage, is_running.then_some(*speed))));
    }
    let mut figures: Vec<_> = Figures::of_log(log).0.into_iter().collect();
    figures.retain(|(key, _)| !report_page::is_count(key));
    let figures: Vec<_> =
        figures.iter().map(|(key, value)| format!("{key} {}", report_page::figure(key, *value))).collect();
    if !figures.is_empty() {
        lines.push(Line::from(one_line(&figures.join("   "))));
    }
    if let Some(warning) = log.warnings.last() {
        let more = log.warnings.len() - 1;
        let more = if more > 0 { format!(" (and {more} before)") } else { String::new() };
        lines.push(
            Line::from(one_line(&format!(
                "warning{more}: {}, batch {}: {}",
                warning.stage, warning.batch, warning.message
            )))
            .yellow(),
        );
    }
    lines
}

/// `distill  batch 220 of 1,320 (17 %)  184 images/s  4 min 10 s left`
fn stage_line(stage: &StageProgress, speed: Option<&Speed>) -> String {
    let mut text = format!("{}  batch {}", one_line(&stage.stage), count(stage.batch));
    if let Some(batches) = stage.batches.filter(|batches| *batches > 0) {
        text += &format!(" of {} ({:.0} %)", count(batches), 100.0 * stage.batch as f64 / batches as f64);
    }
    let Some(speed) = speed else { return text };
    if let Some(rate) = speed.batches_per_second(stage) {
        let speed = if rate < 1.0 {
            format!("{} each", short_duration(1.0 / rate))
        } else {
            format!("{} batches/s", figure(rate))
        };
        text += &format!("  {speed}  {} images/s", figure(rate * stage.images as f64));
    }
    if let Some(left) = speed.seconds_left(stage) {
        text += &format!("  {} left", duration(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::{Value, json};

    use super::{Screen, Seen};
    use crate::runs::{Log, Run, RunState};
    use crate::watch::speed::Speed;

    #[test]
    fn any_terminal_shows_what_fits_and_no_text_leaves_its_place() {
        let hostile = "\u{1b}[2J\u{202e}\n";
        let run = Run {
            folder: PathBuf::from("run"),
            name: format!("tiny{hostile}"),
            state: RunState::Running,
            manifest: Value::Null,
            report: None,
            pipeline: String::new(),
        };
        let (mut log, mut speed) = (Log::default(), Speed::default());
        for batch in 1..200 {
            log.add_line(&json!({ "stage": "distill", "batch": batch, "batches": 400, "images": 64, "seconds": 0.5, format!("{hostile}.loss"): 0.5 }).to_string());
        }
        log.add_line(&json!({ "metric": "accuracy", "stage": "distill", "batch": 199, "top1": 0.5 }).to_string());
        log.add_line(&json!({ "event": "warning", "stage": "distill", "batch": 9, "message": hostile }).to_string());
        speed.note(&log, true, Instant::now());
        let mut screen = Screen::default();
        for (width, height) in [(0, 0), (1, 1), (10, 3), (30, 12), (120, 40)] {
            for logarithmic in [false, true] {
                screen.logarithmic = logarithmic;
                screen.first_chart = usize::MAX;
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                terminal.draw(|frame| screen.draw(frame, &Seen { run: &run, log: &log, speed: &speed })).unwrap();
                let text: String =
                    terminal.backend().buffer().content().iter().map(ratatui::buffer::Cell::symbol).collect();
                assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
                if width == 120 {
                    assert!(text.contains("batch 199 of 400 (50 %)") && text.contains("1 min 41 s left"), "{text}");
                    assert!(text.contains("accuracy.top1 50.00 %"), "{text}");
                }
            }
        }
    }
}
