//! The shapes of a classifier, asked for while another node is checked: a panic is the classifier's.

use std::sync::Arc;

use zskt_api::{CheckError, ClassifierShape, ImageShape, OutputShape};

use super::attribution::PluginOfNode;

/// The shapes of a classifier, and the plugin that tells them.
pub struct AttributedShape {
    plugin: PluginOfNode,
    inner: Arc<dyn ClassifierShape>,
}

impl AttributedShape {
    /// Wraps what tells the shapes.
    pub fn new(plugin: PluginOfNode, inner: Arc<dyn ClassifierShape>) -> Self {
        Self { plugin, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl ClassifierShape for AttributedShape {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.plugin.call(|| self.inner.output_shape(image))
    }

    fn classes(&self) -> usize {
        self.plugin.call(|| self.inner.classes())
    }
}
