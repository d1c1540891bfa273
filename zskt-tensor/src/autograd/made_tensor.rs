//! Tensors that were made on this tape, which whoever reads them is to know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use candle_core::{Result, Tensor, TensorId};

use crate::autograd::entry::TapeEntry;
use crate::autograd::pass::GradientSum;

/// A tensor's place on the tape.
pub struct MadeTensor {
    /// Where.
    pub entry: Arc<TapeEntry>,
    /// Its gradient.
    sum: GradientSum,
    /// Whether anybody but candle gives it a gradient.
    is_read: AtomicBool,
}

/// By tensors, as long as they are there.
static MADE: LazyLock<Mutex<HashMap<TensorId, Weak<MadeTensor>>>> = LazyLock::new(Mutex::default);

impl MadeTensor {
    /// At this place, whose node takes this gradient.
    pub fn new(entry: Arc<TapeEntry>, sum: GradientSum) -> Self {
        Self { entry, sum, is_read: AtomicBool::new(false) }
    }

    /// Lets others find it by its tensor.
    pub fn make_known(self: &Arc<Self>, tensor: &Tensor) {
        let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, made| made.strong_count() > 0);
        all.insert(tensor.id(), Arc::downgrade(self));
    }

    /// That of a tensor, if it was made on this tape.
    pub fn known(tensor: &Tensor) -> Option<Arc<Self>> {
        MADE.lock().unwrap_or_else(PoisonError::into_inner).get(&tensor.id())?.upgrade()
    }

    /// Says that an operation on this tape reads it, and will give it a gradient.
    pub fn note_reader(&self) {
        self.is_read.store(true, Ordering::Relaxed);
    }

    /// Whether one does.
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// Adds a part of its gradient.
    ///
    /// # Errors
    /// When the device fails.
    pub fn accumulate(&self, gradient: Tensor) -> Result<()> {
        self.sum.add(gradient)?;
        self.entry.schedule();
        Ok(())
    }
}
