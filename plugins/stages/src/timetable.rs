//! How long a stage plays, and how often it does other things.

use zskt_api::{Fault, ImageSource, Signature, Signatures};

/// How long a stage plays, and how often it does other things.
pub struct Timetable {
    /// Batches in all.
    pub batches: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches between evaluations; none but the last where there is no number.
    pub evaluate_every: Option<usize>,
    /// Batches between checkpoints.
    pub checkpoint_every: usize,
    /// Batches between previews of the images.
    pub preview_every: usize,
    /// Whether a GPU may replay batches.
    pub replay: bool,
}

/// What is due beside playing after a batch.
#[derive(Clone, Copy)]
pub struct Due {
    /// A preview of the images.
    pub preview: bool,
    /// An evaluation; after the last batch the metrics run anyway, as nodes of the graph.
    pub evaluation: bool,
    /// A checkpoint.
    pub checkpoint: bool,
}

impl Due {
    /// Whether anything is.
    pub fn any(self) -> bool {
        self.preview || self.evaluation || self.checkpoint
    }
}

impl Timetable {
    /// What is due after batch `done`.
    pub fn due(&self, done: usize) -> Due {
        let due = |every: usize| every > 0 && done.is_multiple_of(every);
        let last = done == self.batches;
        Due {
            preview: due(self.preview_every) || done == 1 || last,
            evaluation: !last && self.evaluate_every.is_some_and(due),
            checkpoint: !last && due(self.checkpoint_every),
        }
    }
}

/// How long the user asked for.
#[derive(Clone, Copy)]
pub struct Length {
    /// In batches.
    pub batches: Option<usize>,
    /// In passes over the dataset.
    pub epochs: Option<f64>,
}

impl Length {
    /// What is wrong with it, given where the images come from.
    pub fn check(self, inputs: &Signatures) -> Option<Fault> {
        match (self.batches, self.epochs) {
            (None, None) => {
                Some(Fault::new("expected `batches`, or `epochs` where the images are a dataset: how long to play"))
            }
            (Some(_), Some(_)) => {
                Some(Fault::parameter("epochs", "`batches` and `epochs` both say how long to play: give one of them"))
            }
            (None, Some(_)) if matches!(inputs.one("images"), Some(Signature::Generator(_))) => {
                Some(Fault::parameter("epochs", "a generator has no epochs").help("give `batches` instead"))
            }
            _ => None,
        }
    }

    /// It in batches.
    pub fn in_batches(self, source: &ImageSource, batch_size: usize) -> usize {
        match (self.batches, self.epochs, source) {
            (None, Some(epochs), ImageSource::Dataset(dataset)) => {
                let per_epoch = dataset.signature().images.div_ceil(batch_size);
                (epochs * per_epoch as f64).round().max(1.0) as usize
            }
            (batches, ..) => batches.unwrap_or(1),
        }
    }
}
