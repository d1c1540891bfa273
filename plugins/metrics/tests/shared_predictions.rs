//! Metrics of one run share what networks make of a dataset.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Batch, Builder, Classifier, ClassifierNetwork, ClassifierOutput, Dataset, DatasetSignature, FeatureMap,
    ForwardMode, ImageShape, Init, Inputs, MetricContext, Network, NodeOutput, Parameter, PluginInstance, Precision,
    Result, StreamRng, testing,
};
use zskt_metrics as _;

/// More than one batch.
const IMAGES: usize = 300;

/// Images of zeros, half of which are of class 1.
struct Zeros;

impl Dataset for Zeros {
    fn signature(&self) -> DatasetSignature {
        DatasetSignature { image: ImageShape::new(1, 1, 1), classes: 2, images: IMAGES }
    }
    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        let images = FeatureMap::from_nchw(&Tensor::zeros((indices.len(), 1, 1, 1), dtype, device)?)?;
        Ok(Batch { images, labels: Tensor::from_iter(indices.iter().map(|index| *index as u32 % 2), device)? })
    }
}

/// The same logits for each image, which are its weight; and how many images it has seen.
struct Constant {
    logits: Parameter,
    seen: Arc<AtomicUsize>,
}

impl Classifier for Constant {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        self.seen.fetch_add(images.batch(), Ordering::Relaxed);
        let logits = self.logits.tensor(mode).reshape((1, 2))?.broadcast_as((images.batch(), 2))?.contiguous()?;
        Ok(ClassifierOutput { logits, activations: Vec::new() })
    }
}

fn constant(name: &str, logits: [f64; 2]) -> Result<(Arc<ClassifierNetwork>, Parameter, Arc<AtomicUsize>)> {
    let builder = Builder::zeros(Precision::F64, &Device::Cpu);
    let weight = builder.parameter("logits", &[2], Init::Constant(0.0))?;
    weight.var().set(&Tensor::new(&logits, &Device::Cpu)?)?;
    let seen = Arc::new(AtomicUsize::new(0));
    let forward = Box::new(Constant { logits: weight.clone(), seen: Arc::clone(&seen) });
    Ok((Arc::new(Network { name: name.into(), weights: builder.weights(), forward }), weight, seen))
}

#[test]
fn each_network_sees_the_images_once_while_its_weights_stay() -> Result<()> {
    let (teacher, _, seen_by_teacher) = constant("teacher", [0.0, 1.0])?;
    let (student, weight, seen_by_student) = constant("student", [1.0, 0.0])?;
    let dataset: Arc<dyn Dataset> = Arc::new(Zeros);
    let context = MetricContext::alone(testing::build_context("metric", Precision::F64), &std::env::temp_dir());
    let figure = |plugin: &str, figure: &str| -> Result<f64> {
        let PluginInstance::Metric(metric) = testing::plugin(plugin)? else { panic!("{plugin} is not a metric") };
        let mut inputs = Inputs::default();
        inputs.push("dataset", NodeOutput::Dataset(Arc::clone(&dataset)));
        inputs.push("teacher", NodeOutput::Classifier(Arc::clone(&teacher)));
        for port in ["student", "classifier"] {
            inputs.push(port, NodeOutput::Classifier(Arc::clone(&student)));
        }
        Ok(metric.evaluate(inputs, &context)?.figures[figure].as_f64().unwrap_or(f64::NAN))
    };
    let seen = || [&seen_by_teacher, &seen_by_student].map(|seen| seen.load(Ordering::Relaxed));
    assert_eq!([figure("Accuracy()", "top1")?, figure("Agreement()", "share")?], [0.5, 0.0]);
    assert_eq!(seen(), [IMAGES, IMAGES]);
    weight.var().set(&Tensor::new(&[0.0, 1.0], &Device::Cpu)?)?;
    assert_eq!([figure("Agreement()", "share")?, figure("Accuracy()", "top1")?], [1.0, 0.5]);
    assert_eq!(seen(), [IMAGES, 2 * IMAGES]);
    Ok(())
}
