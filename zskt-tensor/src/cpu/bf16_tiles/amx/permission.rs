//! Asking the processor and the operating system for AMX.
#![expect(unsafe_code, reason = "takes XGETBV and a system call")]

use std::arch::{asm, x86_64 as arch};

/// Asks whether the processor has AMX with bf16 and the operating system saves the tile registers, and has them granted.
pub fn ask() -> bool {
    /// CPUID leaf 7, EDX: AMX-BF16 and AMX-TILE.
    const AMX: u32 = 1 << 22 | 1 << 24;
    /// CPUID leaf 1, ECX: the operating system has enabled XSAVE, and XGETBV may be used.
    const OSXSAVE: u32 = 1 << 27;
    /// XCR0: tile configuration and tile data.
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    /// arch_prctl(2) and its request to let the process use a state component, here the tile data.
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILE_DATA: u64 = 18;

    if arch::__cpuid(0).eax < 7 || arch::__cpuid_count(7, 0).edx & AMX != AMX {
        return false;
    }
    if !is_x86_feature_detected!("xsave") || arch::__cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: the processor has XSAVE and the operating system has enabled it.
    if unsafe { arch::_xgetbv(0) } & TILE_STATE != TILE_STATE {
        return false;
    }
    let error: i64;
    // SAFETY: the system call takes two numbers, reads and writes no memory of ours, and clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => error,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    error == 0
}
