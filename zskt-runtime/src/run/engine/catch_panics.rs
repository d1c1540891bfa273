//! A panic in a plugin becomes an error that names the node and the plugin.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use zskt_api::{Context, Error};

use super::panic_attribution::{attribute_panics, take_panicking_plugin};
use crate::plan::PlanNode;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets a node's plugin do its work.
///
/// # Errors
/// What the plugin returns, or that it panicked, with the node's name.
pub fn run_plugin<T>(node: &PlanNode, work: impl FnOnce() -> zskt_api::Result<T>) -> zskt_api::Result<T> {
    let result = catch_panics(|| attribute_panics(node.registration, work)).unwrap_or_else(|panic| {
        let plugin = take_panicking_plugin().unwrap_or(node.registration);
        let (name, origin, version) = (plugin.name, plugin.crate_name, plugin.crate_version);
        Err(Error::new(format!("the plugin `{name}` of {origin} {version} panicked{panic}")))
    });
    result.context(format_args!("node `{}`", node.name))
}

/// A panic that was caught. As text it is what comes after "panicked": ` at src/lib.rs:7:9: message`.
#[derive(Debug)]
pub struct CaughtPanic {
    /// Where it panicked, as far as that is known.
    location: Option<String>,
    message: String,
}

impl fmt::Display for CaughtPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Does some work of plugins.
///
/// # Errors
/// When it panicked.
pub fn catch_panics<T>(work: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    quiet_hook();
    // A metric that a stage has evaluated is run within the stage.
    let outer = CATCHING.replace(true);
    // Nothing that a panic may have left half-changed is used again: the run ends, and checkpoints are older.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    result.map_err(|payload| CaughtPanic { location: LOCATION.take(), message: message(&*payload).to_owned() })
}

/// Keeps Rust's own message about a caught panic off the screen, since the error says it all, unless a backtrace is
/// asked for. Panics of other threads, which arrive here without their location, are still printed.
fn quiet_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if CATCHING.get() {
                LOCATION.set(panic.location().map(ToString::to_string));
                if std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value == "0") {
                    return;
                }
            }
            usual(panic);
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
