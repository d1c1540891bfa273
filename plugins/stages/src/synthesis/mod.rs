//! Syntheses: every so many batches an inner game makes images, which a bank keeps for the turns after it.

mod bank;
mod inner_game;
mod statistics;

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::nn::with_layer_streams;
use zskt_api::tensor::catch_out_of_memory;
use zskt_api::{
    BuildContext, Context, Error, GeneratorNetwork, GeneratorParts, ImageSet, LoggedScalar, Loss, Normalization,
    OptimizerState, Parameter, Player, Result, Rounds, Synthesis, SynthesisProgress, Turn,
};

pub use self::bank::Bank;
use self::inner_game::InnerGame;
use self::statistics::MovingStatistics;
use crate::batch_sampler::Targets;
use crate::draws::Draws;
use crate::gradient_reach::GradientReach;
use crate::loss_sum;
use crate::no_room::no_room;
use crate::synthesize;
use crate::turn_runtime::Networks;

/// A turn that makes images, and all that it keeps from one synthesis to the next.
pub struct SynthesisRuntime {
    turn: Arc<Turn>,
    parameters: Vec<Parameter>,
    /// Moves the generator where syntheses change a copy of it.
    outer: Option<Box<dyn OptimizerState>>,
    bank: Bank,
    statistics: MovingStatistics,
    position: Position,
    /// The synthesis that was paused.
    game: Option<InnerGame>,
    /// What the first step of the stage reached, until somebody asks.
    reach: Option<GradientReach>,
}

/// How far the syntheses of a stage are.
#[derive(Clone, Copy, Default)]
struct Position {
    /// Rounds that are over.
    rounds: usize,
    /// Syntheses of the round after them that are over.
    in_round: usize,
    /// Syntheses that are over in all.
    made: usize,
    /// Images that the generator learnt from since the last batch, each step counted.
    images: usize,
}

/// What a synthesis plays with.
pub struct Table<'a> {
    /// The stage's networks.
    pub networks: Networks<'a>,
    /// The network that makes the images.
    pub generator: &'a GeneratorNetwork,
    /// Which classes its images are to show.
    pub targets: Option<&'a Targets>,
    /// How images are normalized.
    pub normalization: &'a Normalization,
    /// Device and precision.
    pub context: &'a BuildContext,
}

/// What came of the syntheses that were due.
pub struct Played {
    /// Whether `watch` paused it: it goes on where it was when it is played again.
    pub paused: bool,
    /// What they found; nothing where none was due.
    pub figures: Vec<LoggedScalar>,
}

impl SynthesisRuntime {
    /// The synthesis of a turn, at its beginning; `None` for a turn that is no synthesis.
    pub fn start(turn: &Arc<Turn>) -> Result<Option<Self>> {
        let Some(synthesis) = &turn.synthesis else { return Ok(None) };
        let Player::Generator(generator) = &turn.player else {
            return Err(Error::new(format!("turn `{}`: its player makes no images", turn.name)));
        };
        let parameters: Vec<_> = generator.weights.parameters().cloned().collect();
        check_parts(synthesis, generator).context(format!("turn `{}`", turn.name))?;
        let outer = synthesis.outer.as_ref().map(|outer| outer.start(parameters.clone()));
        let outer = outer.transpose().context(format!("turn `{}`", turn.name))?;
        Ok(Some(Self {
            turn: Arc::clone(turn),
            parameters,
            outer,
            bank: Bank::new(synthesis.augmentation, synthesis.capacity),
            statistics: MovingStatistics::new(synthesis.statistics_momentum),
            position: Position::default(),
            game: None,
            reach: None,
        }))
    }

    /// Images of one synthesis.
    pub fn images_at_once(&self) -> usize {
        self.settings().images
    }

    /// The turn's name.
    pub fn name(&self) -> &str {
        &self.turn.name
    }

    /// When its syntheses take place.
    pub fn rounds(&self) -> Rounds {
        self.settings().rounds
    }

    /// The images that it has made.
    ///
    /// # Errors
    /// When there are none yet.
    pub fn bank(&self) -> Result<&ImageSet> {
        self.bank.images().ok_or_else(|| Error::new(format!("turn `{}` has made no images yet", self.turn.name)))
    }

    /// What its first step of the stage reached; once, and not where a checkpoint is later than that.
    pub fn take_reach(&mut self) -> Option<GradientReach> {
        self.reach.take()
    }

