//! Names of plugins in texts that this program writes: in full where a text has to mean the same for good, short where a person reads it.

use zskt_api::{PluginRegistration, Registry, Value, ValueKind};

use super::parser::read;
use crate::{STANDARD_CRATES, library};

/// A plugin's full name as a person reads it: one of zskt's own goes without its crate.
pub fn shown_name(name: &str) -> &str {
    let own = name.split_once("::").filter(|(of_crate, _)| STANDARD_CRATES.contains(&&*of_crate.replace('_', "-")));
    own.map_or(name, |(_, name)| name)
}

/// A plugin with its parameters as a person reads it: the names of zskt's own without their crates.
pub fn shown(ron: &str) -> String {
    let kept = |name: &str| Some(shown_name(name).to_owned());
    renamed(ron, &kept).unwrap_or_else(|| ron.to_owned())
}

/// What zskt itself writes into pipelines of a user: where another plugin has a name, too, that of zskt's own is written in full.
pub fn unambiguous(text: &str, registry: &Registry) -> String {
    let full = |name: &str| {
        let own = registry.named(name).find(|plugin| library::is_standard(plugin));
        own.filter(|_| registry.find(name).is_none()).map(PluginRegistration::full_name)
    };
    renamed(text, &full).unwrap_or_else(|| text.to_owned())
}

/// The plugin of a name as [`shown_name`] gives it.
pub fn find_shown(name: &str, registry: &Registry) -> Option<&'static PluginRegistration> {
    registry.find(name).or_else(|| registry.named(name).find(|plugin| library::is_standard(plugin)))
}

/// A text with other names for its plugins, as far as `new` knows some; nothing where it cannot be read.
fn renamed(text: &str, new: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let value = read(text, 0, 0, &mut Vec::new()).value?;
    let mut places = Vec::new();
    collect(&value, new, &mut places);
    places.sort_by_key(|(start, ..)| *start);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (start, end, name) in places {
        out += &text[at..start];
        out += &name;
        at = end;
    }
    Some(out + &text[at..])
}

fn collect(value: &Value, new: &dyn Fn(&str) -> Option<String>, places: &mut Vec<(usize, usize, String)>) {
    match &value.kind {
        ValueKind::Named { name, fields, items } => {
            if let Some(name) = name
                && let Some(text) = new(&name.text)
            {
                places.push((name.span.start, name.span.end, text));
            }
            fields.iter().map(|(_, value)| value).chain(items).for_each(|value| collect(value, new, places));
        }
        ValueKind::List(items) => items.iter().for_each(|item| collect(item, new, places)),
        ValueKind::Map(pairs) => pairs.iter().for_each(|(_, value)| collect(value, new, places)),
        ValueKind::Bool(_) | ValueKind::Integer(_) | ValueKind::Float(_) | ValueKind::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{shown, shown_name};

    #[test]
    fn a_person_reads_the_short_names_of_zskts_own_plugins_alone() {
        assert_eq!(shown_name("zskt_losses::KlDivergence"), "KlDivergence");
        assert_eq!(shown_name("cifar_resnets::KlDivergence"), "cifar_resnets::KlDivergence");
        let ron = r#"zskt_teachers::Checkpoint(model: Some(mine::Net(size: 3)), path: "zskt_losses::A", of: [zskt_losses::B()])"#;
        let expected = r#"Checkpoint(model: Some(mine::Net(size: 3)), path: "zskt_losses::A", of: [B()])"#;
        assert_eq!(shown(ron), expected);
    }
}
