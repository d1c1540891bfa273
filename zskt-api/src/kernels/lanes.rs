//! One vector of elements, whatever the instruction set.

#![expect(unsafe_code, reason = "vector instructions and loads through pointers")]

/// A vector of [`WIDTH`](Self::WIDTH) elements.
///
/// The methods are `unsafe` because the processor must have the instructions of the type (they are inlined into
/// functions that enable them) and because pointers must be good for `WIDTH` elements, of any alignment.
pub trait Lanes: Copy {
    /// What the vector holds.
    type Element: Copy + Default;
    /// How many of them.
    const WIDTH: usize;

    /// The same element in every lane.
    unsafe fn splat(value: Self::Element) -> Self;
    /// The elements at `from`.
    unsafe fn load(from: *const Self::Element) -> Self;
    /// Writes the elements to `to`.
    unsafe fn store(self, to: *mut Self::Element);
    /// Lane by lane, `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// Lane by lane, `a * b + self`.
    unsafe fn accumulate(self, a: Self, b: Self) -> Self;
    /// The sum over the lanes.
    unsafe fn sum(self) -> Self::Element;
}

/// Plain arrays, for the compiler to vectorise as it can.
#[derive(Clone, Copy)]
pub struct Array<T>([T; 4]);

macro_rules! array {
    ($type:ty) => {
        impl Lanes for Array<$type> {
            type Element = $type;
            const WIDTH: usize = 4;

            #[inline(always)]
            unsafe fn splat(value: $type) -> Self {
                Self([value; 4])
            }

            #[inline(always)]
            unsafe fn load(from: *const $type) -> Self {
                // SAFETY: the caller's pointer is good for four elements.
                Self(unsafe { from.cast::<[$type; 4]>().read_unaligned() })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $type) {
                // SAFETY: the caller's pointer is good for four elements.
                unsafe { to.cast::<[$type; 4]>().write_unaligned(self.0) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
                Self([a + e, b + f, c + g, d + h])
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
            unsafe fn sum(self) -> $type {
                let [a, b, c, d] = self.0;
                (a + b) + (c + d)
            }
        }
    };
}

array!(f32);
array!(f64);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    macro_rules! x86 {
        ($vector:ty, $width:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident, $sum:expr) => {
            impl Lanes for $vector {
                type Element = f32;
                const WIDTH: usize = $width;

                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    // SAFETY: the caller has the instructions.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: the caller has the instructions and a pointer good for the whole vector.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: the caller has the instructions and a pointer good for the whole vector.
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: the caller has the instructions.
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                unsafe fn accumulate(self, a: Self, b: Self) -> Self {
                    // SAFETY: the caller has the instructions.
                    unsafe { $fma(a, b, self) }
                }

                #[inline(always)]
                unsafe fn sum(self) -> f32 {
                    // SAFETY: the caller has the instructions.
                    unsafe { $sum(self) }
                }
            }
        };
    }

    #[inline(always)]
    unsafe fn sum256(vector: __m256) -> f32 {
        // SAFETY: the caller has AVX2.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    x86!(
        __m512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps,
        _mm512_reduce_add_ps
    );
    x86!(__m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_fmadd_ps, sum256);
}
