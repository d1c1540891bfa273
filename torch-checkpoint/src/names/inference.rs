//! Which renames and which patterns of unwanted names would make a file fit, found by shapes and order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use regex::escape;

use super::is_bookkeeping;
use super::renames::Renames;

/// More than anybody wants to paste: the file is of another network, or of one that is built otherwise.
const MOST_RENAMES: usize = 24;

/// What would make a file fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inference {
    /// Patterns and replacements, as [`Renames`] takes them.
    pub renames: Vec<(String, String)>,
    /// The file's names that are none of the network's.
    pub unwanted: Vec<String>,
}

/// Finds what makes the network's names of the file's, where the file has a layer of the same shapes for each of the network's, and no
/// more of them. Both are in the order in which their layers follow each other, as far as that is known; where several layers have the
/// same shapes, it is by order and by what their names have in common that they are told apart.
pub fn infer(file: &[(&str, &[usize])], network: &[(&str, &[usize])]) -> Option<Inference> {
    let (file, network) = (layers(file), layers(network));
    let mut inference = Inference::default();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut classes: BTreeMap<Signature<'_>, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    let named: HashMap<&str, &Layer<'_>> = network.iter().map(|layer| (layer.name, layer)).collect();
    let same = |layer: &Layer<'_>| named.get(layer.name).is_some_and(|other| other.signature == layer.signature);
    let kept: BTreeSet<&str> = file.iter().filter(|layer| same(layer)).map(|layer| layer.name).collect();
    for layer in file.iter().filter(|layer| !kept.contains(layer.name)) {
        classes.entry(layer.signature.clone()).or_default().0.push(layer.name);
    }
    for layer in network.iter().filter(|layer| !kept.contains(layer.name)) {
        classes.entry(layer.signature.clone()).or_default().1.push(layer.name);
    }
    let mut unwanted: BTreeSet<&str> = BTreeSet::new();
    for (mut ours, mut theirs) in classes.into_values() {
        if theirs.is_empty() {
            unwanted.extend(ours);
            continue;
        }
        if ours.len() != theirs.len() {
            return None;
        }
        let in_order: Vec<_> = ours.iter().copied().zip(theirs.iter().copied()).collect();
        ours.sort_by_key(|name| natural(name));
        theirs.sort_by_key(|name| natural(name));
        let sorted: Vec<_> = ours.into_iter().zip(theirs).collect();
        let likeness = |pairs: &[(&str, &str)]| pairs.iter().map(|(left, right)| in_common(left, right)).sum::<usize>();
        pairs.extend(if likeness(&sorted) > likeness(&in_order) { sorted } else { in_order });
    }
    let of_unwanted = |layer: &&Layer<'_>| unwanted.contains(layer.name);
    inference.unwanted = file.iter().filter(of_unwanted).flat_map(Layer::tensors).collect();
    if pairs.is_empty() {
        return (!inference.unwanted.is_empty()).then_some(inference);
    }
    let places: HashMap<&str, usize> = file.iter().enumerate().map(|(place, layer)| (layer.name, place)).collect();
    pairs.sort_by_key(|(name, _)| places[name]);
    let all = pairs.iter().copied().chain(kept.iter().map(|name| (*name, *name)));
    inference.renames = rules(&pairs, &all.collect::<Vec<_>>())?;
    Some(inference)
}

/// The last components of a layer's names, and the shape of each.
type Signature<'n> = BTreeMap<&'n str, &'n [usize]>;

/// Tensors whose names differ in their last component only.
struct Layer<'n> {
    name: &'n str,
    signature: Signature<'n>,
}

impl Layer<'_> {
    fn tensors(&self) -> Vec<String> {
        self.signature.keys().map(|last| join(self.name, last)).collect()
    }
}

fn join(layer: &str, last: &str) -> String {
    if layer.is_empty() { last.to_string() } else { format!("{layer}.{last}") }
}

fn layers<'n>(tensors: &[(&'n str, &'n [usize])]) -> Vec<Layer<'n>> {
    let mut layers: Vec<Layer<'n>> = Vec::new();
    let mut places = HashMap::new();
    for (name, shape) in tensors.iter().filter(|(name, shape)| !is_bookkeeping(name, Some(shape))) {
        let (layer, last) = name.rsplit_once('.').unwrap_or(("", name));
        let place = *places.entry(layer).or_insert_with(|| {
            layers.push(Layer { name: layer, signature: Signature::new() });
            layers.len() - 1
        });
        layers[place].signature.insert(last, shape);
    }
    layers
}

