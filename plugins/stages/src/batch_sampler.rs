//! Where the images of a batch come from: latents for a generator, or images of a dataset.

use rand::seq::SliceRandom;
use zskt_api::candle_core::Tensor;
use zskt_api::{BuildContext, Dataset, FeatureMap, GeneratorNetwork, ImageSource, Result};

/// What one batch is trained on.
pub enum BatchInput {
    /// Latents `[B, latent_dim]`, from which the generator makes images.
    Latents(Tensor),
    /// Images of a dataset, and their labels.
    Real {
        /// `[B, C, H, W]`.
        images: FeatureMap,
        /// `u32` `[B]`.
        labels: Tensor,
    },
}

impl BatchInput {
    /// How many images there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Latents(latents) => latents.dims().first().copied().unwrap_or_default(),
            Self::Real { images, .. } => images.batch(),
        }
    }
}

/// The batches of a stage: each depends on its number alone, so a stage can continue anywhere.
pub struct BatchSampler<'a> {
    source: &'a ImageSource,
    context: &'a BuildContext,
    batch_size: usize,
    /// The order of a dataset's images in the epoch it was last shuffled for.
    order: Option<(usize, Vec<usize>)>,
}

impl<'a> BatchSampler<'a> {
    /// Batches of `batch_size` images.
    pub fn new(source: &'a ImageSource, batch_size: usize, context: &'a BuildContext) -> Self {
        Self { source, context, batch_size, order: None }
    }

    /// The input of batch number `batch`.
    pub fn batch(&mut self, batch: usize) -> Result<BatchInput> {
        match self.source {
            ImageSource::Generator(generator) => self.latents(generator, batch),
            ImageSource::Dataset(dataset) => self.real(dataset.as_ref(), batch),
        }
    }

    fn latents(&self, generator: &GeneratorNetwork, batch: usize) -> Result<BatchInput> {
        let BuildContext { node, device, precision, streams, .. } = self.context;
        let mut rng = streams.at(&format!("{node}/latents"), batch as u64);
        let numbers = generator.forward.sample(self.batch_size, &mut rng);
        let latents = Tensor::from_vec(numbers, (self.batch_size, generator.forward.latent_dim()), device)?;
        Ok(BatchInput::Latents(latents.to_dtype(precision.dtype())?))
    }

    fn real(&mut self, dataset: &dyn Dataset, batch: usize) -> Result<BatchInput> {
        let BuildContext { node, device, precision, streams, .. } = self.context;
        let count = dataset.signature().images;
        let per_epoch = count.div_ceil(self.batch_size);
        let (epoch, start) = (batch / per_epoch, batch % per_epoch * self.batch_size);
        if self.order.as_ref().is_none_or(|(shuffled, _)| *shuffled != epoch) {
            let mut order: Vec<usize> = (0..count).collect();
            order.shuffle(&mut streams.at(&format!("{node}/order"), epoch as u64));
            self.order = Some((epoch, order));
        }
        let order = self.order.as_ref().map(|(_, order)| &order[start..(start + self.batch_size).min(count)]);
        let mut augment = streams.at(&format!("{node}/augment"), batch as u64);
        let batch = dataset.batch(order.unwrap_or_default(), Some(&mut augment), precision.dtype(), device)?;
        Ok(BatchInput::Real { images: batch.images, labels: batch.labels })
    }
}
