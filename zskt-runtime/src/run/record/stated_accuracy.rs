//! Whether a teacher is as good as its user says: where it is not, its weights, its normalization or the order of its classes are others
//! than they should be.

use zskt_api::PluginInstance;

use crate::plan::{Plan, PlanNode};
use crate::run::resume::MeasuredMetric;

/// How far below its stated accuracy a teacher is measured where something is probably wrong, and not another version of the data.
const FAR: f64 = 0.05;

/// A warning, where what a metric found of a teacher is far below what the pipeline states.
pub fn warning(plan: &Plan, metric: &PlanNode, measured: &MeasuredMetric) -> Option<String> {
    let found = measured.figures.get("top1")?.as_f64()?;
    metric.inputs.iter().find_map(|edge| {
        let node = &plan.nodes[edge.from];
        let PluginInstance::Teacher(teacher) = &node.instance else { return None };
        let stated = teacher.accuracy().filter(|stated| found < stated - FAR)?;
        let (stated, found) = (100.0 * stated, 100.0 * found);
        Some(format!(
            "`{}` classifies {found:.2} % rightly in `{}`, but the pipeline states {stated:.2} %: its normalization, the order of its \
             classes or its weights may be others than they should be",
            node.name, metric.name
        ))
    })
}
