//! Block products by `vdpbf16ps`: a vector of pairs by one pair for all, which it reads from memory.
#![expect(unsafe_code, reason = "an operand for all lanes is reachable through assembly only")]

use std::arch::asm;
use std::mem::offset_of;

use half::bf16;

use crate::cpu::bf16_tiles::tile::Block;

/// Rows of a left tile that share a pointer.
pub const QUAD: usize = 4;

/// Up to 16 rows of sums of 16 columns: `to[m] = from[m] + sum over rows, pairs of a[m] * b`. Strides, steps and gaps
/// are in bytes.
///
/// Its rows come in fours, of which each may lie anywhere: no block need be filled up at the end of a row of pixels.
#[repr(C)]
pub struct Quads {
    /// The first pair of the first of four rows.
    pub a: [*const bf16; 4],
    /// The right side, 64 bytes for each pair.
    pub b: *const bf16,
    /// What the first of four rows starts from.
    pub from: [*const f32; 4],
    /// Where the first of four rows goes.
    pub to: [*mut f32; 4],
    /// Between the rows of a four.
    pub a_stride: usize,
    /// Between neighbouring pairs.
    pub a_pair: usize,
    /// From behind the last pair of a row of pairs to the first of the next.
    pub a_gap: isize,
    /// The same for the right side, whose pairs lie one behind another within a row.
    pub b_gap: isize,
    /// Pairs in a row of pairs, at least 1.
    pub pairs: usize,
    /// Rows of pairs, at least 1.
    pub rows: usize,
    /// Between the rows of a four in `from`; 0 starts all from the same.
    pub from_stride: usize,
    /// Between the rows of a four in `to`.
    pub to_stride: usize,
}

/// Defines the sums of some fours: the registers of their pointers, their places in [`Quads`], and their sums.
macro_rules! sums {
    ($name:ident, $([$a:ident $i:literal: $c0:literal, $c1:literal, $c2:literal, $c3:literal]),*) => {
        #[target_feature(enable = "avx512f,avx512bf16")]
        unsafe fn $name(quads: &Quads) {
            // SAFETY: the caller vouches for the memory of `quads`. All registers are declared, and the stack is not
            // touched; memory and flags are taken to be.
            unsafe {
                asm!(
                    "mov {stride}, [{quads} + {from_stride}]",
                    "lea {stride3}, [{stride} + 2*{stride}]",
                    $(
                        concat!("mov {step}, [{quads} + {from} + 8*", $i, "]"),
                        concat!("vmovups zmm", $c0, ", [{step}]"),
                        concat!("vmovups zmm", $c1, ", [{step} + {stride}]"),
                        concat!("vmovups zmm", $c2, ", [{step} + 2*{stride}]"),
                        concat!("vmovups zmm", $c3, ", [{step} + {stride3}]"),
                        concat!("mov {", stringify!($a), "}, [{quads} + {a} + 8*", $i, "]"),
                    )*
                    "mov {stride}, [{quads} + {a_stride}]",
                    "lea {stride3}, [{stride} + 2*{stride}]",
                    "mov {b}, [{quads} + {right}]",
                    "mov {step}, [{quads} + {a_pair}]",
                    "mov {rows}, [{quads} + {row_count}]",
                    "2:",
                    "mov {pairs}, [{quads} + {pair_count}]",
                    "3:",
                    "vmovups zmm16, [{b}]",
                    $(
                        concat!("vdpbf16ps zmm", $c0, ", zmm16, dword ptr [{", stringify!($a), "}]{{1to16}}"),
                        concat!("vdpbf16ps zmm", $c1, ", zmm16, dword ptr [{", stringify!($a), "} + {stride}]{{1to16}}"),
                        concat!("vdpbf16ps zmm", $c2, ", zmm16, dword ptr [{", stringify!($a), "} + 2*{stride}]{{1to16}}"),
                        concat!("vdpbf16ps zmm", $c3, ", zmm16, dword ptr [{", stringify!($a), "} + {stride3}]{{1to16}}"),
                        concat!("add {", stringify!($a), "}, {step}"),
                    )*
                    "add {b}, 64",
                    "dec {pairs}",
                    "jnz 3b",
                    $(concat!("add {", stringify!($a), "}, [{quads} + {a_gap}]"),)*
                    "add {b}, [{quads} + {b_gap}]",
                    "dec {rows}",
                    "jnz 2b",
                    "mov {stride}, [{quads} + {to_stride}]",
                    "lea {stride3}, [{stride} + 2*{stride}]",
                    $(
                        concat!("mov {step}, [{quads} + {to} + 8*", $i, "]"),
                        concat!("vmovups [{step}], zmm", $c0),
                        concat!("vmovups [{step} + {stride}], zmm", $c1),
                        concat!("vmovups [{step} + 2*{stride}], zmm", $c2),
                        concat!("vmovups [{step} + {stride3}], zmm", $c3),
                    )*
                    $($a = out(reg) _,)*
                    b = out(reg) _,
                    quads = in(reg) quads,
                    stride = out(reg) _,
                    stride3 = out(reg) _,
                    step = out(reg) _,
                    pairs = out(reg) _,
                    rows = out(reg) _,
                    a = const offset_of!(Quads, a),
                    right = const offset_of!(Quads, b),
                    from = const offset_of!(Quads, from),
                    to = const offset_of!(Quads, to),
                    a_stride = const offset_of!(Quads, a_stride),
                    a_pair = const offset_of!(Quads, a_pair),
                    a_gap = const offset_of!(Quads, a_gap),
                    b_gap = const offset_of!(Quads, b_gap),
                    pair_count = const offset_of!(Quads, pairs),
                    row_count = const offset_of!(Quads, rows),
                    from_stride = const offset_of!(Quads, from_stride),
                    to_stride = const offset_of!(Quads, to_stride),
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                    out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                    out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                    out("zmm16") _,
                    options(nostack)
                );
            }
        }
    };
}

