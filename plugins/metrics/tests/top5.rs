//! Whether a label is among the five most probable classes, counted by hand.

use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Batch, Builder, Classifier, ClassifierOutput, Dataset, DatasetSignature, FeatureMap, ForwardMode, ImageShape,
    Inputs, Measurement, MetricContext, Network, NodeOutput, PluginInstance, Precision, Result, StreamRng, testing,
};
use zskt_metrics as _;

/// Images whose pixels are the logits that a network is to have of them, and their labels.
struct Rows(Vec<(Vec<f64>, u32)>);

impl Dataset for Rows {
    fn signature(&self) -> DatasetSignature {
        let classes = self.0[0].0.len();
        DatasetSignature { image: ImageShape::new(1, 1, classes), classes, images: self.0.len() }
    }
    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        let pixels: Vec<f64> = indices.iter().flat_map(|index| self.0[*index].0.clone()).collect();
        let shape = (indices.len(), 1, 1, self.signature().classes);
        let images = FeatureMap::from_nchw(&Tensor::from_vec(pixels, shape, device)?.to_dtype(dtype)?)?;
        Ok(Batch { images, labels: Tensor::from_iter(indices.iter().map(|index| self.0[*index].1), device)? })
    }
}

/// Its logits are the pixels.
struct Pixels;

impl Classifier for Pixels {
    fn forward(&self, images: &FeatureMap, _: ForwardMode) -> Result<ClassifierOutput> {
        Ok(ClassifierOutput { logits: images.flatten()?, activations: Vec::new() })
    }
}

fn accuracy(rows: Vec<(Vec<f64>, u32)>) -> Result<Measurement> {
    let PluginInstance::Metric(metric) = testing::plugin("Accuracy()")? else { panic!("it is a metric") };
    let weights = Builder::zeros(Precision::F64, &Device::Cpu).weights();
    let forward: Box<dyn Classifier> = Box::new(Pixels);
    let mut inputs = Inputs::default();
    inputs.push("dataset", NodeOutput::Dataset(Arc::new(Rows(rows))));
    inputs.push("classifier", NodeOutput::Classifier(Arc::new(Network { name: "pixels".into(), weights, forward })));
    let context = MetricContext::alone(testing::build_context("metric", Precision::F64), &std::env::temp_dir());
    metric.evaluate(inputs, &context)
}

/// Class 0 is the most probable, and each next one is less so.
fn falling(classes: usize) -> Vec<f64> {
    (0..classes).map(|class| -(class as f64)).collect()
}

#[test]
fn five_classes_count_where_there_are_more_than_ten() -> Result<()> {
    let lost = |value: f64| [vec![value], falling(11)[1..].to_vec()].concat();
    let rows = vec![
        (falling(11), 0),
        (falling(11), 4),
        (falling(11), 5),
        (falling(11), 10),
        // Of equal classes the first five.
        (vec![1.0; 11], 4),
        (vec![1.0; 11], 5),
        // What is not finite has no order, wherever the label is.
        (lost(f64::NAN), 1),
        (lost(f64::INFINITY), 0),
    ];
    let found = accuracy(rows)?;
    assert_eq!([&found.figures["top1"], &found.figures["top5"]], [0.125, 0.375]);
    assert_eq!(found.figures["not_finite"], 2);
    assert!(
        found.summary.starts_with("12.50 % of 8 images right, 37.50 % among the first five; 2 of them"),
        "{found:?}"
    );
    let found = accuracy(vec![(falling(10), 0), (falling(10), 4)])?;
    assert!(!found.figures.contains_key("top5") && found.summary == "50.00 % of 2 images right", "{found:?}");
    Ok(())
}
