//! Feature maps in memory: computed when they are first read, so that what follows a convolution becomes part of it.
//!
//! A batch norm, the activation behind it and an upsampling are never computed on their own where convolutions follow:
//! they are a [`Prologue`], applied row by row as the convolution reads. The sum at the end of a residual block, and the
//! statistics that the next batch norm needs, are taken as the convolution writes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{Result, bail};

use crate::activation::Rectifier;
use crate::cpu::fusion::convolution::{ConvElement, Convolution};
use crate::cpu::fusion::gradient::{GradientAccumulator, GradientPart};
use crate::cpu::fusion::storage::{MapStorage, Scalar, dispatch_precision};
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue, EpilogueOp, Residual};
use crate::cpu::kernels::prologue::{Activation, InputView, PerChannel};
use crate::cpu::kernels::{elementwise_loop, upsample};
use crate::cpu::simd::dtype::{MapSlice, MapSliceMut};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::precision::Precision;
use crate::shape::MapShape;

/// A map: what it is, or how it will be computed.
pub struct LazyMap {
    /// Its shape.
    pub shape: MapShape,
    /// Its precision.
    pub precision: Precision,
    /// Its gradient.
    pub gradient: GradientAccumulator,
    values: OnceLock<MapStorage>,
    moments: OnceLock<ChannelSums>,
    op: Mutex<Option<LazyOp>>,
}

/// How a map is computed.
#[derive(Clone)]
pub enum LazyOp {
    /// A convolution of a map, perhaps with another map added.
    Convolution(Arc<Convolution>, LazyInput, Option<Arc<LazyMap>>),
    /// The sum of two maps, neither of them upsampled.
    Sum([LazyInput; 2]),
}

impl LazyMap {
    /// A map that is there.
    pub fn of(shape: MapShape, precision: Precision, values: MapStorage) -> Self {
        let map = Self::deferred(shape, precision, None);
        map.values.get_or_init(|| values);
        map
    }

    /// A map that is computed when it is first read.
    pub fn deferred(shape: MapShape, precision: Precision, op: Option<LazyOp>) -> Self {
        let (values, moments, op) = (OnceLock::new(), OnceLock::new(), Mutex::new(op));
        Self { shape, precision, gradient: GradientAccumulator::default(), values, moments, op }
    }

    /// Its numbers.
    pub fn values(&self) -> &MapStorage {
        self.values.get_or_init(|| self.evaluate(false).0)
    }

    /// For each channel, the sums of its numbers and of their squares: taken as they are computed and not yet rounded to its
    /// precision, where nobody has read them before.
    pub fn moments(&self) -> &ChannelSums {
        self.moments.get_or_init(|| {
            let mut sums = None;
            self.values.get_or_init(|| {
                let (values, moments) = self.evaluate(true);
                sums = Some(moments);
                values
            });
            // They were there already, so it takes a pass of its own.
            sums.unwrap_or_else(|| dispatch_precision!(self.precision, T => self.moments_of_values::<T>()))
        })
    }

    /// How it will be computed, if it is a convolution that nobody has read.
    pub fn convolution(&self) -> Option<(Arc<Convolution>, LazyInput)> {
        match self.op.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(LazyOp::Convolution(convolution, input, None)) => Some((Arc::clone(convolution), input.clone())),
            _ => None,
        }
    }

    fn moments_of_values<T: Scalar>(&self) -> ChannelSums {
        let mut copy = MapStorage::new(self.precision, self.shape.len());
        let epilogue = Epilogue { residual: Residual::None, op: EpilogueOp::Moments };
        elementwise_loop::copy(
            &InputView::Plain(T::of(self.values())),
            self.shape.channels,
            &epilogue,
            T::of_mut(&mut copy),
        )
    }

    fn evaluate(&self, moments: bool) -> (MapStorage, ChannelSums) {
        // What it was made of is dropped, for it to be freed as soon as nobody else needs it.
        let op = self.op.lock().unwrap_or_else(PoisonError::into_inner).take();
        let op = op.expect("a map has its numbers, or an operation that computes them");
        let mut values = MapStorage::new(self.precision, self.shape.len());
        let sums = dispatch_precision!(self.precision, T => op.run::<T>(&self.shape, moments, T::of_mut(&mut values)));
        (values, sums)
    }
}

