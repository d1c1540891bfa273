//! Every generator against PyTorch: images, and the gradients of all weights and of the latents.

use zskt_api::candle_core::{Device, Tensor, Var};
use zskt_api::serde_json::{self, Value};
use zskt_api::tensor::backward;
use zskt_api::{
    Builder, ForwardMode, GeneratorInput, Gradients, Normalization, PluginInstance, Precision, Result, testing,
};
use zskt_generators as _;
use zskt_tests::{assert_close, assert_gradients, fill, numbers, tensor};

#[test]
fn images_and_gradients_are_pytorchs() -> Result<()> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/generators.json")).expect("a fixture is JSON");
    let cifar10 = Normalization { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2023, 0.1994, 0.2010] };
    for (plugin, expected) in fixture.as_object().expect("generators") {
        let PluginInstance::Generator(architecture) = testing::plugin(plugin)? else { panic!("{plugin} is not one") };
        for (precision, tolerance) in [(Precision::F64, 1e-9), (Precision::F32, 2e-4)] {
            let builder = Builder::zeros(precision, &Device::Cpu);
            let (network, weights) = (architecture.build(&builder, Some(&cifar10))?, builder.weights());
            fill(&weights, "network");
            let batch = architecture.batch_size().unwrap_or(3);
            let latents = tensor("latents", &[batch, network.latent_dim()], 3f64.sqrt());
            let latents = Var::from_tensor(&latents.to_dtype(precision.dtype())?)?;
            let labels = architecture.classes().map(|classes| {
                Tensor::from_iter((0..batch).map(|image| (image % classes) as u32), &Device::Cpu).expect("labels")
            });
            let input = GeneratorInput { latents: latents.as_tensor(), labels: labels.as_ref() };
            // In this order: learning moves the running statistics.
            for (name, mode) in [("frozen", ForwardMode::eval()), ("learning", ForwardMode::train())] {
                let images = network.forward(&input, mode)?.to_nchw()?.flatten_all()?;
                let found = images.to_dtype(zskt_api::candle_core::DType::F64)?.to_vec1()?;
                let what = format!("{plugin}, {name} in {precision:?}");
                assert_close(&what, &found, &numbers(&expected[name]), tolerance);
                // In f32, the gradient of a bias in front of a batch norm is rounding alone.
                if mode.tracks_weights() && precision == Precision::F64 {
                    let sum = (images.sqr()? * images)?.sum_all()?;
                    if let Some(of_latents) = backward(&sum)?.get(latents.as_tensor()) {
                        let found = of_latents.flatten_all()?.to_vec1()?;
                        assert_close(&what, &found, &numbers(&expected["latents"]), tolerance);
                    }
                    assert_eq!(network.latent_dim() == 0, expected.get("latents").is_none(), "{plugin}");
                    let gradients = Gradients::of(&sum, weights.parameters())?;
                    assert_eq!(gradients.iter().count(), weights.parameters().count(), "{plugin}");
                    assert_gradients(&gradients, "network", &expected["gradients"], tolerance);
                }
            }
        }
    }
    Ok(())
}
