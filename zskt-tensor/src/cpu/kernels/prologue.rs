//! What the kernels read: a map in memory, and what is made of it on the way into the padded input.

#![expect(unsafe_code, reason = "vectors are loaded through pointers")]

use std::any::TypeId;

use crate::cpu::simd::dtype::{MapSlice, Plain};
use crate::cpu::simd::float::Float;
use crate::cpu::simd::vector::{SimdLoadStore, SimdVector};

/// Elements over which per-channel values are repeated, for inner loops to be long whatever the channels.
const REPEAT: usize = 256;

/// One number per channel.
#[derive(Clone, Debug)]
pub struct PerChannel<T> {
    /// The numbers, over and over.
    repeated: Vec<T>,
    channels: usize,
}

impl<T: Float> PerChannel<T> {
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

/// `act(scale · x + shift)`, where `act(v)` is `v` between zero and a limit, and `slope · v` below zero: batch norm and what
/// follows it.
#[derive(Clone, Debug)]
pub struct Activation<T> {
    /// The factor.
    pub scale: PerChannel<T>,
    /// The term.
    pub shift: PerChannel<T>,
    /// 0 for a ReLU, 1 for no activation at all.
    pub slope: T,
    /// The largest value above zero; infinite but for a ReLU6 and its kin.
    pub limit: T,
}

impl<T: Float> Activation<T> {
    /// `scale · x + shift`.
    pub fn affine(scale: PerChannel<T>, shift: PerChannel<T>) -> Self {
        Self { scale, shift, slope: T::ONE, limit: T::from_f64(f64::INFINITY) }
    }

    /// The activated value of `x`.
    #[inline(always)]
    pub fn value(&self, x: T, scale: T, shift: T) -> T {
        let value = scale * x + shift;
        // Computed in any case, for a selection instead of a branch.
        let below = self.slope * value;
        let value = if value > T::ZERO { value } else { below };
        if self.limit < value { self.limit } else { value }
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
pub enum InputView<'a, T> {
    /// As it is.
    Plain(MapSlice<'a, T>),
    /// Normalized and activated.
    Activated(MapSlice<'a, T>, &'a Activation<T>),
    /// A gradient and the map whose batch norm it went through.
    Affine {
        /// The gradient behind the batch norm.
        gradient: MapSlice<'a, T>,
        /// The map in front of it.
        x: MapSlice<'a, T>,
        /// How they are combined.
        affine: &'a Affine<T>,
    },
    /// Each pixel times a number of its own.
    Scaled {
        /// The map.
        x: MapSlice<'a, T>,
        /// One factor for each pixel.
        factors: &'a [T],
    },
}

impl<'a, T: Float> InputView<'a, T> {
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
            Self::Plain(MapSlice::Full(x)) => same(x),
            Self::Plain(MapSlice::Half(x)) => same(x),
            _ => None,
        }
    }
}

/// The slice, if it holds elements of type `C`.
fn same<E: Plain, C: Plain>(slice: &[E]) -> Option<&[C]> {
    (TypeId::of::<E>() == TypeId::of::<C>()).then(|| bytemuck::cast_slice(slice))
}

/// A kernel that writes, or adds, the elements of a source from some place on.
pub type ReadKernel<T, C> = unsafe fn(&InputView<T>, usize, &mut [C], bool);

/// Writes, or adds, the elements of a source from `at` on, where a pixel begins.
///
/// # Safety
///
/// The processor has the instructions of `L`.
#[inline(always)]
pub unsafe fn read<L: SimdVector<Element: SimdLoadStore<L>>, C: SimdLoadStore<L>>(
    source: &InputView<L::Element>,
    at: usize,
    out: &mut [C],
    add: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match source {
            InputView::Plain(MapSlice::Full(x)) => plain::<L, _, C>(&x[at..], out, add),
            InputView::Plain(MapSlice::Half(x)) => plain::<L, _, C>(&x[at..], out, add),
            InputView::Activated(MapSlice::Full(x), activation) => activated::<L, _, C>(&x[at..], activation, out, add),
            InputView::Activated(MapSlice::Half(x), activation) => activated::<L, _, C>(&x[at..], activation, out, add),
            InputView::Affine { gradient: MapSlice::Full(gradient), x: MapSlice::Full(x), affine: by } => {
                affine::<L, _, C>(&gradient[at..], &x[at..], by, out, add);
            }
            InputView::Affine { gradient: MapSlice::Half(gradient), x: MapSlice::Half(x), affine: by } => {
                affine::<L, _, C>(&gradient[at..], &x[at..], by, out, add);
            }
            InputView::Affine { .. } => unreachable!("a gradient has the precision of its map"),
            InputView::Scaled { x, factors } => {
                let channels = x.len() / factors.len().max(1);
                let factors = &factors[at / channels.max(1)..];
                match x {
                    MapSlice::Full(x) => scaled::<L, _, C>(&x[at..], factors, channels, out, add),
                    MapSlice::Half(x) => scaled::<L, _, C>(&x[at..], factors, channels, out, add),
                }
            }
        }
    }
}

