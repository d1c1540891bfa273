//! What the wrappers of one run's plugins have in common.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zskt_api::{Parameter, Result, Weights, WeightsDigest};

use super::attribution::PluginOfNode;

/// What the wrappers of one run's plugins have in common: the networks that there are, whether numbers are looked at, and how often it
/// was asked to look at weights. Clones are the same one.
#[derive(Clone, Default)]
pub struct Inspector(Arc<Shared>);

#[derive(Default)]
struct Shared {
    networks: Mutex<Vec<BuiltNetwork>>,
    looks_at_numbers: AtomicBool,
    round: AtomicUsize,
}

/// A network of the run.
#[derive(Clone)]
pub struct BuiltNetwork {
    /// Its name.
    pub name: String,
    /// What made it.
    pub maker: PluginOfNode,
    /// Its weights.
    pub weights: Weights,
    /// Whether it makes images.
    pub is_generator: bool,
    /// The nodes that update it.
    pub trainers: Vec<String>,
}

impl Inspector {
    /// Adds a network, or has it in place of one of its name.
    pub fn add(&self, network: BuiltNetwork) {
        let mut networks = self.0.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.retain(|other| other.name != network.name);
        networks.push(network);
    }

    /// Whether any network is built.
    fn has_networks(&self) -> bool {
        !self.0.networks.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The nodes that update the network of this name; nothing where there is no such network.
    pub fn trainers(&self, name: &str) -> Option<Vec<String>> {
        let networks = self.0.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.iter().find(|network| network.name == name).map(|network| network.trainers.clone())
    }

    /// The sum of all weights of all networks.
    ///
    /// # Errors
    /// When a device fails.
    pub fn digest(&self) -> Result<WeightsDigest> {
        WeightsDigest::of(self.networks().iter().flat_map(|network| network.weights.iter()))
    }

    /// All networks that are built.
    pub fn networks(&self) -> Vec<BuiltNetwork> {
        self.0.networks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every weight of every network but these.
    pub fn weights_but(&self, excepted: &[Parameter]) -> Vec<(BuiltNetwork, Parameter)> {
        let excepted: HashSet<_> = excepted.iter().map(|parameter| parameter.var().id()).collect();
        let all = self.networks().into_iter().flat_map(|network| {
            let weights: Vec<_> = network.weights.iter().cloned().collect();
            weights.into_iter().map(move |weight| (network.clone(), weight))
        });
        all.filter(|(_, weight)| !excepted.contains(&weight.var().id())).collect()
    }

    /// Does some work in which numbers that are not finite are an error, or are none.
    pub fn looking_at_numbers<T>(&self, looks: bool, work: impl FnOnce() -> T) -> T {
        let before = self.0.looks_at_numbers.swap(looks, Ordering::SeqCst);
        let result = work();
        self.0.looks_at_numbers.store(before, Ordering::SeqCst);
        result
    }

    /// Whether numbers that are not finite are an error now.
    pub fn looks_at_numbers(&self) -> bool {
        self.0.looks_at_numbers.load(Ordering::SeqCst)
    }

    /// Asks every plugin's wrapper to look, at its next call, which weights that call changes.
    pub fn next_round(&self) {
        self.0.round.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn round(&self) -> usize {
        self.0.round.load(Ordering::SeqCst)
    }
}

/// Whether a wrapper has looked at its weights in this round.
#[derive(Default)]
pub struct Looked(AtomicUsize);

impl Looked {
    /// Whether it is the first call of a round. On an accelerator, which would have to stop, only the first round counts. A check,
    /// in which there are no networks yet, is no round.
    pub fn is_due(&self, inspector: &Inspector, is_cpu: bool) -> bool {
        if !inspector.has_networks() {
            return false;
        }
        let round = if is_cpu { inspector.round() + 1 } else { 1 };
        self.0.swap(round, Ordering::SeqCst) != round
    }
}
