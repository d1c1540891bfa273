//! Batches that a GPU replays: once two have been played, the next is recorded, and if its replay gives what playing it gave,
//! all others are replays. Only what differs between batches is told the device anew: the latents, and the constants of the
//! optimizers' updates.

use std::collections::BTreeMap;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{Recording, Result, Weights, rehearsed};

use crate::images::Material;
use crate::played::Played;
use crate::turn::{ActiveTurn, Record, Table};

/// Batches that are played before one is recorded, for libraries to be loaded and algorithms chosen.
const WARM_UP: usize = 2;

/// How far the figures of a replay may be from those of playing: kernels give the same bits each time, but some of cuDNN's.
const TOLERANCE: f64 = 1e-3;

/// How the batches of a game are computed.
pub struct Replays {
    state: State,
    device: Device,
}

enum State {
    /// Each is played.
    Playing,
    /// So many are played before one is recorded.
    WarmingUp(usize),
    /// Each is a replay.
    Replaying(Box<Replay>),
}

struct Replay {
    recording: Recording<Vec<Record>>,
    /// What the recording reads.
    latents: Tensor,
}

impl Replays {
    /// Of turns and networks that may be replayed, if it is wanted and all may.
    pub fn new(turns: &[ActiveTurn], table: Table<'_>, device: &Device, wanted: bool) -> Self {
        let possible = wanted && !device.is_cpu() && table.replays() && turns.iter().all(ActiveTurn::replays);
        let state = if possible { State::WarmingUp(WARM_UP) } else { State::Playing };
        Self { state, device: device.clone() }
    }

    /// Plays all turns of batch number `batch` of `batches`, or replays them.
    pub fn play(
        &mut self,
        turns: &mut [ActiveTurn],
        table: Table<'_>,
        material: &Material,
        batch: usize,
        batches: usize,
    ) -> Result<Played> {
        match (&mut self.state, material) {
            (State::Replaying(replay), Material::Latents(latents)) => {
                let records = replay.run(turns, latents, batch, batches)?;
                Ok(Played::new(turns, records, material.count()))
            }
            (State::WarmingUp(0), Material::Latents(latents)) => {
                self.state = State::Playing;
                let before = Memory::of(turns, table)?;
                let played = rehearsed(&self.device, || Played::of(turns, table, material, batch, batches))?;
                let after = Memory::of(turns, table)?;
                before.recall(turns)?;
                // What cannot be recorded or replayed, or gives something else, is played.
                let replay = Replay::record(&self.device, turns, table, latents, batch, batches).and_then(|recorded| {
                    let Some((replay, replayed)) = recorded else { return Ok(None) };
                    let same = replayed.agrees(&played, TOLERANCE)? && Memory::of(turns, table)?.agrees(&after)?;
                    Ok(same.then_some(replay))
                });
                match replay {
                    Ok(Some(replay)) => self.state = State::Replaying(Box::new(replay)),
                    _ => after.recall(turns)?,
                }
                Ok(played)
            }
            (State::WarmingUp(left), _) => {
                *left = left.saturating_sub(1);
                Played::of(turns, table, material, batch, batches)
            }
            _ => Played::of(turns, table, material, batch, batches),
        }
    }
}

impl Replay {
    /// Records a batch, and replays it.
    fn record(
        device: &Device,
        turns: &mut [ActiveTurn],
        table: Table<'_>,
        latents: &Tensor,
        batch: usize,
        batches: usize,
    ) -> Result<Option<(Self, Played)>> {
        let latents = latents.copy()?;
        let material = Material::Latents(latents.clone());
        let recording = Recording::of(device, || {
            let played = turns.iter_mut().map(|turn| {
                turn.keeps_gradients = true;
                let record = turn.play(table, &material, batch, batches);
                turn.keeps_gradients = false;
                record
            });
            played.collect::<Result<Vec<_>>>()
        })?;
        let Some(recording) = recording else { return Ok(None) };
        // The optimizers have counted this batch while it was recorded.
        recording.launch()?;
        let records = recording.recorded().iter().map(|record| record.copied(record.learning_rate));
        let played = Played::new(turns, records.collect::<Result<_>>()?, material.count());
        Ok(Some((Self { recording, latents }, played)))
    }

    fn run(&self, turns: &mut [ActiveTurn], latents: &Tensor, batch: usize, batches: usize) -> Result<Vec<Record>> {
        self.latents.slice_set(latents, 0, 0)?;
        let recorded = self.recording.recorded();
        let rates = self.recording.replay(|| {
            let steps = turns.iter_mut().zip(recorded);
            steps.map(|(turn, record)| turn.update_again(record, batch, batches)).collect::<Result<Vec<_>>>()
        })?;
        // The next replay writes where this one has written.
        recorded.iter().zip(rates).map(|(record, rate)| record.copied(rate)).collect()
    }
}

/// All that playing a batch changes.
struct Memory {
    networks: Vec<(Weights, BTreeMap<String, Tensor>)>,
    turns: Vec<BTreeMap<String, Tensor>>,
}

impl Memory {
    fn of(turns: &[ActiveTurn], table: Table<'_>) -> Result<Self> {
        let all = [Some(&table.student.weights), table.generator.map(|generator| &generator.weights)];
        let networks = all.into_iter().flatten().map(|weights| {
            let copies = weights.iter().map(|weight| Ok((weight.name().to_owned(), weight.value().copy()?)));
            Ok((weights.clone(), copies.collect::<Result<_>>()?))
        });
        let turns = turns.iter().map(ActiveTurn::state).collect::<Result<_>>()?;
        Ok(Self { networks: networks.collect::<Result<_>>()?, turns })
    }

    /// Whether all weights, statistics and averages are those of another, up to a relative difference.
    fn agrees(&self, other: &Self) -> Result<bool> {
        let tensors = |memory: &Self| -> Vec<Tensor> {
            let networks = memory.networks.iter().flat_map(|(_, copies)| copies.values());
            networks.chain(memory.turns.iter().flat_map(BTreeMap::values)).cloned().collect()
        };
        for (own, other) in tensors(self).iter().zip(&tensors(other)) {
            let (own, other) = (own.to_dtype(DType::F64)?.flatten_all()?, other.to_dtype(DType::F64)?.flatten_all()?);
            let difference = (own - &other)?.abs()?.max(0)?.to_scalar::<f64>()?;
            let near = difference <= TOLERANCE * other.abs()?.max(0)?.to_scalar::<f64>()?;
            if !near {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn recall(&self, turns: &mut [ActiveTurn]) -> Result<()> {
        for (weights, copies) in &self.networks {
            weights.load(copies)?;
        }
        for (turn, state) in turns.iter_mut().zip(&self.turns) {
            turn.restore(state)?;
        }
        Ok(())
    }
}
