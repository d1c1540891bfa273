//! Which plugins a node is made of: its own, and those that its parameters name.

use zskt_api::{ParameterKind, PluginRegistration, Registry, Value, ValueKind};

/// The plugin that is written as `Name(…)`, and those in its parameters, each once.
pub fn plugins_in(value: &Value, registry: &Registry) -> Vec<&'static PluginRegistration> {
    let mut found = Vec::new();
    add_plugin(value, registry, &mut found);
    found
}

fn add_plugin(value: &Value, registry: &Registry, found: &mut Vec<&'static PluginRegistration>) {
    let ValueKind::Named { name: Some(name), fields, .. } = &value.kind else { return };
    let Some(plugin) = registry.find(&name.text) else { return };
    if !found.iter().any(|other| std::ptr::eq(*other, plugin)) {
        found.push(plugin);
    }
    for parameter in (plugin.parameters)() {
        if let Some((_, value)) = fields.iter().find(|(field, _)| field.text == parameter.name) {
            add_parameter(value, &parameter.kind, registry, found);
        }
    }
}

fn add_parameter(
    value: &Value,
    kind: &ParameterKind,
    registry: &Registry,
    found: &mut Vec<&'static PluginRegistration>,
) {
    match (kind, &value.kind) {
        (ParameterKind::Plugin(_), _) => add_plugin(value, registry, found),
        (ParameterKind::Optional(inner), ValueKind::Named { name: Some(name), items, .. }) if name.text == "Some" => {
            items.iter().for_each(|item| add_parameter(item, inner, registry, found));
        }
        (ParameterKind::Optional(inner), _) => add_parameter(value, inner, registry, found),
        (ParameterKind::List(element) | ParameterKind::Array(element, _), ValueKind::List(items)) => {
            items.iter().for_each(|item| add_parameter(item, element, registry, found));
        }
        _ => {}
    }
}