impl LazyOp {
    fn run<T: ConvElement>(&self, shape: &MapShape, moments: bool, out: MapSliceMut<T>) -> ChannelSums {
        let op = if moments { EpilogueOp::Moments } else { EpilogueOp::Store };
        match self {
            Self::Convolution(convolution, input, residual) => {
                let residual = residual.as_ref().map_or(Residual::None, |map| Residual::Add(T::of(map.values())));
                input.read(|source| T::run(convolution, source, &Epilogue { residual, op }, out))
            }
            Self::Sum([a, b]) => a.read(|a| {
                b.read(|b| {
                    let (set, channels) = (InstructionSet::best(), shape.channels);
                    let produce = |first: usize, results: &mut [T]| {
                        a.write(set, first * channels, results);
                        b.add(set, first * channels, results);
                    };
                    elementwise_loop::run(set, channels, produce, &Epilogue { residual: Residual::None, op }, out)
                })
            }),
        }
    }
}

/// Batch norm and activation of a map: `act(scale · x + shift)`, per channel.
pub struct Normalization {
    /// The factor.
    pub scale: Vec<f64>,
    /// The term.
    pub shift: Vec<f64>,
    /// The activation.
    pub rectifier: Rectifier,
    /// What the sums of the gradient take from the map.
    pub mean: Vec<f64>,
    /// The gradient in front of the activation, gathered from all that read the normalized map, with its sums.
    gradient: Mutex<Option<(MapStorage, ChannelSums)>>,
}

/// What is done to a map where it is read.
#[derive(Clone)]
pub struct Prologue {
    /// Normalization and activation.
    pub normalization: Option<Arc<Normalization>>,
    /// How often each row and column is repeated.
    pub upsampling: usize,
}

/// A map and what is done to it where it is read.
#[derive(Clone)]
pub struct LazyInput {
    /// The map.
    pub map: Arc<LazyMap>,
    /// What is done to it.
    pub prologue: Prologue,
}

impl LazyInput {
    /// The map as it is.
    pub fn new(map: Arc<LazyMap>) -> Self {
        Self { map, prologue: Prologue { normalization: None, upsampling: 1 } }
    }

    /// The map, to be normalized where it is read.
    pub fn normalized(map: &Arc<LazyMap>, normalization: Arc<Normalization>) -> Self {
        Self { map: Arc::clone(map), prologue: Prologue { normalization: Some(normalization), upsampling: 1 } }
    }

    /// Whether it is read as it is.
    pub fn is_plain(&self) -> bool {
        self.prologue.normalization.is_none() && self.prologue.upsampling == 1
    }

    /// The shape that its readers see.
    pub fn shape(&self) -> MapShape {
        let (shape, factor) = (self.map.shape, self.prologue.upsampling);
        MapShape { height: shape.height * factor, width: shape.width * factor, ..shape }
    }

    /// Calls `read` with the map as kernels read it, before any upsampling.
    pub fn read<T: Scalar, R>(&self, read: impl FnOnce(&InputView<T>) -> R) -> R {
        let x = T::of(self.map.values());
        match &self.prologue.normalization {
            None => read(&InputView::Plain(x)),
            Some(normalization) => read(&InputView::Activated(x, &normalization.activation())),
        }
    }

    /// What its readers see, as a map of its own.
    pub fn evaluated(&self, precision: Precision) -> LazyMap {
        dispatch_precision!(precision, T => {
            if self.prologue.upsampling != 1 {
                return LazyMap::from_numbers(self.shape(), precision, &self.to_vec::<T>());
            }
            let mut values = MapStorage::new(precision, self.map.shape.len());
            self.read(|source: &InputView<T>| {
                elementwise_loop::copy(source, self.map.shape.channels, &Epilogue::STORE, T::of_mut(&mut values));
            });
            LazyMap::of(self.map.shape, precision, values)
        })
    }

    /// The numbers that its readers see.
    pub fn to_vec<T: Scalar>(&self) -> Vec<T> {
        let mut numbers = vec![T::ZERO; self.map.shape.len()];
        self.read(|source: &InputView<T>| {
            elementwise_loop::copy(source, self.map.shape.channels, &Epilogue::STORE, MapSliceMut::Full(&mut numbers));
        });
        match self.prologue.upsampling {
            1 => numbers,
            factor => upsample::forward(&self.map.shape, factor, &numbers),
        }
    }

