//! `docs/events.md` has every event that there is, with the fields that it has.

use std::collections::BTreeMap;

use serde_json::Value;
use zskt_api::{LoggedDistribution, Name, Span};

use super::*;
use crate::pipeline::{Bounds, Expectation};
use crate::run::record::events::{EventKind, FORMAT};

const DESCRIPTION: &str = include_str!("../../../../docs/events.md");

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
        object.keys().find(|field| !is_known(field)).map(|field| format!("`{field}` is not described"))
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

params! {
    /// Tells all that a stage can tell.
    pub struct Tells {}
}

impl Stage for Tells {
    type Inputs = WalkInputs;
    const OUTPUT: PortType = PortType::Classifier;

    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        inputs.one("student").cloned()
    }

    fn run(&self, inputs: WalkInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let figures = [LoggedScalar::new("stage", 1.0)];
        context.observer.batch(&Progress { batch: 1, batches: 1, images: 4, seconds: 0.5, figures: &figures })?;
        context.observer.monitor(1, &figures)?;
        let spread = LoggedDistribution { name: "event".into(), edges: vec![0.0, 1.0], values: vec![0.5] };
        context.observer.distributions(1, &[spread])?;
        let device = &context.build.device;
        let images = Tensor::zeros((1, 3, 4, 4), candle_core::DType::F32, device)?;
        context.observer.images(1, &FeatureMap::from_nchw(&images)?)?;
        context.observer.warn(1, "collapsed")?;
        context.observer.evaluate(1)?;
        Ok(NodeOutput::Classifier(inputs.student.0))
    }
}

params! {
    /// A network that cannot be made.
    pub struct Impossible {}
}

impl ClassifierShape for Impossible {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        Point {}.output_shape(image)
    }
    fn classes(&self) -> usize {
        2
    }
}

impl Architecture for Impossible {
    fn build(&self, _builder: &Builder) -> Result<Box<dyn Classifier>> {
        Err(Error::new("too large"))
    }
}

static TELLS: PluginRegistration = PluginRegistration::stage::<Tells>("zskt-test", "1.2.3");

/// What a run tells, line by line.
fn told(plan: &Plan, out: &Path) -> Vec<Value> {
    told_until(plan, out, Arc::new(|| false))
}

fn told_until(plan: &Plan, out: &Path, interrupted: Interrupted) -> Vec<Value> {
    let shown = Shown::default();
    let console = Console::writing_to(Box::new(shown.clone()), OutputMode::Json);
    run_until(plan, &into(out), console, interrupted);
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
    let mut telling = two_walks();
    telling.nodes[2] = node("first", &TELLS, PluginInstance::Stage(Arc::new(Tells {})), &[("student", 0)]);
    let telling = told(&telling, &folder.path().join("telling"));
    let events = [whole.clone(), told(&failing, &folder.path().join("failing")), telling].concat();
    for event in &events {
        let name = event["event"].as_str().unwrap();
        assert_eq!(described[name].fault(event), None, "{event}");
    }
    let kinds: Vec<_> = whole.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]), ("started", "finished", "expectations"));
    assert_eq!((&whole[0]["format"], &whole[0]["resumed"]), (&FORMAT.into(), &false.into()));
    let seen: std::collections::BTreeSet<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let rest = EventKind::ALL.map(EventKind::name).into_iter().filter(|kind| !seen.contains(kind)).collect::<Vec<_>>();
    assert_eq!(rest, ["estimate", "interrupted", "point", "table"], "of what a run tells, all was told");
    // Again, it is as it was.
    let again = run_again(&plan, &folder.path().join("whole"));
    assert_eq!(again, ["started", "finished", "expectations"]);
}

#[test]
fn a_run_that_ends_before_it_begins_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = two_walks();
    plan.nodes[0] = node("student", &POINT, PluginInstance::Architecture(Arc::new(Impossible {})), &[]);
    let [end] = &told(&plan, &folder.path().join("failing"))[..] else { panic!("one event") };
    assert_eq!(end["event"], "failed");
    assert!(end["message"].as_str().unwrap().contains("too large"), "{end}");
    let [end] = &told_until(&two_walks(), &folder.path().join("stopped"), Arc::new(|| true))[..] else { panic!("one") };
    assert_eq!(end["event"], "interrupted");
    assert_eq!(described()["interrupted"].fault(end), None);
}

#[test]
fn a_run_whose_log_cannot_be_written_any_more_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (log, checkpoint) = (out.join("metrics.jsonl"), out.join("checkpoint/state.safetensors"));
    // Another than the run writes into its log.
    let interfere = move || {
        if checkpoint.exists() {
            fs::write(&log, "{}\n").unwrap();
        }
        false
    };
    let events = told_until(&two_walks(), &out, Arc::new(interfere));
    assert_eq!(events.last().unwrap()["event"], "failed", "{events:?}");
    assert_eq!(events.iter().filter(|event| event["event"] == "failed").count(), 1);
}

fn run_again(plan: &Plan, out: &Path) -> Vec<String> {
    let shown = Shown::default();
    let console = Console::writing_to(Box::new(shown.clone()), OutputMode::Json);
    run_until(plan, &resume(out), console, Arc::new(|| false));
    let shown = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
    let events = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}
