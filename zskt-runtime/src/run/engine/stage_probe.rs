//! What a stage sees in place of a run when it is only measured: after a few batches it is asked to stop, and nothing is kept.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use zskt_api::nn::layer_streams_at;
use zskt_api::tensor::flop;
use zskt_api::{FeatureMap, Observer, Progress, Result, StageState, SynthesisProgress};

use crate::run::estimate::Cost;
use crate::run::interrupt::Interrupted;

/// How long batches are measured where they are short.
const ENOUGH: Duration = Duration::from_secs(2);
/// How long a second one is waited for where they are not.
const AT_MOST: Duration = Duration::from_secs(20);

/// A moment of the measurement.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    flop: u64,
    /// Batches done.
    batches: usize,
    /// Images learnt from since the first mark.
    images: usize,
}

/// The observer of a stage that is measured.
pub struct StageProbe<'e> {
    user_interrupted: &'e Interrupted,
    begin: Mark,
    /// Batches in all, once one is done.
    batches: Option<usize>,
    done: usize,
    images: usize,
    /// Images of a full batch: the last of a pass over few is smaller.
    full: usize,
    /// After batches, where the stage asks whether to stop. On an accelerator it tells of many at once, and they have one mark.
    marks: RefCell<Vec<Mark>>,
    /// Before the steps of syntheses: which synthesis, which step.
    steps: Vec<(usize, usize, Mark)>,
    state_bytes: usize,
}

impl<'e> StageProbe<'e> {
    /// Begins to measure.
    pub fn new(user_interrupted: &'e Interrupted) -> Self {
        let begin = Mark { at: Instant::now(), flop: flop::done(), batches: 0, images: 0 };
        Self {
            user_interrupted,
            begin,
            batches: None,
            done: 0,
            images: 0,
            full: 0,
            marks: RefCell::default(),
            steps: Vec::new(),
            state_bytes: 0,
        }
    }

    /// Batches in all; nothing where none was done.
    pub fn batches(&self) -> Option<usize> {
        self.batches
    }

    /// Syntheses that were begun.
    pub fn syntheses(&self) -> usize {
        self.steps.last().map_or(0, |(synthesis, ..)| synthesis + 1)
    }

    /// The bytes of all that the stage would have kept in a checkpoint.
    pub fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    /// What a full batch takes, the first ones not counted, for which libraries are loaded and caches filled.
    pub fn batch(&self) -> Cost {
        let marks = self.marks.borrow();
        let (from, to) = match marks[marks.len() / 3..] {
            [from, .., to] if to.images > from.images => {
                let cost = Cost::between(to.at - from.at, to.flop - from.flop);
                return cost * self.full / (to.images - from.images);
            }
            [from, .., to] => (from, to),
            _ => (self.begin, self.mark()),
        };
        Cost::between(to.at - from.at, to.flop - from.flop) / (to.batches - from.batches).max(1)
    }

    /// What synthesis number `synthesis` would take, had it so many steps.
    pub fn synthesis(&self, synthesis: usize, steps: usize) -> Cost {
        let batch = self.batch();
        let next = self.steps.iter().skip(1).map(|(_, step, mark)| (*step, *mark));
        // After the last step of all came the first batches.
        let first = self.marks.borrow().first().copied().unwrap_or_else(|| self.mark());
        let ends = next.chain([(0, first)]).enumerate();
        let (mut within, mut last) = (Vec::new(), Vec::new());
        for ((of, _, mark), (index, (next_step, end))) in self.steps.iter().zip(ends) {
            let mut cost = Cost::between(end.at - mark.at, end.flop - mark.flop);
            if index + 1 == self.steps.len() {
                cost = cost.without(batch * end.batches);
            }
            if *of == synthesis {
                if next_step == 0 { &mut last } else { &mut within }.push(cost);
            }
        }
        let step = Cost::median(&mut within);
        let last = Cost::median(&mut last).or(step).unwrap_or_default();
        step.map_or(last * steps, |step| step * (steps - 1) + Cost::larger(step, last))
    }

    fn mark(&self) -> Mark {
        Mark { at: Instant::now(), flop: flop::done(), batches: self.done, images: self.images }
    }

    fn has_measured_enough(&self) -> bool {
        let mut marks = self.marks.borrow_mut();
        if self.done > marks.last().map_or(0, |mark| mark.batches) {
            marks.push(self.mark());
        }
        let [first, .., last] = marks[..] else { return false };
        let measured = last.at - first.at;
        marks.len() > 2 && measured >= ENOUGH || measured >= AT_MOST
    }
}

impl Observer for StageProbe<'_> {
    fn batch(&mut self, progress: &Progress<'_>) -> Result<()> {
        // What comes before the first mark has images of syntheses, too.
        if !self.marks.borrow().is_empty() {
            self.images += progress.images;
            self.full = self.full.max(progress.images);
        }
        self.done = progress.batch;
        self.batches = Some(progress.batches);
        layer_streams_at(progress.batch);
        Ok(())
    }

    fn interrupted(&self) -> bool {
        (self.user_interrupted)() || self.has_measured_enough()
    }

    fn synthesis(&mut self, progress: &SynthesisProgress<'_>) {
        self.steps.push((progress.synthesis, progress.step, self.mark()));
    }

    fn checkpoint(&mut self, state: &StageState) -> Result<()> {
        let bytes = state.tensors.values().map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes());
        self.state_bytes = bytes.sum();
        Ok(())
    }

    fn images(&mut self, _batch: usize, _images: &FeatureMap) -> Result<()> {
        Ok(())
    }

    fn evaluate(&mut self, _batch: usize) -> Result<()> {
        Ok(())
    }
}
