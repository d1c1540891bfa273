//! Block products by the tile registers.
#![expect(unsafe_code, reason = "the tile instructions are reachable through assembly only")]

use std::arch::asm;
use std::mem::offset_of;

use crate::cpu::bf16_tiles::tile::Block;

/// Defines a block product as one piece of assembly: registers for the left (`$a`) and right (`$b`) pointers with
/// their places in [`Block`], the tiles of sums, and the instructions of one chunk.
///
/// One piece, so that no value stays in a tile register from one `asm!` to the next, which the compiler couldn't
/// know of.
macro_rules! product {
    (
        $name:ident, [$($a:ident $ai:literal),*], [$($b:ident $bi:literal),*], [$($c:literal),*],
        [$($line:literal),*]
    ) => {
        #[inline]
        unsafe fn $name(block: &Block) {
            // SAFETY: the caller vouches for the configuration and the memory of `block`. Registers: all general ones
            // are operands, tiles 0 to 7 are declared. The stack is not touched; memory and flags are taken to be.
            unsafe {
                asm!(
                    $(concat!("mov {", stringify!($a), "}, [{block} + {a} + 8*", $ai, "]"),)*
                    $(concat!("mov {", stringify!($b), "}, [{block} + {b} + 8*", $bi, "]"),)*
                    "mov {stride}, [{block} + {from_stride}]",
                    $(
                        concat!("mov {step}, [{block} + {from} + 8*", $c, "]"),
                        concat!("tileloadd tmm", $c, ", [{step} + {stride}]"),
                    )*
                    "mov {stride}, [{block} + {a_stride}]",
                    "mov {step}, [{block} + {a_step}]",
                    "mov {rows}, [{block} + {row_count}]",
                    "mov {dense:e}, 64",
                    "2:",
                    "mov {chunks}, [{block} + {chunk_count}]",
                    "3:",
                    $($line,)*
                    $(concat!("add {", stringify!($a), "}, {step}"),)*
                    $(concat!("add {", stringify!($b), "}, 1024"),)*
                    "dec {chunks}",
                    "jnz 3b",
                    $(concat!("add {", stringify!($a), "}, [{block} + {a_gap}]"),)*
                    $(concat!("add {", stringify!($b), "}, [{block} + {b_gap}]"),)*
                    "dec {rows}",
                    "jnz 2b",
                    "mov {stride}, [{block} + {to_stride}]",
                    $(
                        concat!("mov {step}, [{block} + {to} + 8*", $c, "]"),
                        concat!("tilestored [{step} + {stride}], tmm", $c),
                    )*
                    $($a = out(reg) _,)*
                    $($b = out(reg) _,)*
                    block = in(reg) block,
                    stride = out(reg) _,
                    step = out(reg) _,
                    dense = out(reg) _,
                    chunks = out(reg) _,
                    rows = out(reg) _,
                    a = const offset_of!(Block, a),
                    b = const offset_of!(Block, b),
                    from = const offset_of!(Block, from),
                    to = const offset_of!(Block, to),
                    a_stride = const offset_of!(Block, a_stride),
                    a_step = const offset_of!(Block, a_step),
                    a_gap = const offset_of!(Block, a_gap),
                    b_gap = const offset_of!(Block, b_gap),
                    chunk_count = const offset_of!(Block, chunks),
                    row_count = const offset_of!(Block, rows),
                    from_stride = const offset_of!(Block, from_stride),
                    to_stride = const offset_of!(Block, to_stride),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack)
                );
            }
        }
    };
}

