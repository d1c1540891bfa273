//! Backward passes: what a thread knows of the one that it is in.

use std::cell::RefCell;
use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

use crate::autograd::entry::TapeEntry;

/// The state of a backward pass in this thread.
#[derive(Default)]
pub struct Backward {
    /// Maps with gradients that their nodes have not seen.
    pub scheduled: BTreeMap<u64, Arc<TapeEntry>>,
    /// Gradients of tensors that candle may not have asked for yet.
    pub sums: Vec<GradientSum>,
    /// Variables and their gradients, where somebody gathers them.
    pub variables: Option<HashMap<TensorId, [Tensor; 2]>>,
    /// Anchors that candle is going to visit, for they have a gradient.
    pub reached: HashSet<TensorId>,
    /// The gradient of anchors.
    pub zero: Option<Tensor>,
    /// For the numbers of gradients that were announced by [`TensorInput::accumulate_later`](crate::autograd::TensorInput::accumulate_later).
    pub later: Option<Later>,
}

/// What becomes of gradients whose numbers are not computed one by one.
#[derive(Clone, Copy)]
pub struct Later {
    /// Computes all that are pending.
    pub complete: fn() -> Result<()>,
    /// Drops them: a backward pass has failed.
    pub discard: fn(),
}

impl TapeEntry {
    /// Says that the map has got a part of its gradient, so that its node is to run.
    pub fn schedule(self: &Arc<Self>) {
        BACKWARD.with_borrow_mut(|backward| backward.scheduled.insert(self.sequence, Arc::clone(self)));
    }
}

impl Backward {
    /// Drops what a pass that failed has left in maps and sums.
    fn reset(self) {
        self.scheduled.into_values().for_each(|entry| entry.node.reset());
        self.sums.iter().for_each(|sum| drop(sum.take()));
    }
}

thread_local! {
    /// That of this thread.
    pub static BACKWARD: RefCell<Backward> = RefCell::default();
}

/// Runs the nodes of all maps with gradients that were made at `first` or later, the latest first.
///
/// # Errors
/// When the device fails.
pub fn run(first: u64) -> Result<()> {
    loop {
        let next = BACKWARD.with_borrow_mut(|backward| {
            let latest = backward.scheduled.last_entry().filter(|entry| *entry.key() >= first);
            latest.map(OccupiedEntry::remove)
        });
        let Some(entry) = next else { return Ok(()) };
        entry.node.backward()?;
    }
}

/// The state of the pass that another interrupts: a thread that waits for its part of a kernel may be given work that asks for
/// gradients too. It is back when this is dropped, and what is left of the pass in between is gone.
struct Interrupted(Option<Backward>);

impl Interrupted {
    fn begin() -> Self {
        let pass = Backward { variables: Some(HashMap::new()), ..Backward::default() };
        let before = BACKWARD.replace(pass);
        if before.variables.is_some() {
            return Self(Some(before));
        }
        // Nobody goes on with a pass of candle's own that failed.
        before.reset();
        Self(None)
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        let before = self.0.take();
        let is_outermost = before.is_none();
        let pass = BACKWARD.replace(before.unwrap_or_default());
        // Of passes within one another, the outermost completes what is pending of all.
        match pass.later {
            Some(later) if is_outermost => (later.discard)(),
            Some(later) => BACKWARD.with_borrow_mut(|before| before.later = Some(later)),
            None => {}
        }
        pass.reset();
    }
}

/// The gradients of a scalar with respect to all variables that it was made of. candle's own `backward` fails where weights of
/// convolutions, batch norms or, on a GPU, linear layers behind maps are among them.
///
/// # Errors
/// When the device fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let _interrupted = Interrupted::begin();
    let mut store = loss.backward()?;
    run(0)?;
    let (variables, later) = BACKWARD.with_borrow_mut(|backward| (backward.variables.take(), backward.later));
    later.map_or(Ok(()), |later| (later.complete)())?;
    for [variable, gradient] in variables.unwrap_or_default().into_values() {
        let gradient = match store.remove(&variable) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        store.insert(&variable, gradient);
    }
    Ok(store)
}

/// A place on the tape behind all that there are.
pub fn next_sequence() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The gradient of a tensor, as it is gathered.
#[derive(Clone, Default)]
pub struct GradientSum(Arc<Mutex<Option<Tensor>>>);

impl GradientSum {
    /// Adds a part.
    ///
    /// # Errors
    /// When the device fails.
    pub fn add(&self, part: Tensor) -> Result<()> {
        BACKWARD.with_borrow_mut(|backward| backward.sums.push(self.clone()));
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = Some(match sum.take() {
            Some(sum) => (sum + part)?,
            None => part,
        });
        Ok(())
    }

    /// What was gathered, if anything was.
    pub fn take(&self) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
