//! Whether the tensors of a group are a network's.

use std::collections::BTreeMap;

use super::group::Group;
use super::is_bookkeeping;
use crate::error::ErrorKind;

/// The shape of each weight by its name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What the tensors of a group are to a network. Tensors are given by their numbers in the group.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// The tensor for each of the network's weights, by the network's name.
    pub taken: BTreeMap<String, usize>,
    /// Weights of the network that the group has under no name.
    pub missing: Vec<String>,
    /// Weights of the network that the group has in another shape, and the tensor.
    pub unlike: Vec<(String, usize)>,
    /// Tensors that are none of the network's, other than counters and figures beside the weights.
    pub extra: Vec<usize>,
}

impl Match {
    /// Compares a group with a network, under the names that `rename` makes. A network's counters may be missing: files from before
    /// PyTorch 0.4.1 have none.
    pub fn new(group: &Group<'_>, network: &Shapes, rename: impl Fn(&str) -> String) -> Self {
        let mut found = Self::default();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, (name, tensor)) in group.tensors.iter().enumerate() {
            let renamed = rename(name);
            let shape = tensor.shape();
            match network.get_key_value(&renamed) {
                // Two tensors for one weight: neither is less wanted, so the second is too much.
                Some((weight, _)) if seen.contains_key(weight.as_str()) => found.extra.push(number),
                Some((weight, expected)) => {
                    seen.insert(weight, number);
                    // What is wrong with a tensor that cannot be read is told when it is.
                    if shape.is_none_or(|shape| shape == expected) {
                        found.taken.insert(weight.clone(), number);
                    } else {
                        found.unlike.push((weight.clone(), number));
                    }
                }
                None if is_bookkeeping(&renamed, shape) || is_bookkeeping(name, shape) => {}
                None => found.extra.push(number),
            }
        }
        let is_missing = |name: &&String| !seen.contains_key(name.as_str()) && !is_bookkeeping(name, None);
        found.missing = network.keys().filter(is_missing).cloned().collect();
        found
    }

    /// Whether every weight of the network is there.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.unlike.is_empty()
    }

    /// Whether every weight of the network is there, and nothing else.
    pub fn is_exact(&self) -> bool {
        self.is_whole() && self.extra.is_empty()
    }

    /// What is wrong with the first of the network's weights that cannot be read.
    pub fn unreadable(&self, group: &Group<'_>) -> Option<ErrorKind> {
        self.taken.values().find_map(|number| group.tensors[*number].1.info.as_ref().err().cloned())
    }
}
