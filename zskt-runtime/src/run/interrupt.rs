//! Ctrl-C: the first asks the run to stop at the next safe point, where the stage (by its observer) or the executor writes a checkpoint; the
//! second ends the program at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

/// Answers whether the user asked to stop.
pub type Interrupted = Arc<dyn Fn() -> bool + Send + Sync>;

/// Starts to listen; what it returns tells whether Ctrl-C was pressed.
pub fn listen() -> Interrupted {
    static LISTEN: Once = Once::new();
    static PRESSED: AtomicBool = AtomicBool::new(false);
    LISTEN.call_once(|| {
        // Where no handler can be set, Ctrl-C keeps its usual meaning, and checkpoints are whole anyway.
        let _ = ctrlc::set_handler(|| {
            if PRESSED.swap(true, Ordering::SeqCst) {
                let text = "\nended at once; the run can be continued from its last checkpoint with --resume";
                let _ = writeln!(std::io::stderr(), "{text}");
                crate::plugin_calls::disarm_exit_guard();
                std::process::exit(130);
            }
            let _ = writeln!(std::io::stderr(), "\nstopping at the next safe point; Ctrl-C once more ends at once");
        });
    });
    Arc::new(|| PRESSED.load(Ordering::SeqCst))
}
