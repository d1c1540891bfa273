//! Memory that the CPU's kernels ask for and do not get. Maps are computed when they are first read, deep within what returns no error: so it unwinds
//! in place of one.

use std::panic::{self, AssertUnwindSafe};

use crate::error::{Error, Result};

/// What unwinds.
struct OutOfMemory {
    /// What was asked for.
    bytes: usize,
}

/// Ends the work that [`catch_out_of_memory`] does, without the message of a panic.
pub fn out_of_memory(bytes: usize) -> ! {
    panic::resume_unwind(Box::new(OutOfMemory { bytes }))
}

/// Does some work. What it leaves half-changed, where the system has no memory for its maps, must not be gone on with.
///
/// # Errors
/// Those of the work, and that there is no memory.
pub fn catch_out_of_memory<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| match payload.downcast::<OutOfMemory>() {
        Ok(missing) => {
            let megabytes = missing.bytes.div_ceil(1_000_000);
            Err(Error::out_of_memory(format!("the system gave the program no {megabytes} MB more")))
        }
        Err(payload) => panic::resume_unwind(payload),
    })
}
