//! Classifiers: images in, logits and activations out.

use candle_core::Tensor;

use super::Network;
use crate::nn::Wanted;
use crate::{
    Builder, CheckError, ClassifierShape, FeatureMap, ForwardMode, NamedShapes, Recognized, Result, WeightLayout,
};

/// What a classifier gives for a batch of images.
#[derive(Clone)]
pub struct ClassifierOutput {
    /// Scores before the softmax, `[B, classes]`, of the precision's [`dtype`](crate::Precision::dtype).
    pub logits: Tensor,
    /// The activations that losses such as attention transfer compare, from input to output, each `[B, C, H, W]`; as many and as
    /// large as [`ClassifierShape`] says.
    pub activations: Vec<FeatureMap>,
}

impl ClassifierOutput {
    /// The same numbers, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { logits: self.logits.detach(), activations: self.activations.iter().map(FeatureMap::detach).collect() }
    }
}

/// A network that tells classes apart.
pub trait Classifier: Send + Sync {
    /// Logits and activations for `images`, `[B, C, H, W]`. `mode` goes to every layer and weight: it says whether the weights are
    /// tracked for gradients, and whose statistics batch norm uses. In evaluation they depend on the images and the network's weights alone,
    /// image by image: metrics share them.
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput>;

    /// Whether a GPU may capture [`forward`](Self::forward) once, in a CUDA graph, and replay it for other batches. `true` is right
    /// where all of these hold:
    ///
    /// - It computes with tensors of its device only: it reads no number on the host (`to_scalar`, `to_vec1`) and copies none to
    ///   the device, such as fresh random numbers.
    /// - What else it computes with is the same in every batch: a captured number stays what it was, so no factor may change
    ///   from call to call.
    /// - It takes the same path in every batch: no branch on numbers of the host, no shapes that change.
    /// - It changes no weight of a convolution, or calls [`forget_packed_weights`](crate::forget_packed_weights) when it has: on a GPU
    ///   convolutions read packed copies, which only updates write too.
    ///
    /// `false` unless a plugin says otherwise, so that one that knows nothing of this is never replayed.
    fn replays(&self) -> bool {
        false
    }
}

/// A classifier and its weights.
pub type ClassifierNetwork = Network<dyn Classifier>;

/// A plugin that makes classifiers.
///
/// ```
/// use zskt_api::nn::{Linear, global_average};
/// use zskt_api::{
///     Architecture, OutputShape, ClassifierOutput, Builder, Classifier, ClassifierShape, CheckError, FeatureMap, ImageShape, ForwardMode, Result,
///     params,
/// };
///
/// params! {
///     /// A linear layer on the mean colour of an image.
///     pub struct MeanColour {
///         /// Classes it tells apart.
///         pub classes: usize = 10 => 2..=1000,
///     }
/// }
///
/// impl ClassifierShape for MeanColour {
///     fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
///         if image.channels != 3 {
///             return Err(CheckError::new(format!("expected images of 3 channels, found {image}")));
///         }
///         Ok(OutputShape { classes: self.classes, activations: Vec::new() })
///     }
///
///     fn classes(&self) -> usize {
///         self.classes
///     }
/// }
///
/// impl Architecture for MeanColour {
///     fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
///         Ok(Box::new(Network { head: Linear::new(&builder.at("head"), 3, self.classes)? }))
///     }
/// }
///
/// struct Network {
///     head: Linear,
/// }
///
/// impl Classifier for Network {
///     fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
///         Ok(ClassifierOutput { logits: self.head.forward(&global_average(images)?, mode)?, activations: Vec::new() })
///     }
///
///     // Layers compute on the device only, and no number of the host changes.
///     fn replays(&self) -> bool {
///         true
///     }
/// }
///
/// zskt_api::export! { reads: none; architecture: MeanColour }
/// # fn main() {}
/// ```
pub trait Architecture: ClassifierShape {
    /// Whether its parameters go together, whatever the images are: asked once, before any shape. What depends on the images is
    /// for [`output_shape`](ClassifierShape::output_shape) to say.
    ///
    /// # Errors
    /// What does not go together; a fault of a parameter is shown where that is written.
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }

    /// Makes the network, asking the builder for each weight under PyTorch's name: weights are loaded and saved under it.
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>>;

    /// What can be seen within it beside its output. By default that is told by the weights that it asks for: override it where losses on
    /// batch norms' statistics, or on features, cannot work although these weights are there.
    fn observable(&self) -> Wanted {
        let all = Wanted { batch_norms: true, features: true };
        Builder::shapes_of(|builder| self.build(builder).map(drop)).map_or(all, |shapes| Wanted::in_network(&shapes))
    }

    /// The other names that files have for its weights. They are tried in this order where the names of a file are not the network's.
    fn layouts(&self) -> Vec<WeightLayout> {
        Vec::new()
    }

    /// With which parameters it has weights of these names and shapes, be it under the names of one of its [layouts](Self::layouts);
    /// `None` where it has such weights with no parameters. What stands before the names in a file, as `module.`, is taken off already;
    /// they are not renamed, and PyTorch's counters `num_batches_tracked` are among them where the file has them. For `ron`,
    /// [`Params::to_ron`](crate::Params::to_ron) writes a plugin, and [`Builder::shapes_of`] gives its shapes to compare with.
    fn recognize(weights: &NamedShapes) -> Option<Recognized>
    where
        Self: Sized,
    {
        let _ = weights;
        None
    }
}
