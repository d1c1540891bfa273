//! Finds the state dict in a checkpoint, whatever it is wrapped in.
//!
//! A state dict is a dict with tensors under text keys. A checkpoint is one itself, or a dict that has one or more of
//! them somewhere inside, next to the epoch, the optimizer and whatever else was saved. The choice between several:
//!
//! 1. the one under the parameter `key`, if that is given;
//! 2. those with dotted names (`block1.conv.weight`), which only networks have, before others;
//! 3. the only one, or else the first of [`PREFERRED`] that is there.

use std::collections::HashSet;

use crate::error::{ErrorKind, printable, quoted_list};
use crate::pickle::{Id, Pickle};
use crate::rebuild;

/// The keys under which a checkpoint's one network usually lies, the usual ones first.
const PREFERRED: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];

/// How many dicts deep a state dict may lie.
const DEEPEST: usize = 4;

/// What data-parallel training, compilation and wrapping modules put before every name.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// A dict that may be the one.
pub(crate) struct Candidate<'p> {
    /// Keys joined by dots; empty for the checkpoint itself.
    pub(crate) path: String,
    /// Names and tensors.
    pub(crate) tensors: Vec<(&'p str, Id)>,
}

impl Candidate<'_> {
    fn is_dotted(&self) -> bool {
        self.tensors.iter().any(|(name, _)| name.contains('.'))
    }
}

/// Chooses the state dict and takes the wrappers' prefixes off its names.
pub(crate) fn choose<'p>(pickle: &'p Pickle, key: Option<&str>) -> Result<Candidate<'p>, ErrorKind> {
    let mut candidates = Vec::new();
    collect(pickle, pickle.root(), "", DEEPEST, &mut HashSet::new(), &mut candidates);
    if candidates.is_empty() {
        return Err(ErrorKind::NoStateDict { found: contents(pickle) });
    }
    let mut chosen = match key {
        Some(key) => match candidates.iter().position(|candidate| candidate.path == key) {
            Some(index) => candidates.swap_remove(index),
            None => {
                let wrapped = candidates.iter().filter(|candidate| !candidate.path.is_empty());
                let keys = wrapped.map(|candidate| printable(&candidate.path)).collect();
                return Err(ErrorKind::UnknownKey { key: key.to_string(), keys });
            }
        },
        None => preferred(candidates)?,
    };
    strip(&mut chosen.tensors);
    Ok(chosen)
}

/// Collects the dicts with tensors, depth first. Each dict is looked at once, so sharing and cycles cost nothing.
fn collect<'p>(
    pickle: &'p Pickle,
    id: Id,
    path: &str,
    levels: usize,
    seen: &mut HashSet<Id>,
    candidates: &mut Vec<Candidate<'p>>,
) {
    let Some(entries) = pickle.entries(id) else { return };
    if !seen.insert(id) {
        return;
    }
    let named = || entries.iter().filter_map(|(key, value)| Some((pickle.text(*key)?, *value)));
    let own = Candidate {
        path: path.to_string(),
        tensors: named().filter(|(_, value)| rebuild::is_tensor(pickle, *value)).collect(),
    };
    if own.is_dotted() {
        // A network. Dicts inside it are its extra state, not networks of their own.
        candidates.push(own);
        return;
    }
    let before = candidates.len();
    if levels > 0 {
        for (key, value) in named() {
            let lower = key.to_lowercase();
            // An optimizer's state mirrors its network's names.
            if !lower.contains("optim") && !lower.contains("sched") {
                let inner = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                collect(pickle, value, &inner, levels - 1, seen, candidates);
            }
        }
    }
    // Loose tensors beside a state dict (the best accuracy, class weights) are none.
    if candidates.len() == before && !own.tensors.is_empty() {
        candidates.push(own);
    }
}

fn preferred(mut candidates: Vec<Candidate<'_>>) -> Result<Candidate<'_>, ErrorKind> {
    if candidates.iter().any(Candidate::is_dotted) {
        candidates.retain(Candidate::is_dotted);
    }
    let first = if candidates.len() == 1 {
        Some(0)
    } else {
        PREFERRED.iter().find_map(|preferred| {
            candidates.iter().position(|candidate| {
                let path = candidate.path.as_str();
                path.strip_suffix(".state_dict").unwrap_or(path) == *preferred
            })
        })
    };
    match first {
        Some(index) => Ok(candidates.swap_remove(index)),
        None => {
            Err(ErrorKind::Ambiguous { keys: candidates.iter().map(|candidate| printable(&candidate.path)).collect() })
        }
    }
}

/// Takes off what a wrapper put before every name.
fn strip(tensors: &mut [(&str, Id)]) {
    while let Some(prefix) = PREFIXES.iter().find(|prefix| tensors.iter().all(|(name, _)| name.starts_with(**prefix))) {
        for (name, _) in tensors.iter_mut() {
            *name = &name[prefix.len()..];
        }
    }
}

/// What a checkpoint without tensors holds.
fn contents(pickle: &Pickle) -> String {
    const MOST: usize = 12;
    let root = pickle.root();
    let found = pickle.describe(root);
    let entries = pickle.entries(root).unwrap_or_default();
    if entries.is_empty() {
        return found;
    }
    let keys: Vec<String> = entries
        .iter()
        .take(MOST)
        .map(|(key, value)| {
            let key = pickle.text(*key).map_or_else(|| pickle.describe(*key), printable);
            format!("{key}: {}", pickle.describe(*value))
        })
        .collect();
    format!("{found} with {}", quoted_list(&keys))
}
