//! A feature map on the CPU: what is read, what is done to it there, and its place on the tape.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::autograd::{self, Node, TapeEntry};
use crate::cpu::fusion::lazy_map::{LazyInput, LazyMap};
use crate::cpu::fusion::storage::dispatch_precision;
use crate::cpu::kernels::transpose;
use crate::precision::Precision;
use crate::shape::MapShape;

/// A feature map on the CPU. Clones are the same map.
#[derive(Clone)]
pub struct CpuMap {
    /// What is read.
    pub input: LazyInput,
    entry: Option<Arc<TapeEntry>>,
}

impl CpuMap {
    /// A map that is read as it is, at its place on the tape.
    pub fn new(map: Arc<LazyMap>, entry: Option<Arc<TapeEntry>>) -> Self {
        Self::lazy(LazyInput::new(map), entry)
    }

    /// A map that something is done to where it is read.
    pub fn lazy(input: LazyInput, entry: Option<Arc<TapeEntry>>) -> Self {
        Self { input, entry }
    }

    /// Records an operation on maps whose result is read as it is.
    pub fn record<N: Node + 'static>(result: Arc<LazyMap>, inputs: &[&Self], node: impl FnOnce() -> N) -> Result<Self> {
        let entry = autograd::record(&candle_core::Device::Cpu, inputs.iter().map(|map| map.entry()), &[], node)?;
        Ok(Self::new(result, entry))
    }

    /// From a tensor `[B, H, W, C]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has another type.
    pub fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        let (batch, height, width, channels) = tensor.dims4()?;
        Self::from_tensor(tensor, MapShape { batch, height, width, channels }, false)
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has another type.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        let (batch, channels, height, width) = tensor.dims4()?;
        Self::from_tensor(tensor, MapShape { batch, height, width, channels }, true)
    }

    fn from_tensor(tensor: &Tensor, shape: MapShape, channels_first: bool) -> Result<Self> {
        let MapShape { batch, height, width, channels } = shape;
        let precision = Precision::of(tensor.dtype())?;
        let map = dispatch_precision!(precision, T => {
            let numbers = tensor.flatten_all()?.to_vec1::<T>()?;
            let numbers = match channels_first {
                true => transpose::transposed(&numbers, batch, channels, height * width),
                false => numbers,
            };
            LazyMap::from_numbers(shape, precision, &numbers)
        });
        let map = Arc::new(map);
        let [gathered, dropped] = [Arc::clone(&map), Arc::clone(&map)];
        let (dims, device) = (tensor.dims().to_vec(), tensor.device().clone());
        let gradient = move || {
            dispatch_precision!(precision, T => {
                let gradient = gathered.take_gradient::<T>()?;
                let gradient = match channels_first {
                    true => transpose::transposed(&gradient, batch, height * width, channels),
                    false => gradient,
                };
                Tensor::from_vec(gradient, dims.as_slice(), &device)
            })
        };
        let entry = autograd::from_tensor(tensor, gradient, move || dropped.gradient.reset())?;
        Ok(Self::new(map, entry))
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When there is no room.
    pub fn channels_last(&self) -> Result<Tensor> {
        let MapShape { batch, height, width, channels } = self.shape();
        let map = self.clone();
        dispatch_precision!(self.precision(), T => {
            let values = Tensor::from_vec(self.input.to_vec::<T>(), (batch, height, width, channels), &candle_core::Device::Cpu)?;
            autograd::to_tensor(self.entry(), &[], values, move |gradient| {
                map.input.accumulate_values::<T>(&gradient.flatten_all()?.to_vec1::<T>()?);
                map.schedule();
                Ok(())
            })
        })
    }

    /// The shape that its readers see.
    pub fn shape(&self) -> MapShape {
        self.input.shape()
    }

    /// How exact its numbers are.
    pub fn precision(&self) -> Precision {
        self.input.map.precision
    }

    /// Its place on the tape, if a gradient may flow through it.
    pub fn entry(&self) -> Option<&Arc<TapeEntry>> {
        self.entry.as_ref()
    }

    /// Whether a gradient may flow through it.
    pub fn is_tracked(&self) -> bool {
        self.entry.is_some()
    }

    /// Says that the map, which is tracked, has got a part of its gradient.
    pub fn schedule(&self) {
        self.entry.iter().for_each(TapeEntry::schedule);
    }

    /// The same values, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { input: self.input.clone(), entry: None }
    }

    /// The same values in another precision of the same `dtype`.
    ///
    /// # Errors
    /// When there is no room.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        if precision == self.precision() { Ok(self.clone()) } else { self.materialized_in(precision) }
    }

    /// The same values as a map of its own, with nothing left to be done where it is read.
    ///
    /// # Errors
    /// When there is no room.
    pub fn materialized(&self) -> Result<Self> {
        if self.input.is_plain() { Ok(self.clone()) } else { self.materialized_in(self.precision()) }
    }

    fn materialized_in(&self, precision: Precision) -> Result<Self> {
        let to = Arc::new(self.input.evaluated(precision));
        Self::record(Arc::clone(&to), &[self], || Materialize { from: self.clone(), to })
    }
}

/// From a map that is to be normalized or upsampled to one that is.
struct Materialize {
    from: CpuMap,
    to: Arc<LazyMap>,
}

impl Node for Materialize {
    fn backward(&self) -> Result<()> {
        dispatch_precision!(self.to.precision, T => {
            self.from.input.accumulate_values::<T>(&self.to.take_gradient::<T>()?);
        });
        self.from.schedule();
        Ok(())
    }

    fn reset(&self) {
        self.to.gradient.reset();
    }
}
