//! The tile registers, and who may use them.
#![expect(unsafe_code, reason = "the tile instructions are reachable through assembly only")]

use std::arch::asm;
use std::cell::Cell;

use crate::cpu::bf16_tiles::tile::ROWS;

thread_local! {
    /// How many rights to the registers this thread holds.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Configures the registers, unless the thread holds them: eight tiles of 16 rows of 64 bytes.
///
/// # Safety
/// The processor has AMX and the process may use it.
pub unsafe fn hold() {
    /// What `ldtilecfg` reads.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }
    HELD.with(|held| {
        if held.get() == 0 {
            let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            config.row_bytes[..8].fill(64);
            config.rows[..8].fill(ROWS as u8);
            // SAFETY: the caller vouches for AMX; `config` has the 64 bytes that are read, and describes tiles within
            // the limits of palette 1.
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
}

/// Gives up what [`hold`] gave; the last on a thread releases the registers.
///
/// # Safety
/// The thread holds them.
pub unsafe fn release() {
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
