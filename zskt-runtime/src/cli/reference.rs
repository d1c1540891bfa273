//! The reference as Markdown, made of the registry and of the command line's definition: nothing in it is written twice.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Command, CommandFactory};
use zskt_api::{Arity, PluginKind, Registry};

use super::arguments::Cli;
use super::inspect::{Description, plural};

/// A page for each kind of plugins, and one for the commands: the name of its file, and its text.
pub fn pages(registry: &Registry) -> Vec<(String, String)> {
    let mut kinds: BTreeMap<PluginKind, Vec<Description>> = BTreeMap::new();
    for plugin in registry.iter() {
        kinds.entry(plugin.kind).or_default().push(Description::of(plugin, registry));
    }
    let mut pages = vec![("commands.md".to_owned(), commands())];
    for (kind, plugins) in kinds {
        let title = plural(kind);
        let sections: Vec<_> = plugins.iter().map(section).collect();
        let page = format!("# {title}\n\n{}", sections.join("\n"));
        pages.push((format!("{}.md", title.to_lowercase().replace(' ', "-")), page));
    }
    pages
}

/// What `--help` says of the program, and of each of its commands.
fn commands() -> String {
    let mut program = Cli::command().term_width(100);
    program.build();
    let mut page = "# Commands\n".to_owned();
    add(&mut program, &mut page);
    page
}

fn add(command: &mut Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    *page += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end());
    for inner in command.get_subcommands_mut().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        add(inner, page);
    }
}

fn section(plugin: &Description) -> String {
    let mut out = format!("## {}\n\n`{}`\n\n{}\n", plugin.name, plugin.full_name, plugin.doc.trim_end());
    if !plugin.parameters.is_empty() {
        out += "\n**Parameters**\n\n";
    }
    for parameter in &plugin.parameters {
        let default = match &parameter.default {
            Some(default) => format!(", by default `{default}`"),
            None => ", which must be given".to_owned(),
        };
        let range = parameter.bounds.as_ref().map(|range| format!(" ({range})")).unwrap_or_default();
        let _ = writeln!(out, "- `{}`: `{}`{range}{default}\n", parameter.name, parameter.kind);
        out += &paragraph(&parameter.doc);
    }
    if !plugin.inputs.is_empty() {
        out += "\n**Inputs**\n\n";
    }
    for port in &plugin.inputs {
        let arity = match port.arity {
            Arity::One => "",
            Arity::Optional => ", optional",
            Arity::Many => ", one or more",
        };
        let trains = if port.trains { ", which it trains" } else { "" };
        let _ = writeln!(out, "- `{}`: {}{arity}{trains}\n", port.name, port.accepts);
        out += &paragraph(&port.doc);
    }
    if let Some(output) = plugin.output {
        let _ = writeln!(out, "\nIts output is {output}.");
    }
    let _ = writeln!(out, "\n```ron\n{}\n```", plugin.example);
    out
}

/// What belongs to an item of a list.
fn paragraph(text: &str) -> String {
    let lines: String =
        text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect();
    format!("{lines}\n")
}
