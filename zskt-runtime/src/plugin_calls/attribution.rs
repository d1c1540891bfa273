//! Which plugin is at work: a panic in it is told as that plugin's, not as that of the stage which runs it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use zskt_api::PluginRegistration;

use super::exit_guard;
use crate::plan::PlanNode;

thread_local! {
    /// The innermost plugin at work in this thread. Without a destructor: it is still there when the program exits.
    static AT_WORK: Cell<Option<PluginOfNode>> = const { Cell::new(None) };
    static PANICKED: Cell<Option<PluginOfNode>> = const { Cell::new(None) };
}

/// A plugin, and the node that it works for: as the node's own, or as one among the parameters of that.
#[derive(Clone, Copy)]
pub struct PluginOfNode {
    plugin: &'static PluginRegistration,
    node: &'static str,
    parameter: Option<&'static str>,
}

impl PluginOfNode {
    /// The own plugin of the node of this name.
    pub fn new(plugin: &'static PluginRegistration, node: &str) -> Self {
        Self { plugin, node: interned(node), parameter: None }
    }

    /// A plugin that is a parameter of the node's own: `optimizer`, or `model.head`.
    pub fn nested(self, plugin: &'static PluginRegistration, parameter: &str) -> Self {
        Self { plugin, parameter: Some(interned(parameter)), ..self }
    }

    /// Whether it is among the parameters of the node's own plugin.
    pub fn is_nested(self) -> bool {
        self.parameter.is_some()
    }

    /// A node's own plugin.
    pub fn of(node: &PlanNode) -> Self {
        Self::new(node.registration, &node.name)
    }

    /// The node's name.
    pub fn node(self) -> &'static str {
        self.node
    }

    /// The plugin alone: ``the plugin `Adam` of zskt-optimizers 0.1.0``.
    pub fn plugin(self) -> impl fmt::Display {
        let PluginRegistration { name, crate_name, crate_version, .. } = self.plugin;
        format!("the plugin `{name}` of {crate_name} {crate_version}")
    }

    /// The plugin, for a message that has said of which node it is.
    pub fn within_node(self) -> impl fmt::Display {
        let parameter = self.parameter.map(|parameter| format!("parameter `{parameter}`: ")).unwrap_or_default();
        format!("{parameter}{}", self.plugin())
    }

    /// The plugin, for a message that passes whoever let its node work, which says of which node it is.
    pub fn within_what_is_at_work(self) -> String {
        let is_at_work = Self::at_work().is_some_and(|plugin| plugin.node == self.node);
        if is_at_work { self.within_node().to_string() } else { self.to_string() }
    }

    /// Lets the plugin work. If it panics, it is the one that [`take_panicked`](Self::take_panicked) gives, unless another one
    /// within it panicked; if it exits, it is the one that is blamed.
    pub fn call<T>(self, work: impl FnOnce() -> T) -> T {
        struct Within {
            plugin: PluginOfNode,
            outer: Option<PluginOfNode>,
        }
        impl Drop for Within {
            fn drop(&mut self) {
                AT_WORK.set(self.outer);
                if self.outer.is_none() {
                    exit_guard::leave();
                }
                // The innermost is the first to unwind, also when the panic came from another thread.
                if std::thread::panicking() && PANICKED.get().is_none() {
                    PANICKED.set(Some(self.plugin));
                }
            }
        }
        if !std::thread::panicking() {
            // A plugin may have caught the panic of another.
            PANICKED.set(None);
        }
        let outer = AT_WORK.replace(Some(self));
        if outer.is_none() {
            exit_guard::enter(self);
        }
        let _within = Within { plugin: self, outer };
        work()
    }

    /// The innermost plugin at work in this thread.
    pub fn at_work() -> Option<Self> {
        AT_WORK.try_with(Cell::get).ok().flatten()
    }

    /// The innermost plugin that the last panic came out of.
    pub fn take_panicked() -> Option<Self> {
        PANICKED.take()
    }
}

impl fmt::Display for PluginOfNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter {
            None => write!(f, "node `{}`: {}", self.node, self.plugin()),
            Some(parameter) => write!(f, "node `{}`, parameter `{parameter}`: {}", self.node, self.plugin()),
        }
    }
}

/// A name that lasts as long as the program, once for all that are called so: who is at work is then told without a destructor.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.into());
    names.insert(name);
    name
}
