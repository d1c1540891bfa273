//! What the kernels read: a map in memory, and what is made of it on the way into the canvas.

use super::element::{Element, Numbers, Plain};
use super::instructions::{Instructions, Pass};
use super::real::Real;
use std::any::TypeId;

/// Elements over which per-channel values are repeated, for inner loops to be long whatever the channels.
const REPEAT: usize = 256;

/// One number per channel.
#[derive(Clone, Debug)]
pub struct PerChannel<T> {
    /// The numbers, over and over.
    repeated: Vec<T>,
    channels: usize,
}

impl<T: Real> PerChannel<T> {
    /// From the numbers in double precision.
    pub fn new(values: impl ExactSizeIterator<Item = f64>) -> Self {
        let values: Vec<T> = values.map(T::from_f64).collect();
        Self { repeated: values.repeat((REPEAT / values.len().max(1)).max(1)), channels: values.len() }
    }

    /// The numbers, once each.
    pub fn values(&self) -> &[T] {
        &self.repeated[..self.channels]
    }
}

/// `act(scale · x + shift)`, where `act(v)` is `v` above zero and `slope · v` below: batch norm and what follows it.
#[derive(Clone, Debug)]
pub struct Activation<T> {
    /// The factor.
    pub scale: PerChannel<T>,
    /// The term.
    pub shift: PerChannel<T>,
    /// 0 for a ReLU, 1 for no activation at all.
    pub slope: T,
}

impl<T: Real> Activation<T> {
    /// The activated value of `x`.
    #[inline(always)]
    pub fn value(x: T, scale: T, shift: T, slope: T) -> T {
        let value = scale * x + shift;
        // Computed in any case, for a selection instead of a branch.
        let below = slope * value;
        if value > T::ZERO { value } else { below }
    }
}

/// `by_gradient · g + by_value · x + constant`: what a gradient `g` behind a batch norm of `x` is in front of it.
#[derive(Clone, Debug)]
pub struct Affine<T> {
    /// The factor of the gradient.
    pub by_gradient: PerChannel<T>,
    /// The factor of the normalized map.
    pub by_value: PerChannel<T>,
    /// The term.
    pub constant: PerChannel<T>,
}

/// A map as the kernels read it, dense and channels last.
#[derive(Clone, Copy)]
pub enum Source<'a, T> {
    /// As it is.
    Plain(Numbers<'a, T>),
    /// Normalized and activated.
    Activated(Numbers<'a, T>, &'a Activation<T>),
    /// A gradient and the map whose batch norm it went through.
    Affine {
        /// The gradient behind the batch norm.
        gradient: Numbers<'a, T>,
        /// The map in front of it.
        x: Numbers<'a, T>,
        /// How they are combined.
        affine: &'a Affine<T>,
    },
    /// Each pixel times a number of its own.
    Scaled {
        /// The map.
        x: Numbers<'a, T>,
        /// One factor for each pixel.
        factors: &'a [T],
    },
}

impl<'a, T: Real> Source<'a, T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(x) | Self::Activated(x, _) => x.len(),
            Self::Affine { gradient, x, .. } => {
                assert_eq!(gradient.len(), x.len(), "a gradient has the shape of its map");
                x.len()
            }
            Self::Scaled { x, .. } => x.len(),
        }
    }

    /// The elements themselves, where nothing is to be made of them, not even another type.
    pub fn direct<C: Plain>(&self) -> Option<&'a [C]> {
        match self {
            Self::Plain(Numbers::Full(x)) => same(x),
            Self::Plain(Numbers::Half(x)) => same(x),
            _ => None,
        }
    }

    /// Writes the elements from `at` on, where a pixel begins.
    pub fn write<C: Element<T>>(&self, set: Instructions, at: usize, out: &mut [C]) {
        set.run(&Put(self, |out: &mut C, value| *out = C::narrow(value)), (at, out));
    }

    /// Adds the elements from `at` on, where a pixel begins, to what is there.
    pub fn add(&self, set: Instructions, at: usize, out: &mut [T]) {
        set.run(&Put(self, |out: &mut T, value| *out += value), (at, out));
    }
}

