//! Finds the dicts of tensors in a checkpoint, whatever they are wrapped in.
//!
//! A state dict is a dict with tensors under text keys. A checkpoint is one itself, or a dict that has one or more of them
//! somewhere inside, next to the epoch, the optimizer and whatever else was saved. A network that was saved whole has one in the
//! attributes of its modules.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::allocation_budget::AllocationBudget;
use crate::error::{ErrorKind, Location, printable, quoted_list};
use crate::pickle::{Id, Pickle, Value};
use crate::rebuild;

/// How many dicts deep a state dict may lie.
const DEEPEST: usize = 4;

/// How many modules deep a weight of a network that was saved whole may lie.
const DEEPEST_MODULE: usize = 32;

/// Longer than any name of a weight.
pub(crate) const LONGEST_NAME: usize = 1 << 10;

/// More than any network has.
pub(crate) const MOST_TENSORS: usize = 100_000;

/// Entries of dicts that are looked at; many a dict may be made of the same list.
const MOST_ENTRIES: usize = 1 << 24;

/// A dict with tensors.
pub(crate) struct FoundDict<'p> {
    /// Keys joined by dots; empty for the checkpoint itself.
    pub(crate) path: String,
    /// Names and tensors in the file's order, each name once.
    pub(crate) tensors: Vec<(Cow<'p, str>, Id)>,
}

/// Finds every dict of tensors in a file of `length` bytes.
pub(crate) fn find<'p>(pickle: &'p Pickle, length: u64, location: &Location) -> Result<Vec<FoundDict<'p>>, ErrorKind> {
    let mut search = Search {
        pickle,
        location,
        names: AllocationBudget::for_tensors(length),
        tensors_left: MOST_TENSORS,
        entries_left: MOST_ENTRIES,
        seen: HashSet::new(),
        found: Vec::new(),
    };
    search.look(pickle.root(), "", DEEPEST)?;
    if search.found.is_empty() {
        return Err(ErrorKind::NoStateDict { found: contents(pickle) });
    }
    Ok(search.found)
}

struct Search<'p, 's> {
    pickle: &'p Pickle,
    location: &'s Location,
    /// What names may take: a name that the pickle holds once may be that of many tensors.
    names: AllocationBudget,
    tensors_left: usize,
    entries_left: usize,
    /// Each dict is looked at once, so sharing and cycles cost nothing.
    seen: HashSet<Id>,
    found: Vec<FoundDict<'p>>,
}

impl<'p> Search<'p, '_> {
    /// Collects the dicts with tensors, depth first.
    fn look(&mut self, id: Id, path: &str, levels: usize) -> Result<(), ErrorKind> {
        let pickle = self.pickle;
        let Some(entries) = self.entries(id)? else { return Ok(()) };
        if !self.seen.insert(id) {
            return Ok(());
        }
        let mut own = Vec::new();
        if self.is_module(&entries) {
            self.look_into_module(&entries, "", DEEPEST_MODULE, &mut own)?;
        } else {
            for (key, value) in &entries {
                if let Some(name) = pickle.text(*key).filter(|_| rebuild::is_tensor(pickle, *value)) {
                    own.push((Cow::Borrowed(name), *value));
                }
            }
        }
        // With dotted names (`block1.conv.weight`) it is a network, and dicts inside it are its extra state.
        if own.iter().any(|(name, _)| name.contains('.')) {
            return self.keep(path, &own);
        }
        let before = self.found.len();
        if levels > 0 {
            for (key, value) in &entries {
                let Some(key) = pickle.text(*key).filter(|key| key.len() <= LONGEST_NAME) else { continue };
                let lower = key.to_lowercase();
                // An optimizer's state mirrors its network's names.
                if !lower.contains("optim") && !lower.contains("sched") {
                    let inner = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                    self.look(*value, &inner, levels - 1)?;
                }
            }
        }
        // Loose tensors beside a state dict (the best accuracy, class weights) are none.
        if self.found.len() == before && !own.is_empty() {
            self.keep(path, &own)?;
        }
        Ok(())
    }

    fn entries(&mut self, id: Id) -> Result<Option<Vec<(Id, Id)>>, ErrorKind> {
        let entries = self.pickle.entries(id);
        let count = entries.as_ref().map_or(0, Vec::len);
        self.entries_left = self.entries_left.checked_sub(count).ok_or_else(|| ErrorKind::Excessive {
            location: self.location.clone(),
            what: format!("its dicts have more than {MOST_ENTRIES} entries, all told"),
        })?;
        Ok(entries)
    }

    /// Whether these are the attributes of a module of PyTorch.
    fn is_module(&self, attributes: &[(Id, Id)]) -> bool {
        let has = |name: &str| attributes.iter().any(|(key, _)| self.pickle.text(*key) == Some(name));
        attributes.len() < 1000 && has("_modules") && has("_parameters")
    }

    /// The tensors of a module and of those within it, as its `state_dict()` has them.
    fn look_into_module(
        &mut self,
        attributes: &[(Id, Id)],
        prefix: &str,
        levels: usize,
        tensors: &mut Vec<(Cow<'p, str>, Id)>,
    ) -> Result<(), ErrorKind> {
        let pickle = self.pickle;
        for of in ["_parameters", "_buffers", "_modules"] {
            let Some((_, dict)) = attributes.iter().find(|(key, _)| pickle.text(*key) == Some(of)) else { continue };
            for (key, value) in self.entries(*dict)?.unwrap_or_default() {
                let Some(key) = pickle.text(key).filter(|key| prefix.len() + key.len() < LONGEST_NAME) else {
                    continue;
                };
                let name = format!("{prefix}{key}");
                if of != "_modules" {
                    if rebuild::is_tensor(pickle, value) {
                        self.take_name(&name)?;
                        tensors.push((Cow::Owned(name), value));
                    }
                } else if levels > 0
                    && matches!(pickle.get(value), Value::Call { .. })
                    && self.seen.insert(value)
                    && let Some(inner) = self.entries(value)?
                {
                    self.look_into_module(&inner, &format!("{name}."), levels - 1, tensors)?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &str, tensors: &[(Cow<'p, str>, Id)]) -> Result<(), ErrorKind> {
        // What is put under a key again takes the place of what was there.
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut kept: Vec<(Cow<'p, str>, Id)> = Vec::new();
        for (name, id) in tensors {
            match places.get(&**name) {
                Some(place) => kept[*place].1 = *id,
                None => {
                    self.take_name(name)?;
                    places.insert(name, kept.len());
                    kept.push((name.clone(), *id));
                }
            }
        }
        self.take_name(path)?;
        self.tensors_left = self.tensors_left.checked_sub(kept.len()).ok_or_else(|| ErrorKind::Excessive {
            location: self.location.clone(),
            what: format!("it has more than {MOST_TENSORS} tensors"),
        })?;
        self.found.push(FoundDict { path: path.to_string(), tensors: kept });
        Ok(())
    }

    fn take_name(&mut self, name: &str) -> Result<(), ErrorKind> {
        let excessive = |what: String| ErrorKind::Excessive { location: self.location.clone(), what };
        if name.len() > LONGEST_NAME * DEEPEST {
            return Err(excessive(format!("a tensor's name of {} bytes, `{}`", name.len(), printable(name))));
        }
        if !self.names.take(name.len() as u64) {
            return Err(excessive("the names of its tensors take far more memory than the file".to_string()));
        }
        Ok(())
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
