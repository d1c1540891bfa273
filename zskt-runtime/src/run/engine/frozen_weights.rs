//! What a stage does not train, and all that a metric looks at, has the same bits before and after.

use std::collections::BTreeSet;

use zskt_api::{Error, Result, Role, WeightsDigest};

use crate::plugin_calls::{BuiltNetwork, Inspector, PluginOfNode};

/// The weights that a plugin must leave alone, as they were.
pub struct FrozenWeights {
    plugin: PluginOfNode,
    networks: Vec<FrozenNetwork>,
}

struct FrozenNetwork {
    network: BuiltNetwork,
    /// Whether its running statistics may move.
    moves: bool,
    digest: WeightsDigest,
}

impl FrozenWeights {
    /// All that are built, for a metric.
    ///
    /// # Errors
    /// When the device fails.
    pub fn all(plugin: PluginOfNode, inspector: &Inspector) -> Result<Self> {
        Self::take(plugin, inspector.networks().into_iter().map(|network| (network, false)))
    }

    /// Those that a stage does not train.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of_stage(plugin: PluginOfNode, inspector: &Inspector, trained: &BTreeSet<String>) -> Result<Self> {
        let networks = inspector.networks().into_iter();
        let frozen = networks.filter(|network| !trained.contains(&network.name));
        // A generator that nobody trains makes its images with the batch's statistics all the same.
        Self::take(plugin, frozen.map(|network| (network.clone(), network.is_generator)))
    }

    fn take(plugin: PluginOfNode, networks: impl Iterator<Item = (BuiltNetwork, bool)>) -> Result<Self> {
        let networks = networks.map(|(network, moves)| {
            let digest = WeightsDigest::of(fixed(&network, moves))?;
            Ok(FrozenNetwork { network, moves, digest })
        });
        Ok(Self { plugin, networks: networks.collect::<Result<_>>()? })
    }

    /// Compares them with what they are now.
    ///
    /// # Errors
    /// When one has changed: whose it is, and who may have changed it. The node is for the caller to add.
    pub fn check(&self) -> Result<()> {
        for FrozenNetwork { network, moves, digest } in &self.networks {
            let Some(weight) = digest.first_changed(fixed(network, *moves))? else { continue };
            let suspect = match weight.role() {
                Role::Parameter => String::new(),
                Role::Buffer => format!(", unless the network's own did in a forward pass, {}", network.maker.plugin()),
            };
            return Err(Error::new(format!(
                "the weight `{}` of the network `{}` changed while {} was at work, which does not train it: it, or a plugin that it \
                 called, did not leave every bit of it{suspect}",
                weight.name(),
                network.name,
                self.plugin.plugin()
            )));
        }
        Ok(())
    }
}

fn fixed(network: &BuiltNetwork, moves: bool) -> impl Iterator<Item = &zskt_api::Parameter> {
    network.weights.iter().filter(move |weight| !moves || weight.role() == Role::Parameter)
}
