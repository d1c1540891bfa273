//! What a pipeline expects of a run, beside what the run found.

use serde_json::{Map, Value, json};
use zskt_api::nearest_name;

use super::console::Console;
use super::events::EventKind;
use crate::pipeline::Expectation;
use crate::runs::Figures;
use crate::text_format;

/// An expectation, and what was found.
struct Judged<'e> {
    expected: &'e Expectation,
    found: Option<f64>,
    /// A figure that may have been meant, where there is none of this name.
    meant: Option<String>,
}

/// Tells what was expected and found, and says whether all of it was met.
pub fn tell(expected: &[Expectation], report: &Value, console: &mut Console) -> bool {
    if expected.is_empty() {
        return true;
    }
    let judged = judge(expected, &Figures::of_report(report));
    console.json(&json(&judged));
    table(&judged).lines().for_each(|line| console.result(line));
    judged.iter().all(Judged::is_met)
}

/// Compares what is expected with what was found.
fn judge<'e>(expected: &'e [Expectation], figures: &Figures) -> Vec<Judged<'e>> {
    let judged = |expected: &'e Expectation| {
        let found = figures.0.get(&expected.figure.text).copied();
        let known = figures.0.keys().map(String::as_str);
        let meant = if found.is_none() { nearest_name(&expected.figure.text, known) } else { None };
        Judged { expected, found, meant: meant.map(str::to_owned) }
    };
    expected.iter().map(judged).collect()
}

impl Judged<'_> {
    /// Whether the figure is there, and lies where it should.
    fn is_met(&self) -> bool {
        self.found.is_some_and(|found| self.expected.bounds.hold(found))
    }
}

/// For a person: a line each, below a heading.
fn table(judged: &[Judged<'_>]) -> String {
    let mut rows = vec![["figure", "expected", "found", ""].map(str::to_owned).to_vec()];
    for own in judged {
        let found = match (own.found, &own.meant) {
            (Some(found), _) => found.to_string(),
            (None, Some(meant)) => format!("no number; did you mean `{meant}`?"),
            (None, None) => "no number".to_owned(),
        };
        let figure = text_format::one_line(&own.expected.figure.text);
        let verdict = if own.is_met() { "met" } else { "NOT MET" };
        rows.push(vec![figure, own.expected.bounds.to_string(), found, verdict.to_owned()]);
    }
    text_format::table(&rows, |_| false)
}

/// For a program.
fn json(judged: &[Judged<'_>]) -> Value {
    let each = judged.iter().map(|own| {
        let entry = json!({ "expected": own.expected.bounds.to_string(), "found": own.found, "met": own.is_met() });
        (own.expected.figure.text.clone(), entry)
    });
    let met = judged.iter().all(Judged::is_met);
    EventKind::Expectations.with(json!({ "met": met, "figures": each.collect::<Map<_, _>>() }))
}
