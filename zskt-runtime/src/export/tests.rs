//! Networks as ONNX models, read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use zskt_api::nn::{
    Activation, Conv2d, Conv2dShape, Linear, activate, activate_vectors, channel_shuffle, concat, global_average,
    multiply, narrow_channels,
};
use zskt_api::ops::linear;
use zskt_api::testing::{build_context, plugin};
use zskt_api::{
    Builder, Classifier, ClassifierOutput, FeatureMap, ForwardMode, ImageShape, Normalization, PluginInstance,
    Precision, RandomStreams, Result, TeacherSource, Weights, standard_normal,
};

use super::onnx_file::{Network, encode};

/// Networks, and the side of their images.
const NETWORKS: [(&str, usize); 9] = [
    ("LeNet(classes: 4)", 32),
    ("WideResNet(depth: 10, widen_factor: 1, classes: 4)", 16),
    ("ResNet(depth: 18, width: 8, classes: 4)", 32),
    ("CifarResNet(depth: 8, classes: 4, shortcut: Padding)", 16),
    ("Vgg(depth: 11, width: 8, head: [12], classes: 4)", 32),
    ("MobileNetV2(width: 0.25, classes: 4)", 32),
    ("MobileNetV2(width: 0.25, classes: 4, variant: Kuangliu)", 32),
    ("MobileNetV2(width: 0.25, classes: 4, variant: Weiaicunzai)", 32),
    ("MobileNetV2(width: 0.25, classes: 4, variant: RepDistiller)", 32),
];

fn images(image: ImageShape, count: usize) -> Result<FeatureMap> {
    let ImageShape { channels, height, width } = image;
    let numbers = standard_normal(&mut RandomStreams::new(0).named("images"), count * channels * height * width);
    let tensor = Tensor::from_vec(numbers, (count, channels, height, width), &Device::Cpu)?.to_dtype(DType::F32)?;
    FeatureMap::from_nchw(&tensor)
}

/// The network, with statistics that are not 0 and 1.
fn network(text: &str, images: &FeatureMap) -> Result<(Weights, Box<dyn Classifier>)> {
    let PluginInstance::Architecture(architecture) = plugin(text)? else { panic!("{text} is an architecture") };
    let builder = Builder::random(&RandomStreams::new(0), "network", Precision::F32, &Device::Cpu);
    let forward = architecture.build(&builder)?;
    forward.forward(images, ForwardMode::train())?;
    Ok((builder.weights(), forward))
}

fn logits(network: &dyn Classifier, images: &FeatureMap) -> Result<Vec<f32>> {
    Ok(network.forward(images, ForwardMode::eval())?.logits.flatten_all()?.to_vec1()?)
}

#[track_caller]
fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |scale, number| scale.max(number.abs()));
    let error = found.iter().zip(expected).fold(0_f32, |error, (a, b)| error.max((a - b).abs())) / scale;
    assert!(found.len() == expected.len() && error < 1e-5, "{what}: {error:.1e} of {scale}");
}

/// The teacher that is read from these bytes, and its file.
fn read_back(bytes: &[u8]) -> (Arc<dyn TeacherSource>, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let PluginInstance::Teacher(teacher) = plugin(&format!("Onnx(path: {:?})", file.path())).unwrap() else {
        panic!("Onnx is a teacher source");
    };
    teacher.check().unwrap();
    (teacher, file)
}

