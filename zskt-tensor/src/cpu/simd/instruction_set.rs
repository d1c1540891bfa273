//! Which instructions the processor offers.

#![expect(unsafe_code, reason = "functions compiled for more than every processor has")]

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;

/// The instruction set a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// What every processor of the target has, as the compiler uses it by itself.
    Portable,
    /// 128-bit vectors with fused multiply-add, and 32 registers.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors, and all 32 registers for shorter ones too: without these, sums over lanes make kernels spill.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same, and numbers are rounded to bf16 by one instruction (which takes denormal ones for zero).
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl InstructionSet {
    /// Slowest first.
    pub const ALL: &[Self] = &[
        Self::Portable,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512Bf16,
    ];

    /// The best set of this processor.
    pub fn best() -> Self {
        // The standard library caches what it detected, so that asking again costs one load.
        Self::ALL.iter().copied().rev().find(|set| set.available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has the set.
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.available() && is_x86_feature_detected!("avx512bf16"),
        }
    }
}

/// Plain code that the compiler vectorises with whatever instructions it is told to use.
pub trait Vectorized<A> {
    /// The code; implementations are `#[inline(always)]`, to be compiled as part of their callers.
    fn run(&self, argument: A);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon<A>(pass: &impl Vectorized<A>, argument: A) {
    pass.run(argument);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<A>(pass: &impl Vectorized<A>, argument: A) {
    pass.run(argument);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn avx512<A>(pass: &impl Vectorized<A>, argument: A) {
    pass.run(argument);
}

impl InstructionSet {
    /// Runs code compiled for the set.
    pub fn run<A>(self, pass: &impl Vectorized<A>, argument: A) {
        assert!(self.available(), "the processor has the instructions");
        match self {
            Self::Portable => pass.run(argument),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: just checked.
            Self::Neon => unsafe { neon(pass, argument) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: just checked.
            Self::Avx2 => unsafe { avx2(pass, argument) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: just checked.
            Self::Avx512 | Self::Avx512Bf16 => unsafe { avx512(pass, argument) },
        }
    }
}