product!(product_1x1, [a0 0], [b0 0], [0], [
    "tileloadd tmm4, [{a0} + {stride}]",
    "tileloadd tmm7, [{b0} + {dense}]",
    "tdpbf16ps tmm0, tmm4, tmm7"
]);
product!(product_2x1, [a0 0, a1 1], [b0 0], [0, 1], [
    "tileloadd tmm7, [{b0} + {dense}]",
    "tileloadd tmm4, [{a0} + {stride}]",
    "tdpbf16ps tmm0, tmm4, tmm7",
    "tileloadd tmm5, [{a1} + {stride}]",
    "tdpbf16ps tmm1, tmm5, tmm7"
]);
product!(product_3x1, [a0 0, a1 1, a2 2], [b0 0], [0, 1, 2], [
    "tileloadd tmm7, [{b0} + {dense}]",
    "tileloadd tmm4, [{a0} + {stride}]",
    "tdpbf16ps tmm0, tmm4, tmm7",
    "tileloadd tmm5, [{a1} + {stride}]",
    "tdpbf16ps tmm1, tmm5, tmm7",
    "tileloadd tmm6, [{a2} + {stride}]",
    "tdpbf16ps tmm2, tmm6, tmm7"
]);
product!(product_4x1, [a0 0, a1 1, a2 2, a3 3], [b0 0], [0, 1, 2, 3], [
    "tileloadd tmm7, [{b0} + {dense}]",
    "tileloadd tmm4, [{a0} + {stride}]",
    "tdpbf16ps tmm0, tmm4, tmm7",
    "tileloadd tmm5, [{a1} + {stride}]",
    "tdpbf16ps tmm1, tmm5, tmm7",
    "tileloadd tmm6, [{a2} + {stride}]",
    "tdpbf16ps tmm2, tmm6, tmm7",
    "tileloadd tmm4, [{a3} + {stride}]",
    "tdpbf16ps tmm3, tmm4, tmm7"
]);
product!(product_1x2, [a0 0], [b0 0, b1 1], [0, 1], [
    "tileloadd tmm7, [{a0} + {stride}]",
    "tileloadd tmm4, [{b0} + {dense}]",
    "tdpbf16ps tmm0, tmm7, tmm4",
    "tileloadd tmm5, [{b1} + {dense}]",
    "tdpbf16ps tmm1, tmm7, tmm5"
]);
product!(product_1x3, [a0 0], [b0 0, b1 1, b2 2], [0, 1, 2], [
    "tileloadd tmm7, [{a0} + {stride}]",
    "tileloadd tmm4, [{b0} + {dense}]",
    "tdpbf16ps tmm0, tmm7, tmm4",
    "tileloadd tmm5, [{b1} + {dense}]",
    "tdpbf16ps tmm1, tmm7, tmm5",
    "tileloadd tmm6, [{b2} + {dense}]",
    "tdpbf16ps tmm2, tmm7, tmm6"
]);
product!(product_1x4, [a0 0], [b0 0, b1 1, b2 2, b3 3], [0, 1, 2, 3], [
    "tileloadd tmm7, [{a0} + {stride}]",
    "tileloadd tmm4, [{b0} + {dense}]",
    "tdpbf16ps tmm0, tmm7, tmm4",
    "tileloadd tmm5, [{b1} + {dense}]",
    "tdpbf16ps tmm1, tmm7, tmm5",
    "tileloadd tmm6, [{b2} + {dense}]",
    "tdpbf16ps tmm2, tmm7, tmm6",
    "tileloadd tmm4, [{b3} + {dense}]",
    "tdpbf16ps tmm3, tmm7, tmm4"
]);
product!(product_2x2, [a0 0, a1 1], [b0 0, b1 1], [0, 1, 2, 3], [
    "tileloadd tmm6, [{b0} + {dense}]",
    "tileloadd tmm7, [{b1} + {dense}]",
    "tileloadd tmm4, [{a0} + {stride}]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "tileloadd tmm5, [{a1} + {stride}]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "tdpbf16ps tmm3, tmm5, tmm7"
]);

// Six sums leave two registers: the right tiles take turns, and two of the left ones are loaded twice, from the first
// cache. The weights, which may come from the second, travel less often than with 2 by 2.
product!(product_3x2, [a0 0, a1 1, a2 2], [b0 0, b1 1], [0, 1, 2, 3, 4, 5], [
    "tileloadd tmm6, [{b0} + {dense}]",
    "tileloadd tmm7, [{a0} + {stride}]",
    "tdpbf16ps tmm0, tmm7, tmm6",
    "tileloadd tmm7, [{a1} + {stride}]",
    "tdpbf16ps tmm2, tmm7, tmm6",
    "tileloadd tmm7, [{a2} + {stride}]",
    "tdpbf16ps tmm4, tmm7, tmm6",
    "tileloadd tmm6, [{b1} + {dense}]",
    "tdpbf16ps tmm5, tmm7, tmm6",
    "tileloadd tmm7, [{a1} + {stride}]",
    "tdpbf16ps tmm3, tmm7, tmm6",
    "tileloadd tmm7, [{a0} + {stride}]",
    "tdpbf16ps tmm1, tmm7, tmm6"
]);

/// [`Block::product`] by the tile registers.
///
/// # Panics
/// For sizes that there are no registers for.
///
/// # Safety
/// As for [`Block::product`]; the registers are configured.
#[inline]
pub unsafe fn product(block: &Block, left: usize, right: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (left, right) {
            (1, 1) => product_1x1(block),
            (2, 1) => product_2x1(block),
            (3, 1) => product_3x1(block),
            (4, 1) => product_4x1(block),
            (1, 2) => product_1x2(block),
            (1, 3) => product_1x3(block),
            (1, 4) => product_1x4(block),
            (2, 2) => product_2x2(block),
            (3, 2) => product_3x2(block),
            _ => unreachable!("no block of {left} by {right} tiles"),
        }
    }
}
