//! What losses look at within a network, beside what it gives: the inputs of its batch norms and of its last fully connected layer.
//! Layers tell it while they compute, so that every network made of them can be looked into.

use std::cell::RefCell;

use candle_core::Tensor;

use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::ops;

/// What is to be seen of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The statistics of every batch norm's input.
    pub batch_norms: bool,
    /// The features: the input of the last fully connected layer.
    pub features: bool,
}

impl Wanted {
    /// What can be seen of a network with weights of these shapes, if it is made of layers: batch norms track means, and a fully connected
    /// layer has a matrix.
    pub fn in_network<'a>(shapes: impl IntoIterator<Item = (&'a String, &'a Vec<usize>)>) -> Self {
        shapes.into_iter().fold(Self::default(), |seen, (name, shape)| Self {
            batch_norms: seen.batch_norms || name.ends_with("running_mean"),
            features: seen.features || shape.len() == 2,
        })
    }

    /// What either wants.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { batch_norms: self.batch_norms || other.batch_norms, features: self.features || other.features }
    }

    /// Whether there is anything.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

/// The statistics of what a batch norm was given, and those that it has tracked of all that it was trained on.
#[derive(Clone)]
pub struct BatchNormInput {
    /// Mean of each channel over the batch, `[C]`. Gradients flow through it.
    pub mean: Tensor,
    /// Biased variance of each channel, `[C]`. Gradients flow through it.
    pub variance: Tensor,
    /// The tracked mean, `[C]`: the network's own, which moves where it is trained.
    pub running_mean: Tensor,
    /// The tracked variance, `[C]`.
    pub running_variance: Tensor,
}

/// What was seen of a network while it computed.
#[derive(Clone, Default)]
pub struct Observation {
    /// Of every batch norm, in the order of their computing; empty where it was not wanted, or there is none.
    pub batch_norms: Vec<BatchNormInput>,
    /// The input of the last fully connected layer, `[B, N]`; nothing where it was not wanted, or there is none.
    pub features: Option<Tensor>,
}

struct Observer {
    wanted: Wanted,
    seen: Observation,
}

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Who observed before, and does again once this is dropped.
struct Before(Option<Observer>);

impl Drop for Before {
    fn drop(&mut self) {
        OBSERVER.replace(self.0.take());
    }
}

/// Runs a network, and tells what was wanted of it. Layers that compute in other threads are not seen.
///
/// # Errors
/// When the network fails.
pub fn observe<T>(wanted: Wanted, run: impl FnOnce() -> Result<T>) -> Result<(T, Observation)> {
    if !wanted.is_any() {
        return Ok((run()?, Observation::default()));
    }
    let before = Before(OBSERVER.replace(Some(Observer { wanted, seen: Observation::default() })));
    let result = run()?;
    let seen = OBSERVER.take().map(|observer| observer.seen).unwrap_or_default();
    drop(before);
    Ok((result, seen))
}

fn wanted() -> Wanted {
    OBSERVER.with_borrow(|observer| observer.as_ref().map_or(Wanted::default(), |observer| observer.wanted))
}

fn tell(what: impl FnOnce(&mut Observation)) {
    OBSERVER.with_borrow_mut(|observer| {
        if let Some(observer) = observer {
            what(&mut observer.seen);
        }
    });
}

/// A batch norm is about to normalize `x`.
pub(crate) fn batch_norm_input(x: &FeatureMap, running: impl FnOnce() -> [Tensor; 2]) -> Result<()> {
    if wanted().batch_norms {
        let moments = ops::batch_moments(x)?;
        let [running_mean, running_variance] = running();
        let input = BatchNormInput { mean: moments.mean, variance: moments.variance, running_mean, running_variance };
        tell(|seen| seen.batch_norms.push(input));
    }
    Ok(())
}

/// A fully connected layer is about to take `x`.
pub(crate) fn linear_input(x: &Tensor) {
    if wanted().features {
        tell(|seen| seen.features = Some(x.clone()));
    }
}

/// A network that is made of whole networks has no features: those of its parts, which were seen while they computed, are none of its own.
pub fn forget_features() {
    tell(|seen| seen.features = None);
}
