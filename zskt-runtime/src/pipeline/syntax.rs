//! The syntax of a pipeline: which fields it has, and what may be written in each. What the nodes are is not known here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use zskt_api::{Diagnostic, Name, Precision, Span, Value, ValueKind, nearest_name};

use super::edges::{Edge, is_node_name, read_edge};
use super::expectation::{Expectation, read_bounds};
use super::malformed_edges::MalformedEdges;
use super::sources::Sources;
use super::sweep_section::read_section;
use crate::device_request::DeviceRequest;

/// The fields of a pipeline, in the order of documentation.
pub const FIELDS: [&str; 13] = [
    "name",
    "seed",
    DEVICE,
    "precision",
    LIBRARIES,
    "data_free",
    PUBLISHED,
    EXPECT,
    VARIANT,
    VARIANTS,
    SWEEP,
    "nodes",
    "edges",
];

/// The field that holds changes under names, and that which chooses some of them.
pub const VARIANTS: &str = "variants";
pub const VARIANT: &str = "variant";

/// The field that says where it runs.
pub const DEVICE: &str = "device";

/// The field that names plugin libraries.
pub const LIBRARIES: &str = "plugins";

/// The field with the figures that the pipeline's source states.
pub const PUBLISHED: &str = "published";

/// The field with what a run has to reach.
pub const EXPECT: &str = "expect";

/// The field that says over what `zskt-run sweep` runs the pipeline; a single run does not look at it.
pub const SWEEP: &str = "sweep";

/// How many fields are looked at for a misspelt one.
const MAX_MISSPELT: usize = 1000;

/// A pipeline as written, every part with its place.
pub struct PipelineSyntax {
    /// What the run's folder, and reports, call it.
    pub name: String,
    /// The seed of every random stream.
    pub seed: u64,
    /// Where it asks to be computed.
    pub device: DeviceRequest,
    /// How exact the numbers of its networks are.
    pub precision: Precision,
    /// What it claims to keep free of training data.
    pub data_free: Option<DataFree>,
    /// What the pipeline's source states of its figures, as it is written there.
    pub published: Vec<(Name, String)>,
    /// What a run has to reach.
    pub expect: Vec<Expectation>,
    /// Its nodes, in the order of the file.
    pub nodes: Vec<(Name, Value)>,
    /// Its edges, in the order of the file.
    pub edges: Vec<Edge>,
    /// What was to be an edge, and is reported already.
    pub malformed: MalformedEdges,
}

/// The claim that no training image reaches a network.
pub struct DataFree {
    /// Where it is claimed.
    pub span: Span,
    /// Of which networks; `None` for all that are trained.
    pub networks: Option<Vec<Name>>,
}

/// Reads a pipeline's fields; `None` when it has no nodes or edges to speak of.
pub fn read_syntax(value: &Value, sources: &Sources, problems: &mut Vec<Diagnostic>) -> Option<PipelineSyntax> {
    let ValueKind::Named { name, fields, items } = &value.kind else {
        let found = value.describe();
        problems.push(
            Diagnostic::at(value.span, format!("a pipeline is a group of fields, found {found}"))
                .label("expected `(name: …, nodes: {…}, edges: […])`"),
        );
        return None;
    };
    if let Some(name) = name {
        problems.push(
            Diagnostic::at(name.span, "a pipeline has no name in front")
                .label("expected `(`")
                .help("its name is a field: `name: \"…\"`"),
        );
    }
    for item in items {
        problems.push(
            Diagnostic::at(item.span, format!("expected a field, found {}", item.describe()))
                .label("expected `field: value`"),
        );
    }
    check_names(fields, problems);
    let mut parts = Fields { fields, whole: value.span, problems };
    let name = parts.required("name", |value, problems| {
        let name = text(value, problems)?;
        let bad = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
        if name.is_empty() || name.starts_with('.') || name.contains(bad) {
            let label = "expected a name that a folder can have";
            problems.push(Diagnostic::at(value.span, format!("a run's folder cannot be called {name:?}")).label(label));
        }
        Some(name)
    });
    let seed = parts.optional("seed", |value, problems| match value.kind {
        ValueKind::Integer(seed) if u64::try_from(seed).is_ok() => u64::try_from(seed).ok(),
        _ => expected(value, "a whole number from 0 to 18446744073709551615", problems),
    });
    let device = parts.optional(DEVICE, |value, problems| match DeviceRequest::parse(&text(value, problems)?) {
        Some(device @ DeviceRequest::Cuda(_)) if !cfg!(feature = "cuda") => {
            problems.push(
                Diagnostic::at(value.span, format!("device `{device}` is not there: this build has no CUDA"))
                    .label("expected \"cpu\" or \"auto\""),
            );
            None
        }
        Some(device) => Some(device),
        None => expected(value, "\"auto\", \"cpu\" or \"cuda:0\"", problems),
    });
    let precision = parts.optional("precision", |value, problems| match Precision::named(&text(value, problems)?) {
        Some(precision) => Some(precision),
        None => expected(value, &Precision::choice('"'), problems),
    });
    // They are loaded by now; what is not a path was left out.
    parts.optional(LIBRARIES, libraries);
    // What is wrong with variants has been said when they were applied.
    parts.optional(VARIANT, text);
    let data_free = parts.optional("data_free", data_free);
    let published = parts.optional(PUBLISHED, |value, problems| by_figure(value, PUBLISHED, text, problems));
    let expect = parts.optional(EXPECT, |value, problems| by_figure(value, EXPECT, read_bounds, problems));
    let expect = expect.into_iter().flatten().map(|(figure, bounds)| Expectation { figure, bounds });
    let expect = expect.collect();
    parts.optional(SWEEP, |value, problems| read_section(value, sources, problems));
    let nodes = parts.required("nodes", nodes);
    let edges = parts.required("edges", |value, problems| edges(value, sources, problems));
    let (edges, malformed) = edges?;
    Some(PipelineSyntax {
        name: name.unwrap_or_default(),
        seed: seed.unwrap_or_default(),
        device: device.unwrap_or_default(),
        precision: precision.unwrap_or(Precision::F32),
        data_free: data_free.flatten(),
        published: published.unwrap_or_default(),
        expect,
        nodes: nodes?,
        edges,
        malformed,
    })
}

