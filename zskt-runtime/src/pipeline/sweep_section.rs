//! `sweep: (seeds: "0..3", set: {"student.depth": [10, 16]}, zip: {…})`: over what `zskt-run sweep` runs a pipeline.

use std::ops::Range;

use zskt_api::{Diagnostic, Span, Value, ValueKind, nearest_name};

use super::parser::read;
use super::seeds::parse_seeds;
use super::sources::Sources;
use super::syntax::{SWEEP, expected, field};

const PARTS: [&str; 3] = ["seeds", "set", "zip"];

/// Over what a pipeline is to be run, as its file says.
#[derive(Debug, Default)]
pub struct SweepSection {
    /// The seeds.
    pub seeds: Option<(Vec<u64>, Span)>,
    /// What takes each of its values with each of the others'.
    pub set: Vec<SweptKey>,
    /// What takes its values together with the others here.
    pub zip: Vec<SweptKey>,
}

/// A key of `--set`, and the values that it takes: places in the pipeline's text.
#[derive(Debug)]
pub struct SweptKey {
    /// Where the key is written, without its quotes.
    pub key_place: Range<usize>,
    /// Where its values are written.
    pub values: Vec<Range<usize>>,
}

/// The section of the pipeline's file, where it has one. What is wrong with it is found where the pipeline is proven.
pub fn of_file(sources: &Sources) -> Option<SweepSection> {
    let pipeline = read(sources.text(0), 0, 0, &mut Vec::new()).value?;
    read_section(&field(&pipeline, SWEEP)?.1, sources, &mut Vec::new())
}

/// Reads the section.
pub fn read_section(value: &Value, sources: &Sources, problems: &mut Vec<Diagnostic>) -> Option<SweepSection> {
    let ValueKind::Named { name: None, fields, items } = &value.kind else {
        return expected(value, "`(seeds: \"0..3\", set: {\"node.parameter\": [1, 2]})`", problems);
    };
    if let Some(item) = items.first() {
        return expected(item, "`seeds: …`, `set: …` or `zip: …`", problems);
    }
    let mut section = SweepSection::default();
    for (name, value) in fields {
        match name.text.as_str() {
            "seeds" => section.seeds = seeds(value, problems).map(|seeds| (seeds, value.span)),
            "set" => section.set = keys(value, sources, problems)?,
            "zip" => section.zip = keys(value, sources, problems)?,
            other => {
                let label =
                    nearest_name(other, PARTS).map_or("unknown field".into(), |near| format!("did you mean `{near}`?"));
                let problem = Diagnostic::at(name.span, format!("a sweep has no field `{other}`")).label(label);
                problems.push(problem.help(format!("a sweep has: {}", PARTS.join(", "))));
            }
        }
    }
    Some(section)
}

fn seeds(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Vec<u64>> {
    let written = match &value.kind {
        ValueKind::Text(text) => text.clone(),
        ValueKind::List(items) => items.iter().map(Value::to_ron).collect::<Vec<_>>().join(","),
        _ => return expected(value, "seeds: `[0, 1, 2]` or `\"0..3\"`", problems),
    };
    let seeds = parse_seeds(&written);
    seeds.map_err(|error| problems.push(Diagnostic::at(value.span, error.message).label("expected `\"0..3\"`"))).ok()
}

fn keys(value: &Value, sources: &Sources, problems: &mut Vec<Diagnostic>) -> Option<Vec<SweptKey>> {
    let ValueKind::Map(pairs) = &value.kind else {
        return expected(value, "a map: `{\"node.parameter\": [1, 2]}`", problems);
    };
    let mut keys = Vec::new();
    for (key, value) in pairs {
        let Span { start, end, .. } = key.span;
        let place = start + 1..end.saturating_sub(1).max(start + 1);
        // What holds escapes is no key of a node anyway.
        let written = sources.text(key.span.source).get(place.clone());
        if !matches!(&key.kind, ValueKind::Text(text) if written == Some(text)) {
            expected::<()>(key, "a key in quotes: `\"node.parameter\"`", problems);
            continue;
        }
        match &value.kind {
            ValueKind::List(items) if !items.is_empty() => keys.push(SweptKey {
                key_place: place,
                values: items.iter().map(|item| item.span.start..item.span.end).collect(),
            }),
            _ => {
                expected::<()>(value, "a list of values: `[1, 2]`", problems);
            }
        }
    }
    Some(keys)
}
