//! A teacher from a file is held to the contract of its kind.

use std::collections::HashMap;

use zskt_api::candle_core::{Device, safetensors};
use zskt_api::nn::{Linear, global_average};
use zskt_api::testing::conforms;
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, OutputShape, Precision, RandomStreams, Result, params,
};
use zskt_teachers as _;

params! {
    /// Classifies images of three channels by their means.
    pub struct Means {}
}

impl ClassifierShape for Means {
    fn output_shape(&self, _: ImageShape) -> Result<OutputShape, CheckError> {
        Ok(OutputShape { classes: 4, activations: Vec::new() })
    }
    fn classes(&self) -> usize {
        4
    }
}

struct Layer(Linear);

impl Classifier for Layer {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        Ok(ClassifierOutput { logits: self.0.forward(&global_average(images)?, mode)?, activations: Vec::new() })
    }
}

impl Architecture for Means {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Layer(Linear::new(builder, 3, 4)?)))
    }
}

zskt_api::export! { architecture: Means }

#[test]
fn every_teacher_keeps_its_contract() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("means.safetensors");
    let builder = Builder::random(&RandomStreams::new(0), "means", Precision::F32, &Device::Cpu);
    Means {}.build(&builder)?;
    safetensors::save(&builder.weights().snapshot()?.into_iter().collect::<HashMap<_, _>>(), &path)?;
    conforms(&format!("Checkpoint(model: Means(), path: {path:?})"))
}