fn check_names(fields: &[(Name, Value)], problems: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for (name, _) in fields {
        let first = *seen.entry(&name.text).or_insert(name.span);
        if first != name.span {
            problems.push(
                Diagnostic::at(name.span, format!("`{}` is given twice", name.text))
                    .label("given again")
                    .related(first, "first given here"),
            );
        }
        if !FIELDS.contains(&name.text.as_str()) {
            let label = nearest_name(&name.text, FIELDS)
                .map_or("unknown field".into(), |near| format!("did you mean `{near}`?"));
            problems.push(
                Diagnostic::at(name.span, format!("a pipeline has no field `{}`", name.text))
                    .label(label)
                    .help(format!("a pipeline has: {}", FIELDS.join(", "))),
            );
        }
    }
}

struct Fields<'a> {
    fields: &'a [(Name, Value)],
    whole: Span,
    problems: &'a mut Vec<Diagnostic>,
}

impl Fields<'_> {
    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value, &mut Vec<Diagnostic>) -> Option<T>) -> Option<T> {
        let (_, value) = self.fields.iter().find(|(field, _)| field.text == name)?;
        read(value, self.problems)
    }

    fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value, &mut Vec<Diagnostic>) -> Option<T>) -> Option<T> {
        // A misspelt field is reported as such; that the right one is missing then goes without saying.
        let misspelt =
            |field: &Name| !FIELDS.contains(&field.text.as_str()) && nearest_name(&field.text, FIELDS) == Some(name);
        let given = self.fields.iter().any(|(field, _)| field.text == name);
        if !given && !self.fields.iter().take(MAX_MISSPELT).any(|(field, _)| misspelt(field)) {
            let opening = Span { end: self.whole.start + 1, ..self.whole };
            self.problems.push(
                Diagnostic::at(opening, format!("the pipeline has no `{name}`"))
                    .label(format!("expected a field `{name}: …` in here")),
            );
        }
        self.optional(name, read)
    }
}

/// Reports that a value is not what belongs in its place.
pub fn expected<T>(value: &Value, expected: &str, problems: &mut Vec<Diagnostic>) -> Option<T> {
    problems.push(
        Diagnostic::at(value.span, format!("expected {expected}, found {}", value.describe()))
            .label(format!("expected {expected}")),
    );
    None
}

/// A map with something for each of some figures: `{"accuracy.top1": …}`.
fn by_figure<T>(
    value: &Value,
    field: &str,
    read: impl Fn(&Value, &mut Vec<Diagnostic>) -> Option<T>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Vec<(Name, T)>> {
    let ValueKind::Map(pairs) = &value.kind else {
        return expected(value, &format!("a map of figures: `{field}: {{\"accuracy.top1\": …}}`"), problems);
    };
    let mut figures: Vec<(Name, T)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let Some(text) = text(key, problems) else { continue };
        let figure = Name { text, span: key.span };
        if !figure.text.contains('.')
            && !["seconds", "images_per_second", "flop", "peak_memory_bytes"].contains(&&*figure.text)
        {
            problems.push(
                Diagnostic::at(figure.span, format!("`{}` is not a figure of a run", figure.text))
                    .label("expected `node.figure`, as \"accuracy.top1\""),
            );
        }
        if figures.iter().any(|(known, _)| known.text == figure.text) {
            problems
                .push(Diagnostic::at(figure.span, format!("`{}` is given twice", figure.text)).label("given again"));
        }
        figures.extend(read(value, problems).map(|value| (figure, value)));
    }
    Some(figures)
}

