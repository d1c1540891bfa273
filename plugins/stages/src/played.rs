//! What happened in batches, read where an accelerator need not stop for it.

use std::time::Instant;

use zskt_api::{Context, LoggedScalar, Progress, Result, StageContext};

use crate::images::Material;
use crate::turn::{ActiveTurn, Record, Table};

/// Batches that an accelerator computes before their figures are read: to read them is to wait for it.
const UNREAD: usize = 16;

/// What happened in one batch.
pub struct Played {
    images: usize,
    /// Of each turn, by its name.
    records: Vec<(String, Record)>,
}

/// The figures of a batch by their names, and the images that were learnt from.
type Figures = (usize, Vec<LoggedScalar>);

impl Played {
    /// What happened in the turns of a batch of so many images.
    pub fn new(turns: &[ActiveTurn], records: Vec<Record>, count: usize) -> Self {
        let images = turns.iter().map(|turn| count * turn.turn().steps).sum();
        let names = turns.iter().map(|turn| turn.turn().name.clone());
        Self { images, records: names.zip(records).collect() }
    }

    /// Plays all turns of a batch.
    pub fn of(
        turns: &mut [ActiveTurn],
        table: Table<'_>,
        material: &Material,
        done: usize,
        batches: usize,
    ) -> Result<Self> {
        let records = turns.iter_mut().map(|turn| turn.play(table, material, done, batches));
        let records = records.collect::<Result<_>>()?;
        Ok(Self::new(turns, records, material.count()))
    }

    /// Whether all figures are those of another batch, up to a relative difference.
    pub fn agrees(&self, other: &Self, tolerance: f64) -> Result<bool> {
        let figures = |played: &Self| {
            played
                .records
                .iter()
                .map(|(_, record)| record.figures())
                .collect::<Result<Vec<_>>>()
                .map(|all| all.concat())
        };
        let (own, others) = (figures(self)?, figures(other)?);
        let agree = |(own, other): (&f64, &f64)| (own - other).abs() <= tolerance * other.abs().max(1e-6);
        Ok(own.len() == others.len() && own.iter().zip(&others).all(agree))
    }

    /// Waits for its figures; `done` is its number, from 1.
    pub fn read(self, done: usize) -> Result<Figures> {
        let mut figures = Vec::new();
        for (name, record) in self.records {
            let (loss, norm) = record.read().context(format!("turn `{name}`, batch {done}"))?;
            figures.push(LoggedScalar::on_progress_line(format!("{name}.loss"), loss));
            figures.push(LoggedScalar::new(format!("{name}.learning_rate"), record.learning_rate));
            figures.extend(norm.map(|norm| LoggedScalar::new(format!("{name}.gradient_norm"), norm)));
        }
        Ok((self.images, figures))
    }
}

/// Batches whose figures nobody has read.
pub struct Unread {
    /// By the number of batches done.
    batches: Vec<(usize, Played)>,
    /// Batches in all.
    of: usize,
    since: Instant,
}

impl Unread {
    /// Of so many batches in all.
    pub fn new(of: usize) -> Self {
        Self { batches: Vec::new(), of, since: Instant::now() }
    }

    /// Adds a batch; whether there are enough to be read.
    pub fn push(&mut self, done: usize, played: Played) -> bool {
        self.batches.push((done, played));
        self.batches.len() == UNREAD
    }

    /// Reads the figures and reports them, up to the first that cannot be.
    pub fn read(&mut self, context: &mut StageContext<'_>) -> Result<()> {
        let mut read = Vec::with_capacity(self.batches.len());
        let mut defect = None;
        for (done, played) in self.batches.drain(..) {
            match played.read(done) {
                Ok(figures) => read.push((done, figures)),
                Err(error) => {
                    defect = Some(error);
                    break;
                }
            }
        }
        let seconds = self.since.elapsed().as_secs_f64() / read.len().max(1) as f64;
        for (batch, (images, figures)) in read {
            context.observer.batch(&Progress { batch, batches: self.of, images, seconds, figures: &figures })?;
        }
        self.restart_clock();
        defect.map_or(Ok(()), Err)
    }

    /// What was done since the last batch was not playing.
    pub fn restart_clock(&mut self) {
        self.since = Instant::now();
    }
}
