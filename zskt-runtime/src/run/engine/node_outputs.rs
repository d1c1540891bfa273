//! The graph as it comes to life: each node's output, made from the outputs before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Tensor;
use zskt_api::{Builder, Context, Error, Inputs, Network, NodeOutput, PluginInstance, Result, Signature, Weights};

use super::catch_panics::run_plugin;
use super::environment::Environment;
use super::panic_attribution::AttributedPlugin;
use crate::plan::{Plan, PlanNode};

/// The outputs of a plan's nodes.
pub struct NodeOutputs<'p> {
    plan: &'p Plan,
    environment: Environment,
    built: Vec<Option<NodeOutput>>,
    trained: BTreeSet<String>,
}

impl<'p> NodeOutputs<'p> {
    /// Nothing is built yet.
    pub fn new(plan: &'p Plan, environment: Environment) -> Self {
        Self { plan, environment, built: vec![None; plan.nodes.len()], trained: trained(plan) }
    }

    /// A node's output, once it is there.
    pub fn get(&self, node: usize) -> Option<&NodeOutput> {
        self.built[node].as_ref()
    }

    /// Keeps the output of a stage.
    pub fn set(&mut self, node: usize, product: NodeOutput) {
        self.built[node] = Some(product);
    }

    /// Builds a node, unless it is built or waits for a stage. Stages and metrics are not built but run.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn build(&mut self, index: usize) -> Result<()> {
        let node = &self.plan.nodes[index];
        let waits = node.inputs.iter().any(|edge| self.built[edge.from].is_none());
        if self.built[index].is_some()
            || waits
            || matches!(node.instance, PluginInstance::Stage(_) | PluginInstance::Metric(_))
        {
            return Ok(());
        }
        let inputs = self.inputs(index)?;
        self.built[index] = Some(run_plugin(node, || make(node, inputs, &self.environment))?);
        Ok(())
    }

    /// What arrives at a node's ports.
    ///
    /// # Errors
    /// When a node before it is not built: the plan's order excludes that.
    pub fn inputs(&self, node: usize) -> Result<Inputs> {
        self.inputs_with(node, None)
    }

    /// What arrives at a node's ports, with an output in place of one that is not there yet.
    ///
    /// # Errors
    /// When another node before it is not built.
    pub fn inputs_with(&self, node: usize, other: Option<(usize, &NodeOutput)>) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        for edge in &self.plan.nodes[node].inputs {
            let product = match other {
                Some((from, product)) if from == edge.from => Some(product),
                _ => self.get(edge.from),
            };
            let missing = || {
                let (node, from) = (&self.plan.nodes[node].name, &self.plan.nodes[edge.from].name);
                Error::new(format!("node `{node}`: `{from}` is not built yet"))
            };
            inputs.push(&edge.port, product.ok_or_else(missing)?.clone());
        }
        Ok(inputs)
    }

    /// Whether all nodes before this one are built, taking one of them for granted.
    pub fn is_ready_but_for(&self, node: usize, granted: usize) -> bool {
        self.plan.nodes[node].inputs.iter().all(|edge| edge.from == granted || self.built[edge.from].is_some())
    }

    /// The output that is the network of this name.
    pub fn of_network(&self, name: &str) -> Option<&NodeOutput> {
        self.built.iter().flatten().find(|product| network(product).is_some_and(|(other, _)| other == name))
    }

    /// The weights, by network, of all that a later session cannot make anew: a teacher that nobody trains is left out,
    /// for it comes back from its file.
    pub fn weights(&self) -> BTreeMap<String, BTreeMap<String, Tensor>> {
        let mut kept = BTreeMap::new();
        for (node, product) in self.plan.nodes.iter().zip(&self.built) {
            let Some((name, weights)) = product.as_ref().and_then(network) else { continue };
            if self.trained.contains(name)
                || !matches!(node.instance, PluginInstance::Teacher(_) | PluginInstance::Stage(_))
            {
                kept.entry(name.to_owned()).or_insert_with(|| named_tensors(weights));
            }
        }
        kept
    }

    /// Gives networks the weights of a checkpoint.
    ///
    /// # Errors
    /// When a network is missing, or they do not fit.
    pub fn restore(&self, networks: &BTreeMap<String, BTreeMap<String, Tensor>>) -> Result<()> {
        for (name, tensors) in networks {
            let product = self.of_network(name).and_then(network);
            let (_, weights) = product.ok_or_else(|| Error::new(format!("there is no network `{name}`")))?;
            weights.load(tensors).context(format_args!("network `{name}`"))?;
        }
        Ok(())
    }
}

/// The networks that some node trains, by the node that makes them.
fn trained(plan: &Plan) -> BTreeSet<String> {
    let mut trained = BTreeSet::new();
    for node in &plan.nodes {
        let trains: Vec<_> =
            (node.registration.ports)().into_iter().filter(|port| port.trains).map(|port| port.name).collect();
        for edge in node.inputs.iter().filter(|edge| trains.contains(&edge.port.as_str())) {
            let from = &plan.nodes[edge.from];
            trained.insert(from.signature.as_ref().and_then(Signature::network).unwrap_or(&from.name).to_owned());
        }
    }
    trained
}

/// The name and the weights of the network that an output is.
pub fn network(product: &NodeOutput) -> Option<(&str, &Weights)> {
    match product {
        NodeOutput::Classifier(network) => Some((&network.name, &network.weights)),
        NodeOutput::Generator(network) => Some((&network.name, &network.weights)),
        NodeOutput::Dataset(_) | NodeOutput::Loss(_) | NodeOutput::Turn(_) => None,
    }
}

/// The weights under their names. They share memory with the network's: whoever keeps them for later must copy.
pub fn named_tensors(weights: &Weights) -> BTreeMap<String, Tensor> {
    weights.iter().map(|weight| (weight.name().to_owned(), weight.value())).collect()
}

fn make(node: &PlanNode, inputs: Inputs, environment: &Environment) -> Result<NodeOutput> {
    let name = &node.name;
    let plugin = node.registration;
    let random = || Builder::random(&environment.streams, name, environment.precision, &environment.device);
    Ok(match &node.instance {
        PluginInstance::Architecture(architecture) => {
            let builder = random();
            let forward = Box::new(AttributedPlugin::new(plugin, architecture.build(&builder)?));
            NodeOutput::Classifier(Arc::new(Network { name: name.clone(), weights: builder.weights(), forward }))
        }
        PluginInstance::Generator(architecture) => {
            let builder = random();
            let forward = Box::new(AttributedPlugin::new(plugin, architecture.build(&builder)?));
            NodeOutput::Generator(Arc::new(Network { name: name.clone(), weights: builder.weights(), forward }))
        }
        PluginInstance::Teacher(source) => {
            let Network { name, weights, forward } = source.load(&environment.context(name))?;
            let forward = Box::new(AttributedPlugin::new(plugin, forward));
            NodeOutput::Classifier(Arc::new(Network { name, weights, forward }))
        }
        PluginInstance::Dataset(source) => NodeOutput::Dataset(source.load(&environment.context(name))?),
        PluginInstance::Loss(loss) => NodeOutput::Loss(Arc::new(AttributedPlugin::new(plugin, Arc::clone(loss)))),
        PluginInstance::Turn(turn) => NodeOutput::Turn(Arc::new(turn.build(name, inputs)?)),
        PluginInstance::Stage(_)
        | PluginInstance::Metric(_)
        | PluginInstance::Optimizer(_)
        | PluginInstance::Schedule(_) => {
            return Err(Error::new(format!("a {} cannot be built", node.registration.kind)));
        }
    })
}