    /// Lets `compute` write the gradient with respect to the map as it is read, before any upsampling, and adds it to what
    /// has come from other readers.
    pub fn accumulate<T: Scalar>(&self, compute: impl FnOnce(&Epilogue<T>, MapSliceMut<T>) -> ChannelSums) {
        let empty = || MapStorage::new(self.map.precision, self.map.shape.len());
        let Some(normalization) = &self.prologue.normalization else {
            let mut values = empty();
            compute(&Epilogue::STORE, T::of_mut(&mut values));
            self.map.gradient.push(GradientPart::Dense(Arc::new(values)));
            return;
        };
        let activation = normalization.activation();
        let mean: Vec<T> = normalization.mean.iter().map(|mean| <T as Float>::from_f64(*mean)).collect();
        let op = EpilogueOp::ActivationGradient { x: T::of(self.map.values()), activation: &activation, mean: &mean };
        let mut gathered = normalization.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *gathered {
            Some((values, sums)) => {
                sums.add(&compute(&Epilogue { residual: Residual::Accumulate, op }, T::of_mut(values)));
            }
            gathered => {
                let mut values = empty();
                let sums = compute(&Epilogue { residual: Residual::None, op }, T::of_mut(&mut values));
                *gathered = Some((values, sums));
            }
        }
    }

    /// Adds a part of the gradient with respect to the map as it is read, which is not upsampled.
    pub fn accumulate_part(&self, part: GradientPart) {
        if self.is_plain() {
            return self.map.gradient.push(part);
        }
        let channels = self.map.shape.channels;
        dispatch_precision!(self.map.precision, T => {
            part.read(|gradient: &InputView<T>| {
                self.accumulate(|epilogue, out| elementwise_loop::copy(gradient, channels, epilogue, out));
            });
        });
    }

    /// Adds a gradient with respect to the numbers that its readers see.
    pub fn accumulate_values<T: Scalar>(&self, gradient: &[T]) {
        let (set, shape) = (InstructionSet::best(), self.map.shape);
        let summed;
        let gradient = match self.prologue.upsampling {
            1 => gradient,
            factor => {
                summed = upsample::backward(&shape, factor, gradient);
                &summed
            }
        };
        let produce = |first: usize, results: &mut [T]| {
            results.copy_from_slice(&gradient[first * shape.channels..][..results.len()]);
        };
        self.accumulate(|epilogue, out| elementwise_loop::run(set, shape.channels, produce, epilogue, out));
    }
}

impl LazyMap {
    /// Numbers in memory as a map.
    pub fn from_numbers<T: Scalar>(shape: MapShape, precision: Precision, numbers: &[T]) -> Self {
        let mut values = MapStorage::new(precision, shape.len());
        elementwise_loop::copy(
            &InputView::Plain(MapSlice::Full(numbers)),
            shape.channels,
            &Epilogue::STORE,
            T::of_mut(&mut values),
        );
        Self::of(shape, precision, values)
    }

    /// Takes the gradient, as numbers.
    ///
    /// # Errors
    /// When nothing that reads the map has left one.
    pub fn take_gradient<T: Scalar>(&self) -> Result<Vec<T>> {
        let gradient = self.gradient.take(self)?;
        let mut numbers = vec![T::ZERO; self.shape.len()];
        gradient.read(|source: &InputView<T>| {
            elementwise_loop::copy(source, self.shape.channels, &Epilogue::STORE, MapSliceMut::Full(&mut numbers));
        });
        Ok(numbers)
    }
}

impl Normalization {
    /// `act(scale · x + shift)`.
    pub fn new(scale: Vec<f64>, shift: Vec<f64>, rectifier: Rectifier, mean: Vec<f64>) -> Self {
        Self { scale, shift, rectifier, mean, gradient: Mutex::new(None) }
    }

    /// Takes the gradient in front of the activation, and per channel its sum and that of its products with `x − mean`.
    ///
    /// # Errors
    /// When nothing that reads the normalized map has left one.
    pub fn take_gradient(&self) -> Result<(MapStorage, ChannelSums)> {
        match self.gradient.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(gradient) => Ok(gradient),
            None => bail!("a normalized map that is tracked has no gradient"),
        }
    }

    /// Drops the gradient.
    pub fn reset(&self) {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn activation<T: Scalar>(&self) -> Activation<T> {
        let [scale, shift] = [&self.scale, &self.shift].map(|values| PerChannel::new(values.iter().copied()));
        let [slope, limit] = [self.rectifier.slope, self.rectifier.limit].map(<T as Float>::from_f64);
        Activation { scale, shift, slope, limit }
    }
}
