//! The CPU as a backend.

use candle_core::{Device, Result, Tensor};

use crate::activation::{Form, Rectifier};
use crate::backend::Backend;
use crate::channel_selection::ChannelSelection;
use crate::cpu::map::CpuMap;
use crate::cpu::ops::{
    activation, add, attention_map, batch_norm, conv2d, digest, kl_divergence, linear, log_softmax, multiply,
    normalize, placement, pooling, shift, unfused, update, upsample,
};
use crate::ops::{Border, NormalizedOver, Padding, Shift};
use crate::pool_windows::PoolGeometry;
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};
use crate::statistics::{BatchNormStatistics, RunningStatistics};
use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};

impl Backend for CpuMap {
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
        &Device::Cpu
    }

    fn shape(&self) -> MapShape {
        self.shape()
    }

    fn precision(&self) -> Precision {
        self.precision()
    }

    fn detach(&self) -> Self {
        self.detach()
    }

    fn to_precision(&self, precision: Precision) -> Result<Self> {
        self.to_precision(precision)
    }

    fn materialized(&self) -> Result<Self> {
        self.materialized()
    }

    fn activate(&self, form: Form) -> Result<Self> {
        activation::activate(self, form)
    }

    fn add(&self, other: &Self) -> Result<Self> {
        add::add(self, other)
    }

    fn multiply(&self, other: &Self) -> Result<Self> {
        multiply::multiply(self, other)
    }

    fn normalize(&self, over: NormalizedOver, epsilon: f64) -> Result<Self> {
        normalize::normalize(self, over, epsilon)
    }

    fn concat(maps: &[Self]) -> Result<Self> {
        placement::concat(maps)
    }

    fn select_channels(&self, selection: ChannelSelection) -> Result<Self> {
        unfused::apply(self, selection)
    }

    fn pad(&self, padding: &Padding) -> Result<Self> {
        placement::pad(self, padding)
    }

    fn shift(&self, shifts: &[Shift], border: &Border<'_>) -> Result<Self> {
        shift::shift(self, shifts, border)
    }

    fn upsample(&self, factor: usize) -> Result<Self> {
        Ok(upsample::upsample(self, factor))
    }

    fn max_pool(&self, geometry: &PoolGeometry) -> Result<Self> {
        pooling::max_pool(self, geometry)
    }

    fn average_pool(&self, geometry: &PoolGeometry) -> Result<Self> {
        pooling::average_pool(self, geometry)
    }

    fn global_average(&self) -> Result<Tensor> {
        pooling::global_average(self)
    }

    fn attention_map(&self) -> Result<Tensor> {
        attention_map::attention_map(self)
    }

    fn attention_distances(pairs: &[(&Self, &Tensor)], factor: f64) -> Result<Tensor> {
        attention_map::attention_distances(pairs, factor)
    }

    fn conv2d(
        &self,
        geometry: &ConvGeometry,
        weight: &Tensor,
        bias: Option<&Tensor>,
        precision: Precision,
    ) -> Result<Self> {
        conv2d::conv2d(self, geometry, weight, bias, precision)
    }

    fn batch_moments(&self) -> Result<BatchNormStatistics> {
        batch_norm::moments(self)
    }

    fn batch_norm(
        &self,
        gamma: &Tensor,
        beta: &Tensor,
        statistics: &BatchNormStatistics,
        epsilon: f64,
        rectifier: Rectifier,
    ) -> Result<Self> {
        batch_norm::normalize(self, gamma, beta, statistics, epsilon, rectifier)
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

    fn digest(tensors: &[Tensor]) -> Result<Vec<u64>> {
        digest::digest(tensors)
    }

    fn norm(tensors: &[Tensor]) -> Result<Tensor> {
        update::norm(tensors)
    }

    fn clip(tensors: &[Tensor], norm: &Tensor, limit: f64) -> Result<Vec<Tensor>> {
        update::clipped(tensors, norm, limit)
    }
}
