//! The tile registers: who may use them, and the block products that everything here is made of.
#![expect(unsafe_code, reason = "the tile instructions are reachable through assembly only")]

use std::arch::asm;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::offset_of;

use crate::cpu::amx::{Bf16, available};

/// Rows of a tile: pixels or outputs on the left, pairs of summands on the right.
pub const ROWS: usize = 16;
/// Summands that one tile product takes in: the bf16 elements of a row of the left tile.
pub const DEPTH: usize = 32;
/// Bf16 elements of a tile.
pub const TILE: usize = ROWS * DEPTH;

thread_local! {
    /// How many [`Tiles`] this thread holds.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// A thread's right to use the tile registers. Take one per task rather than per call: entering and leaving cost some
/// tens of cycles, and a thread that holds none has less to save when the system switches threads.
///
/// A thread may take several at a time (a task that waits in a thread pool may run another): the registers are
/// released with the last.
#[derive(Debug)]
pub struct Tiles {
    /// The configuration belongs to the thread, so the right can't move to another.
    here: PhantomData<*const ()>,
}

impl Tiles {
    /// Configures the registers: eight tiles of 16 rows of 64 bytes.
    ///
    /// # Panics
    /// Where [`available`] is false.
    pub fn enter() -> Self {
        /// EpilogueKind `ldtilecfg` reads.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        assert!(available(), "no AMX: ask `available` first");
        HELD.with(|held| {
            if held.get() == 0 {
                let mut config =
                    Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
                config.row_bytes[..8].fill(64);
                config.rows[..8].fill(ROWS as u8);
                // SAFETY: the processor has AMX and the process may use it; `config` has the 64 bytes that are read,
                // and describes tiles within the limits of palette 1.
                unsafe {
                    asm!(
                        "ldtilecfg [{}]", in(reg) &raw const config,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack, readonly, preserves_flags)
                    );
                }
            }
            held.set(held.get() + 1);
        });
        Self { here: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        HELD.with(|held| {
            held.set(held.get() - 1);
            if held.get() == 0 {
                // SAFETY: the processor has AMX, and nobody on this thread holds a right to the registers any more.
                unsafe {
                    asm!(
                        "tilerelease",
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack, nomem, preserves_flags)
                    );
                }
            }
        });
    }
}

/// How many of `left` tiles to take into a block at a time where there is one tile on the other side: up to four, but
/// no single one at the end of many, for which every product would wait for the one before it.
pub fn narrow_block(left: usize) -> usize {
    match left {
        1..=4 => left,
        5 => 3,
        _ => 4,
    }
}

/// A block of up to six tiles of sums: `to[m, n] = from[m, n] + sum over rows, chunks of a[m] * b[n]`, where the
/// tiles of sums are numbered `m * (right tiles) + n`, and a chunk is one tile product. Strides, steps and gaps are in
/// bytes, and may be negative where they are `isize`.
///
/// A left tile holds 16 rows of 32 summands, a right tile 16 rows of 16 columns of 2 summands (row k: summands 2k
/// and 2k + 1), without gaps, and a tile of sums 16 rows of 16 columns.
#[repr(C)]
pub struct Block {
    /// The left tiles of the first chunk, their rows fast if they don't straddle cache lines.
    pub a: [*const Bf16; 4],
    /// The right tiles of the first chunk, aligned to 64 bytes.
    pub b: [*const Bf16; 4],
    /// EpilogueKind the sums start from.
    pub from: [*const f32; 6],
    /// Where the sums go.
    pub to: [*mut f32; 6],
    /// Between the rows of a left tile.
    pub a_stride: usize,
    /// Between the left tiles of neighbouring chunks.
    pub a_step: usize,
    /// From behind the last chunk of a row to the first of the next: added to the left tiles.
    pub a_gap: isize,
    /// The same for the right tiles, whose chunks lie one behind another within a row.
    pub b_gap: isize,
    /// Chunks in a row, at least 1.
    pub chunks: usize,
    /// Rows of chunks, at least 1.
    pub rows: usize,
    /// Between the rows of a tile of `from`; 0 starts every row from the same.
    pub from_stride: usize,
    /// Between the rows of a tile of `to`.
    pub to_stride: usize,
}

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

impl Block {
    /// Computes the block for `left` by `right` tiles: n by 1 or 1 by n with n up to 4, 2 by 2, or 3 by 2.
    ///
    /// # Panics
    /// For other sizes.
    ///
    /// # Safety
    /// Of the arrays, the first `left`, `right` and `left * right` elements count. The left and right tiles of all
    /// chunks, and the tiles of `from`, can be read; those of `to` can be written and share no memory with what is
    /// read, but that a tile may be both in `from` and `to`.
    #[inline]
    pub unsafe fn product(&self, _tiles: &Tiles, left: usize, right: usize) {
        debug_assert!(self.chunks > 0 && self.rows > 0);
        // SAFETY: the registers are configured while there is a `Tiles`; the caller vouches for the memory.
        unsafe {
            match (left, right) {
                (1, 1) => product_1x1(self),
                (2, 1) => product_2x1(self),
                (3, 1) => product_3x1(self),
                (4, 1) => product_4x1(self),
                (1, 2) => product_1x2(self),
                (1, 3) => product_1x3(self),
                (1, 4) => product_1x4(self),
                (2, 2) => product_2x2(self),
                (3, 2) => product_3x2(self),
                _ => unreachable!("no block of {left} by {right} tiles"),
            }
        }
    }
}