/// Sorts `layer10` behind `layer2`.
fn natural(name: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let (before, after) = rest.split_at(text);
        let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        parts.push((0, before));
        parts.push((number.parse().unwrap_or(u64::MAX), ""));
        rest = after;
    }
    parts
}

/// How many components and numbers two names have in common, in their order.
fn in_common(left: &str, right: &str) -> usize {
    let parts = |name: &str| -> Vec<String> {
        natural(name)
            .into_iter()
            .map(|(number, text)| if text.is_empty() { number.to_string() } else { text.to_string() })
            .collect()
    };
    let (left, right) = (parts(left), parts(right));
    let mut from = 0;
    let mut count = 0;
    for part in &left {
        if let Some(at) = right[from..].iter().position(|other| other == part) {
            from += at + 1;
            count += 1;
        }
    }
    count
}

/// The fewest rules found that make the network's layers of all of the file's.
fn rules(changed: &[(&str, &str)], all: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    for generalize in [true, false] {
        let mut rules: Vec<(String, String)> = Vec::new();
        for (from, to) in changed {
            let rule = rule(from, to, generalize);
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        if rules.len() > MOST_RENAMES {
            continue;
        }
        let mut longest_first = rules.clone();
        longest_first.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        for rules in [rules, longest_first] {
            let Ok(renames) = Renames::new(rules.iter().map(|(from, to)| (from.as_str(), to.as_str()))) else {
                continue;
            };
            if all.iter().all(|(from, to)| renames.apply(&join(from, "weight")) == join(to, "weight")) {
                return Some(rules);
            }
        }
    }
    None
}

/// What makes one layer's name of another: the components that differ.
fn rule(from: &str, to: &str, generalize: bool) -> (String, String) {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.split('.').collect(), to.split('.').collect());
    let shorter = from.len().min(to.len());
    let mut start = (0..shorter).take_while(|at| from[*at] == to[*at]).count();
    let same_end = |at: &usize| from[from.len() - 1 - at] == to[to.len() - 1 - at];
    let end = (0..shorter - start).take_while(same_end).count();
    if from.len() - end == start {
        // Nothing would be matched: what stands before is.
        start = start.saturating_sub(1);
    }
    let (old, new) = (&from[start..from.len() - end], &to[start..to.len() - end]);
    let (old, new) = (old.join("."), new.iter().map(|part| format!("{part}.")).collect::<String>());
    // A class, for a backslash would have to be written twice.
    let literal = |text: &str| escape(text).replace("\\.", "[.]").replace("\\_", "_").replace("\\-", "-");
    let (pattern, replacement) = match generalize.then(|| with_groups(&old, &new, literal)).flatten() {
        Some(general) => general,
        None => (literal(&old), new.replace('$', "$$")),
    };
    if start == 0 {
        (format!("^{pattern}[.]"), replacement)
    } else {
        (format!("[.]{pattern}[.]"), format!(".{replacement}"))
    }
}

/// The same for any numbers, where both have the same.
fn with_groups(old: &str, new: &str, literal: impl Fn(&str) -> String) -> Option<(String, String)> {
    let (old, new) = (split_numbers(old), split_numbers(new));
    let numbers = |parts: &[(String, String)]| -> Vec<String> {
        parts.iter().map(|(_, number)| number.clone()).filter(|number| !number.is_empty()).collect()
    };
    if numbers(&old).is_empty() || numbers(&old) != numbers(&new) {
        return None;
    }
    let pattern = old.iter().map(|(text, number)| {
        let group = if number.is_empty() { "" } else { "([0-9]+)" };
        format!("{}{group}", literal(text))
    });
    let mut group = 0;
    let replacement = new.iter().map(|(text, number)| {
        group += usize::from(!number.is_empty());
        let number = if number.is_empty() { String::new() } else { format!("${{{group}}}") };
        format!("{}{number}", text.replace('$', "$$"))
    });
    Some((pattern.collect(), replacement.collect()))
}

fn split_numbers(text: &str) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, after) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (number, after) = after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()));
        parts.push((before.to_string(), number.to_string()));
        rest = after;
    }
    parts
}

/// The shortest patterns that match names which are not wanted, and none that is.
pub fn ignore_patterns(unwanted: &[&str], wanted: &[&str]) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::new();
    for name in unwanted {
        let ends = name.match_indices('.').map(|(at, _)| at);
        let alone = |end: &usize| !wanted.iter().any(|wanted| wanted.starts_with(&name[..=*end]));
        let literal = |text: &str| escape(text).replace("\\.", ".").replace("\\_", "_").replace("\\-", "-");
        let pattern = match ends.clone().find(alone) {
            Some(end) => format!("{}.*", literal(&name[..end])),
            None => literal(name),
        };
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    patterns
}
