//! Convolution kernels for bf16 on Intel's matrix unit (AMX): `strip` computes outputs of a conv (forward pass and
//! data gradient), `TileOuter` sums outer products over pixels (weight gradient); [`AmxWeightGradient`] and the
//! [`Operand`](crate::cpu::conv::operand::Operand) that bf16 is make the layers' operations of them.
//!
//! Everything but [`available`] exists on x86-64 Linux only, and needs [`available`] to be true. The unit multiplies bf16
//! and accumulates in f32; it rounds to nearest even and treats denormal numbers, on either side, as zero, whatever the
//! thread's control register says.

use std::sync::OnceLock;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod operand;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod outer_product;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod permission;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod strip;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tile;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod weight_gradient;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::amx::outer_product::{OuterShape, TileOuter};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::amx::permission::ask;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::amx::strip::{StripShape, TileStrip, strip};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::amx::tile::Tiles;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::simd::dtype::Bf16;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use weight_gradient::AmxWeightGradient;

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests;

/// Whether this process may use the kernels: the processor has AMX with bf16 and AVX-512 (F, BW, VL, BF16), and the
/// operating system saves the tile registers and has granted them. The first call asks, later ones remember.
///
/// The grant is the process's: it covers threads that run already and all that come later. (Linux refuses it while
/// some thread has an alternate signal stack too small for the tiles; those of Rust's threads are large enough.)
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(ask)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn ask() -> bool {
    false
}
