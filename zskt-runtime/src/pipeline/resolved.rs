//! A pipeline as resolved: overrides and defaults in their places, in one form for all, as RON text.

use std::path::PathBuf;

use zskt_api::{Name, Precision, Value, ValueKind};

use super::expectation::Expectation;
use super::parser::read;
use super::syntax::{DEVICE, EXPECT, LIBRARIES, PUBLISHED, field};
use crate::device_request::DeviceRequest;

/// Lines are broken where they would be longer.
const WIDTH: usize = 110;

/// The fields of a resolved pipeline.
pub struct Resolved<'a> {
    /// What the run's folder, and reports, call it.
    pub name: &'a str,
    /// The seed of every random stream.
    pub seed: u64,
    /// Where it asks to be computed.
    pub device: DeviceRequest,
    /// How exact the numbers of its networks are.
    pub precision: Precision,
    /// The plugin libraries it runs with, by names that last.
    pub libraries: Vec<PathBuf>,
    /// Its claim, as RON text.
    pub data_free: Option<String>,
    /// What its source states of its figures.
    pub published: &'a [(Name, String)],
    /// What a run has to reach.
    pub expect: &'a [Expectation],
    /// Its nodes and their plugins, as RON text.
    pub nodes: Vec<(&'a str, &'a str)>,
    /// Its edges: from, to, port.
    pub edges: Vec<(&'a str, &'a str, &'a str)>,
}

/// Writes a resolved pipeline.
pub fn write(pipeline: &Resolved<'_>) -> String {
    let Resolved { name, seed, device, precision, .. } = pipeline;
    let precision = precision.name();
    let mut out = format!(
        "(\n    name: {name:?},\n    seed: {seed},\n    device: \"{device}\",\n    precision: \"{precision}\",\n"
    );
    if !pipeline.libraries.is_empty() {
        out += &format!("    {LIBRARIES}: {:?},\n", pipeline.libraries);
    }
    if let Some(claim) = &pipeline.data_free {
        out += &format!("    data_free: {claim},\n");
    }
    let mut map = |field: &str, entries: Vec<(&str, String)>| {
        if !entries.is_empty() {
            out += &format!("    {field}: {{\n");
            entries.iter().for_each(|(key, text)| out += &format!("        {key:?}: {text:?},\n"));
            out += "    },\n";
        }
    };
    map(PUBLISHED, pipeline.published.iter().map(|(figure, text)| (&*figure.text, text.clone())).collect());
    map(EXPECT, pipeline.expect.iter().map(|expected| (&*expected.figure.text, expected.bounds.to_string())).collect());
    out += "    nodes: {\n";
    for (name, plugin) in &pipeline.nodes {
        let prefix = format!("        {name:?}: ");
        out += &prefix;
        match read(plugin, 0, 0, &mut Vec::new()).value {
            Some(value) => pretty(&value, 8, prefix.chars().count(), &mut out),
            None => out += plugin,
        }
        out += ",\n";
    }
    out += "    },\n    edges: [\n";
    for (from, to, port) in &pipeline.edges {
        out += &format!("        {:?},\n", format!("{from} -> {to}.{port}"));
    }
    out += "    ],\n)\n";
    out
}

/// The nodes of a resolved pipeline and their plugins; what cannot be read of it is not there.
pub fn nodes(resolved: &str) -> Vec<(String, Value)> {
    let pipeline = read(resolved, 0, 0, &mut Vec::new()).value;
    let Some((_, Value { kind: ValueKind::Map(nodes), .. })) = pipeline.as_ref().and_then(|own| field(own, "nodes"))
    else {
        return Vec::new();
    };
    let named = nodes.iter().filter_map(|(name, plugin)| match &name.kind {
        ValueKind::Text(name) => Some((name.clone(), plugin.clone())),
        _ => None,
    });
    named.collect()
}

/// What of a resolved pipeline decides what is computed: all but where libraries lie, and what is said of its figures. Two runs with
/// equal ones are equal, if the libraries are.
pub fn computed_part(resolved: &str) -> String {
    without(resolved, &[LIBRARIES, PUBLISHED, EXPECT])
}

/// What of that a run must have in common with what it was, to go on: all but where it is computed.
pub fn resumed_part(resolved: &str) -> String {
    without(resolved, &[DEVICE, LIBRARIES, PUBLISHED, EXPECT])
}

fn without(resolved: &str, names: &[&str]) -> String {
    let Some(pipeline) = read(resolved, 0, 0, &mut Vec::new()).value else { return resolved.to_owned() };
    let mut kept = resolved.to_owned();
    let fields = names.iter().filter_map(|name| field(&pipeline, name));
    let mut lines: Vec<_> = fields
        .map(|(name, value)| {
            // A resolved pipeline has each field on lines of its own.
            let start = resolved[..name.span.start].rfind('\n').map_or(0, |end| end + 1);
            let end = resolved[value.span.end..].find('\n').map_or(resolved.len(), |end| value.span.end + end + 1);
            start..end
        })
        .collect();
    lines.sort_by_key(|lines| lines.start);
    lines.into_iter().rev().for_each(|lines| kept.replace_range(lines, ""));
    kept
}

/// A value on one line if it fits there, otherwise with a line for each of its parts.
fn pretty(value: &Value, indent: usize, column: usize, out: &mut String) {
    let line = value.to_ron();
    if column + line.chars().count() < WIDTH {
        *out += &line;
        return;
    }
    let deeper = indent + 4;
    let part = |prefix: &str, value: &Value, out: &mut String| {
        *out += &format!("{:deeper$}{prefix}", "");
        pretty(value, deeper, deeper + prefix.chars().count(), out);
        *out += ",\n";
    };
    match &value.kind {
        ValueKind::List(items) => {
            *out += "[\n";
            items.iter().for_each(|item| part("", item, out));
            *out += &format!("{:indent$}]", "");
        }
        ValueKind::Named { name, fields, items } => {
            *out += name.as_ref().map_or("", |name| name.text.as_str());
            *out += "(\n";
            fields.iter().for_each(|(name, value)| part(&format!("{}: ", name.text), value, out));
            items.iter().for_each(|item| part("", item, out));
            *out += &format!("{:indent$})", "");
        }
        _ => *out += &line,
    }
}
