//! Whether weights are numbers that a network computes with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use zskt_api::Result;
use zskt_api::candle_core::{DType, Storage, Tensor, WithDType};

/// What the numbers of a tensor have that they must not.
///
/// # Errors
/// When the tensor cannot be read.
pub fn unsound(name: &str, tensor: &Tensor) -> Result<Option<&'static str>> {
    if !tensor.dtype().is_float() {
        return Ok(None);
    }
    let is_variance = name.ends_with("running_var");
    Ok(match tensor.dtype() {
        DType::F64 => fault::<f64>(tensor, is_variance)?,
        _ => fault::<f32>(&tensor.to_dtype(DType::F32)?, is_variance)?,
    })
}

fn fault<T: WithDType>(tensor: &Tensor, is_variance: bool) -> Result<Option<&'static str>> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    // Where they lie: to copy a large network takes longer than to look at it.
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else { return Ok(None) };
    let numbers = &storage.as_slice::<T>()?[start..end];
    Ok(if !numbers.iter().all(|number| number.to_f64().is_finite()) {
        Some("numbers that are not finite: its training diverged")
    } else if is_variance && numbers.iter().any(|number| number.to_f64() < 0.0) {
        Some("a variance that is negative: the file is damaged, or was not made by training")
    } else {
        None
    })
}

/// Weights of files as these are now.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct State(Vec<(PathBuf, u64, Option<SystemTime>)>, String);

/// Weights that this process has found to be sound, for a pipeline is checked more than once.
static SOUND: Mutex<BTreeSet<State>> = Mutex::new(BTreeSet::new());

impl State {
    /// Of `wanted` weights; nothing where a file is gone.
    pub fn of(files: &[PathBuf], wanted: String) -> Option<Self> {
        let state = |path: &PathBuf| {
            let metadata = path.metadata().ok()?;
            Some((path.clone(), metadata.len(), metadata.modified().ok()))
        };
        Some(Self(files.iter().map(state).collect::<Option<_>>()?, wanted))
    }

    /// Whether they were sound.
    pub fn was_sound(&self) -> bool {
        SOUND.lock().unwrap_or_else(PoisonError::into_inner).contains(self)
    }

    /// Remembers that they are sound.
    pub fn remember(self) {
        SOUND.lock().unwrap_or_else(PoisonError::into_inner).insert(self);
    }
}
