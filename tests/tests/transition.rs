//! Mean transition error against its definition, one image and one class at a time in PyTorch.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device};
use zskt_api::{
    Architecture, Batch, BuildContext, Builder, ClassifierNetwork, Dataset, DatasetSignature, FeatureMap, ImageShape,
    Metric, MetricContext, Network, Precision, Result, StreamRng, Streams,
};
use zskt_architectures::WideResNet;
use zskt_metrics::{MeanTransitionError, TransitionInputs};
use zskt_tests::{fill, fixture, numbers, relative_error, tensor};

struct Images;

impl Dataset for Images {
    fn signature(&self) -> DatasetSignature {
        DatasetSignature { image: ImageShape::new(3, 16, 16), classes: 10, images: 20 }
    }
    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        let all = tensor("transition.images", &[24, 3, 16, 16], 1.5);
        let images = all.narrow(0, 4 + indices[0], indices.len())?.to_dtype(dtype)?.to_device(device)?;
        let labels = zskt_api::candle_core::Tensor::zeros(indices.len(), DType::U32, device)?;
        Ok(Batch { images: FeatureMap::from_nchw(&images)?, labels })
    }
}

fn network(name: &str) -> ClassifierNetwork {
    let builder = Builder::zeros(Precision::F64, &Device::Cpu);
    let architecture = WideResNet { depth: 10, widen_factor: 1, classes: 10, channels: 3 };
    let forward = architecture.build(&builder).unwrap();
    fill(&builder.weights(), name);
    Network { name: name.into(), weights: builder.weights(), forward }
}

#[test]
fn the_error_and_both_curves_are_those_of_the_definition() {
    let (student, teacher) = (network("student"), network("teacher"));
    let (mine, theirs) = (student.weights.snapshot().unwrap(), teacher.weights.snapshot().unwrap());
    let blend: BTreeMap<_, _> = theirs
        .iter()
        .filter(|(_, tensor)| tensor.dtype() == DType::F64)
        .map(|(name, theirs)| (name.clone(), ((&mine[name] * 0.9).unwrap() + (theirs * 0.1).unwrap()).unwrap()))
        .collect();
    teacher.weights.load(&blend).unwrap();

    let expected = fixture("transition.json");
    let count = |name: &str| expected[name].as_u64().unwrap() as usize;
    let metric = MeanTransitionError {
        images: count("images"),
        steps: count("steps"),
        counted: count("counted"),
        learning_rate: 1.0,
    };
    let inputs = TransitionInputs { teacher: Arc::new(teacher), student: Arc::new(student), dataset: Arc::new(Images) };
    let context = MetricContext {
        build: BuildContext {
            node: "transition".into(),
            device: Device::Cpu,
            precision: Precision::F64,
            streams: Streams::new(0),
        },
        interrupted: Arc::new(|| false),
    };
    let found = metric.evaluate(&inputs, &context).unwrap().figures;
    for name in ["student_curve", "teacher_curve"] {
        let error = relative_error(&numbers(&found[name]), &numbers(&expected[name]));
        assert!(error < 1e-5, "{name} is off by {error:.1e}");
    }
    let error = |value: &serde_json::Value| value["mean_transition_error"].as_f64().unwrap();
    let (found, expected) = (error(&found.into()), error(&expected));
    assert!((found - expected).abs() < 1e-5, "found {found}, expected {expected}");
}
