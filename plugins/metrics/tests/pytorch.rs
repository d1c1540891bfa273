//! Every metric against PyTorch, on two small networks and images of which some class has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::nn::Linear;
use zskt_api::serde_json::{self, Value};
use zskt_api::{
    Batch, Builder, Classifier, ClassifierNetwork, ClassifierOutput, Dataset, DatasetSignature, FeatureMap,
    ForwardMode, ImageShape, Inputs, MetricContext, Network, NodeOutput, PluginInstance, Precision, Result, StreamRng,
    testing,
};
use zskt_metrics as _;
use zskt_tests::{assert_close, numbers, shape};

struct Images {
    images: Tensor,
    labels: Tensor,
}

impl Dataset for Images {
    fn signature(&self) -> DatasetSignature {
        let (images, channels, height, width) = self.images.dims4().expect("[N, C, H, W]");
        DatasetSignature { image: ImageShape::new(channels, height, width), classes: 4, images }
    }
    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, _: &Device) -> Result<Batch> {
        let indices = Tensor::from_iter(indices.iter().map(|index| *index as u32), &Device::Cpu)?;
        let images = FeatureMap::from_nchw(&self.images.index_select(&indices, 0)?.to_dtype(dtype)?)?;
        Ok(Batch { images, labels: self.labels.index_select(&indices, 0)? })
    }
}

/// PyTorch's `Sequential(Linear, ReLU, Linear)`.
struct TwoLayers(Linear, Linear);

impl Classifier for TwoLayers {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let hidden = self.0.forward(&images.flatten()?, mode)?.relu()?;
        Ok(ClassifierOutput { logits: self.1.forward(&hidden, mode)?, activations: Vec::new() })
    }
}

fn network(name: &str, fixture: &Value) -> Result<Arc<ClassifierNetwork>> {
    let builder = Builder::zeros(Precision::F64, &Device::Cpu);
    let forward = Box::new(TwoLayers(Linear::new(&builder.at("0"), 4, 6)?, Linear::new(&builder.at("2"), 6, 4)?));
    let weights = fixture["weights"][name].as_object().expect("weights");
    let tensor = |value| Tensor::from_vec(numbers(value), shape(value), &Device::Cpu);
    let tensors = weights.iter().map(|(name, value)| Ok((name.clone(), tensor(value)?)));
    builder.weights().load(&tensors.collect::<Result<BTreeMap<_, _>>>()?)?;
    Ok(Arc::new(Network { name: name.into(), weights: builder.weights(), forward: forward as Box<dyn Classifier> }))
}

#[test]
fn figures_are_pytorchs() -> Result<()> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/metrics.json")).expect("a fixture is JSON");
    let (images, labels) = (numbers(&fixture["images"]), numbers(&fixture["labels"]));
    let [channels, height, width] = numbers(&fixture["size"])[..] else { panic!("[C, H, W]") };
    let shape = (labels.len(), channels as usize, height as usize, width as usize);
    let dataset: Arc<dyn Dataset> = Arc::new(Images {
        images: Tensor::from_vec(images, shape, &Device::Cpu)?,
        labels: Tensor::from_iter(labels.into_iter().map(|label| label as u32), &Device::Cpu)?,
    });
    let [student, teacher] = ["student", "teacher"].map(|name| network(name, &fixture).map(NodeOutput::Classifier));
    let (student, teacher) = (student?, teacher?);
    let context =
        MetricContext { build: testing::build_context("metric", Precision::F64), interrupted: Arc::new(|| false) };
    let metrics: Vec<_> = fixture.as_object().expect("metrics").iter().filter(|(name, _)| name.contains('(')).collect();
    assert_eq!(metrics.len(), 3);
    for (plugin, expected) in metrics {
        let PluginInstance::Metric(metric) = testing::plugin(plugin)? else { panic!("{plugin} is not a metric") };
        let mut inputs = Inputs::default();
        inputs.push("dataset", NodeOutput::Dataset(Arc::clone(&dataset)));
        for (port, network) in [("classifier", &student), ("student", &student), ("teacher", &teacher)] {
            if metric.ports().iter().any(|info| info.name == port) {
                inputs.push(port, network.clone());
            }
        }
        let found = metric.evaluate(inputs, &context)?.figures;
        let expected = expected.as_object().expect("figures");
        assert!(found.keys().eq(expected.keys()), "{plugin}: {found:?}");
        for (name, expected) in expected {
            let what = format!("{plugin}, {name}");
            let missing =
                |value: &Value| -> Vec<bool> { value.as_array().into_iter().flatten().map(Value::is_null).collect() };
            assert_eq!(missing(&found[name]), missing(expected), "{what}");
            assert_close(&what, &numbers(&found[name]), &numbers(expected), 1e-10);
        }
    }
    Ok(())
}
