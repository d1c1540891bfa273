//! The one training loop: each batch of images is trained on by every turn, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zskt_api::nn::layer_streams_at;
use zskt_api::tensor::catch_out_of_memory;
use zskt_api::{
    BuildContext, ClassifierNetwork, Context, Error, FeatureMap, ForwardMode, GeneratorInput, ImageSet, ImageSource,
    Player, Result, Rounds, StageContext, StageState, Turn,
};

use crate::batch_metrics::PendingMetrics;
use crate::batch_sampler::{BatchInput, BatchSampler, Targets};
use crate::cuda_graph_runner::CudaGraphRunner;
use crate::draws::{Draws, StreamDraws};
use crate::intervals::{DueActions, Intervals};
use crate::monitors::{MonitorOptions, Monitors};
use crate::no_room::no_room;
use crate::synthesis::{SynthesisRuntime, Table};
use crate::turn_runtime::{BatchPosition, Networks, TurnRuntime, train_eagerly};

/// How long a stage makes images, at most, without keeping a checkpoint.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(300);
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
    /// The classes that made images are to show.
    pub targets: Option<Targets>,
    /// Batches in all.
    pub batches: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// How often it does other things.
    pub intervals: Intervals,
    /// Whether a GPU may replay batches as a CUDA graph.
    pub replay: bool,
    /// How often it looks at what goes wrong unseen.
    pub monitors: MonitorOptions,
}

impl TrainingLoop {
    /// Trains on all batches, from the start or from a checkpoint.
    pub fn run(&self, context: &mut StageContext<'_>) -> Result<()> {
        let build = context.build.clone();
        let synthesis = self.turns.iter().find(|turn| turn.synthesis.is_some());
        let mut draws = StreamDraws::new(&build, synthesis.map_or("", |turn| &turn.name));
        self.run_with(&mut draws, context)
    }

    /// Trains on all batches, with these draws for syntheses.
    pub fn run_with(&self, draws: &mut dyn Draws, context: &mut StageContext<'_>) -> Result<()> {
        let build = context.build.clone();
        let networks = self.networks();
        let mut turns = TurnRuntime::start(&self.turns)?;
        let mut synthesis = self.turns.iter().find_map(|turn| SynthesisRuntime::start(turn).transpose()).transpose()?;
        let table = self.table(&build);
        let mut done = 0;
        let mut monitors = Monitors::start(&self.monitors, context.resume.as_ref())?;
        if let Some(state) = context.resume.take() {
            for turn in &mut turns {
                turn.restore(&state.tensors).context("the checkpoint")?;
            }
            if let (Some(synthesis), Some(table)) = (&mut synthesis, &table) {
                synthesis.restore(&state.tensors, table, draws).context("the checkpoint")?;
            }
            done = state.batch;
        }
        let mut sampler = BatchSampler::new(&self.images, self.batch_size, &self.turns, self.targets.as_ref(), &build);
        let mut runner = CudaGraphRunner::new(build.device.clone(), &turns, networks, self.replay);
        let mut pending = PendingMetrics::new(self.batches);
        while done < self.batches {
            let mut figures = Vec::new();
            let mut interrupted = context.observer.interrupted();
            if !interrupted && context.observer.ends_early() {
                break;
            }
            while let (Some(playing), Some(table), false) = (&mut synthesis, &table, interrupted) {
                let (since, observer) = (Instant::now(), &mut *context.observer);
                let played = playing.play(table, done, draws, &mut |progress| {
                    observer.synthesis(progress);
                    observer.interrupted() || since.elapsed() >= BETWEEN_CHECKPOINTS
                })?;
                let reach = playing.take_reach();
                monitors.begun(done + 1, reach.as_slice(), context)?;
                figures = played.figures;
                if !played.paused {
                    break;
                }
                interrupted = context.observer.interrupted();
                if !interrupted {
                    pending.report(context)?;
                    context.observer.checkpoint(&stage_state(&turns, synthesis.as_ref(), &monitors, done)?)?;
                }
            }
            if interrupted {
                pending.report(context)?;
                context.observer.checkpoint(&stage_state(&turns, synthesis.as_ref(), &monitors, done)?)?;
                return Err(Error::interrupted());
            }
            let before = monitors.before(done + 1, &self.student)?;
            let input = catch_out_of_memory(|| match &synthesis {
                Some(synthesis) => sampler.banked(synthesis.bank()?, synthesis.rounds(), done, draws),
                None => sampler.batch(done),
            });
            // On a GPU the observer hears of batches later.
            layer_streams_at(done);
            let trained = catch_out_of_memory(|| {
                let input = input?;
                let result = runner.train_batch(&mut turns, networks, &input, self.position(done))?;
                let made = synthesis.as_mut().map_or(0, SynthesisRuntime::take_images);
                Ok((input, result.after(figures, made)))
            });
            if let Some(reason) = runner.take_refusal() {
                let warning = format!("batches are trained kernel by kernel, for the GPU cannot replay them: {reason}");
                context.observer.warn(done + 1, &warning)?;
            }
            let (input, result) = match trained {
                Err(error) if error.is_out_of_memory() => {
                    pending.report(context)?;
                    // What it has captured has memory of its own.
                    let had_graph = runner.has_captured();
                    drop(runner);
                    let bank = synthesis.as_ref().and_then(|made| Some((made.bank().ok()?, made.rounds())));
                    return Err(self.batch_too_large((&error, had_graph), &mut turns, done, &build, bank, draws));
                }
                trained => trained?,
            };
            done += 1;
            let reached: Vec<_> = turns.iter_mut().filter_map(TurnRuntime::take_reach).collect();
            monitors.begun(done, &reached, context)?;
            let due = self.intervals.due(done, self.batches);
            let learns = result.moves_student(&turns);
            if pending.push(done, result)
                || build.device.is_cpu()
                || done == self.batches
                || due.any()
                || before.is_some()
            {
                pending.report(context)?;
                let bank = synthesis.as_ref().and_then(|made| Some((made.bank().ok()?, made.images_at_once())));
                if let Some(before) = before {
                    let made = self.teacher.as_deref().zip(self.made_images(&input, bank, self.batch_size)?);
                    monitors.after(done, &before, learns, &self.student, made, context)?;
                }
                if due.preview {
                    self.preview(&input, bank, done, context)?;
                }
                let state = || stage_state(&turns, synthesis.as_ref(), &monitors, done);
                self.run_due(due, done, context, state)?;
                pending.restart_clock();
            }
        }
        if let Some(synthesis) = &synthesis {
            context.observer.made_images(synthesis.name(), synthesis.bank()?)?;
        }
        Ok(())
    }

