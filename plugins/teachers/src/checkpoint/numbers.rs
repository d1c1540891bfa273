//! Whether weights are numbers that a network computes with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use zskt_api::Result;
use zskt_api::candle_core::{DType, Storage, Tensor};

/// What the numbers of a tensor have that they must not.
///
/// # Errors
/// When the tensor cannot be read.
pub fn unsound(name: &str, tensor: &Tensor) -> Result<Option<&'static str>> {
    if !tensor.dtype().is_float() {
        return Ok(None);
    }
    let tensor = tensor.to_dtype(if tensor.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
    let (storage, _) = tensor.storage_and_layout();
    // Where they lie: a copy of a large network takes longer than to look at it.
    let (finite, negative) = match &*storage {
        Storage::Cpu(storage) if tensor.dtype() == DType::F64 => {
            let numbers = storage.as_slice::<f64>()?;
            (numbers.iter().all(|number| number.is_finite()), numbers.iter().any(|number| *number < 0.0))
        }
        Storage::Cpu(storage) => {
            let numbers = storage.as_slice::<f32>()?;
            (numbers.iter().all(|number| number.is_finite()), numbers.iter().any(|number| *number < 0.0))
        }
        _ => (true, false),
    };
    Ok(match (finite, negative && name.ends_with("running_var")) {
        (false, _) => Some("numbers that are not finite: its training diverged"),
        (true, true) => Some("a variance that is negative: the file is damaged, or was not made by training"),
        (true, false) => None,
    })
}

/// Files as they are now, and which weights of them.
type Looked = (Vec<(PathBuf, u64, Option<SystemTime>)>, String);

/// Weights that this process has found to be sound, for a pipeline is checked more than once.
static SOUND: Mutex<BTreeSet<Looked>> = Mutex::new(BTreeSet::new());

fn looked(files: &[PathBuf], wanted: String) -> Option<Looked> {
    let state = |path: &PathBuf| {
        let metadata = path.metadata().ok()?;
        Some((path.clone(), metadata.len(), metadata.modified().ok()))
    };
    Some((files.iter().map(state).collect::<Option<_>>()?, wanted))
}

/// Whether these weights of these files were sound, and the files are as they were.
pub fn were_sound(files: &[PathBuf], wanted: &str) -> bool {
    let sound = SOUND.lock().unwrap_or_else(PoisonError::into_inner);
    looked(files, wanted.to_owned()).is_some_and(|looked| sound.contains(&looked))
}

/// Remembers that these weights of these files are sound.
pub fn are_sound(files: &[PathBuf], wanted: String) {
    let mut sound = SOUND.lock().unwrap_or_else(PoisonError::into_inner);
    sound.extend(looked(files, wanted));
}
