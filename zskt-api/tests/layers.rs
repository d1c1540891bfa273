//! A network of many kinds of layers keeps its contract: its gradients are those of finite differences, in training and evaluation, and the
//! numbers that it draws are those of its batch.

use zskt_api::nn::{
    Activation, Conv2d, Conv2dShape, ConvTranspose2d, ConvTranspose2dShape, Dropout, GroupNorm, LayerNorm, Linear,
    StochasticDepth, concat, global_average,
};
use zskt_api::testing::conforms;
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, OutputShape, Result, params,
};

params! {
    /// A layer of each kind.
    pub struct Medley {
        /// Whether it claims that a GPU may replay it, which is wrong.
        pub replays: bool = false,
    }
}

impl ClassifierShape for Medley {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        if image != ImageShape::new(1, 8, 8) {
            return Err(CheckError::new("expected images 1×8×8"));
        }
        Ok(OutputShape { classes: 3, activations: Vec::new() })
    }

    fn classes(&self) -> usize {
        3
    }
}

impl Architecture for Medley {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let dilated = Conv2dShape { stride: 2, padding: 2, dilation: 2, ..Conv2dShape::same(1, 4, 3) };
        let grouped = ConvTranspose2dShape { groups: 2, ..ConvTranspose2dShape::doubling(4, 2) };
        Ok(Box::new(Layers {
            replays: self.replays,
            down: Conv2d::new(&builder.at("down"), dilated)?,
            groups: GroupNorm::new(&builder.at("groups"), 2, 4, Activation::Tanh)?,
            depth: StochasticDepth::new(&builder.at("depth"), 0.5)?,
            pixels: LayerNorm::new(&builder.at("pixels"), 4)?,
            up: ConvTranspose2d::new(&builder.at("up"), grouped)?,
            dropout: Dropout::new(&builder.at("dropout"), 0.25)?,
            vectors: LayerNorm::with_epsilon(&builder.at("vectors"), 3, 1e-3)?,
            head: Linear::without_bias(&builder.at("head"), 3, 3)?,
        }))
    }
}

struct Layers {
    replays: bool,
    down: Conv2d,
    groups: GroupNorm,
    depth: StochasticDepth,
    pixels: LayerNorm,
    up: ConvTranspose2d,
    dropout: Dropout,
    vectors: LayerNorm,
    head: Linear,
}

impl Classifier for Layers {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let small = self.groups.forward(&self.down.forward(images, mode)?, mode)?;
        let small = (&small + &self.depth.forward(&self.pixels.forward(&small, mode)?, mode)?)?;
        let large = concat(&[self.up.forward(&small, mode)?, images.clone()])?;
        let features = global_average(&self.dropout.forward(&large, mode)?)?;
        let features = self.dropout.forward_vectors(&self.vectors.forward_vectors(&features, mode)?, mode)?;
        Ok(ClassifierOutput { logits: self.head.forward(&features, mode)?, activations: Vec::new() })
    }

    fn replays(&self) -> bool {
        self.replays
    }
}

zskt_api::export! { reads: none; architecture: Medley }

#[test]
fn a_network_of_all_layers_keeps_its_contract() -> Result<()> {
    conforms("Medley")
}

#[test]
fn what_draws_in_each_batch_cannot_be_replayed() {
    let error = conforms("Medley(replays: true)").unwrap_err().to_string();
    assert!(error.contains("`replays` promises the same output each time"), "{error}");
}
