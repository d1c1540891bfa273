//! Every metric against PyTorch, on two small networks and images of which some class has none; and where logits are not finite.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::nn::Linear;
use zskt_api::serde_json::{self, Value};
use zskt_api::{
    Batch, Builder, Classifier, ClassifierNetwork, ClassifierOutput, Dataset, DatasetSignature, FeatureMap,
    ForwardMode, ImageShape, Inputs, Measurement, MetricContext, Network, NodeOutput, PluginInstance, Precision,
    Result, StreamRng, testing,
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

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/metrics.json")).expect("a fixture is JSON")
}

/// What a metric finds of the fixture's two networks on these images.
fn measure(plugin: &str, fixture: &Value, pixels: Vec<f64>) -> Result<Measurement> {
    let labels = numbers(&fixture["labels"]);
    let [channels, height, width] = numbers(&fixture["size"])[..] else { panic!("[C, H, W]") };
    let shape = (labels.len(), channels as usize, height as usize, width as usize);
    let dataset = Images {
        images: Tensor::from_vec(pixels, shape, &Device::Cpu)?,
        labels: Tensor::from_iter(labels.into_iter().map(|label| label as u32), &Device::Cpu)?,
    };
    let PluginInstance::Metric(metric) = testing::plugin(plugin)? else { panic!("{plugin} is not a metric") };
    let mut inputs = Inputs::default();
    inputs.push("dataset", NodeOutput::Dataset(Arc::new(dataset)));
    for (port, name) in [("classifier", "student"), ("student", "student"), ("teacher", "teacher")] {
        if metric.ports().iter().any(|info| info.name == port) {
            inputs.push(port, NodeOutput::Classifier(network(name, fixture)?));
        }
    }
    let context = MetricContext::alone(testing::build_context("metric", Precision::F64), &std::env::temp_dir());
    metric.evaluate(inputs, &context)
}

#[test]
fn figures_are_pytorchs() -> Result<()> {
    let fixture = fixture();
    let metrics: Vec<_> = fixture.as_object().expect("metrics").iter().filter(|(name, _)| name.contains('(')).collect();
    assert_eq!(metrics.len(), 3);
    for (plugin, expected) in metrics {
        let mut found = measure(plugin, &fixture, numbers(&fixture["images"]))?.figures;
        // It has a test of its own.
        found.remove("confusion");
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

#[test]
fn a_confusion_matrix_has_a_row_for_each_label() -> Result<()> {
    let fixture = fixture();
    let labels = numbers(&fixture["labels"]);
    let mut pixels = numbers(&fixture["images"]);
    let mut accuracy = measure("Accuracy()", &fixture, pixels.clone())?.figures;
    let confusion = accuracy.remove("confusion").expect("a matrix");
    let per_class = accuracy["per_class"].as_array().expect("classes");
    assert_eq!(shape(&confusion), [4, 4]);
    for (label, row) in confusion.as_array().expect("rows").iter().enumerate() {
        let (row, count) = (numbers(row), labels.iter().filter(|known| **known == label as f64).count() as f64);
        assert_eq!(row.iter().sum::<f64>(), count, "{label}: {row:?}");
        assert_eq!(per_class[label].as_f64(), (count > 0.0).then(|| row[label] / count), "{label}: {row:?}");
    }
    // What has no prediction is in no column: an image of class 0, for which NaN has been taken.
    let lost = labels.iter().position(|label| *label == 0.0).expect("an image of class 0");
    let size = pixels.len() / labels.len();
    pixels[lost * size] = f64::INFINITY;
    let confusion = measure("Accuracy()", &fixture, pixels)?.figures.remove("confusion").expect("a matrix");
    assert_eq!(numbers(&confusion).iter().sum::<f64>(), labels.len() as f64 - 1.0);
    Ok(())
}

#[test]
fn what_is_not_finite_is_neither_right_nor_hidden() -> Result<()> {
    let (fixture, lost) = (fixture(), 7);
    let mut pixels = numbers(&fixture["images"]);
    let count = numbers(&fixture["labels"]).len();
    let size = pixels.len() / count;
    // Images of class 0, for which NaN has been taken.
    let of_class_0 = numbers(&fixture["labels"]).into_iter().enumerate().filter(|(_, label)| *label == 0.0);
    for (index, _) in of_class_0.take(lost) {
        pixels[index * size] = f64::INFINITY;
    }
    let before = measure("Accuracy()", &fixture, numbers(&fixture["images"]))?;
    let accuracy = measure("Accuracy()", &fixture, pixels.clone())?;
    assert_eq!(accuracy.figures["not_finite"], lost);
    assert!(accuracy.figures["top1"].as_f64() <= before.figures["top1"].as_f64(), "{accuracy:?}");
    assert!(accuracy.summary.contains("7 of them have logits that are NaN or infinite, which counts as wrong"));
    assert!(!before.summary.contains("infinite"), "{before:?}");

    let agreement = measure("Agreement()", &fixture, pixels.clone())?;
    assert_eq!((&agreement.figures["not_finite"], &agreement.figures["mean_kl"]), (&lost.into(), &Value::Null));
    assert!(agreement.figures["share"].as_f64() <= Some((count - lost) as f64 / count as f64), "{agreement:?}");
    assert!(agreement.summary.contains("there is no mean KL"), "{agreement:?}");

    let transition = measure("MeanTransitionError(images: 1000, steps: 2)", &fixture, pixels)?;
    assert_eq!((&transition.figures["not_finite"], &transition.figures["diverged"]), (&lost.into(), &0.into()));
    assert!(transition.figures["mean_transition_error"].is_number(), "{transition:?}");

    // Steps so long that they leave the finite numbers.
    let far = "MeanTransitionError(images: 20, steps: 3, learning_rate: 1e308)";
    let transition = measure(far, &fixture, numbers(&fixture["images"]))?;
    assert_eq!(transition.figures["mean_transition_error"], Value::Null);
    assert_ne!(transition.figures["diverged"], 0, "{transition:?}");
    assert!(transition.summary.contains("no mean transition error from 20 images"), "{transition:?}");
    Ok(())
}