    fn settings(&self) -> &Synthesis {
        // A runtime is made of turns that have it.
        self.turn.synthesis.as_ref().unwrap_or_else(|| unreachable!("a synthesis"))
    }

    /// Images that the generator learnt from since this was asked last, each step counted.
    pub fn take_images(&mut self) -> usize {
        std::mem::take(&mut self.position.images)
    }

    /// Plays what is due before the stage's batch number `batch`. `watch` is told of each step, and says whether to
    /// pause before it.
    pub fn play(
        &mut self,
        table: &Table<'_>,
        batch: usize,
        draws: &mut dyn Draws,
        watch: &mut dyn FnMut(&SynthesisProgress<'_>) -> bool,
    ) -> Result<Played> {
        let name = self.turn.name.clone();
        let images = self.images_at_once();
        let there_is_no_room = no_room(&table.context.device);
        let played = catch_out_of_memory(|| self.play_rounds(table, batch, draws, watch));
        let played = played.map_err(|error| match error.is_out_of_memory() {
            true => Error::out_of_memory(format!(
                "{there_is_no_room} for a synthesis of {images} images; fewer may fit: `--set {name}.images={}` ({error})",
                images / 2
            )),
            false => error,
        });
        played.context(format!("turn `{name}`, before batch {}", batch + 1))
    }

    fn play_rounds(
        &mut self,
        table: &Table<'_>,
        batch: usize,
        draws: &mut dyn Draws,
        watch: &mut dyn FnMut(&SynthesisProgress<'_>) -> bool,
    ) -> Result<Played> {
        let (rounds, images) = (self.rounds(), self.settings().images);
        let mut played = Played { paused: false, figures: Vec::new() };
        let mut found = None;
        while self.position.rounds < rounds.before(batch) {
            let round = self.position.rounds;
            if self.position.in_round == 0 && self.game.is_none() && self.is_reinitialized_before(round) {
                draws.reinitialize(&table.generator.weights, round)?;
            }
            while self.position.in_round < rounds.syntheses_of(round) {
                let made = self.position.made;
                let mut game = match self.game.take() {
                    Some(game) => game,
                    None => self.begin(table, draws)?,
                };
                let losses = self.losses_of(made);
                while game.step < self.turn.steps {
                    let progress = SynthesisProgress {
                        turn: &self.turn.name,
                        synthesis: made,
                        step: game.step,
                        steps: self.turn.steps,
                        loss: game.last_loss,
                    };
                    if watch(&progress) {
                        self.game = Some(game);
                        return Ok(Played { paused: true, ..played });
                    }
                    self.in_step(table, game.step, || {
                        game.play_step(&self.turn, &losses, table, &self.statistics, draws)
                    })?;
                    self.reach = game.reach.take().or(self.reach.take());
                    self.position.images += images;
                }
                let parts = loss_sum::part_names(&self.turn.name, self.turn.objective, &losses);
                let parts = loss_sum::part_figures(&parts, &game.last_parts).collect::<Vec<_>>();
                found = game.last_loss.map(|loss| (loss, parts));
                self.end(game, table)?;
                self.position.in_round += 1;
                self.position.made += 1;
            }
            self.position = Position { rounds: round + 1, in_round: 0, ..self.position };
        }
        if let Some((loss, parts)) = found {
            played.figures.push(LoggedScalar::on_progress_line(format!("{}.loss", self.turn.name), loss));
            played.figures.extend(parts);
            let count = self.bank.images().map_or(0, ImageSet::len);
            played.figures.push(LoggedScalar::new(format!("{}.images", self.turn.name), count as f64));
        }
        Ok(played)
    }

    /// Does a step in which layers that draw random numbers draw by its number, and not by what the batch has drawn before: a synthesis may
    /// be interrupted, and resumed, before any step.
    fn in_step<T>(&self, table: &Table<'_>, step: usize, work: impl FnOnce() -> T) -> T {
        let BuildContext { streams, node, .. } = table.context;
        with_layer_streams(streams, &format!("{node}/{}/{}", self.turn.name, self.position.made), step, work)
    }

    fn is_reinitialized_before(&self, round: usize) -> bool {
        let warm_up = self.rounds().warm_up;
        let counted = if round < warm_up { round } else { round - warm_up };
        self.settings().reinitialize_every.is_some_and(|every| counted.is_multiple_of(every))
    }

    /// The losses that count in synthesis number `made`.
    fn losses_of(&self, made: usize) -> Vec<Arc<dyn Loss>> {
        let counts = |loss: &&Arc<dyn Loss>| made >= self.rounds().student_after || !loss.needs().student;
        self.turn.losses.iter().filter(counts).cloned().collect()
    }

    fn begin(&self, table: &Table<'_>, draws: &mut dyn Draws) -> Result<InnerGame> {
        let made = self.position.made;
        if let Some(reset) = self.settings().reset.as_ref().filter(|reset| reset.synthesis == made + 1) {
            draws.reset(&table.generator.weights, reset)?;
        }
        table.generator.forward.redraw(&mut draws.stream("redraw", made))?;
        InnerGame::begin(&self.turn, self.parameters.clone(), table, made, draws)
    }

    /// Keeps the images of a synthesis that is over, and moves on what lives from one to the next.
    fn end(&mut self, game: InnerGame, table: &Table<'_>) -> Result<()> {
        let finished = self.in_step(table, game.step, || game.finish(&self.turn, table))?;
        if let (Some(outer), Some(gradients), Some(optimizer)) = (
            &mut self.outer,
            &finished.outer_gradients,
            self.turn.synthesis.as_ref().and_then(|own| own.outer.as_ref()),
        ) {
            outer.step(gradients, optimizer.learning_rate())?;
        }
        self.statistics.remember(finished.statistics)?;
        self.bank.add(&finished.images, finished.labels.as_ref(), table.targets, table.normalization)
    }

    /// All that a later synthesis depends on, by names that begin with the turn's.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let Position { rounds, in_round, made, images } = self.position;
        let position = [rounds, in_round, made, images].map(|count| count as i64);
        let mut state = BTreeMap::from([("position".to_owned(), Tensor::new(&position, &Device::Cpu)?)]);
        state.extend(self.bank.state()?);
        state.extend(self.statistics.state());
        if let Some(outer) = &self.outer {
            state.extend(prefixed("outer", outer.state()?));
        }
        if let Some(game) = &self.game {
            state.extend(prefixed("game", game.state()?));
        }
        Ok(prefixed(&self.turn.name, state))
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When it is not the state of such a synthesis.
    pub fn restore(
        &mut self,
        state: &BTreeMap<String, Tensor>,
        table: &Table<'_>,
        draws: &mut dyn Draws,
    ) -> Result<()> {
        let state = part(&self.turn.name, state);
        let position = state.get("position").ok_or_else(|| Error::new("how far the syntheses are is missing"))?;
        let position: Vec<i64> = position.to_dtype(DType::I64)?.to_vec1()?;
        let [rounds, in_round, made, images] = match position[..] {
            [rounds, in_round, made, images] => [rounds, in_round, made, images],
            // Of before images were counted here.
            [rounds, in_round, made] => [rounds, in_round, made, 0],
            _ => return Err(Error::new("it does not say how far the syntheses are")),
        };
        let [rounds, in_round, made, images] = [rounds, in_round, made, images].map(|count| count as usize);
        self.position = Position { rounds, in_round, made, images };
        self.bank.restore(&state, table.targets, table.normalization)?;
        self.statistics.restore(&state, &table.context.device)?;
        if let Some(outer) = &mut self.outer {
            outer.restore(&part("outer", &state))?;
        }
        let game = part("game", &state);
        if !game.is_empty() {
            let mut begun = InnerGame::begin(&self.turn, self.parameters.clone(), table, self.position.made, draws)?;
            begun.restore(&game, &table.context.device)?;
            self.game = Some(begun);
        }
        Ok(())
    }
}

/// Whether the generator has what the synthesis names of it: before the run that is known of most generators.
fn check_parts(synthesis: &Synthesis, generator: &GeneratorNetwork) -> Result<()> {
    let parts = GeneratorParts::of(&*generator.forward, &generator.weights);
    let layers = synthesis.reset.as_ref().map_or(&[][..], |reset| &reset.layers);
    let fault = synthesize::misfits(&parts, &generator.name, layers, synthesis.latents_lr.is_some()).into_iter().next();
    fault.map_or(Ok(()), |fault| Err(Error::new(fault.message)))
}

/// The same tensors under names that begin with a part's.
fn prefixed(part: &str, tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    tensors.into_iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor)).collect()
}

/// The tensors of a part, under their names within it.
fn part(part: &str, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let own = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(part)?.strip_prefix('.')?.to_owned(), tensor.clone()))
    };
    tensors.iter().filter_map(own).collect()
}
