//! One vector of elements, whatever the instruction set.

#![expect(unsafe_code, reason = "vector instructions and loads through pointers")]

use half::bf16;

use crate::cpu::simd::dtype::{Element, Plain};
use crate::cpu::simd::float::Float;

/// A vector of [`WIDTH`](Self::WIDTH) elements.
///
/// The methods are `unsafe` because the processor must have the instructions of the type (they are inlined into
/// functions that enable them) and because pointers must be good for `WIDTH` elements, of any alignment.
pub trait SimdVector: Copy {
    /// What the vector holds.
    type Element: Float;
    /// How many of them.
    const WIDTH: usize;

    /// The same element in every lane.
    unsafe fn splat(value: Self::Element) -> Self;
    /// The elements at `from`.
    unsafe fn load(from: *const Self::Element) -> Self;
    /// Writes the elements to `to`.
    unsafe fn store(self, to: *mut Self::Element);
    /// The elements at `from`, widened.
    unsafe fn load_half(from: *const bf16) -> Self;
    /// Writes the elements to `to`, rounded to the nearest.
    unsafe fn store_half(self, to: *mut bf16);
    /// Lane by lane, `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// Lane by lane, `self − other`.
    unsafe fn subtract(self, other: Self) -> Self;
    /// Lane by lane, `self * other`.
    unsafe fn multiply(self, other: Self) -> Self;
    /// Lane by lane, `a * b + self`.
    unsafe fn accumulate(self, a: Self, b: Self) -> Self;
    /// Lane by lane, `above` where `self` is above zero, else `below`.
    unsafe fn select(self, above: Self, below: Self) -> Self;
    /// Lane by lane, the smaller of both: `other` where one is a NaN.
    unsafe fn minimum(self, other: Self) -> Self;
    /// The sum over the lanes.
    unsafe fn sum(self) -> Self::Element;
}

/// What vectors are loaded from and stored to.
pub trait SimdLoadStore<L: SimdVector>: Element<L::Element> {
    /// The elements at `from`, to compute with.
    ///
    /// # Safety
    ///
    /// As for [`SimdVector`].
    unsafe fn load(from: *const Self) -> L;

    /// Writes the elements to `to`.
    ///
    /// # Safety
    ///
    /// As for [`SimdVector`].
    unsafe fn store(vector: L, to: *mut Self);
}

macro_rules! full_memory {
    ($type:ty) => {
        impl<L: SimdVector<Element = $type>> SimdLoadStore<L> for $type {
            #[inline(always)]
            unsafe fn load(from: *const $type) -> L {
                // SAFETY: the caller's promise.
                unsafe { L::load(from) }
            }

            #[inline(always)]
            unsafe fn store(vector: L, to: *mut $type) {
                // SAFETY: the caller's promise.
                unsafe { vector.store(to) }
            }
        }
    };
}

full_memory!(f32);
full_memory!(f64);

impl<L: SimdVector> SimdLoadStore<L> for bf16 {
    #[inline(always)]
    unsafe fn load(from: *const bf16) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_half(from) }
    }

    #[inline(always)]
    unsafe fn store(vector: L, to: *mut bf16) {
        // SAFETY: the caller's promise.
        unsafe { vector.store_half(to) }
    }
}

/// Plain arrays, for the compiler to vectorise as it can.
#[derive(Clone, Copy)]
pub struct PortableVector<T>([T; 4]);

impl<T: Float> PortableVector<T> {
    #[inline(always)]
    fn map2(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        let ([a, b, c, d], [e, f2, g, h]) = (self.0, other.0);
        Self([f(a, e), f(b, f2), f(c, g), f(d, h)])
    }

    #[inline(always)]
    unsafe fn loaded<E: Plain + Element<T>>(from: *const E) -> Self {
        // SAFETY: the caller's pointer is good for four elements.
        Self(unsafe { from.cast::<[E; 4]>().read_unaligned() }.map(E::widen))
    }

    #[inline(always)]
    unsafe fn stored<E: Plain + Element<T>>(self, to: *mut E) {
        // SAFETY: the caller's pointer is good for four elements.
        unsafe { to.cast::<[E; 4]>().write_unaligned(self.0.map(E::narrow)) }
    }
}

macro_rules! array {
    ($type:ty) => {
        impl SimdVector for PortableVector<$type> {
            type Element = $type;
            const WIDTH: usize = 4;

            #[inline(always)]
            unsafe fn splat(value: $type) -> Self {
                Self([value; 4])
            }

            #[inline(always)]
            unsafe fn load(from: *const $type) -> Self {
                // SAFETY: the caller's promise.
                unsafe { Self::loaded(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $type) {
                // SAFETY: the caller's promise.
                unsafe { self.stored(to) }
            }

            #[inline(always)]
            unsafe fn load_half(from: *const bf16) -> Self {
                // SAFETY: the caller's promise.
                unsafe { Self::loaded(from) }
            }

            #[inline(always)]
            unsafe fn store_half(self, to: *mut bf16) {
                // SAFETY: the caller's promise.
                unsafe { self.stored(to) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                self.map2(other, |a, b| a + b)
            }

            #[inline(always)]
            unsafe fn subtract(self, other: Self) -> Self {
                self.map2(other, |a, b| a - b)
            }

            #[inline(always)]
            unsafe fn multiply(self, other: Self) -> Self {
                self.map2(other, |a, b| a * b)
            }

            #[inline(always)]
            unsafe fn accumulate(mut self, a: Self, b: Self) -> Self {
                for lane in 0..4 {
                    // Where the target has no such instruction, `mul_add` is a library call per element.
                    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                        self.0[lane] = a.0[lane].mul_add(b.0[lane], self.0[lane]);
                    } else {
                        self.0[lane] += a.0[lane] * b.0[lane];
                    }
                }
                self
            }

            #[inline(always)]
            unsafe fn select(mut self, above: Self, below: Self) -> Self {
                for lane in 0..4 {
                    self.0[lane] = if self.0[lane] > 0.0 { above.0[lane] } else { below.0[lane] };
                }
                self
            }

            #[inline(always)]
            unsafe fn minimum(self, other: Self) -> Self {
                self.map2(other, |a, b| if a < b { a } else { b })
            }

            #[inline(always)]
            unsafe fn sum(self) -> $type {
                let [a, b, c, d] = self.0;
                (a + b) + (c + d)
            }
        }
    };
}

array!(f32);
array!(f64);