/// Calls `value` for each vector of `0..len` with its place and writes what it returns, or adds it; behind the last whole
/// vector, `single` is called for each element.
///
/// # Safety
///
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn each<L: SimdVector, C: SimdLoadStore<L>>(
    out: &mut [C],
    add: bool,
    value: impl Fn(usize) -> L,
    single: impl Fn(usize) -> L::Element,
) {
    let whole = out.len() / L::WIDTH * L::WIDTH;
    // SAFETY: whole vectors lie in the slice.
    unsafe {
        for at in (0..whole).step_by(L::WIDTH) {
            let place = out.as_mut_ptr().add(at);
            let value = value(at);
            C::store(if add { value.add(C::load(place)) } else { value }, place);
        }
    }
    for (at, out) in out.iter_mut().enumerate().skip(whole) {
        let value = single(at);
        *out = C::narrow(if add { value + out.widen() } else { value });
    }
}

#[inline(always)]
unsafe fn plain<L: SimdVector, E: SimdLoadStore<L>, C: SimdLoadStore<L>>(x: &[E], out: &mut [C], add: bool) {
    let x = &x[..out.len()];
    // SAFETY: the caller's promise; `x` is as long as `out`.
    unsafe { each::<L, C>(out, add, |at| E::load(x.as_ptr().add(at)), |at| x[at].widen()) }
}

#[inline(always)]
unsafe fn activated<L: SimdVector, E: SimdLoadStore<L>, C: SimdLoadStore<L>>(
    x: &[E],
    activation: &Activation<L::Element>,
    out: &mut [C],
    add: bool,
) {
    let Activation { scale, shift, slope, limit } = activation;
    let pixels = scale.repeated.len();
    let x = &x[..out.len()];
    for (out, x) in out.chunks_mut(pixels).zip(x.chunks(pixels)) {
        let [scale, shift] = [scale, shift].map(|values| &values.repeated[..x.len()]);
        // SAFETY: the caller's promise; all slices are as long as `out`.
        unsafe {
            let (slope_of_all, limit_of_all) = (L::splat(*slope), L::splat(*limit));
            let value = |at| {
                let (scale, shift) = (L::load(scale.as_ptr().add(at)), L::load(shift.as_ptr().add(at)));
                let value = scale.multiply(E::load(x.as_ptr().add(at))).add(shift);
                limit_of_all.minimum(value.select(value, slope_of_all.multiply(value)))
            };
            each::<L, C>(out, add, value, |at| activation.value(x[at].widen(), scale[at], shift[at]));
        }
    }
}

#[inline(always)]
unsafe fn affine<L: SimdVector, E: SimdLoadStore<L>, C: SimdLoadStore<L>>(
    gradient: &[E],
    x: &[E],
    affine: &Affine<L::Element>,
    out: &mut [C],
    add: bool,
) {
    let Affine { by_gradient, by_value, constant } = affine;
    let pixels = constant.repeated.len();
    let (gradient, x) = (&gradient[..out.len()], &x[..out.len()]);
    for ((out, g), x) in out.chunks_mut(pixels).zip(gradient.chunks(pixels)).zip(x.chunks(pixels)) {
        let [a, b, c] = [by_gradient, by_value, constant].map(|values| &values.repeated[..x.len()]);
        // SAFETY: the caller's promise; all slices are as long as `out`.
        unsafe {
            let value = |at| {
                let (a, b) = (L::load(a.as_ptr().add(at)), L::load(b.as_ptr().add(at)));
                let constant = L::load(c.as_ptr().add(at));
                constant.accumulate(b, E::load(x.as_ptr().add(at))).accumulate(a, E::load(g.as_ptr().add(at)))
            };
            each::<L, C>(out, add, value, |at| a[at] * g[at].widen() + (b[at] * x[at].widen() + c[at]));
        }
    }
}

#[inline(always)]
unsafe fn scaled<L: SimdVector, E: SimdLoadStore<L>, C: SimdLoadStore<L>>(
    x: &[E],
    factors: &[L::Element],
    channels: usize,
    out: &mut [C],
    add: bool,
) {
    for ((out, x), &factor) in out.chunks_mut(channels).zip(x.chunks(channels)).zip(factors) {
        // SAFETY: the caller's promise; `x` is as long as `out`.
        unsafe {
            let factor_of_all = L::splat(factor);
            let value = |at| factor_of_all.multiply(E::load(x.as_ptr().add(at)));
            each::<L, C>(out, add, value, |at| x[at].widen() * factor);
        }
    }
}
