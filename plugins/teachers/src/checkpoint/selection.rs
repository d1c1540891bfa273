//! Which tensors of a file are the network: those of the one group that has all of its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use torch_checkpoint::{
    ErrorKind, Group, Match, Pattern, ReadError, Renames, Shapes, StateDict, WeightsFile, groups, ignore_patterns,
    printable,
};
use zskt_api::candle_core::{self, DType, Tensor};
use zskt_api::{CheckError, StateDictPlace, Weights};

use super::{Checkpoint, fault};

/// What is looked for, and what the pipeline says about where.
#[derive(Clone)]
pub struct Choice {
    pub path: std::path::PathBuf,
    pub network: Shapes,
    /// The network's names in the order of their making.
    pub order: Vec<String>,
    pub key: Option<String>,
    pub prefix: Option<String>,
    /// As the pipeline has them, and ready to be applied.
    pub rename: Vec<(Pattern, String)>,
    pub renames: Renames,
    pub ignore: Vec<Pattern>,
    pub layouts: Arc<[(&'static str, Renames)]>,
}

/// A group of the file's tensors, and what it is to the network under the names that suit it best.
#[derive(Clone)]
pub struct Candidate<'f> {
    pub group: Group<'f>,
    layout: Option<&'static str>,
    pub found: Match,
}

/// The network's tensors.
pub struct Selected {
    /// The number of their state dict in the file.
    pub dict: usize,
    /// The network's name by the file's.
    pub names: BTreeMap<String, String>,
    pub place: StateDictPlace,
}

/// Why there is not one network.
pub enum Refused {
    /// No group has all of its weights and nothing else.
    None,
    /// Several groups have all of its weights.
    Several,
}

impl Choice {
    pub fn new(checkpoint: &Checkpoint, weights: &Weights) -> Result<Self, CheckError> {
        let layouts = checkpoint.model.layouts().into_iter().map(|layout| {
            let pairs = layout.renames.iter().map(|(from, to)| (from.as_str(), to.as_str()));
            let renames = Renames::new(pairs).map_err(|error| {
                CheckError::parameter("model", format!("its names of {} are no patterns: {error}", layout.source))
            });
            Ok((layout.source, renames?))
        });
        let rename: Vec<_> = checkpoint.rename.iter().map(|rename| (rename.from.clone(), rename.to.clone())).collect();
        Ok(Self {
            path: checkpoint.path.clone(),
            network: weights.iter().map(|weight| (weight.name().to_owned(), weight.var().dims().to_vec())).collect(),
            order: weights.iter().map(|weight| weight.name().to_owned()).collect(),
            key: checkpoint.key.clone(),
            prefix: checkpoint.prefix.clone(),
            renames: Renames::from(rename.clone()),
            rename,
            ignore: checkpoint.ignore.iter().map(|pattern| pattern.0.clone()).collect(),
            layouts: layouts.collect::<Result<_, CheckError>>()?,
        })
    }

    /// How many weights a group has that may be the network, perhaps with some that are not wanted.
    pub fn weights(&self) -> RangeInclusive<usize> {
        let least = self.network.keys().filter(|name| !name.ends_with("num_batches_tracked")).count().max(1);
        least..=4 * least + 256
    }

