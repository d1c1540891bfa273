//! Which stages and syntheses are measured with fewer images at once than the run has: of large images a CPU may need minutes for a batch,
//! and more memory than there is.

use zskt_api::{PluginInstance, Signature};

use crate::plan::{Plan, PlanNode};
use crate::run::estimate::FewerImages;

/// Operations of a forward pass of every network, up to which as many images are measured at once as the run has. Training on them takes
/// about ten times as many.
pub const LIMIT: f64 = 250e9;

/// For batch norms.
const FEWEST: usize = 2;

/// The stages and syntheses with more images at once than the limit allows, where an image takes so many operations. What learns from
/// datasets is measured as it is: how many batches an epoch has depends on their size.
pub fn fewer_images(plan: &Plan, flop_per_image: f64, limit: f64) -> Vec<FewerImages> {
    let most = ((limit / flop_per_image) as usize).max(FEWEST);
    let fewer = |node: &PlanNode| {
        let (parameter, whole) = at_once(plan, node)?;
        (whole > most).then(|| FewerImages { node: node.name.clone(), parameter, measured: most, whole })
    };
    plan.nodes.iter().filter_map(fewer).collect()
}

/// The parameter that says how many images a node has at once.
fn at_once(plan: &Plan, node: &PlanNode) -> Option<(&'static str, usize)> {
    if let Some(Signature::Turn(turn)) = &node.signature {
        return Some(("images", turn.synthesis?.images));
    }
    let PluginInstance::Stage(stage) = &node.instance else { return None };
    let sources = node.inputs.iter().map(|edge| &plan.nodes[edge.from].signature);
    let has_data = sources.into_iter().any(|source| matches!(source, Some(Signature::Dataset(_))));
    if has_data { None } else { Some(("batch_size", stage.pace()?.batch_size)) }
}
