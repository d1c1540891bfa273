//! How many multiplications a network takes for an image, counted by running it on a black one.

use candle_core::{DType, Device, Tensor};
use zskt_api::tensor::flop;
use zskt_api::{
    BuildContext, Builder, Classifier, FeatureMap, ForwardMode, ImageShape, PluginInstance, Precision, RandomStreams,
    Result,
};

/// The multiplications of the convolutions and fully connected layers of the classifier that a plugin makes; `None` where it makes none,
/// or its file cannot be read.
pub fn of(plugin: &PluginInstance, image: ImageShape) -> Option<u64> {
    match plugin {
        PluginInstance::Architecture(architecture) => {
            let network = architecture.build(&Builder::zeros(Precision::F32, &Device::Cpu)).ok()?;
            counted(&*network, image).ok()
        }
        PluginInstance::Teacher(teacher) => {
            let context = BuildContext {
                node: "teacher".into(),
                device: Device::Cpu,
                precision: Precision::F32,
                streams: RandomStreams::new(0),
                normalization: None,
            };
            counted(&*teacher.load(&context).ok()?.forward, image).ok()
        }
        _ => None,
    }
}

fn counted(network: &dyn Classifier, image: ImageShape) -> Result<u64> {
    let black = Tensor::zeros((1, image.channels, image.height, image.width), DType::F32, &Device::Cpu)?;
    let before = flop::done();
    network.forward(&FeatureMap::from_nchw(&black)?, ForwardMode::eval())?;
    // Two operations are a multiplication and an addition.
    Ok((flop::done() - before) / 2)
}
