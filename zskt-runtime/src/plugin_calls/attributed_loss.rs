//! A loss that is tried before the run: a panic is the loss's.

use std::sync::Arc;

use candle_core::Tensor;
use zskt_api::{CheckError, ClassifierOutput, Loss, LossInputs, LossTarget, OutputShape, Result};

use super::attribution::PluginOfNode;

/// A loss, and the plugin that it is.
pub struct AttributedLoss {
    plugin: PluginOfNode,
    inner: Arc<dyn Loss>,
}

impl AttributedLoss {
    /// Wraps a loss.
    pub fn new(plugin: PluginOfNode, inner: Arc<dyn Loss>) -> Self {
        Self { plugin, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl Loss for AttributedLoss {
    fn needs(&self) -> LossInputs {
        self.plugin.call(|| self.inner.needs())
    }

    fn check(&self, student: &OutputShape, teacher: Option<&OutputShape>) -> Result<(), CheckError> {
        self.plugin.call(|| self.inner.check(student, teacher))
    }

    fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        self.plugin.call(|| self.inner.target(teacher))
    }

    fn value(&self, student: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
        self.plugin.call(|| self.inner.value(student, target))
    }

    fn replays(&self) -> bool {
        self.plugin.call(|| self.inner.replays())
    }
}
