//! `--set node.param=VALUE`: changes to a pipeline before it is checked. What they change keeps its place in the
//! arguments, so that whatever is wrong with it is shown there.

use zskt_api::{Diagnostic, Name, ParameterKind, Registry, Span, Value, ValueKind, nearest_name};

use super::parser::{is_text, read};
use super::sources::{Override, Sources};
use super::syntax::{FIELDS, VARIANT};
use crate::text_format;

/// How many nodes' names a misspelt one is compared with.
const MAX_COMPARED: usize = 1000;

/// Applies every `--set` argument in turn.
pub fn apply(pipeline: &mut Value, sources: &Sources, registry: &Registry, problems: &mut Vec<Diagnostic>) {
    for change in sources.overrides() {
        let Some((path, value)) = parse(sources, change, problems) else { continue };
        if let Err(found) = set(pipeline, &path, value, registry) {
            problems.extend(found);
        }
    }
}

/// Applies the `--set` arguments that change one of the pipeline's own fields; whatever is wrong with them is found by
/// [`apply`].
pub fn apply_setting(pipeline: &mut Value, sources: &Sources, field: &str) {
    let ValueKind::Named { fields, .. } = &mut pipeline.kind else { return };
    for change in sources.overrides() {
        if let Some((path, value)) = parse(sources, change, &mut Vec::new())
            && let [name] = &path[..]
            && name.text == field
            && let Ok(value) = value.for_kind(kind_of(field))
        {
            put(fields, name, value);
        }
    }
}

/// What one of the pipeline's own fields takes, where a shell might have taken its quotes.
fn kind_of(field: &str) -> Option<&'static ParameterKind> {
    ["name", "device", "precision", VARIANT].contains(&field).then_some(&ParameterKind::Text)
}

/// What is written after the `=`: what RON makes of it, or why it makes nothing of it, and the bare text, which is what is
/// meant where a text or a path belongs: a shell makes quotes hard to write.
struct ParsedOverride {
    read: Result<Value, Vec<Diagnostic>>,
    bare: Value,
}

impl ParsedOverride {
    /// The value for a parameter of this kind; `None` where the kind is not known.
    fn for_kind(self, kind: Option<&ParameterKind>) -> Result<Value, Vec<Diagnostic>> {
        let textual = kind.is_some_and(ParameterKind::is_textual);
        match self.read {
            Ok(Value { kind: ValueKind::Bool(_) | ValueKind::Integer(_) | ValueKind::Float(_), .. }) | Err(_)
                if textual =>
            {
                Ok(self.bare)
            }
            Ok(Value { kind: ValueKind::Named { name: Some(name), .. }, .. })
                if textual && !["None", "Some"].contains(&name.text.as_str()) =>
            {
                Ok(self.bare)
            }
            read => read,
        }
    }
}

/// Splits an argument into its path and its value.
fn parse(sources: &Sources, change: &Override, problems: &mut Vec<Diagnostic>) -> Option<(Vec<Name>, ParsedOverride)> {
    let (source, text, key) = (change.source, sources.text(change.source), &change.key);
    let Some(place) = &change.value else {
        let span = Span { source, start: 0, end: text.len() };
        problems.push(Diagnostic::at(span, "an override needs a value").label("expected `node.parameter=VALUE`"));
        return None;
    };
    let mut path = Vec::new();
    let mut start = key.start;
    for segment in text[key.clone()].split('.') {
        let begin = start + (segment.len() - segment.trim_start().len());
        let name = segment.trim();
        let span = Span { source, start: begin, end: begin + name.len() };
        if name.is_empty() {
            problems.push(
                Diagnostic::at(Span { source, start: key.start, end: key.end }, "a name is missing")
                    .label("expected `node.parameter`"),
            );
            return None;
        }
        path.push(Name { text: name.to_owned(), span });
        start += segment.len() + 1;
    }
    let (text, written) = (&text[..place.end], &text[place.clone()]);
    let begin = place.start + (written.len() - written.trim_start().len());
    let span = Span { source, start: begin, end: text.trim_end().len().max(begin) };
    let bare = Value { span, kind: ValueKind::Text(written.trim().to_owned()) };
    let mut found = Vec::new();
    let reading = read(text, source, place.start, &mut found);
    if written.trim().is_empty() || is_text(written.trim()) {
        // Nothing, or quotes: what is wrong with these is not that they are missing.
        problems.append(&mut found);
        return reading.value.map(|value| (path, ParsedOverride { read: Ok(value), bare }));
    }
    if let Some(first) = found.first_mut() {
        let shown = written.trim();
        let help = format!(
            "a value is written as in a pipeline; text in quotes: --set '{}=\"{shown}\"'",
            text[key.clone()].trim()
        );
        first.help.get_or_insert(help);
    }
    let read = reading.value.filter(|_| found.is_empty()).ok_or(found);
    Some((path, ParsedOverride { read, bare }))
}

/// Changes what `path` leads to, as `--set` does, into what is written elsewhere in the pipeline.
pub fn set_value(
    pipeline: &mut Value,
    path: &[Name],
    value: Value,
    registry: &Registry,
) -> Result<(), Vec<Diagnostic>> {
    set(pipeline, path, ParsedOverride { bare: value.clone(), read: Ok(value) }, registry)
}