/// A source, and how an element is put into its place.
struct Put<'a, T, F>(&'a Source<'a, T>, F);

/// The slice, if it holds elements of type `C`.
fn same<E: Plain, C: Plain>(slice: &[E]) -> Option<&[C]> {
    (TypeId::of::<E>() == TypeId::of::<C>()).then(|| {
        #[expect(unsafe_code, reason = "there is no safe cast between equal generic types")]
        // SAFETY: it is the same type.
        unsafe {
            std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len())
        }
    })
}

impl<T: Real, C: Plain, F: Fn(&mut C, T) + Sync> Pass<(usize, &mut [C])> for Put<'_, T, F> {
    #[inline(always)]
    fn run(&self, (at, out): (usize, &mut [C])) {
        let Self(source, put) = self;
        match source {
            Source::Plain(Numbers::Full(x)) => copy(&x[at..], out, put),
            Source::Plain(Numbers::Half(x)) => copy(&x[at..], out, put),
            Source::Activated(Numbers::Full(x), activation) => activation.put(&x[at..], out, put),
            Source::Activated(Numbers::Half(x), activation) => activation.put(&x[at..], out, put),
            Source::Affine { gradient: Numbers::Full(gradient), x: Numbers::Full(x), affine } => {
                affine.put(&gradient[at..], &x[at..], out, put);
            }
            Source::Affine { gradient: Numbers::Half(gradient), x: Numbers::Half(x), affine } => {
                affine.put(&gradient[at..], &x[at..], out, put);
            }
            Source::Affine { .. } => unreachable!("a gradient has the precision of its map"),
            Source::Scaled { x, factors } => {
                let channels = x.len() / factors.len().max(1);
                let factors = &factors[at / channels.max(1)..];
                match x {
                    Numbers::Full(x) => scale(&x[at..], factors, channels, out, put),
                    Numbers::Half(x) => scale(&x[at..], factors, channels, out, put),
                }
            }
        }
    }
}

#[inline(always)]
fn copy<T, E: Element<T>, C>(x: &[E], out: &mut [C], put: &impl Fn(&mut C, T)) {
    for (out, x) in out.iter_mut().zip(x) {
        put(out, x.widen());
    }
}

#[inline(always)]
fn scale<T: Real, E: Element<T>, C>(x: &[E], factors: &[T], channels: usize, out: &mut [C], put: &impl Fn(&mut C, T)) {
    for ((out, x), &factor) in out.chunks_mut(channels).zip(x.chunks(channels)).zip(factors) {
        for (out, x) in out.iter_mut().zip(x) {
            put(out, x.widen() * factor);
        }
    }
}

impl<T: Real> Activation<T> {
    #[inline(always)]
    fn put<E: Element<T>, C>(&self, x: &[E], out: &mut [C], put: &impl Fn(&mut C, T)) {
        let Self { scale, shift, slope } = self;
        let pixels = scale.repeated.len();
        for (out, x) in out.chunks_mut(pixels).zip(x.chunks(pixels)) {
            let channels = scale.repeated.iter().zip(&shift.repeated);
            for ((out, x), (&scale, &shift)) in out.iter_mut().zip(x).zip(channels) {
                put(out, Self::value(x.widen(), scale, shift, *slope));
            }
        }
    }
}

impl<T: Real> Affine<T> {
    #[inline(always)]
    fn put<E: Element<T>, C>(&self, gradient: &[E], x: &[E], out: &mut [C], put: &impl Fn(&mut C, T)) {
        let Self { by_gradient, by_value, constant } = self;
        let pixels = constant.repeated.len();
        for ((out, g), x) in out.chunks_mut(pixels).zip(gradient.chunks(pixels)).zip(x.chunks(pixels)) {
            let channels = by_gradient.repeated.iter().zip(&by_value.repeated).zip(&constant.repeated);
            for (((out, g), x), ((&a, &b), &c)) in out.iter_mut().zip(g).zip(x).zip(channels) {
                put(out, a * g.widen() + b * x.widen() + c);
            }
        }
    }
}
