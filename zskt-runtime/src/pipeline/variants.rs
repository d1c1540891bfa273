//! Variants: changes to a pipeline under one name, such as those that another dataset needs.

use zskt_api::{Diagnostic, Name, Registry, Value, ValueKind, nearest_name};

use super::overrides::{apply_setting, set_value};
use super::sources::Sources;
use super::syntax::{VARIANT, VARIANTS, field};
use crate::text_format;

/// How many variants that are not chosen are looked at: each is tried on a pipeline of its own.
const MAX_LOOKED_AT: usize = 32;

/// Applies the variant that the pipeline or a `--set` argument chooses. The names in those that are not chosen are looked at, too.
pub fn apply(pipeline: &mut Value, sources: &Sources, registry: &Registry, problems: &mut Vec<Diagnostic>) {
    apply_setting(pipeline, sources, VARIANT);
    let variants = read(pipeline, problems);
    let unchanged = pipeline.clone();
    let chosen = field(&unchanged, VARIANT).and_then(|(_, chosen)| match &chosen.kind {
        ValueKind::Text(name) => Some((name, chosen.span)),
        _ => None,
    });
    for (index, (name, changes)) in variants.iter().enumerate() {
        let mut other = None;
        let is_chosen = chosen.is_some_and(|(chosen, _)| *chosen == name.text);
        if !is_chosen && index >= MAX_LOOKED_AT {
            continue;
        }
        let changed = if is_chosen { &mut *pipeline } else { other.insert(unchanged.clone()) };
        for (path, value) in changes {
            if let Err(found) = set_value(changed, path, value.clone(), registry) {
                problems.extend(found);
            }
        }
    }
    if let Some((chosen, span)) = chosen
        && !variants.iter().any(|(name, _)| name.text == *chosen)
    {
        let names = || variants.iter().map(|(name, _)| name.text.as_str());
        let problem = Diagnostic::at(span, format!("the pipeline has no variant `{chosen}`"));
        let near = nearest_name(chosen, names());
        let problem = problem.label(near.map_or("unknown variant".into(), |near| format!("did you mean `{near}`?")));
        problems.push(match names().next() {
            Some(_) => problem.help(format!("variants: {}", text_format::some_of(names()))),
            None => problem.help(format!("it has no field `{VARIANTS}`")),
        });
    }
}

/// A path, as after `--set`, and the value to put there.
type Change = (Vec<Name>, Value);

/// What each variant changes.
fn read(pipeline: &Value, problems: &mut Vec<Diagnostic>) -> Vec<(Name, Vec<Change>)> {
    let Some((_, variants)) = field(pipeline, VARIANTS) else { return Vec::new() };
    let mut named = |value: &Value| match &value.kind {
        ValueKind::Map(pairs) => pairs
            .iter()
            .filter_map(|(key, value)| match &key.kind {
                ValueKind::Text(text) => Some((Name { text: text.clone(), span: key.span }, value.clone())),
                _ => {
                    let found = format!("expected a name in quotes, found {}", key.describe());
                    problems.push(Diagnostic::at(key.span, found).label("expected a name in quotes"));
                    None
                }
            })
            .collect(),
        _ => {
            let expected = "variants are maps: `{\"cifar100\": {\"student.classes\": 100}}`";
            problems.push(Diagnostic::at(value.span, expected).label(format!("found {}", value.describe())));
            Vec::new()
        }
    };
    let variants = named(variants);
    let path = |key: Name| key.text.split('.').map(|part| Name { text: part.trim().into(), span: key.span }).collect();
    let changes = |changes: Vec<(Name, Value)>| changes.into_iter().map(|(key, value)| (path(key), value)).collect();
    variants.into_iter().map(|(name, value)| (name, changes(named(&value)))).collect()
}
