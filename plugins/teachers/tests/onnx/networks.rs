//! Logits and gradients beside PyTorch's.

use onnx_model::{Attribute, Graph, Tensor as Constant};
use serde_json::Value;
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::candle_nn::ops::softmax;
use zskt_api::testing::{build_context, conforms};
use zskt_api::{Builder, FeatureMap, ForwardMode, Gradients, ImageShape, Init, Normalization, Precision, Result};
use zskt_tests::{assert_close, numbers, tensor, uniform};

use crate::{Nodes, fixture, saved, teacher};

fn expected() -> Value {
    let text = std::fs::read_to_string(fixture("expected.json")).expect("the fixture is there");
    serde_json::from_str(&text).expect("a fixture is JSON")
}

fn to_vec(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

/// Logits for the images of the fixtures, and the gradient to the images of their sum, each weighted by a number of its own.
fn logits_and_gradient(model: &str, size: usize, precision: Precision) -> Result<(Vec<f64>, Vec<f64>)> {
    let network = teacher(&fixture(&format!("{model}.onnx")), "").load(&build_context("teacher", precision))?;
    let builder = Builder::zeros(precision, &Device::Cpu);
    let images = builder.parameter("images", &[2, 3, size, size], Init::Constant(0.0))?;
    images.var().set(&tensor("images", &[2, 3, size, size], 1.0).to_dtype(precision.dtype())?)?;
    let map = FeatureMap::from_nchw(&images.tensor(ForwardMode::train()))?;
    let logits = network.forward.forward(&map, ForwardMode::eval())?.logits;
    let weights = tensor("weights", logits.dims(), 1.0).to_dtype(precision.dtype())?;
    let gradients = Gradients::of(&(&logits * weights)?.sum_all()?, [&images].into_iter())?;
    let gradient = gradients.iter().next().expect("a gradient reaches the images").1.clone();
    Ok((to_vec(&logits)?, to_vec(&gradient)?))
}

#[test]
fn logits_and_gradients_of_images_are_those_of_pytorch() -> Result<()> {
    for (model, expected) in expected().as_object().expect("models by name") {
        let Some(logits) = expected.get("logits") else { continue };
        let size = expected["size"].as_u64().expect("a size") as usize;
        for precision in [Precision::F64, Precision::F32] {
            let (found, gradient) = logits_and_gradient(model, size, precision)?;
            assert_close(&format!("{model}, {precision:?}: logits"), &found, &numbers(logits), 1e-5);
            let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
            let projection: f64 = gradient.iter().zip(uniform("gradient", gradient.len())).map(|(x, u)| x * u).sum();
            let digest = numbers(&expected["gradient"]);
            assert_close(&format!("{model}, {precision:?}: gradient"), &[norm, projection], &digest, 1e-5);
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs the folder that tests/fixtures/make_teachers.py writes, in ONNX_MODELS"]
fn what_exporters_make_of_every_known_network_gives_its_logits() -> Result<()> {
    let folder = std::env::var_os("ONNX_MODELS").expect("ONNX_MODELS is a folder");
    let mut models: Vec<_> =
        std::fs::read_dir(folder).expect("it is there").map(|entry| entry.unwrap().path()).collect();
    models.retain(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    models.sort();
    assert!(!models.is_empty());
    for path in models {
        let floats = |ending: &str| -> Vec<f32> {
            let bytes = std::fs::read(path.with_extension(ending)).expect("it is beside the model");
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let network = teacher(&path, "").load(&build_context("teacher", Precision::F32))?;
        let images = floats("images");
        let side = (images.len() / 6).isqrt();
        let images = Tensor::from_vec(images, (2, 3, side, side), &Device::Cpu)?;
        let logits = network.forward.forward(&FeatureMap::from_nchw(&images)?, ForwardMode::eval())?.logits;
        let expected: Vec<f64> = floats("logits").into_iter().map(f64::from).collect();
        assert_close(&path.display().to_string(), &to_vec(&logits)?, &expected, 1e-5);
    }
    Ok(())
}

#[test]
fn channels_last_and_tensorflows_padding_are_those_of_onnx_runtime() -> Result<()> {
    let (logits, _) = logits_and_gradient("keras", 16, Precision::F32)?;
    let probabilities = softmax(&Tensor::from_vec(logits, (2, 5), &Device::Cpu)?, 1)?;
    let expected = numbers(&expected()["keras"]["probabilities"]);
    assert_close("probabilities", &to_vec(&probabilities)?, &expected, 1e-5);
    Ok(())
}

#[test]
fn it_is_said_where_the_network_is_from_and_what_was_taken_off() {
    let said = |model: &str| {
        let source = teacher(&fixture(model), "").weights_source().expect("it is sound").expect("there is a file");
        source.to_string().replace(&*fixture("").to_string_lossy(), "")
    };
    assert_eq!(said("vgg.18.onnx"), "`vgg.18.onnx`, ONNX by pytorch 2.15.0+cu132, operator set 18, output `output`");
    let keras = "`keras.onnx`, ONNX by tf2onnx, operator set 13, output `probabilities`, its softmax taken off: `model/dense/Softmax` (Softmax)";
    assert_eq!(said("keras.onnx"), keras);
}

#[test]
fn weights_have_pytorchs_names() -> Result<()> {
    let names = |model: &str| -> Result<Vec<String>> {
        let network = teacher(&fixture(model), "").load(&build_context("teacher", Precision::F32))?;
        Ok(network.weights.iter().map(|weight| weight.name().to_owned()).collect())
    };
    // Batch norm folded into convolutions, whose initializers then have numbers for names.
    assert_eq!(
        names("resnet.9.onnx")?[..4],
        ["conv1.bias", "conv1.weight", "layer1.0.conv1.bias", "layer1.0.conv1.weight"]
    );
    let whole = names("resnet.batch_norm.onnx")?;
    assert_eq!(
        whole[1..6],
        ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"]
    );
    for name in ["layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var", "fc.weight", "fc.bias"] {
        assert!(whole.iter().any(|found| found == name), "{name} in {whole:?}");
    }
    Ok(())
}

#[test]
fn activations_are_maps_by_the_name_of_a_node_or_a_value() -> Result<()> {
    let more = ", activations: [\"/layer1/layer1.0/relu_1/Relu\", \"/layer2/layer2.0/Add_output_0\"]";
    let teacher = teacher(&fixture("resnet.batch_norm.onnx"), more);
    let shape = teacher.output_shape(ImageShape::new(3, 32, 32))?;
    assert_eq!(shape.activations, [ImageShape::new(3, 8, 8), ImageShape::new(4, 4, 4)]);
    let network = teacher.load(&build_context("teacher", Precision::F32))?;
    let images = FeatureMap::from_nchw(&tensor("images", &[2, 3, 32, 32], 1.0).to_dtype(DType::F32)?)?;
    let activations = network.forward.forward(&images, ForwardMode::eval())?.activations;
    let numbers = to_vec(&activations[0].to_nchw()?)?;
    assert!(numbers.iter().all(|number| *number >= 0.0), "behind the activation");
    assert!(to_vec(&activations[1].to_nchw()?)?.iter().any(|number| *number < 0.0), "before the activation");
    Ok(())
}

#[test]
fn a_model_of_one_size_says_so() -> Result<()> {
    let teacher = teacher(&fixture("vgg.11.onnx"), "");
    assert_eq!(teacher.output_shape(ImageShape::new(3, 16, 16))?.classes, 5);
    let fault = teacher.output_shape(ImageShape::new(3, 32, 32)).unwrap_err();
    assert_eq!(fault.message, "expected images 3×16×16, found 3×32×32");
    Ok(())
}

/// How a model wants images that begins with these operations, each with a constant; `twice` takes the images beside them, too.
fn normalization(operations: &[(&str, &[f32])], twice: bool) -> Option<Normalization> {
    let mut graph = Graph::default();
    let images = graph.images("images");
    let mut made = images;
    for (index, (operation, numbers)) in operations.iter().enumerate() {
        let constant = graph.add_value(format!("constant{index}"));
        graph.initializers.insert(constant, onnx_model::Tensor::of_f32(&[1, numbers.len(), 1, 1], numbers));
        made = graph.node(&format!("node{index}"), operation, &[made, constant]);
    }
    if twice {
        made = graph.node("both", "Add", &[made, images]);
    }
    let pooled = graph.node("pool", "GlobalAveragePool", &[made]);
    let logits = graph.node("logits", "Flatten", &[pooled]);
    let file = saved(graph, logits);
    let teacher = teacher(file.path(), "");
    teacher.check().expect("it is taken");
    teacher.normalization()
}

#[test]
fn a_graph_that_begins_by_normalizing_takes_pixels_as_they_are() {
    let (mean, std): ([f32; 3], [f32; 3]) = ([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]);
    let pixels = Some(Normalization::identity(3));
    assert_eq!(normalization(&[("Sub", &mean), ("Div", &std)], false), pixels);
    assert_eq!(normalization(&[("Mul", &[2.0]), ("Sub", &[1.0])], false), pixels);
    let (factors, terms) = (std.map(|std| 1.0 / std), [0, 1, 2].map(|channel| -mean[channel] / std[channel]));
    assert_eq!(normalization(&[("Mul", &factors), ("Add", &terms)], false), pixels);

    assert_eq!(normalization(&[], false), None);
    assert_eq!(normalization(&[("Div", &[255.0]), ("Sub", &mean), ("Div", &std)], false), None, "pixels to 255");
    assert_eq!(normalization(&[("Mul", &[0.5])], false), None, "no mean is taken off");
    assert_eq!(normalization(&[("Sub", &mean), ("Div", &std)], true), None, "the images are taken as they are, too");
}

#[test]
fn every_model_keeps_the_contract_of_teachers() -> Result<()> {
    for model in ["mobilenet_v3.17", "densenet.18", "vgg.batch_norm"] {
        // Images of the only size that these are exported for are among those that are tried.
        conforms(&format!("Onnx(path: {:?})", fixture(&format!("{model}.onnx"))))?;
    }
    Ok(())
}

/// A split, an exchange of both parts, a shuffle and a slice of channels, to be computed from images; `target` is the shape in which the
/// shuffle puts channels together again.
fn shuffled(target: &[i64]) -> tempfile::NamedTempFile {
    let mut graph = Graph::default();
    let x = graph.images("x");
    let constant = |graph: &mut Graph, name: &str, numbers: &[i64]| {
        let value = graph.add_value(name);
        graph.initializers.insert(value, Constant::of_i64(&[numbers.len()], numbers));
        value
    };
    let along_channels = |graph: &mut Graph| {
        graph.nodes.last_mut().unwrap().attributes.insert("axis".into(), Attribute::Int(1));
    };
    let six = graph.node("/six", "Concat", &[x, x]);
    along_channels(&mut graph);
    let lengths = constant(&mut graph, "lengths", &[2, 4]);
    let first = graph.node("/split", "Split", &[six, lengths]);
    along_channels(&mut graph);
    let second = graph.add_value("second");
    graph.nodes.last_mut().unwrap().outputs.push(Some(second));
    let exchanged = graph.node("/exchange", "Concat", &[second, first]);
    along_channels(&mut graph);
    let [apart, together] =
        [("apart", &[0, 2, 3, 4, 4][..]), ("together", target)].map(|(name, shape)| constant(&mut graph, name, shape));
    let apart = graph.node("/apart", "Reshape", &[exchanged, apart]);
    let transposed = graph.node("/transpose", "Transpose", &[apart]);
    graph.nodes.last_mut().unwrap().attributes.insert("perm".into(), Attribute::Ints(vec![0, 2, 1, 3, 4]));
    let together = graph.node("/together", "Reshape", &[transposed, together]);
    let [start, end, axis] =
        [("start", 1), ("end", -2), ("axis", 1)].map(|(name, number)| constant(&mut graph, name, &[number]));
    let part = graph.node("/slice", "Slice", &[together, start, end, axis]);
    let pooled = graph.node("/pool", "GlobalAveragePool", &[part]);
    let output = graph.node("/flatten", "Flatten", &[pooled]);
    saved(graph, output)
}

#[test]
fn channels_are_split_sliced_and_shuffled() -> Result<()> {
    let file = shuffled(&[0, -1, 4, 4]);
    let network = teacher(file.path(), "").load(&build_context("teacher", Precision::F64))?;
    // Each channel of an image has one number.
    let images = Tensor::new(&[[0.0, 1.0, 2.0], [3.0, 5.0, 7.0]], &Device::Cpu)?.reshape((2, 3, 1, 1))?;
    let images = FeatureMap::from_nchw(&images.broadcast_as((2, 3, 4, 4))?.contiguous()?)?;
    let logits = network.forward.forward(&images, ForwardMode::eval())?.logits;
    // Channels 0 1 2 0 1 2, exchanged 2 0 1 2 0 1, shuffled 2 2 0 0 1 1.
    assert_eq!(to_vec(&logits)?, [2.0, 0.0, 0.0, 7.0, 3.0, 3.0]);
    // Channels that stay in groups are not those of a map.
    let fault = teacher(shuffled(&[0, 3, 2, 4, 4]).path(), "").check().unwrap_err();
    let help = fault.help.unwrap_or_default();
    assert!(help.contains("`/together` (Reshape): it makes [0, 3, 2, 4, 4] of `NCGHW`"), "{help}");
    Ok(())
}
