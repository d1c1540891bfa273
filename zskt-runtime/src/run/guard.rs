//! A panic in a plugin becomes an error that names the node and the plugin.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use zskt_api::{Context, Error, Result};

use super::attributed::{take_blamed, within};
use crate::plan::PlanNode;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets a node's plugin do its work.
///
/// # Errors
/// What the plugin returns, or that it panicked, with the node's name.
pub fn guarded<T>(node: &PlanNode, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = caught(|| within(node.registration, work)).unwrap_or_else(|panic| {
        let plugin = take_blamed().unwrap_or(node.registration);
        let (name, origin, version) = (plugin.name, plugin.crate_name, plugin.crate_version);
        Err(Error::new(format!("the plugin `{name}` of {origin} {version} panicked{panic}")))
    });
    result.context(format_args!("node `{}`", node.name))
}

/// Does some work of plugins.
///
/// # Errors
/// Where it panicked, as far as that is known, and its message: ` at place: message`.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    quiet_hook();
    // A metric that a stage has evaluated is guarded within the stage.
    let outer = GUARDED.replace(true);
    // Nothing that a panic may have left half-changed is used again: the run ends, and checkpoints are older.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.map_err(|payload| {
        let place = PLACE.take().map(|place| format!(" at {place}")).unwrap_or_default();
        format!("{place}: {}", message(&*payload))
    })
}

/// Keeps Rust's own message about a guarded panic off the screen, since the error says it all, unless a backtrace is
/// asked for. Panics of other threads, which arrive here without their place, are still printed.
fn quiet_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if GUARDED.get() {
                PLACE.set(panic.location().map(ToString::to_string));
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
