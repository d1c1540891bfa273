//! Feature maps in memory: computed when they are first read, so that what follows a convolution becomes part of it.
//!
//! A batch norm, the activation behind it and an upsampling are never computed on their own where convolutions follow:
//! they are a [`Load`], applied row by row as the convolution reads. The sum at the end of a residual block, and the
//! statistics that the next batch norm needs, are taken as the convolution writes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{Result, bail};

use crate::cpu::fusion::convolution::{Computed, Convolution};
use crate::cpu::fusion::gradient::{Gradient, Slot};
use crate::cpu::kernels::epilogue::{Plus, Sink, Sums, Then};
use crate::cpu::kernels::prologue::{Activation, PerChannel, Source};
use crate::cpu::kernels::{elementwise_loop, upsample};
use crate::cpu::simd::dtype::{Numbers, NumbersMut};
use crate::cpu::simd::float::Real;
use crate::cpu::simd::instruction_set::Instructions;
use crate::cpu::storage::{Number, Values, by_precision};
use crate::precision::Precision;
use crate::shape::MapShape;

/// A map: what it is, or how it will be computed.
pub struct Map {
    /// Its shape.
    pub shape: MapShape,
    /// Its precision.
    pub precision: Precision,
    /// Its gradient.
    pub slot: Slot,
    values: OnceLock<Values>,
    moments: OnceLock<Sums>,
    recipe: Mutex<Option<Recipe>>,
}

/// How a map is computed.
#[derive(Clone)]
pub enum Recipe {
    /// A convolution of a map, perhaps with another map added.
    Convolution(Arc<Convolution>, Loaded, Option<Arc<Map>>),
    /// The sum of two maps.
    Sum([Arc<Map>; 2]),
}

impl Map {
    /// A map that is there.
    pub fn of(shape: MapShape, precision: Precision, values: Values) -> Self {
        let map = Self::deferred(shape, precision, None);
        map.values.get_or_init(|| values);
        map
    }

    /// A map that is computed when it is first read.
    pub fn deferred(shape: MapShape, precision: Precision, recipe: Option<Recipe>) -> Self {
        let (values, moments, recipe) = (OnceLock::new(), OnceLock::new(), Mutex::new(recipe));
        Self { shape, precision, slot: Slot::default(), values, moments, recipe }
    }

    /// Its numbers.
    pub fn values(&self) -> &Values {
        self.values.get_or_init(|| self.cook(false).0)
    }

    /// For each channel, the sums of its numbers and of their squares: taken as they are computed and not yet rounded to its
    /// precision, where nobody has read them before.
    pub fn moments(&self) -> &Sums {
        self.moments.get_or_init(|| {
            let mut sums = None;
            self.values.get_or_init(|| {
                let (values, moments) = self.cook(true);
                sums = Some(moments);
                values
            });
            // They were there already, so it takes a pass of its own.
            sums.unwrap_or_else(|| by_precision!(self.precision, T => self.moments_of_values::<T>()))
        })
    }

    /// How it will be computed, if it is a convolution that nobody has read.
    pub fn convolution(&self) -> Option<(Arc<Convolution>, Loaded)> {
        match self.recipe.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Recipe::Convolution(convolution, input, None)) => Some((Arc::clone(convolution), input.clone())),
            _ => None,
        }
    }

    fn moments_of_values<T: Number>(&self) -> Sums {
        let mut copy = Values::new(self.precision, self.shape.len());
        let sink = Sink { plus: Plus::Nothing, then: Then::Moments };
        elementwise_loop::copy(&Source::Plain(T::of(self.values())), self.shape.channels, &sink, T::of_mut(&mut copy))
    }

    fn cook(&self, moments: bool) -> (Values, Sums) {
        // What it was made of is dropped, for it to be freed as soon as nobody else needs it.
        let recipe = self.recipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let recipe = recipe.expect("a map has its numbers or a recipe");
        let mut values = Values::new(self.precision, self.shape.len());
        let sums = by_precision!(self.precision, T => recipe.run::<T>(&self.shape, moments, T::of_mut(&mut values)));
        (values, sums)
    }
}

impl Recipe {
    fn run<T: Computed>(&self, shape: &MapShape, moments: bool, out: NumbersMut<T>) -> Sums {
        let then = if moments { Then::Moments } else { Then::Store };
        match self {
            Self::Convolution(convolution, input, plus) => {
                let plus = plus.as_ref().map_or(Plus::Nothing, |map| Plus::Map(T::of(map.values())));
                input.read(|source| T::run(convolution, source, &Sink { plus, then }, out))
            }
            Self::Sum([a, b]) => {
                let sink = Sink { plus: Plus::Map(T::of(b.values())), then };
                elementwise_loop::copy(&Source::Plain(T::of(a.values())), shape.channels, &sink, out)
            }
        }
    }
}

/// Batch norm and activation of a map: `act(scale · x + shift)`, per channel, where `act(v)` is `v` above zero and
/// `slope · v` below.
pub struct Normalization {
    /// The factor.
    pub scale: Vec<f64>,
    /// The term.
    pub shift: Vec<f64>,
    /// 0 for a ReLU, 1 for no activation.
    pub slope: f64,
    /// What the sums of the gradient take from the map.
    pub mean: Vec<f64>,
    /// The gradient in front of the activation, gathered from all that read the normalized map, with its sums.
    gradient: Mutex<Option<(Values, Sums)>>,
}

/// What is done to a map where it is read.
#[derive(Clone)]
pub struct Load {
    /// Normalization and activation.
    pub normalization: Option<Arc<Normalization>>,
    /// How often each row and column is repeated.
    pub upsampling: usize,
}

