//! Models with bytes changed anywhere: taken and computed, or refused, never a panic. Models that would take hours: refused.

use onnx_model::{Graph, Tensor as Constant};
use proptest::prelude::*;
use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::testing::build_context;
use zskt_api::{FeatureMap, ForwardMode, ImageShape, Precision};

use crate::{Nodes, fixture, saved, teacher};

#[test]
fn mutants_of_models_are_computed_or_refused() {
    let models =
        ["keras", "mobilenet_v3.17", "vgg.11"].map(|name| std::fs::read(fixture(&format!("{name}.onnx"))).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let images = Tensor::zeros((2, 3, 16, 16), DType::F32, &Device::Cpu).unwrap();
    let images = FeatureMap::from_nchw(&images).unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let changes = prop::collection::vec((0.0..1.0, any::<u8>(), any::<bool>()), 1..4);
    proptest!(config, |(model in prop::sample::select(models.to_vec()), changes in changes)| {
        let mut bytes = model;
        for (place, byte, flips) in changes {
            let place = (place * bytes.len() as f64) as usize;
            bytes[place] = if flips { bytes[place] ^ (1 << (byte % 8)) } else { byte };
        }
        std::fs::write(&path, &bytes).unwrap();
        let teacher = teacher(&path, "");
        if teacher.check().is_ok()
            && let Ok(shape) = teacher.output_shape(ImageShape::new(3, 16, 16))
            && let Ok(network) = teacher.load(&build_context("teacher", Precision::F32))
        {
            let output = network.forward.forward(&images, ForwardMode::eval());
            match output {
                Ok(output) => prop_assert_eq!(output.logits.dims(), [2, shape.classes]),
                Err(error) => prop_assert!(false, "what was promised fails: {}", error),
            }
        }
    });
}

#[test]
fn a_constant_is_not_read_by_every_node() {
    let mut graph = Graph::default();
    let mut constant = |name: &str, tensor| {
        let value = graph.add_value(name);
        graph.initializers.insert(value, tensor);
        value
    };
    let large = constant("large", Constant::of_f32(&[1 << 20], &vec![0.0; 1 << 20]));
    let [start, end] = [0, 1].map(|place| constant(&format!("{place}"), Constant::of_i64(&[1], &[place])));
    let x = graph.images("x");
    // Each makes one number of the whole constant: all of them would take minutes.
    let mut made: Vec<_> =
        (0..100_000).map(|node| graph.node(&format!("{node}"), "Slice", &[large, start, end])).collect();
    made.push(x);
    let output = graph.node("sum", "Sum", &made);
    let file = saved(graph, output);
    let help = teacher(file.path(), "").check().unwrap_err().help.unwrap_or_default();
    assert!(help.contains("`16` (Slice): the nodes up to it read the model's constants far too often"), "{help}");
}
