//! Layers that leave out a random part of what passes through them while a network trains.

use candle_core::Tensor;
use rand::Rng;

use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::nn::forward_mode::ForwardMode;
use crate::nn::layer_streams::next_draw;
use crate::nn::weights::Builder;
use crate::ops;

/// Dropout (Srivastava et al., JMLR 2014), PyTorch's `Dropout`: where batch norm would use the batch's statistics, each number is zero with
/// a probability `p`, and otherwise divided by `1 − p`; elsewhere nothing is done.
///
/// The numbers come from the run's streams, by the builder's name of the layer and the number of the batch: a resumed run draws the same
/// ones. They are drawn on the host, so a network with this layer cannot be replayed as a CUDA graph: its `replays` says `false`, as it does
/// by default.
pub struct Dropout(RandomFactors);

/// Stochastic depth (Huang et al., ECCV 2016), also called drop path; torchvision's `StochasticDepth` of mode `row`: as [`Dropout`], but of each
/// image all numbers or none. For the branch of a residual block.
pub struct StochasticDepth(RandomFactors);

impl Dropout {
    /// With the probability `p` that a number is left out.
    ///
    /// # Errors
    /// When `p` is no probability.
    pub fn new(builder: &Builder, p: f64) -> Result<Self> {
        Ok(Self(RandomFactors::new(builder, p)?))
    }

    /// Leaves out numbers of a map.
    ///
    /// # Errors
    /// When the device fails, or there are no random numbers: see [`with_layer_streams`](crate::nn::with_layer_streams).
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        if !self.0.is_active(mode) {
            return Ok(x.clone());
        }
        let image = x.image();
        let shape = [x.batch(), image.height, image.width, image.channels];
        let factors = self.0.factors(shape.iter().product())?;
        scaled(x, &Tensor::from_vec(factors, &shape, x.device())?)
    }

    /// Leaves out numbers of a tensor of any shape, as behind a fully connected layer.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_vectors(&self, x: &Tensor, mode: ForwardMode) -> Result<Tensor> {
        if !self.0.is_active(mode) {
            return Ok(x.clone());
        }
        let factors = Tensor::from_vec(self.0.factors(x.elem_count())?, x.shape(), x.device())?;
        Ok((x * factors.to_dtype(x.dtype())?)?)
    }
}

impl StochasticDepth {
    /// With the probability `p` that an image's branch is left out.
    ///
    /// # Errors
    /// When `p` is no probability.
    pub fn new(builder: &Builder, p: f64) -> Result<Self> {
        Ok(Self(RandomFactors::new(builder, p)?))
    }

    /// Leaves out images of a map.
    ///
    /// # Errors
    /// When the device fails, or there are no random numbers: see [`with_layer_streams`](crate::nn::with_layer_streams).
    pub fn forward(&self, x: &FeatureMap, mode: ForwardMode) -> Result<FeatureMap> {
        if !self.0.is_active(mode) {
            return Ok(x.clone());
        }
        let factors = Tensor::from_vec(self.0.factors(x.batch())?, (x.batch(), 1, 1, 1), x.device())?;
        scaled(x, &factors.broadcast_as((x.batch(), 1, 1, x.image().channels))?.contiguous()?)
    }

    /// Leaves out items of a tensor `[B, …]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_vectors(&self, x: &Tensor, mode: ForwardMode) -> Result<Tensor> {
        if !self.0.is_active(mode) {
            return Ok(x.clone());
        }
        let mut shape = vec![1; x.rank()];
        let batch = x.dim(0)?;
        shape[0] = batch;
        let factors = Tensor::from_vec(self.0.factors(batch)?, shape, x.device())?;
        Ok(x.broadcast_mul(&factors.to_dtype(x.dtype())?)?)
    }
}

/// `x` times `[B, H, W, C]`, or one factor for each channel of each image.
fn scaled(x: &FeatureMap, factors: &Tensor) -> Result<FeatureMap> {
    ops::multiply(x, &FeatureMap::from_channels_last(&factors.to_dtype(x.dtype())?)?)
}

struct RandomFactors {
    /// Of the layer, for its stream.
    name: String,
    p: f64,
}

