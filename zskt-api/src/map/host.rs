//! Feature maps on the CPU: a map, what is done to it where it is read, and its place on the tape.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::tape::{self, Node};
use super::values::{by_precision, precision_of};
use super::{Loaded, Map};
use crate::kernels::{MapShape, axes};
use crate::{Error, ImageShape, Precision, Result};

/// A feature map on the CPU.
#[derive(Clone)]
pub struct HostMap {
    pub input: Loaded,
    /// Its place on candle's tape.
    pub token: Tensor,
}

impl std::fmt::Debug for HostMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeatureMap({} × {}, {:?})", self.batch(), self.image(), self.precision())
    }
}

impl HostMap {
    pub fn new(map: Arc<Map>, token: Tensor) -> Self {
        Self { input: Loaded::new(map), token }
    }

    /// From a tensor `[B, H, W, C]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        let (batch, height, width, channels) = tensor
            .dims4()
            .map_err(|_| Error::new(format!("expected a tensor [B, H, W, C], found {:?}", tensor.dims())))?;
        let precision = precision_of(tensor.dtype())?;
        let shape = MapShape { batch, height, width, channels };
        let numbers = tensor.flatten_all()?;
        let map = by_precision!(precision, T => Map::from_numbers(shape, precision, &numbers.to_vec1::<T>()?));
        let map = Arc::new(map);
        let token = tape::map(&[tensor], Entry { map: Arc::clone(&map), channels_first: false })?;
        Ok(Self::new(map, token))
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        let (batch, channels, height, width) = tensor
            .dims4()
            .map_err(|_| Error::new(format!("expected a tensor [B, C, H, W], found {:?}", tensor.dims())))?;
        let precision = precision_of(tensor.dtype())?;
        let shape = MapShape { batch, height, width, channels };
        let numbers = tensor.flatten_all()?;
        let map = by_precision!(precision, T => {
            let numbers = axes::transposed(&numbers.to_vec1::<T>()?, batch, channels, height * width);
            Map::from_numbers(shape, precision, &numbers)
        });
        let map = Arc::new(map);
        let token = tape::map(&[tensor], Entry { map: Arc::clone(&map), channels_first: true })?;
        Ok(Self::new(map, token))
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        let MapShape { batch, height, width, channels } = self.input.shape();
        let (exit, dims) = (Exit(self.input.clone()), (batch, height, width, channels));
        Ok(by_precision!(self.precision(), T => {
            tape::tensor(&[&self.token], self.input.to_vec::<T>(), dims, exit)?
        }))
    }

    /// As a tensor `[B, C, H, W]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_nchw(&self) -> Result<Tensor> {
        Ok(self.channels_last()?.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        self.input.map.shape.batch
    }

    /// The shape of one image.
    pub fn image(&self) -> ImageShape {
        let MapShape { height, width, channels, .. } = self.input.shape();
        ImageShape { channels, height, width }
    }

    /// How exact its numbers are.
    pub fn precision(&self) -> Precision {
        self.input.map.precision
    }

    /// The type of the tensors that it becomes.
    pub fn dtype(&self) -> DType {
        self.precision().dtype()
    }

    /// The same values, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { input: self.input.clone(), token: self.token.detach() }
    }

    /// The same values in another precision of the same [`dtype`](Precision::dtype), rounded to the nearest.
    ///
    /// # Errors
    /// When only one of both is `f64`.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        if precision.dtype() != self.dtype() {
            return Err(Error::new(format!("{self:?} cannot become a map of {precision:?}: weights would not fit it")));
        }
        if precision == self.precision() { Ok(self.clone()) } else { self.settled_in(precision) }
    }

    /// The same values as a map of its own, with nothing left to be done where it is read.
    pub fn settled(&self) -> Result<Self> {
        if self.input.is_plain() { Ok(self.clone()) } else { self.settled_in(self.precision()) }
    }

    fn settled_in(&self, precision: Precision) -> Result<Self> {
        let shape = self.input.shape();
        let map = by_precision!(precision, T => Map::from_numbers(shape, precision, &self.input.to_vec::<T>()));
        let map = Arc::new(map);
        let token = tape::map(&[&self.token], Settle { from: self.input.clone(), to: Arc::clone(&map) })?;
        Ok(Self::new(map, token))
    }
}

/// From a tensor to a map.
struct Entry {
    map: Arc<Map>,
    /// Whether the tensor is `[B, C, H, W]`.
    channels_first: bool,
}

impl Node for Entry {
    const NAME: &'static str = "from a tensor";

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Self { map, channels_first } = self;
        let MapShape { batch, height, width, channels } = map.shape;
        let of_tensor = by_precision!(map.precision, T => tape::gradient(inputs[0], || {
            let gradient = map.take_gradient::<T>()?;
            Ok(if *channels_first { axes::transposed(&gradient, batch, height * width, channels) } else { gradient })
        })?);
        Ok(vec![of_tensor])
    }
}

/// From a map to a tensor.
struct Exit(Loaded);

impl Node for Exit {
    const NAME: &'static str = "to a tensor";

    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        by_precision!(self.0.map.precision, T => {
            self.0.deposit_numbers::<T>(&gradient.flatten_all()?.to_vec1::<T>()?);
        });
        Ok(vec![tape::passed(inputs[0])?])
    }
}

/// From a map that is to be normalized or upsampled to one that is.
struct Settle {
    from: Loaded,
    to: Arc<Map>,
}

impl Node for Settle {
    const NAME: &'static str = "normalization or upsampling";

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        by_precision!(self.to.precision, T => {
            self.from.deposit_numbers::<T>(&self.to.take_gradient::<T>()?);
        });
        Ok(vec![tape::passed(inputs[0])?])
    }
}
