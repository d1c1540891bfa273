//! The names of weights: which tensors of a file may be one network, and what makes a network's names of the file's.

mod group;
mod inference;
mod matching;
mod renames;

pub use group::{Group, groups, networks};
pub use inference::{Inference, ignore_patterns, infer};
pub use matching::{Match, Shapes};
pub use renames::{Pattern, PatternError, Renames};

/// Whether a tensor is kept beside the weights: a counter of batch norm or of an average, operations that a profiler counted, a
/// number on its own beside the modules, such as the best accuracy.
fn is_bookkeeping(name: &str, shape: Option<&[usize]>) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    matches!(last, "num_batches_tracked" | "n_averaged" | "total_ops" | "total_params")
        || shape.is_some_and(<[usize]>::is_empty) && !name.contains('.')
}