#[test]
fn every_architecture_becomes_a_model_with_the_same_logits() -> Result<()> {
    for (text, side) in NETWORKS {
        let image = ImageShape::new(3, side, side);
        let images = images(image, 5)?;
        let (weights, forward) = network(text, &images)?;
        let network = Network { forward: &*forward, weights: &weights, precision: Precision::F32, image, classes: 4 };
        let metadata = BTreeMap::from([
            ("mean".to_owned(), "[0.5, 0.5, 0.5]".to_owned()),
            ("std".to_owned(), "[0.25, 0.25, 0.25]".to_owned()),
        ]);
        let bytes = encode(&network, None, &metadata)?;
        assert_eq!(bytes, encode(&network, None, &metadata)?, "{text}: the same network gives the same bytes");
        let (teacher, _file) = read_back(&bytes);
        assert_eq!(teacher.output_shape(image)?.classes, 4);
        let normalization = Normalization { mean: vec![0.5; 3], std: vec![0.25; 3] };
        assert_eq!(teacher.normalization(), Some(normalization.clone()), "{text}");
        let read = teacher.load(&build_context("teacher", Precision::F32))?;
        assert_close(text, &logits(&*read.forward, &images)?, &logits(&*forward, &images)?);
        for weight in weights.iter().filter(|weight| !weight.name().ends_with("num_batches_tracked")) {
            assert!(read.weights.iter().any(|found| found.name() == weight.name()), "{text}: {}", weight.name());
        }

        // One that takes images with numbers from 0 to 1.
        let (teacher, _file) = read_back(&encode(&network, Some(&normalization), &metadata)?);
        assert_eq!(teacher.normalization(), Some(Normalization::identity(3)), "{text}");
        let read = teacher.load(&build_context("teacher", Precision::F32))?;
        let raw = FeatureMap::from_nchw(&((images.to_nchw()? * 0.25)? + 0.5)?)?;
        assert_close(text, &logits(&*read.forward, &raw)?, &logits(&*forward, &images)?);
    }
    Ok(())
}

#[test]
fn a_normalization_of_other_channels_is_not_exported() -> Result<()> {
    let image = ImageShape::new(3, 16, 16);
    let (weights, forward) = network("WideResNet(depth: 10, widen_factor: 1, classes: 4)", &images(image, 2)?)?;
    let network = Network { forward: &*forward, weights: &weights, precision: Precision::F32, image, classes: 4 };
    let two = Normalization { mean: vec![0.5; 2], std: vec![0.2; 2] };
    let error = encode(&network, Some(&two), &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("3 channels, and their normalization has 2 means and 2 standard deviations"), "{error}");
    Ok(())
}

#[test]
#[ignore = "needs a Python with tests/onnx-runtimes/requirements.txt, in ONNX_RUNTIMES_PYTHON"]
fn onnx_runtime_and_tract_find_the_same_logits() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for (index, (text, side)) in NETWORKS.into_iter().enumerate() {
        let image = ImageShape::new(3, side, side);
        let images = images(image, 256)?;
        let (weights, forward) = network(text, &images)?;
        let network = Network { forward: &*forward, weights: &weights, precision: Precision::F32, image, classes: 4 };
        let name = text.split('(').next().unwrap_or(text);
        let write = |ending: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(format!("{index}-{name}.{ending}")), bytes).unwrap();
        };
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        write("onnx", &encode(&network, None, &BTreeMap::new())?);
        write("images", &bytes(&images.to_nchw()?.flatten_all()?.to_vec1::<f32>()?));
        write("logits", &bytes(&logits(&*forward, &images)?));
    }
    let python = std::env::var_os("ONNX_RUNTIMES_PYTHON").unwrap_or_else(|| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/onnx-runtimes/check.py");
    let status = std::process::Command::new(python).arg(script).arg(folder.path()).status().unwrap();
    assert!(status.success());
    Ok(())
}

/// It computes with candle's own operations between layers.
struct Homemade(Linear, Linear);

impl Classifier for Homemade {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let hidden = self.0.forward(&global_average(images)?, mode)?.tanh()?;
        Ok(ClassifierOutput { logits: self.1.forward(&hidden, mode)?, activations: Vec::new() })
    }
}

#[test]
fn what_is_not_recorded_is_named() -> Result<()> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    let forward = Homemade(Linear::new(&builder.at("fc1"), 3, 4)?, Linear::new(&builder.at("fc2"), 4, 2)?);
    let weights = builder.weights();
    let image = ImageShape::new(3, 4, 4);
    let network = Network { forward: &forward, weights: &weights, precision: Precision::F32, image, classes: 2 };
    let error = encode(&network, None, &BTreeMap::new()).unwrap_err();
    let expected = "the fully connected layer with `fc2.weight` takes what is made by operations of candle's own, which are not \
                    recorded: use those of `ops` and `nn`";
    assert_eq!(error.to_string(), expected);
    Ok(())
}

