//! Ctrl-C and the signals by which a system asks a program to end: the first asks the run to stop at the next safe point, where
//! the stage (by its observer) or the executor writes a checkpoint; the second ends the program at once.

#![expect(unsafe_code, reason = "signals are taken where they arrive: a thread that waits for them may not be had")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

/// Answers whether the user asked to stop.
pub type Interrupted = Arc<dyn Fn() -> bool + Send + Sync>;

const SIGNALS: &[i32] = &[
    libc::SIGINT,
    libc::SIGTERM,
    #[cfg(unix)]
    libc::SIGHUP,
];

/// When the user asked first, in milliseconds, which are more than zero.
static ASKED_AT: AtomicU64 = AtomicU64::new(0);

/// Milliseconds in which signals are one: `timeout` sends its own to the program, and at once to the group in which that is, too.
const AT_ONCE: u64 = 200;

/// Starts to listen; what it returns tells whether the user asked to stop.
pub fn listen() -> Interrupted {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        for signal in SIGNALS.iter().filter(|signal| !is_ignored(**signal)) {
            // Where no handler can be set, a signal keeps its usual meaning, and checkpoints are whole anyway.
            // SAFETY: the handler does nothing that must not be done in one.
            let _ = unsafe { signal_hook::low_level::register(*signal, on_signal) };
        }
    });
    Arc::new(|| ASKED_AT.load(Ordering::SeqCst) > 0)
}

/// Allocates nothing, takes no lock, and calls only functions that POSIX allows here.
fn on_signal() {
    let now = milliseconds();
    if let Err(first) = ASKED_AT.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst) {
        if cfg!(unix) && now < first + AT_ONCE {
            return;
        }
        say("\nended at once; the run can be continued from its last checkpoint with --resume\n");
        signal_hook::low_level::exit(130);
    }
    say("\nstopping at the next safe point; Ctrl-C once more ends at once\n");
}

/// By a clock that nobody sets.
#[cfg(unix)]
fn milliseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written there; POSIX allows it in handlers.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000).max(1)
}

/// Elsewhere each signal is one of its own.
#[cfg(not(unix))]
fn milliseconds() -> u64 {
    1
}

fn say(text: &str) {
    // SAFETY: the bytes are there.
    let _ = unsafe { libc::write(2, text.as_ptr().cast(), text.len() as _) };
}

/// Whether whoever started the program wants it to outlive a signal: `nohup`, or a shell that put it into the background.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed; zeros are an action, if the system does not write another.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn is_ignored(_signal: i32) -> bool {
    false
}
