//! Transition curves do not depend on how many pairs of an image and a class are moved together.

use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Batch, Builder, Dataset, DatasetSignature, FeatureMap, ImageShape, Inputs, Measurement, MetricContext, Network,
    NodeOutput, PluginInstance, Precision, Result, StreamRng, testing,
};
use zskt_architectures as _;
use zskt_metrics as _;
use zskt_tests::{assert_close, fill, numbers, tensor};

const IMAGES: usize = 12;

/// Noise without labels of its own: a transition asks for none.
struct Noise;

impl Dataset for Noise {
    fn signature(&self) -> DatasetSignature {
        DatasetSignature { image: ImageShape::new(3, 8, 8), classes: 10, images: IMAGES }
    }
    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        let indices = Tensor::from_iter(indices.iter().map(|index| *index as u32), device)?;
        let images = tensor("images", &[IMAGES, 3, 8, 8], 2.0).index_select(&indices, 0)?.to_dtype(dtype)?;
        Ok(Batch { images: FeatureMap::from_nchw(&images)?, labels: indices.zeros_like()? })
    }
}

/// What a metric finds of two residual networks, whose weights are those of these names.
fn measure(plugin: &str, precision: Precision) -> Result<Measurement> {
    let PluginInstance::Metric(metric) = testing::plugin(plugin)? else { panic!("{plugin} is not a metric") };
    let mut inputs = Inputs::default();
    inputs.push("dataset", NodeOutput::Dataset(Arc::new(Noise)));
    for (port, model) in
        [("teacher", "WideResNet(depth: 16, widen_factor: 1)"), ("student", "WideResNet(depth: 10, widen_factor: 1)")]
    {
        let PluginInstance::Architecture(architecture) = testing::plugin(model)? else { panic!("{model} is not one") };
        let builder = Builder::zeros(precision, &Device::Cpu);
        let forward = architecture.build(&builder)?;
        fill(&builder.weights(), "network");
        inputs.push(
            port,
            NodeOutput::Classifier(Arc::new(Network { name: port.into(), weights: builder.weights(), forward })),
        );
    }
    let build = testing::build_context("metric", precision);
    metric.evaluate(inputs, &MetricContext::alone(build, &std::env::temp_dir()))
}

#[test]
fn pairs_that_are_moved_together_go_where_each_goes_alone() -> Result<()> {
    for (precision, tolerance) in [(Precision::F64, 1e-10), (Precision::F32, 1e-5)] {
        let of_batches = |size| {
            let plugin = format!("MeanTransitionError(images: 3, steps: 8, counted: 5, batch_size: {size})");
            measure(&plugin, precision)
        };
        let (alone, uneven, together) = (of_batches(1)?, of_batches(7)?, of_batches(256)?);
        let Some(images) = alone.figures["images"].as_u64() else { panic!("{alone:?}") };
        assert!(images > 0, "{alone:?}");
        for (name, expected) in &alone.figures {
            for found in [&uneven, &together] {
                assert_close(name, &numbers(&found.figures[name]), &numbers(expected), tolerance);
            }
        }
    }
    Ok(())
}