sums!(sums_1, [a0 0: 0, 1, 2, 3]);
sums!(sums_2, [a0 0: 0, 1, 2, 3], [a1 1: 4, 5, 6, 7]);
sums!(sums_3, [a0 0: 0, 1, 2, 3], [a1 1: 4, 5, 6, 7], [a2 2: 8, 9, 10, 11]);
sums!(sums_4, [a0 0: 0, 1, 2, 3], [a1 1: 4, 5, 6, 7], [a2 2: 8, 9, 10, 11], [a3 3: 12, 13, 14, 15]);

impl Quads {
    /// Computes the first `count` fours, 1 to 4.
    ///
    /// # Panics
    /// For other counts.
    ///
    /// # Safety
    /// The processor has AVX-512 with BF16. Of the arrays, the first `count` elements count. What they lead to can be
    /// read, what `to` leads to can be written and shares no memory with what is read, but that a row may be both in
    /// `from` and `to`.
    #[inline]
    pub unsafe fn sum(&self, count: usize) {
        debug_assert!(self.pairs > 0 && self.rows > 0);
        // SAFETY: the caller's promise.
        unsafe {
            match count {
                1 => sums_1(self),
                2 => sums_2(self),
                3 => sums_3(self),
                4 => sums_4(self),
                _ => unreachable!("no {count} fours of rows"),
            }
        }
    }
}

/// [`Block::product`] tile by tile: sixteen sums hide the latency of the products, and another weight for the same
/// pair would save nothing.
///
/// # Safety
/// As for [`Block::product`]; the processor has AVX-512 with BF16.
pub unsafe fn product(block: &Block, left: usize, right: usize) {
    let fours = [0, 1, 2, 3].map(|four| four * QUAD);
    for i in 0..left {
        for j in 0..right {
            let (from, to) = (block.from[i * right + j], block.to[i * right + j]);
            let quads = Quads {
                a: fours.map(|row| block.a[i].wrapping_byte_add(row * block.a_stride)),
                b: block.b[j],
                from: fours.map(|row| from.wrapping_byte_add(row * block.from_stride)),
                to: fours.map(|row| to.wrapping_byte_add(row * block.to_stride)),
                a_stride: block.a_stride,
                a_pair: block.a_step,
                a_gap: block.a_gap,
                b_gap: block.b_gap,
                pairs: block.chunks,
                rows: block.rows,
                from_stride: block.from_stride,
                to_stride: block.to_stride,
            };
            // SAFETY: the tiles are the caller's.
            unsafe { quads.sum(4) };
        }
    }
}
