//! What to say of a file without the network that a pipeline wants from it: what would make it fit, and where it differs.

use std::collections::BTreeSet;

use torch_checkpoint::{
    Group, Inference, Match, NamedTensor, Pattern, Renames, WeightsFile, ignore_patterns, infer, networks, printable,
};
use zskt_api::{CheckError, Recognized, Registry};

use super::selection::{Candidate, Choice, Refused, lies_under, unknown_key};

/// How many differences between a file and a network are listed; large networks have some hundred weights.
const MOST_DIFFERENCES: usize = 1000;

/// Groups that are tried for renames, the outermost first.
const MOST_GROUPS: usize = 8;

/// Says why the file has not one such network, and what to do about it.
pub fn explain(file: &mut WeightsFile, choice: &Choice, refused: &Refused) -> CheckError {
    let path = choice.path.display().to_string();
    match refused {
        Refused::Several => several(file, choice, &path),
        Refused::None => {
            if let Some(fault) = nothing_there(file, choice) {
                return fault;
            }
            let suggestions = suggestions(file, choice);
            differences(file, choice, &path, &suggestions)
        }
    }
}

/// `"text"` as RON has it.
fn text(text: &str) -> String {
    format!("{text:?}")
}

fn several(file: &WeightsFile, choice: &Choice, path: &str) -> CheckError {
    let candidates = choice.candidates(file);
    let shown: Vec<_> = candidates.iter().map(|candidate| place(&candidate.group)).collect();
    let all: Vec<_> = candidates.iter().filter_map(|candidate| choose(file, choice, candidate, &candidates)).collect();
    let message = format!("`{path}` holds {} networks that fit: {}", candidates.len(), shown.join(", "));
    let help = if all.is_empty() {
        "save the one that is meant in a file of its own".to_owned()
    } else {
        format!("choose one: {}", all.join(", or "))
    };
    CheckError::parameter("path", message).help(help)
}

/// Where a group lies, for a person.
fn place(group: &Group<'_>) -> String {
    let path = printable(&group.path());
    if path.is_empty() { "one that is not wrapped".to_owned() } else { format!("`{path}`") }
}

/// What chooses this candidate among others, as a pipeline has it.
fn choose(file: &WeightsFile, choice: &Choice, candidate: &Candidate<'_>, all: &[Candidate<'_>]) -> Option<String> {
    let (path, key) = (candidate.group.path(), candidate.group.key);
    let is_alone = |key: &str| all.iter().filter(|other| lies_under(&other.group.path(), key)).count() == 1;
    for key in [key, &path] {
        if !key.is_empty() && is_alone(key) {
            let tried = Choice { key: Some(key.to_owned()), prefix: None, ..choice.clone() };
            let also = if choice.prefix.is_some() { ", without `prefix`" } else { "" };
            if finds_one(file, &tried) {
                return Some(format!("`key: {}`{also}", text(key)));
            }
        }
    }
    // It is around the others, or its keys are theirs, too.
    let others: BTreeSet<&str> = all
        .iter()
        .filter(|other| other.group.dict == candidate.group.dict && other.group.prefix != candidate.group.prefix)
        .flat_map(|other| other.found.taken.values().map(|number| other.group.tensors[*number].1.name.as_str()))
        .collect();
    let names = candidate.names();
    let wanted: Vec<_> = names.keys().map(String::as_str).collect();
    let others: Vec<_> = others.into_iter().filter(|name| !names.contains_key(*name)).collect();
    let ignored = with_ignored(choice, &ignore_patterns(&others, &wanted))?;
    finds_one(file, &ignored).then(|| parameters(&ignored, choice))
}

/// Whether there is one network, and no doubt about it.
fn finds_one(file: &WeightsFile, choice: &Choice) -> bool {
    matches!(choice.candidates(file).as_slice(), [only] if only.found.is_exact())
}

/// A key or a prefix that leads to no weights at all.
fn nothing_there(file: &WeightsFile, choice: &Choice) -> Option<CheckError> {
    if !choice.groups(file, 1..=usize::MAX).is_empty() {
        return None;
    }
    let way_out = suggestions(file, choice);
    let mut fault = match (&choice.key, &choice.prefix) {
        (Some(key), None) => unknown_key(file, key),
        (_, Some(prefix)) => {
            let message = format!("no weight in `{}` has a name that begins with `{prefix}`", choice.path.display());
            CheckError::parameter("prefix", message).help("leave `prefix` out")
        }
        (None, None) => return None,
    };
    if !way_out.is_empty() {
        fault.help = Some(way_out.join("\n"));
    }
    Some(fault)
}

