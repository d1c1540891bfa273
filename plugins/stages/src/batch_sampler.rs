//! Where the images of a batch come from: latents for a generator, images of a dataset, or images that were made before.

use std::sync::Arc;

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::{
    BuildContext, ClassTargets, Dataset, FeatureMap, GeneratorNetwork, ImageSet, ImageSource, Result, Rounds, Turn,
};

use crate::draws::{Draws, shuffled};

/// What one batch is trained on.
pub enum BatchInput {
    /// Latents, from which the generator makes images.
    Latents(LatentDraws),
    /// Images that are there: of a dataset, or of a bank.
    Ready {
        /// `[B, C, H, W]`.
        images: FeatureMap,
        /// `u32` `[B]`; of made images, the classes that they were to show.
        labels: Option<Tensor>,
    },
}

/// The latents of a batch.
#[derive(Clone)]
pub struct LatentDraws {
    /// `[draws · B, latent_dim]`: the first draw is shared, those after it belong to the steps of turns that take fresh ones, in the
    /// order of turns and steps. One tensor, so that a replay has one to be told.
    pub all: Tensor,
    /// The classes that their images are to show, `u32` `[draws · B]`, where the stage has class targets.
    pub labels: Option<Tensor>,
    /// Images in a batch.
    pub batch: usize,
}

impl LatentDraws {
    /// A draw `[B, latent_dim]` and its labels; 0 is the shared one.
    pub fn draw(&self, draw: usize) -> Result<(Tensor, Option<Tensor>)> {
        let part = |all: &Tensor| all.narrow(0, draw * self.batch, self.batch);
        Ok((part(&self.all)?, self.labels.as_ref().map(part).transpose()?))
    }

    /// A copy in memory of its own.
    pub fn copied(&self) -> Result<Self> {
        let labels = self.labels.as_ref().map(Tensor::copy).transpose()?;
        Ok(Self { all: self.all.copy()?, labels, batch: self.batch })
    }

    /// Writes the numbers of others over its own.
    pub fn overwrite(&self, other: &Self) -> Result<()> {
        self.all.slice_set(&other.all, 0, 0)?;
        if let (Some(own), Some(other)) = (&self.labels, &other.labels) {
            own.slice_set(other, 0, 0)?;
        }
        Ok(())
    }
}

impl BatchInput {
    /// How many images there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Latents(latents) => latents.batch,
            Self::Ready { images, .. } => images.batch(),
        }
    }
}

/// The class targets of a stage.
#[derive(Clone)]
pub struct Targets {
    /// Chooses them.
    pub plugin: Arc<dyn ClassTargets>,
    /// How many classes there are.
    pub classes: usize,
}

/// The batches of a stage: each depends on its number alone, so a stage can continue anywhere.
pub struct BatchSampler<'a> {
    source: &'a ImageSource,
    context: &'a BuildContext,
    targets: Option<&'a Targets>,
    batch_size: usize,
    /// The streams of fresh latents: a name for each.
    fresh: Vec<String>,
    /// The order of the images in the pass that it was last shuffled for.
    order: Option<(Pass, Vec<usize>)>,
}

/// A pass over a dataset, or over a bank since its round.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pass {
    round: usize,
    number: usize,
}

impl<'a> BatchSampler<'a> {
    /// Batches of `batch_size` images for these turns.
    pub fn new(
        source: &'a ImageSource,
        batch_size: usize,
        turns: &'a [Arc<Turn>],
        targets: Option<&'a Targets>,
        context: &'a BuildContext,
    ) -> Self {
        let steps = |turn: &'a Arc<Turn>| (0..turn.fresh_draws()).map(|step| format!("{}/{step}", turn.name));
        let fresh = turns.iter().flat_map(steps).collect();
        Self { source, context, targets, batch_size, fresh, order: None }
    }

