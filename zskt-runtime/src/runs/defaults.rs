//! What parameters are by default, and which of a run are not so.

use std::collections::BTreeMap;

use zskt_api::Registry;

use super::Configuration;
use crate::pipeline::find_shown;

/// The defaults of a configuration's parameters, as far as its plugins are known here and have any, by key.
pub fn defaults(configuration: &Configuration, registry: &Registry) -> BTreeMap<String, String> {
    let mut defaults = Configuration::default();
    // A plugin comes before its parameters.
    for (key, value) in &configuration.parameters {
        let Some(plugin) = find_shown(value, registry) else { continue };
        let within = format!("{key}.");
        // The default of a plugin says what its parameters are; another plugin in its place says so itself.
        if defaults.parameters.get(key) != Some(value) {
            defaults.parameters.retain(|key, _| !key.starts_with(&within));
        }
        for parameter in (plugin.parameters)() {
            let key = format!("{within}{}", parameter.name);
            if let Some(default) = parameter.default.filter(|_| !defaults.parameters.contains_key(&key)) {
                defaults.add_text(&key, &default);
            }
        }
    }
    defaults.parameters
}

/// The parameters, by their keys, that are not as [`defaults`] has them, and those that have none. What belongs to a plugin that is not
/// loaded is left out.
pub fn changed(configuration: &Configuration, registry: &Registry) -> Vec<(String, String)> {
    let (parameters, defaults) = (&configuration.parameters, defaults(configuration, registry));
    let is_changed = |key: &str, value: &str| {
        let is_known =
            |(parent, _): (&str, &str)| parameters.get(parent).is_some_and(|it| find_shown(it, registry).is_some());
        key.rsplit_once('.').is_some_and(is_known) && defaults.get(key).is_none_or(|default| !is_same(default, value))
    };
    let changed = parameters.iter().filter(|(key, value)| is_changed(key, value));
    changed.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether two values are the same, however a number is written.
fn is_same(one: &str, other: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    one == other || number(one).is_some_and(|one| number(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use zskt_api::Registry;

    use super::{changed, defaults};
    use crate::runs::Configuration;

    #[test]
    fn what_was_chosen_is_told_from_what_is_so_by_default() {
        let configuration = Configuration::of(
            r#"(nodes: {
                "learn": Minimize(steps: 1, optimizer: Adam(lr: 0.5), schedule: None, clip_norm: 5.0),
                "labels": CrossEntropy(weight: 1),
                "theirs": Unknown(depth: 3),
            })"#,
        );
        let keys: Vec<_> = changed(&configuration, Registry::get().unwrap()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["learn.clip_norm", "learn.optimizer", "learn.optimizer.lr"]);
        let defaults = defaults(&configuration, Registry::get().unwrap());
        let of = |key: &str| defaults.get(key).map(String::as_str);
        assert_eq!((of("learn.schedule"), of("labels.weight"), of("theirs.depth")), (Some("None"), Some("1.0"), None));
    }
}
