//! Gradients of maps, as they come from the operations that read the map, not yet added up.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, bail};

use crate::cpu::fusion::lazy_map::LazyMap;
use crate::cpu::fusion::storage::{MapStorage, Scalar, dispatch_precision};
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::Epilogue;
use crate::cpu::kernels::prologue::{Activation, Affine, InputView, PerChannel};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;

/// A gradient, or a part of it: numbers in memory, and what is still to be made of them where they are read.
#[derive(Clone)]
pub enum GradientPart {
    /// As it is.
    Dense(Arc<MapStorage>),
    /// Times a factor per channel: behind a batch norm by running statistics.
    Scaled(Arc<MapStorage>, Arc<[f64]>),
    /// Behind a batch norm by the statistics of the map itself.
    Affine {
        /// The gradient behind it.
        behind: Arc<MapStorage>,
        /// The map that was normalized.
        x: Arc<LazyMap>,
        /// Per channel, the factors of the gradient and of the map, and a constant.
        coefficients: Arc<[Vec<f64>; 3]>,
    },
    /// The map itself, each channel times a factor and plus a constant: behind its mean and variance.
    Moments {
        /// The map.
        x: Arc<LazyMap>,
        /// Per channel, the factor and the constant.
        coefficients: Arc<[Vec<f64>; 2]>,
    },
    /// The map itself, each pixel times a number: behind an attention map.
    Attention {
        /// The map.
        x: Arc<LazyMap>,
        /// One factor per pixel.
        factors: Arc<[f64]>,
    },
}

impl GradientPart {
    /// Calls `read` with the gradient as kernels read it.
    pub fn read<T: Scalar, R>(&self, read: impl FnOnce(&InputView<T>) -> R) -> R {
        let per_channel = |values: &[f64]| PerChannel::new(values.iter().copied());
        match self {
            Self::Dense(values) => read(&InputView::Plain(T::of(values))),
            Self::Scaled(values, scale) => {
                let shift = PerChannel::new(scale.iter().map(|_| 0.0));
                read(&InputView::Activated(T::of(values), &Activation::affine(per_channel(scale), shift)))
            }
            Self::Affine { behind, x, coefficients } => {
                let [by_gradient, by_value, constant] = coefficients.each_ref().map(|values| per_channel(values));
                let affine = Affine { by_gradient, by_value, constant };
                read(&InputView::Affine { gradient: T::of(behind), x: T::of(x.values()), affine: &affine })
            }
            Self::Moments { x, coefficients } => {
                let [scale, shift] = coefficients.each_ref().map(|values| per_channel(values));
                read(&InputView::Activated(T::of(x.values()), &Activation::affine(scale, shift)))
            }
            Self::Attention { x, factors } => {
                let factors: Vec<T> = factors.iter().map(|factor| <T as Float>::from_f64(*factor)).collect();
                read(&InputView::Scaled { x: T::of(x.values()), factors: &factors })
            }
        }
    }
}

/// Where the parts of a map's gradient are gathered.
#[derive(Default)]
pub struct GradientAccumulator(Mutex<Vec<GradientPart>>);

impl GradientAccumulator {
    /// Adds a part.
    pub fn push(&self, part: GradientPart) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    /// Drops all parts.
    pub fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The gradient of `map`, whose accumulator this is: its only part as it is, several added up.
    pub fn take(&self, map: &LazyMap) -> Result<GradientPart> {
        let mut parts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match parts.len() {
            0 => bail!("a map that is tracked has no gradient"),
            1 => Ok(parts.swap_remove(0)),
            _ => Ok(GradientPart::Dense(Arc::new(dispatch_precision!(map.precision, T => total::<T>(map, &parts))))),
        }
    }
}

/// The sum of all parts.
fn total<T: Scalar>(map: &LazyMap, parts: &[GradientPart]) -> MapStorage {
    let (set, channels) = (InstructionSet::best(), map.shape.channels);
    let mut sum = MapStorage::new(map.precision, map.shape.len());
    nested(parts, &mut Vec::new(), &mut |sources: &[InputView<T>]| {
        let produce = |first: usize, results: &mut [T]| {
            for (index, source) in sources.iter().enumerate() {
                if index == 0 {
                    source.write(set, first * channels, results);
                } else {
                    source.add(set, first * channels, results);
                }
            }
        };
        elementwise_loop::run(set, channels, produce, &Epilogue::STORE, T::of_mut(&mut sum));
    });
    sum
}

/// Calls `read` with all parts as kernels read them.
fn nested<'a, T: Scalar>(
    parts: &[GradientPart],
    sources: &mut Vec<InputView<'a, T>>,
    read: &mut dyn for<'b> FnMut(&[InputView<'b, T>]),
) {
    match parts {
        [] => read(sources),
        [part, rest @ ..] => part.read(|source: &InputView<T>| {
            let mut sources: Vec<InputView<T>> = sources.clone();
            sources.push(*source);
            nested(rest, &mut sources, read);
        }),
    }
}