/// A map and what is done to it where it is read.
#[derive(Clone)]
pub struct Loaded {
    /// The map.
    pub map: Arc<Map>,
    /// What is done to it.
    pub load: Load,
}

impl Loaded {
    /// The map as it is.
    pub fn new(map: Arc<Map>) -> Self {
        Self { map, load: Load { normalization: None, upsampling: 1 } }
    }

    /// The map, to be normalized where it is read.
    pub fn normalized(map: &Arc<Map>, normalization: Arc<Normalization>) -> Self {
        Self { map: Arc::clone(map), load: Load { normalization: Some(normalization), upsampling: 1 } }
    }

    /// Whether it is read as it is.
    pub fn is_plain(&self) -> bool {
        self.load.normalization.is_none() && self.load.upsampling == 1
    }

    /// The shape that its readers see.
    pub fn shape(&self) -> MapShape {
        let (shape, factor) = (self.map.shape, self.load.upsampling);
        MapShape { height: shape.height * factor, width: shape.width * factor, ..shape }
    }

    /// Calls `read` with the map as kernels read it, before any upsampling.
    pub fn read<T: Number, R>(&self, read: impl FnOnce(&Source<T>) -> R) -> R {
        let x = T::of(self.map.values());
        match &self.load.normalization {
            None => read(&Source::Plain(x)),
            Some(normalization) => read(&Source::Activated(x, &normalization.activation())),
        }
    }

    /// The numbers that its readers see.
    pub fn to_vec<T: Number>(&self) -> Vec<T> {
        let mut numbers = vec![T::ZERO; self.map.shape.len()];
        self.read(|source: &Source<T>| {
            elementwise_loop::copy(source, self.map.shape.channels, &Sink::STORE, NumbersMut::Full(&mut numbers));
        });
        match self.load.upsampling {
            1 => numbers,
            factor => upsample::forward(&self.map.shape, factor, &numbers),
        }
    }

    /// Lets `compute` write the gradient with respect to the map as it is read, before any upsampling, and adds it to what
    /// has come from other readers.
    pub fn deposit<T: Number>(&self, compute: impl FnOnce(&Sink<T>, NumbersMut<T>) -> Sums) {
        let empty = || Values::new(self.map.precision, self.map.shape.len());
        let Some(normalization) = &self.load.normalization else {
            let mut values = empty();
            compute(&Sink::STORE, T::of_mut(&mut values));
            self.map.slot.push(Gradient::Dense(Arc::new(values)));
            return;
        };
        let activation = normalization.activation();
        let mean: Vec<T> = normalization.mean.iter().map(|mean| <T as Real>::from_f64(*mean)).collect();
        let then = Then::Through { x: T::of(self.map.values()), activation: &activation, mean: &mean };
        let mut gathered = normalization.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *gathered {
            Some((values, sums)) => sums.add(&compute(&Sink { plus: Plus::Itself, then }, T::of_mut(values))),
            gathered => {
                let mut values = empty();
                let sums = compute(&Sink { plus: Plus::Nothing, then }, T::of_mut(&mut values));
                *gathered = Some((values, sums));
            }
        }
    }

    /// Adds a gradient with respect to the numbers that its readers see.
    pub fn deposit_numbers<T: Number>(&self, gradient: &[T]) {
        let (set, shape) = (Instructions::best(), self.map.shape);
        let summed;
        let gradient = match self.load.upsampling {
            1 => gradient,
            factor => {
                summed = upsample::backward(&shape, factor, gradient);
                &summed
            }
        };
        let produce = |first: usize, results: &mut [T]| {
            results.copy_from_slice(&gradient[first * shape.channels..][..results.len()]);
        };
        self.deposit(|sink, out| elementwise_loop::run(set, shape.channels, produce, sink, out));
    }
}

impl Map {
    /// Numbers in memory as a map.
    pub fn from_numbers<T: Number>(shape: MapShape, precision: Precision, numbers: &[T]) -> Self {
        let mut values = Values::new(precision, shape.len());
        elementwise_loop::copy(
            &Source::Plain(Numbers::Full(numbers)),
            shape.channels,
            &Sink::STORE,
            T::of_mut(&mut values),
        );
        Self::of(shape, precision, values)
    }

    /// Takes the gradient, as numbers.
    ///
    /// # Errors
    /// When nothing that reads the map has left one.
    pub fn take_gradient<T: Number>(&self) -> Result<Vec<T>> {
        let gradient = self.slot.take(self)?;
        let mut numbers = vec![T::ZERO; self.shape.len()];
        gradient.read(|source: &Source<T>| {
            elementwise_loop::copy(source, self.shape.channels, &Sink::STORE, NumbersMut::Full(&mut numbers));
        });
        Ok(numbers)
    }
}

impl Normalization {
    /// `act(scale · x + shift)`.
    pub fn new(scale: Vec<f64>, shift: Vec<f64>, slope: f64, mean: Vec<f64>) -> Self {
        Self { scale, shift, slope, mean, gradient: Mutex::new(None) }
    }

    /// Takes the gradient in front of the activation, and per channel its sum and that of its products with `x − mean`.
    ///
    /// # Errors
    /// When nothing that reads the normalized map has left one.
    pub fn take_gradient(&self) -> Result<(Values, Sums)> {
        match self.gradient.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(gradient) => Ok(gradient),
            None => bail!("a normalized map that is tracked has no gradient"),
        }
    }

    /// Drops the gradient.
    pub fn reset(&self) {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn activation<T: Number>(&self) -> Activation<T> {
        let [scale, shift] = [&self.scale, &self.shift].map(|values| PerChannel::new(values.iter().copied()));
        Activation { scale, shift, slope: <T as Real>::from_f64(self.slope) }
    }
}
