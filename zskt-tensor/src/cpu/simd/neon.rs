//! Vectors of aarch64.

#![expect(unsafe_code, reason = "vector instructions and loads through pointers")]

use std::arch::aarch64::*;

use half::bf16;

use crate::cpu::simd::vector::SimdVector;

impl SimdVector for float32x4_t {
    type Element = f32;
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has the instructions and a pointer good for four numbers.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has the instructions and a pointer good for four numbers.
        unsafe { vst1q_f32(to, self) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const bf16) -> Self {
        // SAFETY: the caller has the instructions and a pointer good for four numbers.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast()))) }
    }

    /// As [`Element::narrow`](crate::cpu::simd::dtype::Element::narrow) rounds.
    #[inline(always)]
    unsafe fn store_half(self, to: *mut bf16) {
        // SAFETY: the caller has the instructions and a pointer good for four numbers.
        unsafe {
            let bits = vreinterpretq_u32_f32(self);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let number = vceqq_f32(self, self);
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
            vst1_u16(to.cast(), vshrn_n_u32::<16>(vbslq_u32(number, rounded, quiet)));
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn subtract(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { vmulq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn accumulate(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { vfmaq_f32(self, a, b) }
    }

    #[inline(always)]
    unsafe fn select(self, above: Self, below: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { vbslq_f32(vcgtzq_f32(self), above, below) }
    }

    #[inline(always)]
    unsafe fn minimum(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions. (Their own minimum gives a NaN where either is one.)
        unsafe { vbslq_f32(vcltq_f32(self, other), self, other) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller has the instructions.
        unsafe { vaddvq_f32(self) }
    }
}
