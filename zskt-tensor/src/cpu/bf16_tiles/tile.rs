//! The block products that everything here is made of, and who may compute them.
#![expect(unsafe_code, reason = "reads and writes memory through pointers")]

use std::marker::PhantomData;

use half::bf16;

use crate::cpu::bf16_tiles::unit::Unit;
use crate::cpu::bf16_tiles::{amx, dot_product};

/// Rows of a tile: pixels or outputs on the left, pairs of summands on the right.
pub const ROWS: usize = 16;
/// Summands that one tile product takes in: the bf16 elements of a row of the left tile.
pub const DEPTH: usize = 32;
/// bf16 elements of a tile.
pub const TILE: usize = ROWS * DEPTH;
/// bf16 elements of 16 columns of a pair of summands, one row of a right tile.
pub const PAIR: usize = 2 * ROWS;

/// A thread's right to compute by a unit. Take one per task rather than per call: with AMX, entering and leaving cost
/// some tens of cycles, and a thread that holds none has less to save when the system switches threads.
///
/// A thread may take several at a time (a task that waits in a thread pool may run another): AMX's registers are
/// released with the last.
#[derive(Debug)]
pub struct Tiles {
    unit: Unit,
    /// The registers' configuration belongs to the thread, so the right can't move to another.
    here: PhantomData<*const ()>,
}

impl Tiles {
    /// Prepares the unit.
    ///
    /// # Panics
    /// If there is no such unit here.
    pub fn enter(unit: Unit) -> Self {
        assert!(unit.available(), "no {unit:?} here: ask first");
        if unit == Unit::Amx {
            // SAFETY: just asked.
            unsafe { amx::registers::hold() };
        }
        Self { unit, here: PhantomData }
    }

    /// What computes.
    pub fn unit(&self) -> Unit {
        self.unit
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.unit == Unit::Amx {
            // SAFETY: `enter` took what is given up here.
            unsafe { amx::registers::release() };
        }
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
/// tiles of sums are numbered `m * (right tiles) + n`, and a chunk is one tile product of AMX, or one pair. Strides, steps and gaps are in
/// bytes, and may be negative where they are `isize`.
///
/// A left tile holds 16 rows of 32 summands, a right tile 16 rows of 16 columns of 2 summands (row k: summands 2k
/// and 2k + 1), without gaps, and a tile of sums 16 rows of 16 columns. Where a chunk is a pair, a left tile holds 16
/// rows of 2 summands, a right tile the one row.
#[repr(C)]
pub struct Block {
    /// The left tiles of the first chunk, their rows fast if they don't straddle cache lines.
    pub a: [*const bf16; 4],
    /// The right tiles of the first chunk, aligned to 64 bytes.
    pub b: [*const bf16; 4],
    /// What the sums start from.
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
    pub unsafe fn product(&self, tiles: &Tiles, left: usize, right: usize) {
        debug_assert!(self.chunks > 0 && self.rows > 0);
        // SAFETY: there is the unit where there is a `Tiles`; the caller vouches for the memory.
        unsafe {
            match tiles.unit {
                Unit::Amx => amx::products::product(self, left, right),
                Unit::DotProducts => dot_product::products::product(self, left, right),
            }
        }
    }
}