/// What would make the file fit, each tried before it is said.
fn suggestions(file: &WeightsFile, choice: &Choice) -> Vec<String> {
    let mut found = Vec::new();
    // What is there, were it not for what the pipeline says about where.
    let anywhere = Choice { key: None, prefix: None, ..choice.clone() };
    if choice.key.is_some() || choice.prefix.is_some() {
        let candidates = anywhere.candidates(file);
        if finds_one(file, &anywhere) {
            let given: Vec<_> = [("`key`", choice.key.is_some()), ("`prefix`", choice.prefix.is_some())]
                .into_iter()
                .filter_map(|(name, is_given)| is_given.then_some(name))
                .collect();
            found.push(format!("it fits without {}", given.join(" and ")));
        } else {
            let ways = candidates.iter().filter_map(|candidate| choose(file, &anywhere, candidate, &candidates));
            found.extend(ways.map(|way| format!("it fits with {way}")));
        }
    }
    if found.is_empty() {
        found.extend(fitting(file, choice).map(|fitting| format!("it fits with {fitting}")));
    }
    found.extend(recognized(file, choice));
    found
}

/// The parameters that make it fit: the fewest and shortest.
fn fitting(file: &WeightsFile, choice: &Choice) -> Option<String> {
    let mut tried: Vec<(bool, String)> = Vec::new();
    for group in choice.groups(file, choice.weights()).into_iter().take(MOST_GROUPS) {
        let Some(changed) = fitted(choice, &group) else { continue };
        let paths = [None, Some(group.key.to_owned()), Some(group.path())];
        let keys = paths.into_iter().filter(|key| key.as_ref().is_none_or(|key| !key.is_empty()));
        for key in std::iter::once(choice.key.clone()).chain(keys) {
            let changed = Choice { key, ..changed.clone() };
            if finds_one(file, &changed) {
                let renames = changed.rename.len() > choice.rename.len();
                tried.push((renames, parameters(&changed, choice)));
                break;
            }
        }
    }
    tried.into_iter().min_by_key(|(renames, text)| (*renames, text.len())).map(|(renames, text)| {
        let caution = if renames { " (found by shapes and order: see whether the names mean the same)" } else { "" };
        format!("{text}{caution}")
    })
}

/// The choice with what would make this group the network.
fn fitted(choice: &Choice, group: &Group<'_>) -> Option<Choice> {
    let candidate = choice.compare(group.clone());
    if candidate.found.is_whole() {
        let name = |number: &usize| group.tensors[*number].0;
        let unwanted: Vec<_> = candidate.found.extra.iter().map(name).collect();
        let wanted: Vec<_> = candidate.found.taken.values().map(name).collect();
        return with_ignored(choice, &ignore_patterns(&unwanted, &wanted));
    }
    let named: Vec<_> = group
        .tensors
        .iter()
        .filter_map(|(name, tensor)| Some((choice.renames.apply(name).into_owned(), &tensor.info.as_ref().ok()?.shape)))
        .collect();
    let theirs: Vec<_> = named.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let ours: Vec<_> = choice.order.iter().map(|name| (name.as_str(), choice.network[name].as_slice())).collect();
    let Inference { renames, unwanted } = infer(&theirs, &ours)?;
    let unwanted: BTreeSet<&str> = unwanted.iter().map(String::as_str).collect();
    let is_unwanted = |name: &str| unwanted.contains(&*choice.renames.apply(name));
    let (left, kept): (Vec<&str>, Vec<&str>) =
        group.tensors.iter().map(|(name, _)| *name).partition(|name| is_unwanted(name));
    let mut changed = with_ignored(choice, &ignore_patterns(&left, &kept))?;
    for (from, to) in renames {
        changed.rename.push((Pattern::new(&from).ok()?, to));
    }
    changed.renames = Renames::from(changed.rename.clone());
    Some(changed)
}

fn with_ignored(choice: &Choice, patterns: &[String]) -> Option<Choice> {
    let mut changed = choice.clone();
    for pattern in patterns {
        changed.ignore.push(Pattern::new(pattern).ok()?);
    }
    Some(changed)
}

/// The parameters in which a choice differs from what the pipeline has, as a pipeline has them.
fn parameters(changed: &Choice, choice: &Choice) -> String {
    let list = |all: Vec<String>| format!("[{}]", all.join(", "));
    let mut parameters = Vec::new();
    if let Some(key) = changed.key.as_ref().filter(|_| changed.key != choice.key) {
        parameters.push(format!("key: {}", text(key)));
    }
    if changed.rename.len() > choice.rename.len() {
        let pair = |(from, to): &(Pattern, String)| format!("({}, {})", text(from.as_str()), text(to));
        parameters.push(format!("rename: {}", list(changed.rename.iter().map(pair).collect())));
    }
    if changed.ignore.len() > choice.ignore.len() {
        let patterns = changed.ignore.iter().map(|pattern| text(pattern.as_str()));
        parameters.push(format!("ignore: {}", list(patterns.collect())));
    }
    format!("`{}`", parameters.join(", "))
}

