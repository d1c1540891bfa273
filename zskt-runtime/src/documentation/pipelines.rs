//! Snippets of pipelines.

use zskt_api::value::{Value, ValueKind};
use zskt_api::{Diagnostic, Registry};

use super::blocks;
use crate::pipeline;

/// Reads all plugins in a value, the outer ones first.
fn read_plugins(value: &Value, registry: &Registry, problems: &mut Vec<Diagnostic>) -> usize {
    let inner: Vec<&Value> = match &value.kind {
        ValueKind::List(items) => items.iter().collect(),
        ValueKind::Map(pairs) => pairs.iter().map(|(_, value)| value).collect(),
        ValueKind::Named { name, fields, items } => {
            if let Some(plugin) = name.as_ref().and_then(|name| {
                registry.iter().find(|plugin| [plugin.name, &plugin.full_name()].contains(&name.text.as_str()))
            }) {
                (plugin.read)(value, problems);
                return 1;
            }
            fields.iter().map(|(_, value)| value).chain(items).collect()
        }
        _ => Vec::new(),
    };
    inner.into_iter().map(|value| read_plugins(value, registry, problems)).sum()
}

#[test]
fn every_snippet_of_a_pipeline_is_read() {
    let registry = Registry::get().unwrap();
    let mut plugins = 0;
    for block in blocks().iter().filter(|block| block.language == "ron") {
        // Nodes are entries of a map, settings those of the pipeline itself.
        let whole = match block.text.trim_start().chars().next() {
            Some('"') => format!("{{{}}}", block.text),
            Some('(') => block.text.clone(),
            _ => format!("({})", block.text),
        };
        let mut problems = Vec::new();
        let value = pipeline::read(&whole, 0, 0, &mut problems).value;
        plugins += value.map_or(0, |value| read_plugins(&value, registry, &mut problems));
        assert!(problems.is_empty(), "{}: {problems:?}", block.place);
    }
    assert!(plugins > 5, "{plugins} plugins are shown");
}
