//! Which of the processor's instructions networks are computed by, in words.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::bf16_tiles::unit::Unit;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::precision::Precision;

/// The instructions that the CPU's kernels use on this machine for networks of a precision: `AVX-512`, or `AVX-512 with BF16, products by AMX`.
/// Where they are the same, so are the results.
pub fn describe(precision: Precision) -> String {
    // Elsewhere bf16 is computed by the kernels of f32.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = precision;
    let vectors = match InstructionSet::best() {
        InstructionSet::Portable => "plain",
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => "NEON",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => "AVX2",
        // It rounds to bf16 as those without it do, but for denormal numbers.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Bf16 if precision == Precision::Bf16 => "AVX-512 with BF16",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => "AVX-512",
    };
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if let Some(unit) = Unit::best().filter(|_| precision == Precision::Bf16) {
        let products = match unit {
            Unit::Amx => "AMX",
            Unit::DotProducts => "dot products",
        };
        return format!("{vectors}, products by {products}");
    }
    vectors.to_owned()
}