/// Other architectures, or this one with other parameters, whose weights the file holds.
fn recognized(file: &WeightsFile, choice: &Choice) -> Vec<String> {
    let Ok(registry) = Registry::get() else { return Vec::new() };
    let recognize = |group: &Group<'_>| -> Vec<Recognized> {
        let shapes = group.shapes();
        registry.iter().filter_map(|plugin| (plugin.recognize)(&shapes)).collect()
    };
    let is_allowed = |group: &Group<'_>| choice.key.as_ref().is_none_or(|key| lies_under(&group.path(), key));
    let known = networks(file, |group| is_allowed(group) && !recognize(group).is_empty());
    let mut said = Vec::new();
    for group in known.iter().filter(|group| is_allowed(group)) {
        let (path, models) = (printable(&group.path()), recognize(group));
        let models: Vec<_> = models.into_iter().map(|model| format!("`{}`", printable(&model.ron))).collect();
        if !models.is_empty() {
            let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
            // Which no parameter can say.
            let one_output = if models.iter().any(|model| has_one_output(model)) {
                ", which has one output, and networks here tell two classes or more apart: where it is the logit of yes against no, give \
                 the last layer a first output that is always 0, which is the same network: weight \
                 `torch.cat([torch.zeros_like(weight), weight])`, and its bias likewise"
            } else {
                ""
            };
            said.push(format!("this file holds {}{place}{one_output}", models.join(" or ")));
        }
    }
    said
}

/// Whether a model that was recognized tells whether something is so, instead of telling classes apart.
fn has_one_output(model: &str) -> bool {
    ["classes: 1,", "classes: 1)"].iter().any(|classes| model.contains(classes))
}

/// Every difference between the network and what comes nearest to it.
fn differences(file: &WeightsFile, choice: &Choice, path: &str, suggestions: &[String]) -> CheckError {
    let whole = networks(file, |_| false).into_iter().filter(|group| {
        choice.key.as_ref().is_none_or(|key| lies_under(&group.path(), key)) && choice.prefix.is_none()
    });
    let range = choice.weights();
    let groups = choice.groups(file, range.start().div_ceil(2)..=*range.end()).into_iter().take(MOST_GROUPS);
    let ignored = |name: &str| choice.ignore.iter().any(|pattern| pattern.matches(name));
    let nearest = whole
        .chain(groups)
        .map(|mut group| {
            group.tensors.retain(|(name, tensor)| !ignored(name) && !ignored(&tensor.name));
            choice.compare(group)
        })
        .max_by_key(|near| (near.found.taken.len(), std::cmp::Reverse(near.found.extra.len())));
    let Some(Candidate { group, found, .. }) = nearest else {
        let message = format!("`{path}` holds too few weights for the model");
        return CheckError::parameter("path", message).help("give the model the parameters it was trained with");
    };
    let lines = lines(choice, &group, &found);
    let (count, plural) = (lines.len(), if lines.len() == 1 { "" } else { "s" });
    let compared = match group.path() {
        path if path.is_empty() => String::new(),
        path => format!(" to `{}`", printable(&path)),
    };
    let message = format!("the weights in `{path}` do not fit the model: {count} difference{plural}{compared}");
    let mut help = if suggestions.is_empty() {
        "give the model the parameters it was trained with".to_owned()
    } else {
        suggestions.join("\n")
    };
    for line in lines.iter().take(MOST_DIFFERENCES) {
        help.push_str("\n  ");
        help.push_str(line);
    }
    if count > MOST_DIFFERENCES {
        help.push_str(&format!("\n  and {} more", count - MOST_DIFFERENCES));
    }
    CheckError::parameter("path", message).help(help)
}

fn lines(choice: &Choice, group: &Group<'_>, found: &Match) -> Vec<String> {
    let shape = |tensor: &NamedTensor| match &tensor.info {
        Ok(info) => format!("{:?}", info.shape),
        Err(_) => "that cannot be read".to_owned(),
    };
    let mut lines = Vec::new();
    for name in &choice.order {
        let expected = &choice.network[name];
        if let Some((_, number)) = found.unlike.iter().find(|(weight, _)| weight == name) {
            let found = shape(group.tensors[*number].1);
            lines.push(format!("{}: expected shape {expected:?}, found {found}", printable(name)));
        } else if found.missing.binary_search(name).is_ok() {
            lines.push(format!("{}: missing, expected shape {expected:?}", printable(name)));
        }
    }
    for number in &found.extra {
        let (name, tensor) = group.tensors[*number];
        lines.push(format!("{}: not part of the network, has shape {}", printable(name), shape(tensor)));
    }
    lines
}
