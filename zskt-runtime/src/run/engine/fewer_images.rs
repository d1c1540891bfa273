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

/// What is measured in place of a plan.
#[derive(Default)]
pub struct Reduction {
    /// Stages and syntheses, whose costs are to be multiplied.
    pub measured: Vec<FewerImages>,
    /// Generators whose weights are for batches of one size.
    generators: Vec<FewerImages>,
}

impl Reduction {
    /// Of a plan, where an image takes so many operations: what has more images at once than the limit allows, and a parameter that says how
    /// many. What learns from datasets is measured as it is: how many batches an epoch has depends on their size.
    pub fn of(plan: &Plan, flop_per_image: f64, limit: f64) -> Self {
        let most = ((limit / flop_per_image) as usize).max(FEWEST);
        let fewer = |node: &PlanNode, (parameter, whole): (&'static str, usize)| {
            let is_declared = (node.registration.parameters)().iter().any(|declared| declared.name == parameter);
            (is_declared && whole > most).then(|| FewerImages {
                node: node.name.clone(),
                parameter,
                measured: most,
                whole,
            })
        };
        let measured: Vec<_> = plan.nodes.iter().filter_map(|node| fewer(node, at_once(plan, node)?)).collect();
        let made = |(index, node): (usize, &PlanNode)| {
            let Some(Signature::Generator(generator)) = &node.signature else { return None };
            let whole = generator.batch_size?;
            // Who has as many of its images as before would be multiplied by nothing.
            let mut readers = plan.nodes.iter().filter(|reader| reader.inputs.iter().any(|edge| edge.from == index));
            if !readers.all(|reader| !has_images(reader) || measured.iter().any(|fewer| fewer.node == reader.name)) {
                return None;
            }
            ["batch_size", "images"].into_iter().find_map(|parameter| fewer(node, (parameter, whole)))
        };
        let generators = plan.nodes.iter().enumerate().filter_map(made).collect();
        Self { measured, generators }
    }

    /// The changes to the pipeline.
    pub fn settings(&self) -> Vec<String> {
        self.measured.iter().chain(&self.generators).map(FewerImages::setting).collect()
    }
}

/// Whether it has images made, so many at once: other turns learn on those of their stage.
fn has_images(node: &PlanNode) -> bool {
    !matches!(&node.signature, Some(Signature::Turn(turn)) if turn.synthesis.is_none())
}

/// How many images a stage or a synthesis has at once, and the parameter that says so.
fn at_once(plan: &Plan, node: &PlanNode) -> Option<(&'static str, usize)> {
    if let Some(Signature::Turn(turn)) = &node.signature {
        return Some(("images", turn.synthesis?.images));
    }
    let PluginInstance::Stage(stage) = &node.instance else { return None };
    let sources = node.inputs.iter().map(|edge| &plan.nodes[edge.from].signature);
    let has_data = sources.into_iter().any(|source| matches!(source, Some(Signature::Dataset(_))));
    if has_data { None } else { Some(("batch_size", stage.pace()?.batch_size)) }
}
