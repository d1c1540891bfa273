//! Which instructions the processor offers.

#![expect(unsafe_code, reason = "functions compiled for more than every processor has")]

/// The instruction set a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// EpilogueKind every processor of the target has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors, and all 32 registers for shorter ones too: without these, sums over lanes make kernels spill.
    Avx512,
    /// The same, and numbers are rounded to bf16 by one instruction (which takes denormal ones for zero).
    Avx512Bf16,
}

impl InstructionSet {
    /// Slowest first.
    #[cfg(test)]
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The best set of this processor.
    pub fn best() -> Self {
        // The standard library caches what it detected, so that asking again costs one load.
        if Self::Avx512Bf16.available() {
            Self::Avx512Bf16
        } else if Self::Avx512.available() {
            Self::Avx512
        } else if Self::Avx2.available() {
            Self::Avx2
        } else {
            Self::Portable
        }
    }

    /// Whether this processor has the set.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"),
            Self::Avx512Bf16 => Self::Avx512.available() && is_x86_feature_detected!("avx512bf16"),
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }
}

/// Plain code that the compiler vectorises with whatever instructions it is told to use.
pub trait Vectorized<A> {
    /// The code; implementations are `#[inline(always)]`, to be compiled as part of their callers.
    fn run(&self, argument: A);
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
            #[cfg(target_arch = "x86_64")]
            // SAFETY: just checked.
            Self::Avx2 => unsafe { avx2(pass, argument) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: just checked.
            Self::Avx512 | Self::Avx512Bf16 => unsafe { avx512(pass, argument) },
            _ => pass.run(argument),
        }
    }
}
