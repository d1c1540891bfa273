//! Networks under the names that other codebases give to their weights: known by names and shapes, and with PyTorch's logits.

use std::collections::BTreeMap;

use torch_checkpoint::Renames;
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::serde_json::{self, Value};
use zskt_api::{
    Architecture, Builder, FeatureMap, ForwardMode, NamedShapes, PluginInstance, Precision, Recognized, Registry,
    Result, WeightLayout, testing,
};
use zskt_architectures as _;
use zskt_tests::{assert_close, numbers, tensor, weight_of};

#[test]
fn networks_of_other_codebases_are_recognized_and_give_their_logits() -> Result<()> {
    for network in fixture() {
        let (source, model) = (text(&network["source"]), text(&network["model"]));
        let shapes = shapes(&network);
        let what = format!("{model} as {source} names it");
        let known = network.get("recognized").map_or(model, text);
        let found: Vec<_> = recognized(&shapes).into_iter().map(|recognized| recognized.ron).collect();
        assert_eq!(found, [known], "{what}");

        let PluginInstance::Architecture(architecture) = testing::plugin(model)? else { panic!("{model} is not one") };
        let builder = Builder::zeros(Precision::F32, &Device::Cpu);
        let (classifier, weights) = (architecture.build(&builder)?, builder.weights());
        let named = shapes.iter().map(|(name, shape)| (name.clone(), weight_of(source, name, shape))).collect();
        weights.load(
            &under_own_names(architecture.as_ref(), &named)?.unwrap_or_else(|| panic!("no layout fits {what}")),
        )?;
        let dimensions: Vec<_> = numbers(&network["images"]).into_iter().map(|size| size as usize).collect();
        let images = FeatureMap::from_nchw(&tensor("images", &dimensions, 1.0).to_dtype(DType::F32)?)?;
        let logits = classifier.forward(&images, ForwardMode::eval())?.logits;
        let logits = logits.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        assert_close(&what, &logits, &numbers(&network["logits"]), 1e-5);
    }
    Ok(())
}

#[test]
fn every_architecture_recognizes_its_own_names() -> Result<()> {
    let n = "classes: 100, channels: 3";
    for model in [
        format!("ResNet(depth: 18, stem: Cifar, {n}, width: 64)"),
        format!("ResNet(depth: 34, stem: ImageNet, {n}, width: 64)"),
        format!("ResNet(depth: 152, stem: ImageNet, {n}, width: 64)"),
        format!("CifarResNet(depth: 20, {n}, widths: [16, 16, 32, 64], shortcut: Convolution)"),
        format!("CifarResNet(depth: 32, {n}, widths: [32, 64, 128, 256], shortcut: Convolution)"),
        format!("CifarResNet(depth: 110, {n}, widths: [16, 16, 32, 64], shortcut: Padding)"),
        format!("Vgg(depth: 16, batch_norm: true, head: [], {n}, width: 64, pooled: 1, poolings: 5)"),
        format!("Vgg(depth: 19, batch_norm: false, head: [512, 512], {n}, width: 64, pooled: 1, poolings: 5)"),
        format!("Vgg(depth: 11, batch_norm: true, head: [4096, 4096], {n}, width: 64, pooled: 7, poolings: 5)"),
        format!("MobileNetV2(width: 1.0, strides: Cifar, {n}, variant: Original)"),
        format!("MobileNetV2(width: 0.35, strides: Cifar, {n}, variant: Original)"),
        format!("MobileNetV2(width: 2.15, strides: Cifar, {n}, variant: Original)"),
        format!("MobileNetV2(width: 1.0, strides: Cifar, {n}, variant: Kuangliu)"),
        format!("MobileNetV2(width: 0.5, strides: Cifar, {n}, variant: Weiaicunzai)"),
        format!("MobileNetV2(width: 0.35, strides: Cifar, {n}, variant: RepDistiller)"),
        format!("WideResNet(depth: 40, widen_factor: 2, {n}, variant: Original)"),
        format!("LeNet({n}, size: 28)"),
    ] {
        let PluginInstance::Architecture(architecture) = testing::plugin(&model)? else { panic!("{model} is not one") };
        let shapes = Builder::shapes_of(|builder| architecture.build(builder))?;
        let found: Vec<_> = recognized(&shapes).into_iter().map(|recognized| recognized.ron).collect();
        assert_eq!(found, [model]);
    }
    Ok(())
}

#[test]
fn other_networks_are_not_recognized() {
    for network in fixture() {
        let shapes = shapes(&network);
        let model = text(&network["model"]);
        let changed = |change: &dyn Fn(&mut NamedShapes)| {
            let mut changed = shapes.clone();
            change(&mut changed);
            recognized(&changed).into_iter().map(|recognized| recognized.ron).collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        let (first, last) = (shapes.keys().next().expect("names"), shapes.keys().next_back().expect("names"));
        assert_eq!(changed(&|shapes| drop(shapes.remove(first))), none, "{model} without {first}");
        assert_eq!(changed(&|shapes| drop(shapes.remove(last))), none, "{model} without {last}");
        assert_eq!(changed(&|shapes| drop(shapes.insert("more.weight".into(), vec![3]))), none, "{model} and more");
        assert_eq!(changed(&|shapes| shapes.values_mut().for_each(|shape| shape.push(1))), none, "{model}");
        // Whatever a file says, nothing takes room or panics for it.
        let huge = |shapes: &mut NamedShapes| shapes.values_mut().flatten().for_each(|size| *size = usize::MAX / 2);
        assert_eq!(changed(&huge), none, "{model}");
        assert_eq!(changed(&|shapes| shapes.values_mut().flatten().for_each(|size| *size = 0)), none, "{model}");
    }
}

fn fixture() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/layouts.json")).expect("a fixture is JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn shapes(network: &Value) -> NamedShapes {
    let weights = network["weights"].as_object().expect("weights");
    let shape = |shape: &Value| numbers(shape).into_iter().map(|size| size as usize).collect();
    weights.iter().map(|(name, sizes)| (name.clone(), shape(sizes))).collect()
}

/// What every architecture says.
fn recognized(shapes: &NamedShapes) -> Vec<Recognized> {
    let registry = Registry::get().unwrap_or_else(|problem| panic!("{}", problem.message));
    registry.iter().filter_map(|plugin| (plugin.recognize)(shapes)).collect()
}

fn under_own_names(
    architecture: &dyn Architecture,
    named: &BTreeMap<String, Tensor>,
) -> Result<Option<BTreeMap<String, Tensor>>> {
    let shapes = Builder::shapes_of(|builder| architecture.build(builder))?;
    let own = WeightLayout { source: "own", renames: Vec::new() };
    for layout in [own].into_iter().chain(architecture.layouts()) {
        let renames = Renames::new(layout.renames.iter().map(|(from, to)| (from.as_str(), to.as_str())));
        let renames = renames.expect("the layouts of an architecture are patterns");
        let renamed: BTreeMap<_, _> =
            named.iter().map(|(name, tensor)| (renames.apply(name).into_owned(), tensor.clone())).collect();
        if renamed.len() == named.len() && renamed.keys().all(|name| shapes.contains_key(name)) {
            return Ok(Some(renamed));
        }
    }
    Ok(None)
}