fn set(pipeline: &mut Value, path: &[Name], value: ParsedOverride, registry: &Registry) -> Result<(), Vec<Diagnostic>> {
    let [first, rest @ ..] = path else { return Ok(()) };
    let ValueKind::Named { fields, .. } = &mut pipeline.kind else { return Ok(()) };
    if FIELDS.contains(&first.text.as_str()) {
        if let Some(inner) = rest.first() {
            let problem = Diagnostic::at(inner.span, format!("`{}` has nothing to set in it", first.text));
            return Err(vec![problem.label(format!("expected `{}=VALUE`", first.text))]);
        }
        put(fields, first, value.for_kind(kind_of(&first.text))?);
        return Ok(());
    }
    let Some(ValueKind::Map(nodes)) =
        fields.iter_mut().find(|(name, _)| name.text == "nodes").map(|(_, nodes)| &mut nodes.kind)
    else {
        // Without nodes there is a greater problem, and it is reported.
        return Ok(());
    };
    let found = nodes.iter().position(|(key, _)| node_name(key) == Some(&first.text));
    let Some(index) = found else {
        let names = || nodes.iter().filter_map(|(key, _)| node_name(key));
        // Of a few: a command line can hold many, and a pipeline as well.
        let known = names().take(MAX_COMPARED).chain(FIELDS);
        let label =
            nearest_name(&first.text, known).map_or("unknown node".into(), |near| format!("did you mean `{near}`?"));
        let problem = Diagnostic::at(first.span, format!("the pipeline has no node `{}`", first.text)).label(label);
        return Err(vec![problem.help(format!("nodes: {}", text_format::some_of(names())))]);
    };
    let (_, node) = &mut nodes[index];
    if rest.is_empty() {
        *node = value.read?;
        return Ok(());
    }
    set_in_plugin(node, &first.text, rest, value, registry)
}

fn node_name(key: &Value) -> Option<&str> {
    match &key.kind {
        ValueKind::Text(text) => Some(text),
        ValueKind::Named { name: Some(name), .. } => Some(&name.text),
        _ => None,
    }
}

fn set_in_plugin(
    plugin: &mut Value,
    shown: &str,
    path: &[Name],
    value: ParsedOverride,
    registry: &Registry,
) -> Result<(), Vec<Diagnostic>> {
    let [parameter, rest @ ..] = path else { return Ok(()) };
    let found = plugin.describe();
    let Some((name, fields)) = plugin_fields(plugin) else {
        let problem = Diagnostic::at(parameter.span, format!("`{shown}` is {found}: it has no parameters"));
        return Err(vec![problem.label("nothing to set")]);
    };
    let declared = registry.find(&name).map(|plugin| (plugin.parameters)());
    if let Some(declared) = &declared
        && !declared.iter().any(|known| known.name == parameter.text)
    {
        let names: Vec<_> = declared.iter().map(|known| known.name).collect();
        let label = nearest_name(&parameter.text, names.iter().copied())
            .map_or("unknown parameter".into(), |near| format!("did you mean `{near}`?"));
        let problem =
            Diagnostic::at(parameter.span, format!("`{name}` has no parameter `{}`", parameter.text)).label(label);
        let takes = if names.is_empty() { "no parameters".into() } else { names.join(", ") };
        return Err(vec![problem.help(format!("`{name}` takes: {takes}"))]);
    }
    if rest.is_empty() {
        let known = declared.iter().flatten().find(|known| known.name == parameter.text);
        put(fields, parameter, value.for_kind(known.map(|known| &known.kind))?);
        return Ok(());
    }
    let shown = format!("{shown}.{}", parameter.text);
    // Where it is left out there is nothing to change: no parameter has a plugin for its default.
    let Some((_, inner)) = fields.iter_mut().find(|(field, _)| field.text == parameter.text) else {
        let problem = Diagnostic::at(parameter.span, format!("`{shown}` is not set in the pipeline"));
        return Err(vec![problem.label("set it as a whole").help(format!("--set '{shown}=Plugin(…)'"))]);
    };
    set_in_plugin(inner, &shown, rest, value, registry)
}

/// The name and the fields of `Name(…)`, also within `Some(…)`.
fn plugin_fields(value: &mut Value) -> Option<(String, &mut Vec<(Name, Value)>)> {
    match &mut value.kind {
        ValueKind::Named { name: Some(name), items, .. } if name.text == "Some" && items.len() == 1 => {
            plugin_fields(&mut items[0])
        }
        ValueKind::Named { name: Some(name), .. } if name.text == "None" => None,
        ValueKind::Named { name: Some(name), fields, .. } => Some((name.text.clone(), fields)),
        _ => None,
    }
}

fn put(fields: &mut Vec<(Name, Value)>, name: &Name, value: Value) {
    match fields.iter_mut().find(|(field, _)| field.text == name.text) {
        Some(field) => field.1 = value,
        None => fields.push((name.clone(), value)),
    }
}
