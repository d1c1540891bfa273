//! Charts: lines over batches or steps, as the page's script draws them.

use maud::{Markup, html};
use serde::Serialize;

use super::figure_text::number;
use super::thinning::thin;

/// More lines than a page can show, and than any run logs.
pub const MOST_LINES: usize = 1000;
/// Points of one line; a screen has no more columns.
pub const MOST_POINTS: usize = 2000;
/// Points of a page: some 20 bytes each, and twice that with a band.
pub const POINTS_OF_PAGE: usize = 60_000;

/// Lines in one coordinate system.
pub struct Chart {
    /// What is drawn.
    pub title: String,
    /// What the horizontal axis counts.
    pub x: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
pub struct Line {
    /// What it is called.
    pub name: String,
    /// The number of its colour; equal numbers, equal looks.
    pub colour: usize,
    /// The run that it belongs to, where several are shown and hidden together.
    pub run: Option<usize>,
    /// Whether it is noisy by nature, so that smoothing says more than its points.
    pub noisy: bool,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// How far the band around each of its points reaches up and down.
    pub band: Option<Vec<f64>>,
}

/// A chart as the script reads it.
#[derive(Serialize)]
pub struct ChartData<'a> {
    x: &'static str,
    /// The places that lines have points at; most lines share them.
    xs: Vec<Vec<f64>>,
    lines: Vec<LineData<'a>>,
}

#[derive(Serialize)]
struct LineData<'a> {
    name: &'a str,
    colour: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<usize>,
    smooth: bool,
    x: usize,
    y: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<Vec<f64>>,
}

/// The charts of a page as the script reads them, thinned to what a page can hold.
pub fn data(charts: &[Chart]) -> Vec<ChartData<'_>> {
    let lines = charts.iter().flat_map(|chart| &chart.lines);
    let shares: usize = lines.map(|line| if line.band.is_some() { 2 } else { 1 }).sum();
    let most = (POINTS_OF_PAGE / shares.max(1)).min(MOST_POINTS);
    charts.iter().map(|chart| chart.data(most)).collect()
}

impl Chart {
    fn data(&self, most: usize) -> ChartData<'_> {
        let mut xs: Vec<Vec<f64>> = Vec::new();
        let lines = self.lines.iter().map(|line| {
            let reach = |index: usize| line.band.as_ref().and_then(|band| band.get(index)).copied().unwrap_or_default();
            let points: Vec<_> =
                line.points.iter().enumerate().map(|(index, (x, y))| ((*x, reach(index)), *y)).collect();
            let (at, y): (Vec<_>, Vec<_>) = thin(&points, most).into_iter().unzip();
            let (x, band): (Vec<f64>, Vec<f64>) = at.into_iter().unzip();
            let edge = |sign: f64| {
                let edge = y.iter().zip(&band).map(|(y, band)| six_digits(y + sign * band));
                line.band.is_some().then(|| edge.collect())
            };
            let (low, high) = (edge(-1.0), edge(1.0));
            let place = xs.iter().position(|known| *known == x).unwrap_or_else(|| {
                xs.push(x);
                xs.len() - 1
            });
            let y = y.into_iter().map(six_digits).collect();
            LineData {
                name: &line.name,
                colour: line.colour,
                run: line.run,
                smooth: line.noisy,
                x: place,
                y,
                low,
                high,
            }
        });
        let lines = lines.collect();
        ChartData { x: self.x, xs, lines }
    }

    /// The chart's place in the page, with its buttons, and the same in numbers. Lines that have a legend elsewhere get none here.
    pub fn place(&self, number_of_chart: usize, legend: bool) -> Markup {
        let title = &self.title;
        let button = |action: &str, sign: &str, label: &str| {
            html! { button type="button" data-do=(action) aria-label=(format!("{title}: {label}")) title=(label) { (sign) } }
        };
        html! {
            figure.chart id=(format!("chart-{number_of_chart}")) {
                div.head {
                    h3 { (title) " " span.unit { "by " (self.x) } }
                    div.tools role="group" aria-label=(format!("{title}: view")) {
                        button type="button" data-do="log" aria-pressed="false" aria-label=(format!("{title}: logarithmic scale")) { "log" }
                        (button("in", "+", "zoom in"))
                        (button("out", "−", "zoom out"))
                        (button("left", "‹", "move left"))
                        (button("right", "›", "move right"))
                        (button("all", "all", "show all"))
                    }
                }
                div.plot role="img" aria-label=(format!("{title} by {}; the numbers are below", self.x)) {}
                div.readout {}
                @if legend {
                    div.legend role="group" aria-label=(format!("{title}: lines")) {
                        @for (index, line) in self.lines.iter().enumerate() {
                            button type="button" data-line=(index) aria-pressed="true" { (swatch(line.colour)) (line.name) }
                        }
                    }
                }
                details {
                    summary { "In numbers" }
                    div.scroll tabindex="0" role="region" aria-label=(format!("{title} in numbers")) { (self.numbers()) }
                }
            }
        }
    }

    fn numbers(&self) -> Markup {
        html! {
            table {
                thead { tr {
                    th scope="col" { "line" }
                    @for name in ["first", "last", "smallest", "largest"] { th.number scope="col" { (name) } }
                } }
                tbody { @for line in &self.lines {
                    tr {
                        th scope="row" { (line.name) }
                        @for (x, y) in line.landmarks() { td.number { (number(y)) span.quiet { " at " (number(x)) } } }
                    }
                } }
            }
        }
    }
}

impl Line {
    /// Its first, last, lowest and highest point.
    fn landmarks(&self) -> impl Iterator<Item = (f64, f64)> {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let points = &self.points;
        let found = [points.first(), points.last(), points.iter().min_by(by_value), points.iter().max_by(by_value)];
        found.into_iter().flatten().copied()
    }
}

/// A piece of a line as it is drawn.
pub fn swatch(colour: usize) -> Markup {
    let dash = ["solid", "dashed", "dotted", "double"][colour / 8 % 4];
    html! { span.swatch style=(format!("border-top-color: var(--c{}); border-top-style: {dash}", colour % 8)) {} }
}

/// A number with as many digits as a screen can show.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::{Chart, Line, MOST_LINES, data};

    #[test]
    fn bands_count_for_what_a_page_holds_and_keep_to_their_points() {
        let line = |line: usize| {
            let points: Vec<_> = (0..300).map(|x| (f64::from(x) + 0.123_456, f64::from(x * 7919 % 300))).collect();
            let band = points.iter().map(|(_, y)| y / 2.0 + line as f64 / 1e3);
            Line { name: "mean".into(), colour: 0, run: None, noisy: true, band: Some(band.collect()), points }
        };
        let charts = |lines: usize| {
            (0..lines).map(|number| Chart { title: String::new(), x: "batch", lines: vec![line(number)] }).collect()
        };
        let many: Vec<Chart> = charts(MOST_LINES);
        let text = serde_json::to_string(&data(&many)).unwrap();
        assert!(text.len() < 2_000_000, "{}", text.len());
        let thinned = &data(&many)[0].lines[0];
        let low = thinned.low.as_ref().unwrap();
        assert_eq!(low.len(), thinned.y.len());
        assert!(thinned.y.iter().zip(low).all(|(y, low)| (low - y / 2.0).abs() < 1e-3));
    }
}
