//! A pipeline as resolved: overrides and defaults in their places, in one form for all, as RON text.

use std::path::PathBuf;

use zskt_api::{Precision, Value, ValueKind};

use super::parser::read;
use super::syntax::{LIBRARIES, field};
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
    /// The plugin libraries it runs with.
    pub libraries: Vec<PathBuf>,
    /// Its claim, as RON text.
    pub data_free: Option<String>,
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

/// A resolved pipeline without the places of its libraries: two runs with equal ones are equal, if the libraries are.
pub fn without_libraries(resolved: &str) -> String {
    let pipeline = read(resolved, 0, 0, &mut Vec::new()).value;
    let Some((name, value)) = pipeline.as_ref().and_then(|pipeline| field(pipeline, LIBRARIES)) else {
        return resolved.to_owned();
    };
    // A resolved pipeline has each field on lines of its own.
    let start = resolved[..name.span.start].rfind('\n').map_or(0, |end| end + 1);
    let end = resolved[value.span.end..].find('\n').map_or(resolved.len(), |end| value.span.end + end + 1);
    [&resolved[..start], &resolved[end..]].concat()
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
