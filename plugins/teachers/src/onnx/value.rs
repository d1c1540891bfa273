//! What the values of a graph are while it is lowered.

use std::sync::Arc;

use onnx_model::{Tensor, printable};

use super::array::Array;
use super::plan::Slot;

/// A value of the graph.
#[derive(Clone, Debug)]
pub enum Value {
    /// What depends on no image.
    Constant(Constant),
    /// What depends on the images.
    Tracked(Tracked),
    /// What a node makes that is not taken.
    Unknown,
}

/// What a step makes, with its axes in the order that the graph has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    pub slot: Slot,
    /// Rows and columns of vectors are axes of one element.
    pub axes: Vec<Axis>,
    /// The softmax that the graph applies to it, and which is taken off.
    pub softmax: Option<String>,
}

/// An axis of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    Batch,
    Channel,
    Height,
    Width,
    /// Equal parts of the channels, so many: on its way to a shuffle, where `Channel` is what each of them has.
    Group(usize),
}

pub const CHANNELS_FIRST: [Axis; 4] = [Axis::Batch, Axis::Channel, Axis::Height, Axis::Width];
pub const CHANNELS_LAST: [Axis; 4] = [Axis::Batch, Axis::Height, Axis::Width, Axis::Channel];
pub const VECTORS: [Axis; 2] = [Axis::Batch, Axis::Channel];

impl Tracked {
    pub fn new(slot: Slot, axes: &[Axis]) -> Self {
        Self { slot, axes: axes.to_vec(), softmax: None }
    }

    /// The same axes for what another step makes.
    pub fn with(&self, slot: Slot) -> Self {
        Self { slot, axes: self.axes.clone(), softmax: None }
    }

    /// Whether its channels are apart in groups.
    pub fn is_grouped(&self) -> bool {
        self.axes.iter().any(|axis| matches!(axis, Axis::Group(_)))
    }

    pub fn shown_axes(&self) -> String {
        let letters = self.axes.iter().map(|axis| match axis {
            Axis::Batch => 'N',
            Axis::Channel => 'C',
            Axis::Height => 'H',
            Axis::Width => 'W',
            Axis::Group(_) => 'G',
        });
        letters.collect()
    }
}

/// Numbers that depend on no image. Clones share them.
#[derive(Clone, Debug)]
pub enum Constant {
    /// Whole numbers, and truth values as 0 and 1: mostly shapes.
    Sizes(Arc<Array<Size>>),
    Floats(Floats),
}

/// A whole number, which may be part of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Known(i64),
    /// Images in the batch.
    Batch,
    /// Rows or columns of images that may have any size, and what is computed of them or of the batch.
    Unknown,
}

/// Floating-point numbers: as the model has them until something is computed of them.
#[derive(Clone, Debug)]
pub enum Floats {
    Tensor(Tensor),
    Array(Arc<Array<f64>>),
}

impl From<Array<f64>> for Floats {
    fn from(array: Array<f64>) -> Self {
        Self::Array(array.into())
    }
}

impl From<Array<f64>> for Constant {
    fn from(array: Array<f64>) -> Self {
        Self::Floats(array.into())
    }
}

impl From<Array<Size>> for Constant {
    fn from(array: Array<Size>) -> Self {
        Self::Sizes(array.into())
    }
}

impl Floats {
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Array(array) => &array.shape,
        }
    }

    pub fn array(&self) -> Array<f64> {
        match self {
            Self::Tensor(tensor) => Array { shape: tensor.shape().to_vec(), numbers: tensor.to_f64() },
            Self::Array(array) => Array::clone(array),
        }
    }
}

impl Constant {
    pub fn of(tensor: &Tensor) -> Result<Self, String> {
        if tensor.element().is_float() {
            return Ok(Self::Floats(Floats::Tensor(tensor.clone())));
        }
        let numbers = tensor.to_i64().ok_or("it holds whole numbers beyond 64 bits")?;
        let numbers = numbers.into_iter().map(Size::Known).collect();
        Ok(Array { shape: tensor.shape().to_vec(), numbers }.into())
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Sizes(sizes) => &sizes.shape,
            Self::Floats(floats) => floats.shape(),
        }
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        match self {
            Self::Sizes(sizes) => sizes.numbers.len(),
            Self::Floats(Floats::Tensor(tensor)) => tensor.count(),
            Self::Floats(Floats::Array(array)) => array.numbers.len(),
        }
    }

    /// As floating-point numbers; `None` where they are sizes that are not known.
    pub fn floats(&self) -> Option<Floats> {
        match self {
            Self::Floats(floats) => Some(floats.clone()),
            Self::Sizes(sizes) => {
                let known = |size: &Size| if let Size::Known(number) = size { Some(*number as f64) } else { None };
                let numbers = sizes.numbers.iter().map(known).collect::<Option<_>>()?;
                Some(Array { shape: sizes.shape.clone(), numbers }.into())
            }
        }
    }

    /// As whole numbers that are known.
    pub fn known(&self) -> Option<Vec<i64>> {
        let Self::Sizes(sizes) = self else { return None };
        sizes.numbers.iter().map(|size| if let Size::Known(number) = size { Some(*number) } else { None }).collect()
    }
}

/// A name out of a file between marks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", printable(name))
}
