//! `plugins` and `inspect`: what plugins there are, and what each takes and gives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use zskt_api::value::float_to_ron;
use zskt_api::{
    Arity, Bounds, Diagnostic, Name, ParameterInfo, ParameterKind, PluginKind, PluginRegistration, PortInfo, PortType,
    Reads, Registry, Span,
};

use crate::{library, text_format};

/// A plugin as JSON shows it.
#[derive(Serialize)]
pub struct Description {
    pub name: &'static str,
    /// The name that no other plugin has.
    pub full_name: String,
    pub kind: PluginKind,
    #[serde(rename = "crate")]
    crate_name: &'static str,
    version: &'static str,
    /// The file that it was loaded from; nothing where it is linked in.
    library: Option<PathBuf>,
    pub doc: String,
    pub parameters: Vec<ParameterInfo>,
    pub inputs: Vec<PortInfo>,
    pub output: Option<PortType>,
    reads: Option<Reads>,
    pub example: String,
}

impl Description {
    pub fn of(plugin: &PluginRegistration, registry: &Registry) -> Self {
        Self {
            name: plugin.name,
            full_name: plugin.full_name(),
            kind: plugin.kind,
            crate_name: plugin.crate_name,
            version: plugin.crate_version,
            library: library::of(plugin).map(|library| library.file),
            doc: (plugin.doc)(),
            parameters: (plugin.parameters)(),
            inputs: (plugin.ports)(),
            output: plugin.output,
            reads: plugin.reads,
            example: example(plugin, registry),
        }
    }
}

/// All plugins by kind, each with the beginning of its documentation.
pub fn list(registry: &Registry, json: bool) -> String {
    if json {
        let all: Vec<_> = registry.iter().map(|plugin| Description::of(plugin, registry)).collect();
        return to_json(&all);
    }
    let mut kinds: BTreeMap<PluginKind, Vec<&PluginRegistration>> = BTreeMap::new();
    for plugin in registry.iter() {
        kinds.entry(plugin.kind).or_default().push(plugin);
    }
    let width = registry.iter().map(|plugin| plugin.full_name().chars().count()).max().unwrap_or(0);
    let mut groups = Vec::new();
    for (kind, plugins) in kinds {
        let lines = plugins.iter().map(|plugin| {
            let doc = (plugin.doc)();
            let library = library::of(plugin).and_then(|library| Some(library.lasting_name().file_name()?.to_owned()));
            let library = library.map(|name| format!(" [{}]", name.display())).unwrap_or_default();
            format!("  {:width$}  {}{library}\n", plugin.full_name(), beginning(&doc))
        });
        groups.push(format!("{}\n{}", plural(kind), lines.collect::<String>()));
    }
    groups.join("\n")
}

/// Everything there is to know of a plugin.
///
/// # Errors
/// When there is no such plugin, with the nearest name.
pub fn describe(registry: &Registry, name: &str, json: bool) -> Result<String, Diagnostic> {
    let Some(plugin) = registry.find(name) else {
        let kinds: Vec<_> = registry.iter().map(|plugin| plugin.kind).collect();
        let problem = registry.explain(&Name { text: name.to_owned(), span: Span::default() }, &kinds);
        // There is no text to show a suggestion in.
        let help = match &*problem.label {
            suggestion if suggestion.starts_with("did you mean") => Some(suggestion.to_owned()),
            _ => problem.help.clone(),
        };
        return Err(Diagnostic { help, ..Diagnostic::global(problem.message) });
    };
    let description = Description::of(plugin, registry);
    Ok(if json { to_json(&description) } else { page(&description) })
}

fn to_json(value: &impl Serialize) -> String {
    // Strings, numbers and lists of them: there is nothing that JSON could not hold.
    serde_json::to_string_pretty(value).map(|json| json + "\n").unwrap_or_default()
}

fn page(plugin: &Description) -> String {
    let mut out = format!("{}: {} of {} {}\n\n", plugin.full_name, plugin.kind, plugin.crate_name, plugin.version);
    if let Some(library) = &plugin.library {
        out.insert_str(out.len() - 1, &format!("loaded from {}\n\n", library.display()));
    }
    out += &indented(&plugin.doc, 2);
    if !plugin.parameters.is_empty() {
        out += "\nParameters\n";
    }
    for parameter in &plugin.parameters {
        out += &format!("  {}: {}", parameter.name, parameter.kind);
        out += &match (&parameter.default, &parameter.bounds) {
            (Some(default), Some(range)) => format!(" = {default}  ({range})\n"),
            (Some(default), None) => format!(" = {default}\n"),
            (None, Some(range)) => format!("  (must be given; {range})\n"),
            (None, None) => "  (must be given)\n".into(),
        };
        out += &indented(&parameter.doc, 6);
    }
    if !plugin.inputs.is_empty() {
        out += "\nInputs\n";
    }
    for port in &plugin.inputs {
        let arity = match port.arity {
            Arity::One => "",
            Arity::Optional => ", optional",
            Arity::Many => ", one or more",
        };
        let trains = if port.trains { ", which it trains" } else { "" };
        out += &format!("  {}: {}{arity}{trains}\n", port.name, port.accepts);
        out += &indented(&port.doc, 6);
    }
    if let Some(output) = plugin.output {
        out += &format!("\nOutput\n  {output}\n");
    }
    let is_path = |kind: &ParameterKind| match kind {
        ParameterKind::Optional(kind) => **kind == ParameterKind::Path,
        kind => *kind == ParameterKind::Path,
    };
    let paths = plugin.parameters.iter().filter(|parameter| is_path(&parameter.kind));
    let paths: Vec<_> = paths.map(|parameter| format!("`{}`", parameter.name)).collect();
    out += &match plugin.reads {
        Some(Reads::None) if !paths.is_empty() => {
            format!(
                "\nReads from outside\n  nothing but the files that it is given: {}\n",
                text_format::join(&paths, "and")
            )
        }
        Some(reads) => format!("\nReads from outside\n  {reads}\n"),
        None => "\nReads from outside\n  it does not say\n".into(),
    };
    out += &format!("\nExample\n{}", indented(&plugin.example, 2));
    out
}

