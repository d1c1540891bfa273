//! Batches that a GPU replays as a CUDA graph: the host no longer asks for each of thousands of kernels.
//!
//! Once two batches have been trained kernel by kernel, the next is captured too, and if its replay gives the same results, all
//! others are replays. Only what differs between batches is told the device anew: the latents or images, and the constants of the
//! optimizers' updates.

mod capture;
mod captured_input;

use zskt_api::{PackedWeights, Result};

use self::capture::{CapturedGraph, GraphCapture};
use self::captured_input::CapturedInput;
use crate::batch_metrics::BatchResult;
use crate::batch_sampler::BatchInput;
use crate::state_snapshot::StateSnapshot;
use crate::turn_runtime::{BatchPosition, Networks, TurnResult, TurnRuntime, train_eagerly};

/// Batches that are trained before one is captured, for libraries to be loaded and algorithms chosen.
const WARM_UP: usize = 2;

/// How far the results of a replay may be from those of kernel by kernel: the kernels give the same bits each time, but some of
/// cuDNN's.
const TOLERANCE: f64 = 1e-3;

/// Trains on batches, by replays where that is possible.
pub struct CudaGraphRunner<C: GraphCapture> {
    device: C,
    /// Whether all plugins may be replayed, and so change weights by `apply_updates`, `apply_adam` and `constrain` only.
    keeps_promises: bool,
    weights: PackedWeights,
    mode: Mode<C::Graph>,
    /// Why a batch could not be captured or replayed, until somebody asks.
    refusal: Option<String>,
    has_captured: bool,
}

enum Mode<G> {
    /// Each batch is trained kernel by kernel.
    Eager,
    /// So many are, before one is captured that has no fewer images than any of them.
    WarmUp { left: usize, most: usize },
    /// Each batch is a replay.
    Replay(Box<BatchGraph<G>>),
}

/// What became of capturing a batch.
enum Captured<G> {
    /// Its replay gives the expected results and state.
    Graph(BatchGraph<G>),
    /// Its replay gives others.
    Another,
    /// The device captures nothing.
    Nothing,
}

/// A captured batch, and what it reads.
struct BatchGraph<G> {
    graph: G,
    input: CapturedInput,
}

impl<C: GraphCapture> CudaGraphRunner<C> {
    /// Replays if that is wanted and all networks, losses and optimizers allow it.
    pub fn new(device: C, turns: &[TurnRuntime], networks: Networks<'_>, wanted: bool) -> Self {
        let keeps_promises = networks.replays() && turns.iter().all(TurnRuntime::replays);
        let allowed = wanted && device.is_available() && keeps_promises;
        Self {
            device,
            keeps_promises,
            weights: networks.packed_weights(),
            mode: if allowed { Mode::WarmUp { left: WARM_UP, most: 0 } } else { Mode::Eager },
            refusal: None,
            has_captured: false,
        }
    }

    /// Whether it has tried to capture a batch, and may hold one.
    pub fn has_captured(&self) -> bool {
        self.has_captured
    }

    /// Why batches are trained kernel by kernel though all plugins allow replays; once.
    pub fn take_refusal(&mut self) -> Option<String> {
        self.refusal.take()
    }

    /// Trains on one batch.
    pub fn train_batch(
        &mut self,
        turns: &mut [TurnRuntime],
        networks: Networks<'_>,
        input: &BatchInput,
        position: BatchPosition,
    ) -> Result<BatchResult> {
        let (keeps_promises, weights) = (self.keeps_promises, &mut self.weights);
        let mut train_eagerly = |turns: &mut [TurnRuntime]| {
            let mut train = || train_eagerly(turns, networks, input, position);
            if keeps_promises { weights.within(train) } else { train() }
        };
        match &mut self.mode {
            Mode::Eager => train_eagerly(turns),
            Mode::Replay(graph) => match graph.replay(turns, input, position)? {
                Some(results) => Ok(BatchResult::new(turns, results, input.count())),
                None => {
                    // A bank may begin with less than a batch: larger ones are the rule then.
                    if input.count() > graph.input.count() {
                        self.mode = Mode::WarmUp { left: 0, most: input.count() };
                    }
                    train_eagerly(turns)
                }
            },
            Mode::WarmUp { left, most } if *left > 0 || input.count() < *most => {
                (*left, *most) = (left.saturating_sub(1), input.count().max(*most));
                train_eagerly(turns)
            }
            Mode::WarmUp { .. } => {
                (self.mode, self.has_captured) = (Mode::Eager, true);
                // What cannot be captured or replayed is no failure: it is trained kernel by kernel.
                let before = match StateSnapshot::take(turns, networks) {
                    Ok(before) => before,
                    Err(error) => {
                        self.refusal = Some(error.to_string());
                        return train_eagerly(turns);
                    }
                };
                let result = self.device.rehearse(|| train_eagerly(turns))?;
                let after = match StateSnapshot::take(turns, networks) {
                    Ok(after) => after,
                    Err(error) => {
                        self.refusal = Some(error.to_string());
                        return Ok(result);
                    }
                };
                before.restore(turns)?;
                match self.capture(turns, networks, input, position, (&result, &after)) {
                    Ok(Captured::Graph(graph)) => self.mode = Mode::Replay(Box::new(graph)),
                    refused => {
                        after.restore(turns)?;
                        self.refusal = Some(match refused {
                            Err(error) => error.to_string(),
                            Ok(Captured::Another) => "a replay gave other results or weights".into(),
                            Ok(_) => "nothing was captured".into(),
                        });
                    }
                }
                Ok(result)
            }
        }
    }

    /// Captures a batch and replays it.
    fn capture(
        &mut self,
        turns: &mut [TurnRuntime],
        networks: Networks<'_>,
        input: &BatchInput,
        position: BatchPosition,
        (expected, expected_state): (&BatchResult, &StateSnapshot),
    ) -> Result<Captured<C::Graph>> {
        let captured = CapturedInput::of(input)?;
        let input = captured.input()?;
        let graph = self.device.capture(|| {
            let turns = turns.iter_mut();
            self.weights.within(|| turns.map(|turn| turn.train_for_replays(networks, &input, position)).collect())
        })?;
        let Some(graph) = graph else { return Ok(Captured::Nothing) };
        // The optimizers have counted this batch while it was captured.
        graph.launch()?;
        let results = graph.results().iter().map(|result| result.copied(result.learning_rate));
        let result = BatchResult::new(turns, results.collect::<Result<_>>()?, input.count());
        let same = result.agrees(expected, TOLERANCE)?
            && StateSnapshot::take(turns, networks)?.agrees(expected_state, TOLERANCE)?;
        Ok(if same { Captured::Graph(BatchGraph { graph, input: captured }) } else { Captured::Another })
    }
}

impl<G: CapturedGraph> BatchGraph<G> {
    /// The results for another input; `None` where it has another number of images.
    fn replay(
        &self,
        turns: &mut [TurnRuntime],
        input: &BatchInput,
        position: BatchPosition,
    ) -> Result<Option<Vec<TurnResult>>> {
        if !self.input.overwrite(input)? {
            return Ok(None);
        }
        let recorded = self.graph.results();
        let rates = self.graph.replay(|| {
            let steps = turns.iter_mut().zip(recorded);
            steps.map(|(turn, recorded)| turn.update_again(recorded, position)).collect::<Result<Vec<_>>>()
        })?;
        recorded.iter().zip(rates).map(|(recorded, rate)| recorded.copied(rate)).collect::<Result<_>>().map(Some)
    }
}

#[cfg(test)]
mod tests;