/// Text; a bare word is reported as text without its quotes.
pub fn text(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<String> {
    match &value.kind {
        ValueKind::Text(text) => Some(text.clone()),
        ValueKind::Named { name: Some(name), fields, items } if fields.is_empty() && items.is_empty() => {
            let help = format!("write {:?}", name.text);
            problems.push(
                Diagnostic::at(value.span, "text is written in quotes").label("expected quotes around it").help(help),
            );
            Some(name.text.clone())
        }
        _ => expected(value, "text in quotes", problems),
    }
}

fn nodes(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Vec<(Name, Value)>> {
    let pairs: Vec<(Option<Name>, &Value)> = match &value.kind {
        ValueKind::Map(pairs) => pairs.iter().map(|(key, value)| (node_name(key, problems), value)).collect(),
        // `nodes: (teacher: …)`: as plain as it is wrong.
        ValueKind::Named { name: None, fields, items } if items.is_empty() => {
            let help = "write `nodes: {\"name\": Plugin(…)}`";
            problems.push(
                Diagnostic::at(value.span, "`nodes` is a map")
                    .label("expected braces, and quotes around the names")
                    .help(help),
            );
            fields.iter().map(|(name, value)| (Some(name.clone()), value)).collect()
        }
        _ => return expected(value, "a map of nodes: `{\"name\": Plugin(…)}`", problems),
    };
    let mut nodes: Vec<(Name, Value)> = Vec::with_capacity(pairs.len());
    let mut seen: HashMap<String, Span> = HashMap::new();
    for (name, value) in pairs {
        let Some(name) = name else { continue };
        match seen.entry(name.text.clone()) {
            Entry::Occupied(first) => problems.push(
                Diagnostic::at(name.span, format!("there are two nodes `{}`", name.text))
                    .label("named again")
                    .related(*first.get(), "first named here"),
            ),
            Entry::Vacant(new) => {
                new.insert(name.span);
                nodes.push((name, value.clone()));
            }
        }
    }
    Some(nodes)
}

fn node_name(key: &Value, problems: &mut Vec<Diagnostic>) -> Option<Name> {
    let text = text(key, problems)?;
    let name = Name { text, span: key.span };
    if !is_node_name(&name.text) {
        problems.push(
            Diagnostic::at(name.span, format!("a node cannot be called {:?}", name.text))
                .label("expected letters, digits, `_` and `-`"),
        );
    } else if FIELDS.contains(&name.text.as_str()) {
        problems.push(
            Diagnostic::at(name.span, format!("a node cannot be called `{}`", name.text))
                .label("another name is needed")
                .help(format!("`--set {}=…` means the pipeline's own `{}`", name.text, name.text)),
        );
    }
    Some(name)
}

/// The edges, and what was to be one.
fn edges(value: &Value, sources: &Sources, problems: &mut Vec<Diagnostic>) -> Option<(Vec<Edge>, MalformedEdges)> {
    let items: &[Value] = match &value.kind {
        ValueKind::List(items) => items,
        ValueKind::Named { name: None, fields, items } if fields.is_empty() && items.is_empty() => &[],
        _ => return expected(value, "a list of edges: `[\"from -> to.input\"]`", problems),
    };
    let (mut edges, mut malformed) = (Vec::with_capacity(items.len()), MalformedEdges::default());
    for item in items {
        let ValueKind::Text(text) = &item.kind else {
            expected::<Edge>(item, "an edge in quotes: `\"from -> to.input\"`", problems);
            continue;
        };
        match read_edge(text, item.span, sources, problems) {
            Some(edge) => edges.push(edge),
            None => malformed.push(text),
        }
    }
    Some((edges, malformed))
}

/// The plugin libraries: paths, and their places.
fn libraries(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Vec<(PathBuf, Span)>> {
    let items: &[Value] = match &value.kind {
        ValueKind::List(items) => items,
        ValueKind::Named { name: None, fields, items } if fields.is_empty() && items.is_empty() => &[],
        _ => return expected(value, "a list of plugin libraries: `[\"path/to/lib.so\"]`", problems),
    };
    Some(items.iter().filter_map(|item| Some((text(item, problems)?.into(), item.span))).collect())
}

/// One of a pipeline's fields, as far as it can be read.
pub fn field<'v>(pipeline: &'v Value, name: &str) -> Option<&'v (Name, Value)> {
    let ValueKind::Named { fields, .. } = &pipeline.kind else { return None };
    fields.iter().find(|(field, _)| field.text == name)
}

/// The plugin libraries that a pipeline names, as far as it can be read.
pub fn libraries_named(pipeline: &Value) -> Vec<(PathBuf, Span)> {
    field(pipeline, LIBRARIES).and_then(|(_, value)| libraries(value, &mut Vec::new())).unwrap_or_default()
}

/// `Some(None)` for a plain `false`.
fn data_free(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Option<DataFree>> {
    match &value.kind {
        ValueKind::Bool(false) => Some(None),
        ValueKind::Bool(true) => Some(Some(DataFree { span: value.span, networks: None })),
        ValueKind::List(items) => {
            let names =
                items.iter().filter_map(|item| Some(Name { text: text(item, problems)?, span: item.span })).collect();
            Some(Some(DataFree { span: value.span, networks: Some(names) }))
        }
        _ => expected(value, "`true` or a list of networks: `[\"student\"]`", problems),
    }
}
