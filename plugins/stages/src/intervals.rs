//! How often a stage does other things than training.

/// Batches between the other things that a stage does.
pub struct Intervals {
    /// Between evaluations; `None` for none but the run's own after the last batch.
    pub evaluate_every: Option<usize>,
    /// Between checkpoints.
    pub checkpoint_every: usize,
    /// Between previews of the images, beside those of the first and the last batch; 0 for no others.
    pub preview_every: usize,
}

/// What is due after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueActions {
    /// A preview of the images.
    pub preview: bool,
    /// An evaluation; after the last batch the metrics run anyway, as nodes of the graph.
    pub evaluation: bool,
    /// A checkpoint; after the last batch the run keeps the output itself.
    pub checkpoint: bool,
}

impl DueActions {
    /// Whether anything is due.
    pub fn any(self) -> bool {
        self.preview || self.evaluation || self.checkpoint
    }
}

impl Intervals {
    /// What is due when `done` of `batches` are trained.
    pub fn due(&self, done: usize, batches: usize) -> DueActions {
        let due = |every: usize| every > 0 && done.is_multiple_of(every);
        let last = done == batches;
        DueActions {
            preview: due(self.preview_every) || done == 1 || last,
            evaluation: !last && self.evaluate_every.is_some_and(due),
            checkpoint: !last && due(self.checkpoint_every),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DueActions, Intervals};

    #[test]
    fn the_last_batch_is_shown_but_neither_evaluated_nor_kept() {
        let intervals = Intervals { evaluate_every: Some(2), checkpoint_every: 3, preview_every: 0 };
        let due = |done| {
            let DueActions { preview, evaluation, checkpoint } = intervals.due(done, 6);
            [preview, evaluation, checkpoint]
        };
        let found: Vec<_> = (1..=6).map(due).collect();
        let (no, yes) = (false, true);
        assert_eq!(found, [[yes, no, no], [no, yes, no], [no, no, yes], [no, yes, no], [no, no, no], [yes, no, no]]);
    }
}