impl RandomFactors {
    fn new(builder: &Builder, p: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::new(format!("a dropout of {p}: it is a probability, from 0 to 1")));
        }
        Ok(Self { name: builder.name().to_owned(), p })
    }

    fn is_active(&self, mode: ForwardMode) -> bool {
        mode.uses_batch_statistics() && self.p > 0.0
    }

    /// Of each thing, 0 where it is left out, and otherwise what keeps the mean.
    fn factors(&self, count: usize) -> Result<Vec<f32>> {
        let mut rng = next_draw(&self.name)?;
        let kept = (1.0 / (1.0 - self.p)) as f32;
        // A number of 32 bits for each, whatever the precision.
        let limit = (self.p * (1_u64 << 32) as f64) as u64;
        Ok((0..count).map(|_| if u64::from(rng.random::<u32>()) < limit { 0.0 } else { kept }).collect())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Dropout, StochasticDepth};
    use crate::error::Result;
    use crate::feature_map::FeatureMap;
    use crate::nn::{Builder, ForwardMode, layer_streams_at, with_layer_streams};
    use crate::precision::Precision;
    use crate::random::RandomStreams;

    const SHAPE: (usize, usize, usize, usize) = (64, 4, 8, 8);

    fn builder() -> Builder {
        Builder::zeros(Precision::F32, &Device::Cpu)
    }

    fn ones() -> FeatureMap {
        FeatureMap::from_nchw(&Tensor::ones(SHAPE, DType::F32, &Device::Cpu).unwrap()).unwrap()
    }

    fn in_run<T>(seed: u64, work: impl FnOnce() -> T) -> T {
        with_layer_streams(&RandomStreams::new(seed), "stage", 0, work)
    }

    fn numbers(map: Result<FeatureMap>) -> Vec<f32> {
        map.unwrap().to_nchw().unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn as_many_numbers_are_left_out_as_asked_for_and_the_mean_is_kept() {
        let layer = Dropout::new(&builder(), 0.3).unwrap();
        let found = in_run(0, || numbers(layer.forward(&ones(), ForwardMode::train())));
        assert!(found.iter().all(|x| *x == 0.0 || *x == 1.0 / 0.7));
        let left_out = found.iter().filter(|x| **x == 0.0).count() as f64 / found.len() as f64;
        assert!((left_out - 0.3).abs() < 0.015, "{left_out}");
        let all = Dropout::new(&builder(), 1.0).unwrap();
        assert_eq!(in_run(0, || numbers(all.forward(&ones(), ForwardMode::train()))), vec![0.0; 64 * 256]);
        assert!(Dropout::new(&builder(), 1.5).is_err());
    }

    #[test]
    fn of_an_image_stochastic_depth_leaves_out_all_or_nothing() {
        let layer = StochasticDepth::new(&builder(), 0.5).unwrap();
        let found = in_run(0, || numbers(layer.forward(&ones(), ForwardMode::train_frozen())));
        let images: Vec<_> = found.chunks(256).collect();
        assert!(images.iter().all(|image| image.iter().all(|x| *x == image[0])));
        let left_out = images.iter().filter(|image| image[0] == 0.0).count();
        assert!((16..=48).contains(&left_out), "{left_out} of 64");
        let tokens = Tensor::ones((64, 3, 2), DType::F32, &Device::Cpu).unwrap();
        let vectors = in_run(0, || layer.forward_vectors(&tokens, ForwardMode::train())).unwrap();
        let vectors = vectors.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(vectors.chunks(6).zip(&images).all(|(item, image)| item.iter().all(|x| *x == image[0])));
    }

    #[test]
    fn nothing_is_done_where_statistics_are_fixed() {
        // And nothing is drawn: there are no streams here.
        let layer = Dropout::new(&builder(), 0.9).unwrap();
        assert_eq!(numbers(layer.forward(&ones(), ForwardMode::eval())), vec![1.0; 64 * 256]);
        let error = layer.forward(&ones(), ForwardMode::train()).unwrap_err().to_string();
        assert!(error.contains("with_layer_streams"), "{error}");
    }

    #[test]
    fn numbers_follow_from_the_seed_the_layer_and_the_batch() {
        let (first, second) =
            (Dropout::new(&builder().at("a"), 0.5).unwrap(), Dropout::new(&builder().at("b"), 0.5).unwrap());
        let draw = |layer: &Dropout| numbers(layer.forward(&ones(), ForwardMode::train()));
        let batches = in_run(7, || {
            [0, 1, 2].map(|batch| {
                layer_streams_at(batch);
                [draw(&first), draw(&second), draw(&first)]
            })
        });
        let drawn: Vec<_> = batches.iter().flatten().collect();
        for (index, numbers) in drawn.iter().enumerate() {
            assert!(drawn[..index].iter().all(|earlier| earlier != numbers), "each layer, draw and batch has its own");
        }
        // Resumed at the third batch, with another order of the layers.
        let resumed = with_layer_streams(&RandomStreams::new(7), "stage", 2, || [draw(&second), draw(&first)]);
        assert!(resumed[0] == batches[2][1] && resumed[1] == batches[2][0]);
        assert!(in_run(8, || draw(&first)) != batches[0][0]);
    }
}
