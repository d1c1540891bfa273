//! Groups: what lies under one prefix of a state dict may be a network, `teacher.` beside `student.`.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use super::is_bookkeeping;
use super::matching::Shapes;
use crate::weights_file::{NamedTensor, StateDict, WeightsFile};

/// How many wrappers deep a network may lie.
const DEEPEST: usize = 8;

/// More than any network has.
const MOST_TENSORS: usize = 20_000;

/// The tensors of one state dict whose names begin with one prefix.
#[derive(Clone, Debug)]
pub struct Group<'f> {
    /// The number of the state dict in its file.
    pub dict: usize,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub key: &'f str,
    /// What stands before the names, as `module.`; empty for all of the state dict.
    pub prefix: &'f str,
    /// The tensors in the file's order, under their names without the prefix.
    pub tensors: Vec<(&'f str, &'f NamedTensor)>,
}

impl<'f> Group<'f> {
    /// All of a state dict, but for the names that are not wanted.
    fn whole(dict: usize, state_dict: &'f StateDict, is_wanted: impl Fn(&str) -> bool) -> Self {
        let named = state_dict.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor));
        Self { dict, key: state_dict.key(), prefix: "", tensors: named.filter(|(name, _)| is_wanted(name)).collect() }
    }

    /// Where it lies: key and prefix, joined by dots; empty for a state dict that is not wrapped.
    pub fn path(&self) -> String {
        let prefix = self.prefix.trim_end_matches('.');
        let dot = if self.key.is_empty() || prefix.is_empty() { "" } else { "." };
        format!("{}{dot}{prefix}", self.key)
    }

    /// The shape of each tensor by its name, but for those that cannot be read, and for counters and figures beside the weights; batch
    /// norm's `num_batches_tracked` is one of its weights.
    pub fn shapes(&self) -> Shapes {
        let shape = |(name, tensor): &(&str, &NamedTensor)| {
            let shape = &tensor.info.as_ref().ok()?.shape;
            let counts = name.ends_with("num_batches_tracked") || !is_bookkeeping(name, Some(shape));
            counts.then(|| ((*name).to_string(), shape.clone()))
        };
        self.tensors.iter().filter_map(shape).collect()
    }

    /// How many of its tensors are weights.
    pub fn weights(&self) -> usize {
        self.tensors.iter().filter(|(name, tensor)| !is_bookkeeping(name, tensor.shape())).count()
    }

    /// The groups one component of the name further in, in the file's order.
    fn inner(&self) -> Vec<Self> {
        let mut inner: Vec<Self> = Vec::new();
        let mut places = HashMap::new();
        for (name, tensor) in &self.tensors {
            let Some((first, rest)) = name.split_once('.') else { continue };
            let place = *places.entry(first).or_insert_with(|| {
                let prefix = &tensor.name[..tensor.name.len() - rest.len()];
                inner.push(Self { prefix, tensors: Vec::new(), ..*self });
                inner.len() - 1
            });
            inner[place].tensors.push((rest, tensor));
        }
        inner
    }
}

impl NamedTensor {
    pub(super) fn shape(&self) -> Option<&[usize]> {
        self.info.as_ref().ok().map(|info| info.shape.as_slice())
    }
}

/// Every group of the file with so many weights, outer ones before those within. Names that are not wanted are left out, as if the file
/// had none such.
pub fn groups(file: &WeightsFile, weights: RangeInclusive<usize>, is_wanted: impl Fn(&str) -> bool) -> Vec<Group<'_>> {
    let mut found = Vec::new();
    for (number, dict) in file.state_dicts().iter().enumerate() {
        let mut waiting = vec![(Group::whole(number, dict, &is_wanted), 0)];
        while let Some((group, depth)) = waiting.pop() {
            let count = group.weights();
            if count < *weights.start() {
                continue;
            }
            if depth < DEEPEST {
                waiting.extend(group.inner().into_iter().rev().map(|inner| (inner, depth + 1)));
            }
            if weights.contains(&count) {
                found.push(group);
            }
        }
    }
    found
}

/// What looks like the networks of the file: the outermost groups that are known; of a state dict with none such, all of it but for what
/// stands before every name.
pub fn networks<'f>(file: &'f WeightsFile, mut is_known: impl FnMut(&Group<'f>) -> bool) -> Vec<Group<'f>> {
    /// An unknown network consists of groups, too, and to know one may take milliseconds.
    const MOST_ASKED: usize = 64;
    /// Fewer are a layer.
    const LEAST: usize = 4;
    let mut found = Vec::new();
    for (number, dict) in file.state_dicts().iter().enumerate() {
        let whole = Group::whole(number, dict, |_| true);
        let before = found.len();
        let mut waiting = VecDeque::from([(whole.clone(), 0)]);
        for _ in 0..MOST_ASKED {
            let Some((group, depth)) = waiting.pop_front() else { break };
            if group.tensors.len() <= MOST_TENSORS && is_known(&group) {
                found.push(group);
            } else if depth < DEEPEST {
                let inner = group.inner().into_iter().filter(|inner| inner.weights() >= LEAST);
                waiting.extend(inner.map(|inner| (inner, depth + 1)));
            }
        }
        if found.len() == before {
            found.push(unwrapped(whole));
        }
    }
    found
}

/// Takes off what stands before the name of every weight.
fn unwrapped(mut group: Group<'_>) -> Group<'_> {
    for _ in 0..DEEPEST {
        let weights = group.weights();
        match group.inner().into_iter().find(|inner| inner.weights() == weights) {
            // A layer alone is nothing that is wrapped.
            Some(inner) if inner.tensors.iter().any(|(name, _)| name.contains('.')) => group = inner,
            _ => break,
        }
    }
    group
}
