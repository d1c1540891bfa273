//! What metrics found beside single numbers: transition curves, confusion matrices, figures by class.

use maud::{Markup, html};
use serde_json::Value;

use super::chart::{Chart, Line};
use super::figure_text::{brief, number, title};
use crate::text_format;

/// A larger matrix is read as a list of what is confused most.
const WHOLE_MATRIX: usize = 20;
const MOST_CONFUSED: usize = 20;
const MOST_STEPS: usize = 1000;
/// More curves of a metric, and more metrics with curves, than a page can show.
const MOST_CURVES: usize = 30;
/// More classes than there are teachers for.
const MOST_CLASSES: usize = 2000;

/// The metrics of a report, by node.
pub fn metrics(report: &Value) -> impl Iterator<Item = (&String, &serde_json::Map<String, Value>)> {
    let metrics = report["metrics"].as_object().into_iter().flatten();
    metrics.filter_map(|(node, figures)| Some((node, figures.as_object()?)))
}

/// For each metric with figures `…_curve` a chart of them; the band is twice `…_curve_standard_errors`.
pub fn transition_curves(report: &Value) -> Vec<Chart> {
    let charts = metrics(report).filter_map(|(node, figures)| {
        let mut lines: Vec<Line> = Vec::new();
        for (name, values) in figures {
            if lines.len() == MOST_CURVES {
                break;
            }
            let (Some(line), Some(values)) = (name.strip_suffix("_curve"), numbers(values)) else { continue };
            let stride = values.len().div_ceil(MOST_STEPS).max(1);
            let points = values.into_iter().enumerate().step_by(stride).map(|(step, value)| (step as f64, value));
            let errors = figures.get(&format!("{name}_standard_errors")).and_then(numbers);
            let band: Option<Vec<_>> =
                errors.map(|errors| errors.iter().step_by(stride).map(|error| 2.0 * error).collect());
            let points: Vec<_> = points.collect();
            let band = band.filter(|band| band.len() == points.len());
            lines.push(Line { name: line.to_owned(), colour: lines.len(), run: None, noisy: false, points, band });
        }
        let band = lines.iter().any(|line| line.band.is_some());
        let more = if band { ", with two standard errors" } else { "" };
        let title = format!("{node}: mean probability of the target class{more}");
        (!lines.is_empty()).then_some(Chart { title, x: "step", lines })
    });
    charts.take(MOST_CURVES).collect()
}

/// The confusion matrices and the figures by class.
pub fn by_class(report: &Value) -> Option<Markup> {
    let parts = metrics(report).flat_map(|(node, figures)| {
        let names = ClassNames::of(report, node);
        let by_class = report["by_class"][node].as_array().into_iter().flatten().filter_map(Value::as_str);
        let by_class = by_class.filter_map(|name| Some((name, figures.get(name)?.as_array()?)));
        let (matrices, lists): (Vec<_>, Vec<_>) = by_class.partition(|(_, values)| values.iter().any(Value::is_array));
        let matrices = matrices.into_iter().filter_map(|(name, rows)| Some((name, matrix(rows)?)));
        let matrices: Vec<_> = matrices.collect();
        let whole = matrices.iter().any(|(_, matrix)| matrix.len() <= WHOLE_MATRIX);
        let lists =
            lists.into_iter().map(|(name, values)| list(node, name, values, &names, !whole)).collect::<Vec<_>>();
        matrices.iter().map(|(name, matrix)| confusion(node, name, matrix, &names)).chain(lists).collect::<Vec<_>>()
    });
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then(|| html! { @for part in &parts { (part) } })
}

/// What the dataset calls the classes that a metric looked at.
struct ClassNames(Vec<String>);

impl ClassNames {
    fn of(report: &Value, node: &str) -> Self {
        let names = report["class_names"][node].as_array().into_iter().flatten();
        Self(names.map(|name| brief(name.as_str().unwrap_or_default()).into_owned()).collect())
    }

    /// The name of one of so many classes, or its number where it has none: others than the dataset's are not called as these.
    fn name(&self, class: usize, classes: usize) -> String {
        let name = self.0.get(class).filter(|_| self.0.len() == classes);
        name.cloned().unwrap_or_else(|| class.to_string())
    }
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    let values: Vec<_> = value.as_array()?.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect();
    (!values.is_empty()).then_some(values)
}

fn matrix(rows: &[Value]) -> Option<Vec<Vec<u64>>> {
    let row = |row: &Value| {
        let row: Option<Vec<_>> = row.as_array()?.iter().map(Value::as_u64).collect();
        row.filter(|row| row.len() == rows.len())
    };
    if rows.is_empty() || rows.len() > MOST_CLASSES { None } else { rows.iter().map(row).collect() }
}

fn confusion(node: &str, name: &str, matrix: &[Vec<u64>], names: &ClassNames) -> Markup {
    let heading = format!("{node}: {}", title(name));
    let share =
        |count: u64, row: &[u64]| count as f64 / row.iter().fold(0u64, |sum, n| sum.saturating_add(*n)).max(1) as f64;
    if matrix.len() <= WHOLE_MATRIX {
        return html! {
            h3 { (heading) }
            div.scroll tabindex="0" role="region" aria-label=(heading) {
                table.matrix {
                    caption { "A row for each label, a column for each class that was predicted; images." }
                    thead { tr { th scope="col" { "label" } @for class in 0..matrix.len() { th scope="col" { (names.name(class, matrix.len())) } } } }
                    tbody { @for (label, row) in matrix.iter().enumerate() { tr {
                        th scope="row" { (names.name(label, matrix.len())) }
                        @for count in row { td style=(format!("--share: {:.3}", share(*count, row))) { (count) } }
                    } } }
                }
            }
        };
    }
    let mut confused: Vec<_> = matrix
        .iter()
        .enumerate()
        .flat_map(|(label, row)| row.iter().enumerate().map(move |(class, count)| (*count, label, class)))
        .filter(|(count, label, class)| label != class && *count > 0)
        .collect();
    confused.sort_unstable_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let heading = format!("{heading}, what is confused most");
    html! {
        h3 { (heading) }
        div.scroll tabindex="0" role="region" aria-label=(heading) {
            table {
                thead { tr {
                    th scope="col" { "label" } th scope="col" { "predicted" }
                    th.number scope="col" { "images" } th.number scope="col" { "of the label's" }
                } }
                tbody { @for (count, label, class) in confused.iter().take(MOST_CONFUSED) { tr {
                    td { (names.name(*label, matrix.len())) } td { (names.name(*class, matrix.len())) } td.number { (count) }
                    td.number { (format!("{:.1} %", 100.0 * share(*count, &matrix[*label]))) }
                } } }
            }
        }
    }
}

fn list(node: &str, name: &str, values: &[Value], names: &ClassNames, open: bool) -> Markup {
    let heading = format!("{node}: {}", title(name));
    let shown = values.iter().take(MOST_CLASSES);
    html! {
        details open[open && values.len() <= WHOLE_MATRIX] {
            summary { (heading) }
            div.scroll tabindex="0" role="region" aria-label=(heading) {
                table {
                    thead { tr { th scope="col" { "class" } th.number scope="col" { (title(name)) } } }
                    tbody { @for (class, value) in shown.enumerate() { tr {
                        th scope="row" { (names.name(class, values.len())) }
                        td.number { (value.as_f64().map_or("no images".into(), number)) }
                    } } }
                }
            }
            @if values.len() > MOST_CLASSES { p { (text_format::count(values.len() - MOST_CLASSES)) " more in report.json." } }
        }
    }
}
