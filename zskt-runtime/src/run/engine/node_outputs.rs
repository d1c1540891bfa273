//! The graph as it comes to life: each node's output, made from the outputs before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Tensor;
use zskt_api::{
    Builder, Context, Error, Inputs, Network, NodeOutput, Player, PluginInstance, Result, Signature, Turn, Weights,
};

use super::environment::Environment;
use crate::plan::{Plan, PlanNode};
use crate::plugin_calls::{Boundary, BuiltNetwork, CheckedOptimizer, CheckedSchedule, PluginOfNode, run_plugin};

/// The outputs of a plan's nodes.
pub struct NodeOutputs<'p> {
    plan: &'p Plan,
    environment: Environment,
    built: Vec<Option<NodeOutput>>,
    trained: BTreeSet<&'p str>,
}

impl<'p> NodeOutputs<'p> {
    /// Nothing is built yet.
    pub fn new(plan: &'p Plan, environment: Environment) -> Self {
        Self { plan, environment, built: vec![None; plan.nodes.len()], trained: plan.trained() }
    }

    /// A node's output, once it is there.
    pub fn get(&self, node: usize) -> Option<&NodeOutput> {
        self.built[node].as_ref()
    }

    /// A turn that is built, while nothing else has it.
    pub fn turn_mut(&mut self, node: usize) -> Option<&mut Turn> {
        match &mut self.built[node] {
            Some(NodeOutput::Turn(turn)) => Arc::get_mut(turn),
            _ => None,
        }
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
        let of_network = |name: &str| self.of_network(name).cloned();
        let output =
            run_plugin(PluginOfNode::of(node), || make(self.plan, node, inputs, &self.environment, of_network))?;
        self.built[index] = Some(output);
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

/// Builds what a node gives.
fn make(
    plan: &Plan,
    node: &PlanNode,
    inputs: Inputs,
    environment: &Environment,
    of_network: impl Fn(&str) -> Option<NodeOutput>,
) -> Result<NodeOutput> {
    let name = &node.name;
    let builder = Builder::random(&environment.streams, name, environment.precision, &environment.device);
    let built = |weights: &Weights, is_generator| {
        let (name, maker, trainers) = (name.clone(), PluginOfNode::of(node), plan.trainers(name));
        environment.inspector.add(BuiltNetwork { name, maker, weights: weights.clone(), is_generator, trainers });
    };
    Ok(match &node.instance {
        PluginInstance::Architecture(architecture) => {
            let forward = architecture.build(&builder)?;
            let weights = builder.weights();
            built(&weights, false);
            NodeOutput::Classifier(Arc::new(Network { name: name.clone(), weights, forward }))
        }
        PluginInstance::Generator(architecture) => {
            let forward = architecture.build(&builder, node.normalization.as_ref())?;
            let weights = builder.weights();
            built(&weights, true);
            NodeOutput::Generator(Arc::new(Network { name: name.clone(), weights, forward }))
        }
        PluginInstance::Teacher(source) => {
            let network = source.load(&environment.context(node))?;
            built(&network.weights, false);
            NodeOutput::Classifier(Arc::new(network))
        }
        PluginInstance::Dataset(source) => NodeOutput::Dataset(source.load(&environment.context(node))?),
        PluginInstance::Loss(loss) => NodeOutput::Loss(Arc::clone(loss)),
        PluginInstance::Turn(turn) => {
            let built = turn.build(name, inputs)?;
            check_player(node, &built, of_network)?;
            NodeOutput::Turn(Arc::new(checked_turn(node, &environment.boundary(node), built)))
        }
        PluginInstance::Stage(_)
        | PluginInstance::Metric(_)
        | PluginInstance::Optimizer(_)
        | PluginInstance::Schedule(_)
        | PluginInstance::Targets(_) => {
            return Err(Error::new(format!("a {} cannot be built", node.registration.kind)));
        }
    })
}

/// Whether a turn is called as its node, and updates the network that it declares.
fn check_player(node: &PlanNode, turn: &Turn, of_network: impl Fn(&str) -> Option<NodeOutput>) -> Result<()> {
    let plugin = PluginOfNode::of(node);
    if turn.name != node.name {
        return Err(Error::new(format!("{plugin} has to call its turn as its node, but called it `{}`", turn.name)));
    }
    let Some(declared) = node.signature.as_ref().and_then(Signature::network) else { return Ok(()) };
    let (found, same) = match (&turn.player, of_network(declared)) {
        (Player::Classifier(found), Some(NodeOutput::Classifier(built))) => (&found.name, Arc::ptr_eq(found, &built)),
        (Player::Generator(found), Some(NodeOutput::Generator(built))) => (&found.name, Arc::ptr_eq(found, &built)),
        (Player::Classifier(found), _) => (&found.name, false),
        (Player::Generator(found), _) => (&found.name, false),
    };
    if same {
        return Ok(());
    }
    Err(Error::new(format!("{plugin} declares that it updates the network `{declared}`, but updates `{found}`")))
}

/// The turn with its optimizer and schedule behind the boundary, where it made them itself: those among its parameters have their own.
fn checked_turn(node: &PlanNode, boundary: &Boundary, turn: Turn) -> Turn {
    let nested = |found: *const ()| {
        node.nested.iter().any(|nested| match nested.parsed.instance() {
            PluginInstance::Optimizer(optimizer) => std::ptr::eq(Arc::as_ptr(optimizer).cast(), found),
            PluginInstance::Schedule(schedule) => std::ptr::eq(Arc::as_ptr(schedule).cast(), found),
            _ => false,
        })
    };
    let optimizer = match turn.optimizer {
        own if !nested(Arc::as_ptr(&own).cast()) => Arc::new(CheckedOptimizer::new(boundary.clone(), own)),
        checked => checked,
    };
    let schedule = turn.schedule.map(|schedule| match schedule {
        own if !nested(Arc::as_ptr(&own).cast()) => Arc::new(CheckedSchedule::new(boundary.clone(), own)),
        checked => checked,
    });
    Turn { optimizer, schedule, ..turn }
}