/// A unit of ShuffleNetV2 with squeeze-and-excitation, and with GELU.
struct Shuffled {
    stem: Conv2d,
    branch: Conv2d,
    gate: Linear,
    fc: Linear,
}

impl Classifier for Shuffled {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let x = activate(&self.stem.forward(images, mode)?, Activation::Gelu)?;
        let (kept, branch) = (narrow_channels(&x, 0, 4)?, self.branch.forward(&narrow_channels(&x, 4, 4)?, mode)?);
        let gate = self.gate.forward(&global_average(&branch)?, mode)?;
        let gate = FeatureMap::from_vectors(&activate_vectors(&gate, Activation::Sigmoid)?)?;
        let shuffled = channel_shuffle(&concat(&[kept, multiply(&branch, &gate)?])?, 2)?;
        // Unlike a mean over all of them, it depends on their order.
        let logits = self.fc.forward(&narrow_channels(&shuffled, 1, 5)?.flatten()?, mode)?;
        Ok(ClassifierOutput { logits, activations: Vec::new() })
    }
}

#[test]
fn channel_shuffles_gates_and_gelu_are_exported() -> Result<()> {
    let builder = Builder::random(&RandomStreams::new(0), "network", Precision::F32, &Device::Cpu);
    let forward = Shuffled {
        stem: Conv2d::new(&builder.at("stem"), Conv2dShape::same(3, 8, 3))?,
        branch: Conv2d::new(&builder.at("branch"), Conv2dShape::same(4, 4, 3))?,
        gate: Linear::new(&builder.at("gate"), 4, 4)?,
        fc: Linear::new(&builder.at("fc"), 5 * 5 * 6, 3)?,
    };
    let (image, weights) = (ImageShape::new(3, 5, 6), builder.weights());
    let network = Network { forward: &forward, weights: &weights, precision: Precision::F32, image, classes: 3 };
    let (teacher, _file) = read_back(&encode(&network, None, &BTreeMap::new())?);
    let read = teacher.load(&build_context("teacher", Precision::F32))?;
    let images = images(image, 5)?;
    assert_close("shuffled", &logits(&*read.forward, &images)?, &logits(&forward, &images)?);
    Ok(())
}

/// Its layers share one weight, of which each takes a part.
struct Parts {
    weight: Tensor,
    bias: Tensor,
}

impl Classifier for Parts {
    fn forward(&self, images: &FeatureMap, _: ForwardMode) -> Result<ClassifierOutput> {
        let mut x = global_average(images)?;
        for first in [0, 3] {
            x = linear(&x, &self.weight.narrow(0, first, 3)?, &self.bias.narrow(0, first, 3)?)?;
        }
        Ok(ClassifierOutput { logits: linear(&x, &self.weight, &self.bias)?, activations: Vec::new() })
    }
}

#[test]
fn parts_of_a_weight_are_told_apart() -> Result<()> {
    let builder = Builder::random(&RandomStreams::new(0), "network", Precision::F32, &Device::Cpu);
    Linear::new(&builder.at("fc"), 3, 6)?;
    let weights = builder.weights();
    let of = |name: &str| weights.iter().find(|weight| weight.name() == name).map(|weight| weight.value().clone());
    let forward = Parts { weight: of("fc.weight").unwrap(), bias: of("fc.bias").unwrap() };
    let image = ImageShape::new(3, 4, 4);
    let network = Network { forward: &forward, weights: &weights, precision: Precision::F32, image, classes: 6 };
    let (teacher, _file) = read_back(&encode(&network, None, &BTreeMap::new())?);
    let read = teacher.load(&build_context("teacher", Precision::F32))?;
    let images = images(image, 5)?;
    assert_close("parts", &logits(&*read.forward, &images)?, &logits(&forward, &images)?);
    assert!(read.weights.iter().any(|weight| weight.name() == "fc.weight"), "the whole weight has its name");
    Ok(())
}