fn indented(text: &str, indent: usize) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("{:indent$}{line}\n", "") }).collect()
}

/// The plugin as a pipeline has it, with its edges. Parameters that must be given come first: without them it
/// does not work.
fn example(plugin: &PluginRegistration, registry: &Registry) -> String {
    let name = node_name(plugin.name);
    let parameters = (plugin.parameters)();
    let given = parameters.iter().filter(|parameter| parameter.default.is_none()).map(|parameter| {
        format!("{}: {}", parameter.name, placeholder(&parameter.kind, parameter.bounds.as_ref(), registry))
    });
    // `None` says no more than its absence.
    let defaults = parameters.iter().filter_map(|parameter| {
        let default = parameter.default.as_ref().filter(|default| *default != "None")?;
        Some(format!("{}: {default}", parameter.name))
    });
    let call = format!("{}({})", registry.shortest_name(plugin), given.chain(defaults).collect::<Vec<_>>().join(", "));
    // What is no node is shown as the parameter that it usually is.
    match plugin.kind {
        PluginKind::Optimizer | PluginKind::Schedule => return format!("{}: {call}", plugin.kind),
        PluginKind::Targets => return format!("targets: {call}"),
        _ => {}
    }
    let mut lines = vec![format!("nodes: {{\"{name}\": {call}}}")];
    let edges: Vec<_> =
        (plugin.ports)().iter().map(|port| format!("\"{} -> {name}.{}\"", port_source(port), port.name)).collect();
    if !edges.is_empty() {
        lines.push(format!("edges: [{}]", edges.join(", ")));
    }
    lines.join("\n")
}

/// A name for a node that would lead to this input.
fn port_source(port: &PortInfo) -> String {
    match port.accepts {
        PortType::Images => "generator".into(),
        PortType::Player => "network".into(),
        PortType::Classifier => port.name.to_owned(),
        other => other.to_string(),
    }
}

/// Something that a parameter could be.
fn placeholder(kind: &ParameterKind, bounds: Option<&Bounds>, registry: &Registry) -> String {
    let smallest = bounds.and_then(Bounds::smallest);
    match kind {
        ParameterKind::Bool => "true".into(),
        ParameterKind::Integer => smallest.unwrap_or(1.0).to_string(),
        ParameterKind::Float => float_to_ron(smallest.unwrap_or(1.0)),
        ParameterKind::Text => "\"text\"".into(),
        ParameterKind::Path => "\"path/to/file\"".into(),
        ParameterKind::Choice(names) => names.first().copied().unwrap_or_default().into(),
        ParameterKind::Plugin(kind) => {
            let plugin = registry.iter().find(|plugin| plugin.kind == *kind);
            plugin.map_or_else(|| kind.to_string(), |plugin| format!("{}(…)", registry.shortest_name(plugin)))
        }
        ParameterKind::Optional(inner) => placeholder(inner, bounds, registry),
        ParameterKind::List(element) => format!("[{}]", placeholder(element, bounds, registry)),
        ParameterKind::Array(element, count) => {
            format!("[{}]", vec![placeholder(element, bounds, registry); *count].join(", "))
        }
        ParameterKind::Custom(name) => name.clone(),
    }
}

/// `KlDivergence` → `kl_divergence`.
fn node_name(plugin: &str) -> String {
    let mut name = String::new();
    for letter in plugin.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The first sentence of a documentation, or as much of it as goes on a line.
fn beginning(doc: &str) -> String {
    const WIDTH: usize = 80;
    let mut line = String::new();
    for word in doc.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            return line + " …";
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
        if word.ends_with('.') {
            break;
        }
    }
    line
}

pub fn plural(kind: PluginKind) -> String {
    let name = kind.to_string();
    let plural = match name.as_str() {
        _ if kind == PluginKind::Targets => name,
        singular if singular.ends_with('s') => format!("{singular}es"),
        singular => format!("{singular}s"),
    };
    let mut letters = plural.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
