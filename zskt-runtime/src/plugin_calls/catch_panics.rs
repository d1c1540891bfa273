//! A panic in a plugin becomes an error that names the node and the plugin.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use zskt_api::tensor::catch_out_of_memory;
use zskt_api::{Context, Error};

use super::attribution::PluginOfNode;
use super::violation::Violation;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets a node's plugin do its work.
///
/// # Errors
/// What the plugin returns, or that it panicked, with the node's name.
pub fn run_plugin<T>(own: PluginOfNode, work: impl FnOnce() -> zskt_api::Result<T>) -> zskt_api::Result<T> {
    let result = match catch_panics(|| own.call(work)) {
        Ok(result) => result,
        Err(CaughtUnwind::Error(error)) => Err(error),
        Err(CaughtUnwind::Panic { plugin: Some(other), text }) if other.node() != own.node() => {
            Err(Error::new(format!("{other} panicked{text}")))
        }
        Err(CaughtUnwind::Panic { plugin, text }) => {
            Err(Error::new(format!("{} panicked{text}", plugin.unwrap_or(own).within_node())))
        }
    };
    result.context(format_args!("node `{}`", own.node()))
}

/// Lets a node's plugin do work whose errors name the node by themselves, as those of its network do.
///
/// # Errors
/// What the plugin returns, or that it panicked.
pub fn run_named_plugin<T>(own: PluginOfNode, work: impl FnOnce() -> zskt_api::Result<T>) -> zskt_api::Result<T> {
    catch_panics(|| own.call(work)).unwrap_or_else(|caught| {
        Err(match caught {
            CaughtUnwind::Error(error) => error,
            CaughtUnwind::Panic { plugin, text } => Error::new(format!("{} panicked{text}", plugin.unwrap_or(own))),
        })
    })
}

/// Why plugins did not return.
pub enum CaughtUnwind {
    /// One of them did what it may not, or there was no memory for what it computes.
    Error(Error),
    /// One of them panicked.
    Panic {
        /// The innermost, where it is known.
        plugin: Option<PluginOfNode>,
        /// What comes after "panicked": ` at src/lib.rs:7:9: message`.
        text: String,
    },
}

/// Does some work of plugins.
///
/// # Errors
/// When it did not return.
pub fn catch_panics<T>(work: impl FnOnce() -> T) -> Result<T, CaughtUnwind> {
    quiet_hook();
    // A metric that a stage has evaluated is run within the stage.
    let outer = CATCHING.replace(true);
    // Nothing that a panic may have left half-changed is used again: the run ends, and checkpoints are older.
    let result = panic::catch_unwind(AssertUnwindSafe(|| catch_out_of_memory(|| Ok(work()))));
    CATCHING.set(outer);
    let error = match result {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(out_of_memory)) => Ok(out_of_memory),
        Err(payload) => payload.downcast::<Violation>().map(|violation| violation.0),
    };
    let plugin = PluginOfNode::take_panicked();
    Err(match error {
        Ok(error) => CaughtUnwind::Error(error),
        Err(payload) => {
            let place = LOCATION.take().map(|location| format!(" at {location}")).unwrap_or_default();
            CaughtUnwind::Panic { plugin, text: format!("{place}: {}", message(&*payload)) }
        }
    })
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