    /// The input of batch number `batch`.
    pub fn batch(&mut self, batch: usize) -> Result<BatchInput> {
        match self.source {
            ImageSource::Generator(generator) => self.latents(generator, batch),
            ImageSource::Dataset(dataset) => self.real(dataset.as_ref(), batch),
        }
    }

    /// Images of a bank for batch number `batch`: each round begins a pass over all there are by then.
    pub fn banked(
        &mut self,
        bank: &ImageSet,
        rounds: Rounds,
        batch: usize,
        draws: &mut dyn Draws,
    ) -> Result<BatchInput> {
        let within = batch % rounds.every;
        let per_pass = bank.len().div_ceil(self.batch_size);
        let pass = Pass { round: batch / rounds.every, number: within / per_pass };
        if self.order.as_ref().is_none_or(|(of, _)| *of != pass) {
            self.order = Some((pass, draws.order(bank.len(), pass.round, pass.number)));
        }
        let indices = self.part(within % per_pass * self.batch_size, bank.len());
        let shifts = draws.bank_crops(bank.augmentation(), indices.len(), batch);
        let BuildContext { device, precision, .. } = self.context;
        let read = bank.shifted(indices, &shifts, precision.dtype(), device)?;
        Ok(BatchInput::Ready { images: read.images, labels: self.targets.map(|_| read.labels) })
    }

    fn latents(&self, generator: &GeneratorNetwork, batch: usize) -> Result<BatchInput> {
        let BuildContext { node, device, precision, streams, .. } = self.context;
        let mut numbers = Vec::new();
        let mut labels = Vec::new();
        let shared = std::iter::once(String::new());
        for step in shared.chain(self.fresh.iter().map(|step| format!("/{step}"))) {
            let mut rng = streams.at(&format!("{node}/latents{step}"), batch as u64);
            numbers.extend(generator.forward.sample(self.batch_size, &mut rng));
            if let Some(Targets { plugin, classes }) = self.targets {
                let mut rng = streams.at(&format!("{node}/targets{step}"), batch as u64);
                labels.extend(plugin.draw(self.batch_size, *classes, &mut rng));
            }
        }
        let draws = (1 + self.fresh.len()) * self.batch_size;
        let width = generator.forward.latent_dim();
        let all = Tensor::from_vec(numbers, (draws, width), device_of_latents(width, device))?;
        let all = all.to_dtype(precision.dtype())?;
        let labels = self.targets.map(|_| Tensor::from_vec(labels, draws, device)).transpose()?;
        Ok(BatchInput::Latents(LatentDraws { all, labels, batch: self.batch_size }))
    }

    fn real(&mut self, dataset: &dyn Dataset, batch: usize) -> Result<BatchInput> {
        let BuildContext { node, device, precision, streams, .. } = self.context;
        let count = dataset.signature().images;
        let per_epoch = count.div_ceil(self.batch_size);
        let epoch = Pass { round: 0, number: batch / per_epoch };
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let order = shuffled(count, &mut streams.at(&format!("{node}/order"), epoch.number as u64));
            self.order = Some((epoch, order));
        }
        let indices = self.part(batch % per_epoch * self.batch_size, count);
        let mut augment = streams.at(&format!("{node}/augment"), batch as u64);
        let batch = dataset.batch(indices, Some(&mut augment), precision.dtype(), device)?;
        Ok(BatchInput::Ready { images: batch.images, labels: Some(batch.labels) })
    }

    /// The images of a batch that begins at this place of the pass, which has so many in all.
    fn part(&self, start: usize, count: usize) -> &[usize] {
        let order = self.order.as_ref().map(|(_, order)| &order[start..(start + self.batch_size).min(count)]);
        order.unwrap_or_default()
    }
}

/// Where latents of this width lie: a GPU takes no tensors without numbers, and generators without latents do not look at them.
pub fn device_of_latents(width: usize, device: &Device) -> &Device {
    if width == 0 { &Device::Cpu } else { device }
}
