//! A violation in a method that cannot return an error.

use std::panic;

use zskt_api::Error;

/// What unwinds in place of an error.
pub struct Violation(pub Error);

/// Ends the run with an error, from within a method that cannot return one: it unwinds, without the message of a panic, to where the
/// plugin of the running node was called.
pub fn end_run(error: Error) -> ! {
    panic::resume_unwind(Box::new(Violation(error)))
}
