//! GPUs as a backend.

use candle_core::{Device, Result, Tensor};

use crate::activation::{Form, Rectifier};
use crate::backend::Backend;
use crate::channel_selection::ChannelSelection;
use crate::cuda::map::CudaMap;
use crate::cuda::ops::{
    activation, add, add_scalars, attention_map, batch_norm, channel_selection, conv2d, digest, gather_scalars,
    kl_divergence, linear, log_softmax, multiply, normalize, placement, pooling, shift, update,
};
use crate::ops::{Border, NormalizedOver, Padding, Shift};
use crate::pool_windows::PoolGeometry;
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};
use crate::statistics::{BatchNormStatistics, RunningStatistics};
use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};

impl Backend for CudaMap {
    fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        Self::from_channels_last(tensor)
    }

    fn from_nchw(tensor: &Tensor) -> Result<Self> {
        Self::from_nchw(tensor)
    }

    fn channels_last(&self) -> Result<Tensor> {
        self.channels_last()
    }

    fn device(&self) -> &Device {
        self.device()
    }

    fn shape(&self) -> MapShape {
        self.shape()
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn detach(&self) -> Self {
        self.detach()
    }

    fn to_precision(&self, precision: Precision) -> Result<Self> {
        self.to_precision(precision)
    }

    fn materialized(&self) -> Result<Self> {
        self.enlarged()
    }

    fn activate(&self, form: Form) -> Result<Self> {
        activation::activate(&self.enlarged()?, form)
    }

    fn add(&self, other: &Self) -> Result<Self> {
        add::add(&self.enlarged()?, &other.enlarged()?)
    }

    fn multiply(&self, other: &Self) -> Result<Self> {
        multiply::multiply(&self.enlarged()?, &other.enlarged()?)
    }

    fn normalize(&self, over: NormalizedOver, epsilon: f64) -> Result<Self> {
        normalize::normalize(self, over, epsilon)
    }

    fn concat(maps: &[Self]) -> Result<Self> {
        placement::concat(&maps.iter().map(Self::enlarged).collect::<Result<Vec<_>>>()?)
    }

    fn select_channels(&self, selection: ChannelSelection) -> Result<Self> {
        channel_selection::select(&self.enlarged()?, selection)
    }

    fn pad(&self, padding: &Padding) -> Result<Self> {
        placement::pad(&self.enlarged()?, padding)
    }

    fn shift(&self, shifts: &[Shift], border: &Border<'_>) -> Result<Self> {
        shift::shift(&self.enlarged()?, shifts, border)
    }

    fn upsample(&self, factor: usize) -> Result<Self> {
        Ok(self.upsampled(factor))
    }

    fn max_pool(&self, geometry: &PoolGeometry) -> Result<Self> {
        pooling::max_pool(&self.enlarged()?, geometry)
    }

    fn average_pool(&self, geometry: &PoolGeometry) -> Result<Self> {
        pooling::average_pool(&self.enlarged()?, geometry)
    }

    fn global_average(&self) -> Result<Tensor> {
        pooling::global_average(&self.enlarged()?)
    }

    fn attention_map(&self) -> Result<Tensor> {
        attention_map::attention_map(&self.enlarged()?)
    }

    fn attention_distances(pairs: &[(&Self, &Tensor)], factor: f64) -> Result<Tensor> {
        let maps = pairs.iter().map(|(x, _)| x.enlarged()).collect::<Result<Vec<_>>>()?;
        let targets = pairs.iter().map(|(_, target)| *target);
        attention_map::attention_distances(&maps.iter().zip(targets).collect::<Vec<_>>(), factor)
    }

    fn conv2d(
        &self,
        geometry: &ConvGeometry,
        weight: &Tensor,
        bias: Option<&Tensor>,
        precision: Precision,
    ) -> Result<Self> {
        conv2d::conv2d(&self.to_precision(precision)?, geometry, weight, bias)
    }

    fn batch_moments(&self) -> Result<BatchNormStatistics> {
        batch_norm::moments(&self.enlarged()?)
    }

    fn tracked_batch_moments(&self, running: RunningStatistics<'_>, momentum: f64) -> Result<BatchNormStatistics> {
        batch_norm::tracked_moments(&self.enlarged()?, running, momentum)
    }

    fn batch_norm(
        &self,
        gamma: &Tensor,
        beta: &Tensor,
        statistics: &BatchNormStatistics,
        epsilon: f64,
        rectifier: Rectifier,
    ) -> Result<Self> {
        batch_norm::normalize(&self.enlarged()?, gamma, beta, statistics, epsilon, rectifier)
    }

    fn track(running: RunningStatistics<'_>, batch: &BatchNormStatistics, momentum: f64, count: usize) -> Result<()> {
        batch_norm::track(running, batch, momentum, count)
    }

    fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        linear::linear(x, weight, bias)
    }

    fn log_softmax(logits: &Tensor) -> Result<Tensor> {
        log_softmax::log_softmax(logits)
    }

    fn kl_divergence(logits: &Tensor, target: &Tensor, log_target: &Tensor, temperature: f64) -> Result<Tensor> {
        kl_divergence::kl_divergence(logits, target, log_target, temperature)
    }

    fn kl_divergence_with_logits(logits: &Tensor, target_logits: &Tensor, temperature: f64) -> Result<Tensor> {
        kl_divergence::kl_divergence_with_logits(logits, target_logits, temperature)
    }

    fn update(tensors: &[UpdateOperands<'_>], update: UpdateRule) -> Result<()> {
        update::update(tensors, update)
    }

    fn adam(tensors: &[AdamOperands<'_>], step: AdamStep) -> Result<()> {
        update::adam(tensors, step)
    }

    fn add_scalars(scalars: &[Tensor]) -> Result<Option<Tensor>> {
        add_scalars::add_scalars(scalars)
    }

    fn gather_scalars(scalars: &[Tensor]) -> Result<Tensor> {
        gather_scalars::gather_scalars(scalars)
    }

    fn digest(tensors: &[Tensor]) -> Result<Vec<u64>> {
        digest::digest(tensors)
    }

    fn norm(tensors: &[Tensor]) -> Result<Tensor> {
        update::norm(tensors)
    }

    fn clip(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>> {
        update::clip(tensors, norm, limit)
    }
}
