//! Whether networks can be built at all: a `build` may fail whatever the weights are, as one does that gives two of them the same name.

use std::cell::RefCell;
use std::collections::HashSet;

use zskt_api::{CheckError, ParsedPlugin, PluginInstance, PluginRegistration, Reads};

use crate::parameter_count;
use crate::plan::reads_of;

/// The check of one pipeline's networks, be they nodes or among the parameters of nodes.
pub struct Buildable {
    skip_files: bool,
    /// Those that can be built, as RON text: equal ones are built once.
    known: RefCell<HashSet<String>>,
}

impl Buildable {
    /// Of a pipeline whose files are skipped, or not.
    pub fn new(skip_files: bool) -> Self {
        Self { skip_files, known: RefCell::default() }
    }

    /// Why a plugin cannot build its network, if it makes one. Without the files that a plugin may read, nobody knows.
    pub fn fault(&self, registration: &PluginRegistration, plugin: &ParsedPlugin) -> Option<CheckError> {
        let makes_network = matches!(plugin.instance(), PluginInstance::Architecture(_) | PluginInstance::Generator(_));
        let may_miss_files = self.skip_files && reads_of(registration, &plugin.paths) != Some(Reads::None);
        if !makes_network || may_miss_files || self.known.borrow().contains(&plugin.ron) {
            return None;
        }
        match parameter_count::check(plugin.instance()) {
            Ok(()) => {
                self.known.borrow_mut().insert(plugin.ron.clone());
                None
            }
            Err(error) => Some(CheckError::new(format!("its network cannot be built: {error}"))),
        }
    }
}
