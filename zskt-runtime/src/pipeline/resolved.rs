//! A pipeline as resolved: overrides and defaults in their places, in one form for all, as RON text.

use std::path::PathBuf;

use zskt_api::{Form, Value};

use super::reader::read;

/// Lines are broken where they would be longer.
const WIDTH: usize = 110;

/// The fields of a resolved pipeline.
pub struct Resolved<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its seed.
    pub seed: u64,
    /// Its device.
    pub device: &'a str,
    /// Its precision.
    pub precision: &'a str,
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
    let mut out =
        format!("(\n    name: {name:?},\n    seed: {seed},\n    device: {device:?},\n    precision: {precision:?},\n");
    if !pipeline.libraries.is_empty() {
        out += &format!("    plugins: {:?},\n", pipeline.libraries);
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
    resolved.split_inclusive('\n').filter(|line| !line.starts_with("    plugins: [")).collect()
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
    match &value.form {
        Form::List(items) => {
            *out += "[\n";
            items.iter().for_each(|item| part("", item, out));
            *out += &format!("{:indent$}]", "");
        }
        Form::Named { name, fields, items } => {
            *out += name.as_ref().map_or("", |name| name.text.as_str());
            *out += "(\n";
            fields.iter().for_each(|(name, value)| part(&format!("{}: ", name.text), value, out));
            items.iter().for_each(|item| part("", item, out));
            *out += &format!("{:indent$})", "");
        }
        _ => *out += &line,
    }
}