    /// The groups that the pipeline lets be the network, without what it ignores.
    pub fn groups<'f>(&self, file: &'f WeightsFile, weights: RangeInclusive<usize>) -> Vec<Group<'f>> {
        let is_wanted = |name: &str| !self.ignore.iter().any(|pattern| pattern.matches(name));
        let mut found = groups(file, weights, is_wanted);
        found.retain_mut(|group| {
            group.tensors.retain(|(name, _)| is_wanted(name));
            self.key.as_ref().is_none_or(|key| lies_under(&group.path(), key)) && self.has_prefix(group)
        });
        found
    }

    fn has_prefix(&self, group: &Group<'_>) -> bool {
        match self.prefix.as_deref() {
            None => true,
            Some("") => group.prefix.is_empty(),
            Some(prefix) => lies_under(group.prefix.trim_end_matches('.'), prefix.trim_end_matches('.')),
        }
    }

    /// What the group is to the network under the names that suit it best: its own, or those of a layout.
    pub fn compare<'f>(&self, group: Group<'f>) -> Candidate<'f> {
        let own = Match::new(&group, &self.network, |name| self.renames.apply(name).into_owned());
        let mut best = Candidate { group, layout: None, found: own };
        for (source, layout) in self.layouts.iter() {
            if best.found.is_exact() {
                break;
            }
            let found =
                Match::new(&best.group, &self.network, |name| layout.apply(&self.renames.apply(name)).into_owned());
            let rank = |found: &Match| (found.taken.len(), std::cmp::Reverse(found.extra.len()));
            if rank(&found) > rank(&best.found) {
                best = Candidate { layout: Some(source), found, ..best };
            }
        }
        best
    }

    /// The groups that have all of the network's weights.
    pub fn candidates<'f>(&self, file: &'f WeightsFile) -> Vec<Candidate<'f>> {
        let mut taken = BTreeSet::new();
        let compared = self.groups(file, self.weights()).into_iter().map(|group| self.compare(group));
        // A group within another may have the very same tensors, under a layout that knows both.
        compared.filter(|candidate| candidate.found.is_whole() && taken.insert(candidate.tensors())).collect()
    }

    /// Finds the network.
    ///
    /// # Errors
    /// The outer one, when the file cannot be read; the inner one, when it has not one such network.
    pub fn select(&self, file: &mut WeightsFile) -> Result<Result<Selected, Refused>, CheckError> {
        let candidates = self.candidates(file);
        let selected = match candidates.as_slice() {
            [] => return Ok(Err(Refused::None)),
            [only] if only.found.is_exact() => only,
            [_] => return Ok(Err(Refused::None)),
            [first, ..] => first,
        };
        if let Some(kind) = selected.found.unreadable(&selected.group) {
            return Err(fault(&ReadError { path: self.path.clone(), kind }));
        }
        let (dict, names) = (selected.group.dict, selected.names());
        let mut place = selected.place(file.state_dicts());
        let others: Vec<_> =
            candidates[1..].iter().map(|other| (other.group.dict, other.names(), other.group.path())).collect();
        if !others.is_empty() {
            // A copy is no other network: an average that was saved before the first step, a model and its best state.
            let exact = candidates.iter().all(|candidate| candidate.found.is_exact());
            if !exact || !self.same_bits(file, &(dict, &names), &others)? {
                return Ok(Err(Refused::Several));
            }
            place.copies = others.into_iter().map(|(_, _, path)| printable(&path)).collect();
            place.left_out.retain(|beside| !place.copies.contains(beside));
        }
        Ok(Ok(Selected { dict, names, place }))
    }

    fn same_bits(
        &self,
        file: &mut WeightsFile,
        first: &(usize, &BTreeMap<String, String>),
        others: &[(usize, BTreeMap<String, String>, String)],
    ) -> Result<bool, CheckError> {
        let mut read = |dict: usize, names: &BTreeMap<String, String>| {
            let names = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
            file.read(dict, &names).map_err(|error| fault(&error))
        };
        let tensors = read(first.0, first.1)?;
        for (dict, names, _) in others {
            let other = read(*dict, names)?;
            let same = tensors.keys().eq(other.keys())
                && tensors.iter().all(|(name, tensor)| same_bits(tensor, &other[name]).unwrap_or(false));
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn same_bits(left: &Tensor, right: &Tensor) -> candle_core::Result<bool> {
    let bits = |tensor: &Tensor| -> candle_core::Result<Vec<u64>> {
        let numbers = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        Ok(numbers.into_iter().map(f64::to_bits).collect())
    };
    Ok(left.dtype() == right.dtype() && bits(left)? == bits(right)?)
}

impl<'f> Candidate<'f> {
    /// The file's tensors that it takes.
    fn tensors(&self) -> BTreeSet<(usize, &'f str)> {
        self.found.taken.values().map(|number| (self.group.dict, self.group.tensors[*number].1.name.as_str())).collect()
    }

    /// The network's name for each of the file's.
    pub fn names(&self) -> BTreeMap<String, String> {
        let name = |number: &usize| self.group.tensors[*number].1.name.clone();
        self.found.taken.iter().map(|(weight, number)| (name(number), weight.clone())).collect()
    }

    fn place(&self, dicts: &[StateDict]) -> StateDictPlace {
        let dict = &dicts[self.group.dict];
        let taken: BTreeSet<&str> = self.tensors().into_iter().map(|(_, name)| name).collect();
        let counts = |name: &str| name.ends_with("num_batches_tracked");
        let names = || dict.tensors().iter().map(|tensor| tensor.name.as_str());
        let others: Vec<_> = names().filter(|name| !taken.contains(name) && !counts(name)).collect();
        let wanted: Vec<_> = taken.iter().copied().collect();
        let beside = dicts.iter().filter(|other| other.key() != dict.key()).map(|other| printable(other.key()));
        let left_out = ignore_patterns(&others, &wanted).iter().map(|name| printable(name)).chain(beside).collect();
        StateDictPlace {
            key: printable(self.group.key),
            prefix: printable(self.group.prefix),
            layout: self.layout.map(str::to_owned),
            left_out,
            copies: Vec::new(),
        }
    }
}

/// Whether a path of keys and prefixes begins with another.
pub fn lies_under(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The error for a key that leads nowhere.
pub fn unknown_key(file: &WeightsFile, key: &str) -> CheckError {
    let dicts = file.state_dicts().iter().map(StateDict::key);
    let keys = dicts.filter(|key| !key.is_empty()).map(printable).collect();
    fault(&ReadError { path: file.path().to_path_buf(), kind: ErrorKind::UnknownKey { key: printable(key), keys } })
}