    /// What a synthesis plays with, where images are made and their normalization is known.
    fn table<'a>(&'a self, context: &'a BuildContext) -> Option<Table<'a>> {
        let networks = self.networks();
        let (generator, targets) = (networks.generator?, self.targets.as_ref());
        Some(Table { networks, generator, targets, normalization: context.normalization.as_ref()?, context })
    }

    /// The error for a batch that does not fit into the device's memory: it says how large one may be, found by training on
    /// smaller ones. That spoils the weights, but the run has failed, and what it kept on disk stays as it is.
    fn batch_too_large(
        &self,
        (error, had_graph): (&Error, bool),
        turns: &mut [TurnRuntime],
        done: usize,
        build: &BuildContext,
        bank: Option<(&ImageSet, Rounds)>,
        draws: &mut dyn Draws,
    ) -> Error {
        let mut try_size = |size: usize| {
            let mut sampler = BatchSampler::new(&self.images, size, &self.turns, self.targets.as_ref(), build);
            let input = match bank {
                Some((bank, rounds)) => sampler.banked(bank, rounds, done, draws)?,
                None => sampler.batch(done)?,
            };
            // Memory may run out as late as where the metrics are read.
            train_eagerly(turns, self.networks(), &input, self.position(done))?.read(done)
        };
        let mut try_size = |size| catch_out_of_memory(|| try_size(size));
        let there_is_no_room = no_room(&build.device);
        // A captured batch has memory of its own beside that of others.
        if had_graph && try_size(self.batch_size).is_ok() {
            return Error::out_of_memory(format!(
                "the device has no room for batches of {} images and a CUDA graph of one; without the graph one fits: `--set {}.replay=false` ({error})",
                self.batch_size, build.node
            ));
        }
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
            "{there_is_no_room} for a batch of {} images, and {advice} ({error})",
            self.batch_size
        ))
    }

    /// Does what is due after batch `done` beside training.
    fn run_due(
        &self,
        due: DueActions,
        done: usize,
        context: &mut StageContext<'_>,
        state: impl Fn() -> Result<StageState>,
    ) -> Result<()> {
        if due.evaluation {
            context.observer.evaluate(done)?;
        }
        if due.checkpoint {
            context.observer.checkpoint(&state()?)?;
        }
        Ok(())
    }

    /// Shows the images of this batch, or the newest of a bank.
    fn preview(
        &self,
        input: &BatchInput,
        bank: Option<(&ImageSet, usize)>,
        done: usize,
        context: &mut StageContext<'_>,
    ) -> Result<()> {
        let images = match (self.made_images(input, bank, PREVIEW)?, input) {
            (Some(made), _) => made,
            (None, BatchInput::Ready { images, .. }) if done == 1 => images.narrow(0, images.batch().min(PREVIEW))?,
            _ => return Ok(()),
        };
        context.observer.images(done, &images)
    }

    /// The first images that the generator makes of a batch, at most so many, or the newest of a bank; nothing where the images come from a
    /// dataset. The generator is run frozen, so that looking changes nothing.
    fn made_images(
        &self,
        input: &BatchInput,
        bank: Option<(&ImageSet, usize)>,
        most: usize,
    ) -> Result<Option<FeatureMap>> {
        Ok(match (input, &self.images) {
            (BatchInput::Latents(latents), ImageSource::Generator(generator)) => {
                let (latents, labels) = latents.draw(0)?;
                let input = GeneratorInput { latents: &latents, labels: labels.as_ref() };
                let images = generator.forward.forward(&input, ForwardMode::eval())?;
                Some(images.narrow(0, images.batch().min(most))?)
            }
            (BatchInput::Ready { images, .. }, _) => {
                bank.map(|(bank, newest)| shown(bank, newest, most, images)).transpose()?
            }
            (BatchInput::Latents(_), ImageSource::Dataset(_)) => None,
        })
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

/// So many of the newest images of a bank, at most, evenly chosen, for they may be in the order of their classes; of the type and on the device
/// of others.
fn shown(bank: &ImageSet, newest: usize, most: usize, like: &FeatureMap) -> Result<FeatureMap> {
    let newest = newest.min(bank.len());
    let count = most.min(newest);
    let indices: Vec<_> = (0..count).map(|index| bank.len() - newest + index * newest / count).collect();
    Ok(bank.shifted(&indices, &[], like.dtype(), like.device())?.images)
}

fn stage_state(
    turns: &[TurnRuntime],
    synthesis: Option<&SynthesisRuntime>,
    monitors: &Monitors<'_>,
    batch: usize,
) -> Result<StageState> {
    let mut tensors = BTreeMap::from([monitors.state()?]);
    if let Some(synthesis) = synthesis {
        tensors.extend(synthesis.state()?);
    }
    for turn in turns {
        tensors.extend(turn.state()?);
    }
    Ok(StageState { batch, tensors })
}
