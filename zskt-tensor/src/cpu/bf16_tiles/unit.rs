//! What multiplies bf16 numbers.

use std::arch::x86_64 as arch;
use std::sync::OnceLock;

use crate::cpu::bf16_tiles::amx::permission;

/// What multiplies bf16 numbers and adds the products in f32. Both round to nearest even and treat denormal numbers, on
/// either side, as zero, whatever the thread's control register says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Intel's matrix unit.
    Amx,
    /// AVX-512's dot products of pairs.
    DotProducts,
}

impl Unit {
    /// Fastest first.
    #[cfg(test)]
    pub const ALL: [Self; 2] = [Self::Amx, Self::DotProducts];

    /// Whether this process may use it. The first call asks, later ones remember.
    ///
    /// The grant of AMX is the process's: it covers threads that run already and all that come later. (Linux refuses it while
    /// some thread has an alternate signal stack too small for the tiles; those of Rust's threads are large enough.)
    pub fn available(self) -> bool {
        static AMX: OnceLock<bool> = OnceLock::new();
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16");
        avx512 && (self == Self::DotProducts || *AMX.get_or_init(permission::ask))
    }

    /// The one that is faster than f32 on this kind of processor: what has been measured on one of its kind, not on this very
    /// one, so that all of a kind compute the same.
    pub fn best() -> Option<Self> {
        static BEST: OnceLock<Option<Unit>> = OnceLock::new();
        *BEST.get_or_init(|| {
            if Self::Amx.available() {
                Some(Self::Amx)
            } else if Self::DotProducts.available() && amd() {
                Some(Self::DotProducts)
            } else {
                None
            }
        })
    }
}

/// Whether AMD made the processor. Its dot products are as fast as fused multiply-adds, for twice the numbers; those of an
/// Intel Xeon were slower than the fused multiply-adds that they stand for.
fn amd() -> bool {
    let id = arch::__cpuid(0);
    [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}
