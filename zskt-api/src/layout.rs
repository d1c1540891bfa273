//! The names that files have for the weights of an architecture.

use std::collections::BTreeMap;

/// Weights of a file: the shape of each by its name.
pub type NamedShapes = BTreeMap<String, Vec<usize>>;

/// How a codebase names the weights of an architecture, where it names them otherwise than the architecture does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightLayout {
    /// Whose names they are, as people know them: `kuangliu/pytorch-cifar`, `transformers`.
    pub source: &'static str,
    /// What makes the architecture's names of the file's: regular expressions, and what takes the place of each match (`$1` is
    /// the first group), applied in this order to each name. Names of the architecture itself are to stay as they are.
    pub renames: Vec<(String, String)>,
}

/// An architecture that is known by the names and shapes of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognized {
    /// The plugin with its parameters, as a pipeline has it: `WideResNet(depth: 40, widen_factor: 2)`.
    pub ron: String,
    /// Rows and columns of the images that such a network is usually for; weights seldom tell.
    pub image_size: usize,
    /// What else names and shapes do not tell, and what was assumed: a sentence each.
    pub assumptions: Vec<String>,
}
