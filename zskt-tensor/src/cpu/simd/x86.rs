//! Vectors of x86-64.

#![expect(unsafe_code, reason = "vector instructions and loads through pointers")]

use std::arch::x86_64::*;

use half::bf16;

use crate::cpu::simd::vector::SimdVector;

macro_rules! x86 {
    ($vector:ty, $width:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident,
     $load_half:ident, $store_half:ident, $select:ident, $min:ident, $sum:expr) => {
        impl SimdVector for $vector {
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
            unsafe fn subtract(self, other: Self) -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $sub(self, other) }
            }

            #[inline(always)]
            unsafe fn multiply(self, other: Self) -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $mul(self, other) }
            }

            #[inline(always)]
            unsafe fn accumulate(self, a: Self, b: Self) -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $fma(a, b, self) }
            }

            #[inline(always)]
            unsafe fn load_half(from: *const bf16) -> Self {
                // SAFETY: the caller has the instructions and a pointer good for the whole vector.
                unsafe { $load_half(from) }
            }

            #[inline(always)]
            unsafe fn store_half(self, to: *mut bf16) {
                // SAFETY: the caller has the instructions and a pointer good for the whole vector.
                unsafe { $store_half(self, to) }
            }

            #[inline(always)]
            unsafe fn select(self, above: Self, below: Self) -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $select(self, above, below) }
            }

            #[inline(always)]
            unsafe fn minimum(self, other: Self) -> Self {
                // SAFETY: the caller has the instructions.
                unsafe { $min(self, other) }
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

#[inline(always)]
unsafe fn load_half512(from: *const bf16) -> __m512 {
    // SAFETY: the caller has AVX-512 and a pointer good for sixteen numbers.
    unsafe {
        let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
    }
}

/// As [`Element::narrow`](crate::cpu::simd::dtype::Element::narrow) rounds.
#[inline(always)]
unsafe fn store_half512(vector: __m512, to: *mut bf16) {
    // SAFETY: the caller has AVX-512 and a pointer good for sixteen numbers.
    unsafe {
        let bits = _mm512_castps_si512(vector);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(vector, vector);
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
        let halves = _mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, rounded, quiet));
        _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(halves));
    }
}

#[inline(always)]
unsafe fn select512(vector: __m512, above: __m512, below: __m512) -> __m512 {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(vector, _mm512_setzero_ps());
        _mm512_mask_blend_ps(positive, below, above)
    }
}

#[inline(always)]
unsafe fn load_half256(from: *const bf16) -> __m256 {
    // SAFETY: the caller has AVX2 and a pointer good for eight numbers.
    unsafe {
        let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
    }
}

/// As [`Element::narrow`](crate::cpu::simd::dtype::Element::narrow) rounds.
#[inline(always)]
unsafe fn store_half256(vector: __m256, to: *mut bf16) {
    // SAFETY: the caller has AVX2 and a pointer good for eight numbers.
    unsafe {
        let bits = _mm256_castps_si256(vector);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(vector, vector));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        let halves = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
        // Halves of sixteen bits fit, so nothing is saturated; packing works on each 128 bits apart.
        let packed = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_packus_epi32(halves, halves));
        _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
    }
}

#[inline(always)]
unsafe fn select256(vector: __m256, above: __m256, below: __m256) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_blendv_ps(below, above, _mm256_cmp_ps::<_CMP_GT_OQ>(vector, _mm256_setzero_ps())) }
}

/// A vector that is rounded to bf16 by one instruction.
#[derive(Clone, Copy)]
pub struct Bf16Rounding(__m512);

macro_rules! as_m512 {
    ($($(#[$meta:meta])* fn $name:ident($($self:ident)? $(, $argument:ident)*);)*) => {$(
        #[inline(always)]
        unsafe fn $name($($self)? $(, $argument: Self)*) -> Self {
            // SAFETY: the caller has the instructions.
            Self(unsafe { $($self.0.$name)?($($argument.0),*) })
        }
    )*};
}

impl SimdVector for Bf16Rounding {
    type Element = f32;
    const WIDTH: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller has the instructions.
        Self(unsafe { __m512::splat(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { __m512::load(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store(to) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const bf16) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { __m512::load_half(from) })
    }

    #[inline(always)]
    unsafe fn store_half(self, to: *mut bf16) {
        // SAFETY: the caller has the instruction, and a pointer good for sixteen numbers of sixteen bits.
        unsafe { to.cast::<__m256bh>().write_unaligned(_mm512_cvtneps_pbh(self.0)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller has the instructions.
        unsafe { self.0.sum() }
    }

    as_m512! {
        fn add(self, other);
        fn subtract(self, other);
        fn multiply(self, other);
        fn accumulate(self, a, b);
        fn select(self, above, below);
        fn minimum(self, other);
    }
}

x86!(
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    load_half512,
    store_half512,
    select512,
    _mm512_min_ps,
    _mm512_reduce_add_ps
);
x86!(
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    load_half256,
    store_half256,
    select256,
    _mm256_min_ps,
    sum256
);
