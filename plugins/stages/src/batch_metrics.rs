//! The metrics of batches, read in groups: an accelerator need not stop for each.

use std::time::Instant;

use zskt_api::{Context, LoggedScalar, NamedTurn, Objective, Player, Progress, Result, StageContext, TurnSignature};

use crate::loss_sum;
use crate::turn_runtime::{TurnFigures, TurnResult, TurnRuntime};

/// Batches that an accelerator computes before their metrics are read: to read them is to wait for it.
const PENDING: usize = 16;

/// A learning rate below this share of its optimizer's own is a schedule's end, where nobody expects a network to move.
const LEARNS: f64 = 0.01;

/// What came of one batch, still where it was computed.
pub struct BatchResult {
    /// Images that the turns learnt from, each step counted.
    images: usize,
    /// Of each turn, by its name, and by those of its losses.
    turns: Vec<(TurnNames, TurnResult)>,
    /// What syntheses before it found.
    figures: Vec<LoggedScalar>,
}

/// What the log calls the figures of a turn.
struct TurnNames {
    turn: String,
    parts: Vec<Option<(String, f64)>>,
}

/// What the log calls all figures of these turns.
pub fn figure_names(turns: &[NamedTurn<'_>]) -> Vec<String> {
    turns.iter().flat_map(figure_names_of).collect()
}

fn figure_names_of(NamedTurn { name, signature }: &NamedTurn<'_>) -> Vec<String> {
    let TurnSignature { losses, synthesis, .. } = signature;
    let own: &[&str] = match synthesis {
        Some(_) => &["loss", "images"],
        None => &["loss", "learning_rate", "gradient_norm"],
    };
    let parts = loss_sum::part_names(name, Objective::Minimize, losses).into_iter().flatten().map(|(part, _)| part);
    own.iter().map(|figure| format!("{name}.{figure}")).chain(parts).collect()
}

/// The metrics, and the images that were learnt from.
type Metrics = (usize, Vec<LoggedScalar>);

impl BatchResult {
    /// The results of all turns on a batch of so many images.
    pub fn new(turns: &[TurnRuntime], results: Vec<TurnResult>, batch_size: usize) -> Self {
        let images = turns.iter().map(|turn| batch_size * turn.turn().steps).sum();
        let names = turns.iter().map(TurnRuntime::turn);
        let names = names.map(|turn| TurnNames {
            turn: turn.name.clone(),
            parts: loss_sum::part_names(&turn.name, turn.objective, &turn.losses),
        });
        Self { images, turns: names.zip(results).collect(), figures: Vec::new() }
    }

    /// The same, with what syntheses before it found on so many images.
    #[must_use]
    pub fn after(self, figures: Vec<LoggedScalar>, images: usize) -> Self {
        Self { images: self.images + images, figures, ..self }
    }

    /// Whether all losses and norms are those of another batch, up to a relative difference.
    pub fn agrees(&self, other: &Self, tolerance: f64) -> Result<bool> {
        let numbers = |result: &Self| {
            let turns = result.turns.iter().map(|(_, turn)| turn.numbers());
            turns.collect::<Result<Vec<_>>>().map(|numbers| numbers.concat())
        };
        let (own, others) = (numbers(self)?, numbers(other)?);
        let agree = |(own, other): (&f64, &f64)| (own - other).abs() <= tolerance * other.abs().max(1e-6);
        Ok(own.len() == others.len() && own.iter().zip(&others).all(agree))
    }

    /// Whether a student took a step at a learning rate that moves it.
    pub fn moves_student(&self, turns: &[TurnRuntime]) -> bool {
        self.turns.iter().zip(turns).any(|((_, result), runtime)| {
            let turn = runtime.turn();
            matches!(turn.player, Player::Classifier(_))
                && result.steps() > 0
                && result.learning_rate > LEARNS * turn.optimizer.learning_rate()
        })
    }

    /// Waits for the metrics; `done` is the batch's number, from 1.
    pub fn read(self, done: usize) -> Result<Metrics> {
        let mut metrics = self.figures;
        for (TurnNames { turn: name, parts }, turn) in self.turns {
            let TurnFigures { loss, parts: losses, norm } =
                turn.read().context(format!("turn `{name}`, batch {done}"))?;
            metrics.push(LoggedScalar::on_progress_line(format!("{name}.loss"), loss));
            metrics.extend(loss_sum::part_figures(&parts, &losses));
            metrics.push(LoggedScalar::new(format!("{name}.learning_rate"), turn.learning_rate));
            metrics.extend(norm.map(|norm| LoggedScalar::new(format!("{name}.gradient_norm"), norm)));
        }
        Ok((self.images, metrics))
    }
}

/// Batches whose metrics are not read yet.
pub struct PendingMetrics {
    /// By the number of batches done.
    results: Vec<(usize, BatchResult)>,
    /// Batches in all.
    batches: usize,
    since: Instant,
}

impl PendingMetrics {
    /// None yet, of so many batches in all.
    pub fn new(batches: usize) -> Self {
        Self { results: Vec::new(), batches, since: Instant::now() }
    }

    /// Adds a batch; whether there are enough to be read.
    pub fn push(&mut self, done: usize, result: BatchResult) -> bool {
        self.results.push((done, result));
        self.results.len() == PENDING
    }

    /// Reads the metrics and reports them, up to the first that cannot be read.
    pub fn report(&mut self, context: &mut StageContext<'_>) -> Result<()> {
        let mut read = Vec::with_capacity(self.results.len());
        let mut failure = None;
        for (done, result) in self.results.drain(..) {
            match result.read(done) {
                Ok(metrics) => read.push((done, metrics)),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let seconds = self.since.elapsed().as_secs_f64() / read.len().max(1) as f64;
        for (batch, (images, figures)) in read {
            context.observer.batch(&Progress { batch, batches: self.batches, images, seconds, figures: &figures })?;
        }
        self.restart_clock();
        failure.map_or(Ok(()), Err)
    }

    /// What was done since the last report was not training.
    pub fn restart_clock(&mut self) {
        self.since = Instant::now();
    }
}
