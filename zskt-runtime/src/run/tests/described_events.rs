//! `docs/events.md` has every event that there is, with the fields that it has.

use std::collections::BTreeMap;

use serde_json::Value;
use zskt_api::{Name, Span};

use super::*;
use crate::pipeline::{Bounds, Expectation};
use crate::run::record::events::{EventKind, FORMAT};

const DESCRIPTION: &str = include_str!("../../../../docs/events.md");
/// Events whose other fields are figures.
const WITH_FIGURES: [&str; 4] = ["batch", "metric", "monitor", "distributions"];

/// What the description says of an event.
struct Described {
    /// By field: its types, and whether it is always there.
    fields: BTreeMap<&'static str, (Vec<&'static str>, bool)>,
    example: Value,
}

impl Described {
    /// Why an event is not as it is described, if it is not.
    fn fault(&self, event: &Value) -> Option<String> {
        let object = event.as_object()?;
        for (field, (types, is_always_there)) in &self.fields {
            match object.get(*field) {
                None if *is_always_there => return Some(format!("`{field}` is missing")),
                Some(value) if !types.contains(&type_of(value)) => return Some(format!("`{field}` is {value}")),
                _ => {}
            }
        }
        let is_known = |field: &str| ["event", "time"].contains(&field) || self.fields.contains_key(field);
        let has_figures = WITH_FIGURES.iter().any(|kind| event["event"] == *kind);
        object.keys().find(|field| !has_figures && !is_known(field)).map(|field| format!("`{field}` is not described"))
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn described() -> BTreeMap<&'static str, Described> {
    let sections = DESCRIPTION.split("\n### `").skip(1);
    let described = sections.map(|section| {
        let (name, text) = section.split_once('`').unwrap();
        let text = text.split("\n## ").next().unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let field = |row: &'static str| {
            let (field, rest) = row.split_once('`').unwrap();
            let mut cells = rest.split('|').map(str::trim);
            let is_always_there = cells.next() != Some("?");
            (field, (cells.next().unwrap().split(" or ").collect(), is_always_there))
        };
        let (_, example) = text.split_once("```json\n").expect(name);
        let example = serde_json::from_str(example.lines().next().unwrap()).expect(name);
        (name, Described { fields: rows.map(field).collect(), example })
    });
    described.collect()
}

/// What a run tells, line by line.
fn told(plan: &Plan, out: &Path) -> Vec<Value> {
    let shown = Shown::default();
    let console = Console::writing_to(Box::new(shown.clone()), OutputMode::Json);
    run_until(plan, &into(out), console, Arc::new(|| false));
    let shown = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_described_and_there_is_none_besides() {
    let described = described();
    let mut names = EventKind::ALL.map(EventKind::name);
    names.sort_unstable();
    assert_eq!(described.keys().copied().collect::<Vec<_>>(), names);
    for (name, described) in &described {
        assert_eq!(described.example["event"], *name);
        assert_eq!(described.fault(&described.example), None, "the example of {name}");
    }
}

#[test]
fn runs_tell_what_is_described() {
    let described = described();
    let folder = tempfile::tempdir().unwrap();
    let mut plan = choosing_walks(None);
    let figure = Name { text: "after.sum".into(), span: Span::default() };
    plan.expect = vec![Expectation { figure, bounds: Bounds { least: Some(0.0), most: None } }];
    let whole = told(&plan, &folder.path().join("whole"));
    let failing = walks(Walk { batches: 5, infinite_at: 3, ..QUIET_WALK }, QUIET_WALK);
    let events = [whole.clone(), told(&failing, &folder.path().join("failing"))].concat();
    for event in &events {
        let name = event["event"].as_str().unwrap();
        assert_eq!(described[name].fault(event), None, "{event}");
    }
    let kinds: Vec<_> = whole.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]), ("started", "finished", "expectations"));
    assert_eq!((&whole[0]["format"], &whole[0]["resumed"]), (&FORMAT.into(), &false.into()));
    let seen: std::collections::BTreeSet<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(seen.contains("failed") && seen.contains("stage_started") && seen.contains("stage_finished"), "{seen:?}");
    // Again, it is as it was.
    let again = run_again(&plan, &folder.path().join("whole"));
    assert_eq!(again, ["started", "finished", "expectations"]);
}

fn run_again(plan: &Plan, out: &Path) -> Vec<String> {
    let shown = Shown::default();
    let console = Console::writing_to(Box::new(shown.clone()), OutputMode::Json);
    run_until(plan, &resume(out), console, Arc::new(|| false));
    let shown = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
    let events = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}
