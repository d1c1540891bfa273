//! The one training loop: each batch of images is trained on by every turn, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::{
    BuildContext, ClassifierNetwork, Context, Error, ForwardMode, ImageSource, Player, Result, StageContext,
    StageState, Turn,
};

use crate::batch_metrics::PendingMetrics;
use crate::batch_sampler::{BatchInput, BatchSampler};
use crate::cuda_graph_runner::CudaGraphRunner;
use crate::intervals::{DueActions, Intervals};
use crate::turn_runtime::{BatchPosition, Networks, TurnRuntime, train_eagerly};

/// Images in a preview.
const PREVIEW: usize = 64;

/// A training run before it begins.
pub struct TrainingLoop {
    /// The frozen network that losses may compare the student with.
    pub teacher: Option<Arc<ClassifierNetwork>>,
    /// The network that learns.
    pub student: Arc<ClassifierNetwork>,
    /// Where the images come from.
    pub images: ImageSource,
    /// The turns of each batch, in order.
    pub turns: Vec<Arc<Turn>>,
    /// Batches in all.
    pub batches: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// How often it does other things.
    pub intervals: Intervals,
    /// Whether a GPU may replay batches as a CUDA graph.
    pub replay: bool,
}

impl TrainingLoop {
    /// Trains on all batches, from the start or from a checkpoint.
    pub fn run(&self, context: &mut StageContext<'_>) -> Result<()> {
        let mut turns = self.turns.iter().cloned().map(TurnRuntime::new).collect::<Result<Vec<_>>>()?;
        let mut done = 0;
        if let Some(state) = context.resume.take() {
            for turn in &mut turns {
                turn.restore(&state.tensors).context("the checkpoint")?;
            }
            done = state.batch;
        }
        let build = context.build.clone();
        let networks = self.networks();
        let mut sampler = BatchSampler::new(&self.images, self.batch_size, &build);
        let mut runner = CudaGraphRunner::new(build.device.clone(), &turns, networks, self.replay);
        let mut pending = PendingMetrics::new(self.batches);
        while done < self.batches {
            if context.observer.interrupted() {
                pending.report(context)?;
                context.observer.checkpoint(&stage_state(&turns, done)?)?;
                return Err(Error::interrupted());
            }
            let trained = sampler.batch(done).and_then(|input| {
                let result = runner.train_batch(&mut turns, networks, &input, self.position(done))?;
                Ok((input, result))
            });
            let (input, result) = match trained {
                Err(error) if error.is_out_of_memory() => {
                    pending.report(context)?;
                    return Err(self.batch_too_large(&error, &mut turns, done, &build));
                }
                trained => trained?,
            };
            done += 1;
            let due = self.intervals.due(done, self.batches);
            if pending.push(done, result) || build.device.is_cpu() || done == self.batches || due.any() {
                pending.report(context)?;
                self.run_due(due, &input, &turns, done, context)?;
                pending.restart_clock();
            }
        }
        Ok(())
    }

    /// The error for a batch that does not fit into the device's memory: it says how large one may be, found by training on
    /// smaller ones. That spoils the weights, but the run has failed, and what it kept on disk stays as it is.
    fn batch_too_large(&self, error: &Error, turns: &mut [TurnRuntime], done: usize, build: &BuildContext) -> Error {
        let mut try_size = |size: usize| {
            let input = BatchSampler::new(&self.images, size, build).batch(done)?;
            // Memory may run out as late as where the metrics are read.
            train_eagerly(turns, self.networks(), &input, self.position(done))?.read(done)
        };
        let halves = std::iter::successors(Some(self.batch_size / 2), |size| Some(size / 2));
        let mut smaller = halves
            .take_while(|size| *size > 0)
            .map(|size| (size, try_size(size)))
            .skip_while(|(_, trained)| matches!(trained, Err(error) if error.is_out_of_memory()));
        let advice = match smaller.next() {
            Some((size, Ok(_))) => format!("{size} fit: `--set {}.batch_size={size}`", build.node),
            Some((size, Err(error))) => format!("whether {size} fit could not be tried: {error}"),
            None => "not even one fits beside the networks and their optimizers".to_owned(),
        };
        Error::out_of_memory(format!(
            "the device has no room for a batch of {} images, and {advice} ({error})",
            self.batch_size
        ))
    }

    /// Does what is due after batch `done` beside training.
    fn run_due(
        &self,
        due: DueActions,
        input: &BatchInput,
        turns: &[TurnRuntime],
        done: usize,
        context: &mut StageContext<'_>,
    ) -> Result<()> {
        if due.preview {
            self.preview(input, done, context)?;
        }
        if due.evaluation {
            context.observer.evaluate(done)?;
        }
        if due.checkpoint {
            context.observer.checkpoint(&stage_state(turns, done)?)?;
        }
        Ok(())
    }

    /// Shows the images of this batch. The generator is run frozen, so that looking changes nothing.
    fn preview(&self, input: &BatchInput, done: usize, context: &mut StageContext<'_>) -> Result<()> {
        let images = match (input, &self.images) {
            (BatchInput::Latents(latents), ImageSource::Generator(generator)) => {
                let count = latents.dims()[0].min(PREVIEW);
                generator.forward.forward(&latents.narrow(0, 0, count)?, ForwardMode::eval())?
            }
            (BatchInput::Real { images, .. }, _) if done == 1 => images.narrow(0, images.batch().min(PREVIEW))?,
            _ => return Ok(()),
        };
        context.observer.images(done, &images)
    }

    fn position(&self, batch: usize) -> BatchPosition {
        BatchPosition { batch, batches: self.batches }
    }

    fn networks(&self) -> Networks<'_> {
        let generator = match &self.images {
            ImageSource::Generator(generator) => Some(generator.as_ref()),
            ImageSource::Dataset(_) => None,
        };
        Networks { teacher: self.teacher.as_deref(), student: &self.student, generator }
    }

    /// Whether every turn updates a network of this stage: checked before the run on signatures, and here on what was built.
    ///
    /// # Errors
    /// When a turn updates another network, which no gradient of this loop would reach.
    pub fn check_players(&self) -> Result<()> {
        for turn in &self.turns {
            let present = match (&turn.player, &self.images) {
                (Player::Classifier(player), _) => Arc::ptr_eq(player, &self.student),
                (Player::Generator(player), ImageSource::Generator(generator)) => Arc::ptr_eq(player, generator),
                (Player::Generator(_), ImageSource::Dataset(_)) => false,
            };
            if !present {
                return Err(Error::new(format!("the player of turn `{}` is not part of this stage", turn.name)));
            }
        }
        Ok(())
    }
}

fn stage_state(turns: &[TurnRuntime], batch: usize) -> Result<StageState> {
    let mut tensors = BTreeMap::new();
    for turn in turns {
        tensors.extend(turn.state()?);
    }
    Ok(StageState { batch, tensors })
}
