//! Which nodes train which networks.

use std::collections::BTreeSet;

use zskt_api::{PluginKind, Signature};

use crate::plan::{Plan, PlanNode};

/// The networks, by the nodes that make them, that a node trains: a stage those of its turns, too.
pub fn trained_by<'p>(plan: &'p Plan, node: &'p PlanNode) -> BTreeSet<&'p str> {
    let trains: Vec<_> =
        (node.registration.ports)().into_iter().filter(|port| port.trains).map(|port| port.name).collect();
    let trained = node.inputs.iter().filter_map(|edge| {
        let from = &plan.nodes[edge.from];
        match &from.signature {
            Some(Signature::Turn(turn)) => Some(turn.network.as_str()),
            signature if trains.contains(&edge.port.as_str()) => {
                Some(signature.as_ref().and_then(Signature::network).unwrap_or(&from.name))
            }
            _ => None,
        }
    });
    trained.collect()
}

/// All networks that are trained.
pub fn trained(plan: &Plan) -> BTreeSet<String> {
    plan.nodes.iter().flat_map(|node| trained_by(plan, node)).map(str::to_owned).collect()
}

/// The nodes whose learning rate moves a network: turns, or a stage that needs none.
pub fn trainers(plan: &Plan, network: &str) -> Vec<String> {
    let training = |kind| {
        let nodes = plan.nodes.iter().filter(move |node| node.registration.kind == kind);
        nodes.filter(|node| trained_by(plan, node).contains(network)).map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    let turns = training(PluginKind::Turn);
    if turns.is_empty() { training(PluginKind::Stage) } else { turns }
}
