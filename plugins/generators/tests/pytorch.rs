//! Every generator against PyTorch: images, and the gradients of all weights.

use zskt_api::candle_core::Device;
use zskt_api::serde_json::{self, Value};
use zskt_api::{Builder, ForwardMode, Gradients, PluginInstance, Precision, Result, testing};
use zskt_generators as _;
use zskt_tests::{assert_close, assert_gradients, fill, numbers, tensor};

#[test]
fn images_and_gradients_are_pytorchs() -> Result<()> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/generators.json")).expect("a fixture is JSON");
    for (plugin, expected) in fixture.as_object().expect("generators") {
        let PluginInstance::Generator(architecture) = testing::plugin(plugin)? else { panic!("{plugin} is not one") };
        let builder = Builder::zeros(Precision::F64, &Device::Cpu);
        let (network, weights) = (architecture.build(&builder)?, builder.weights());
        fill(&weights, "network");
        let latents = tensor("latents", &[3, network.latent_dim()], 3f64.sqrt());
        // In this order: learning moves the running statistics.
        for (name, mode) in [("frozen", ForwardMode::eval()), ("learning", ForwardMode::train())] {
            let images = network.forward(&latents, mode)?.to_nchw()?.flatten_all()?;
            assert_close(&format!("{plugin}, {name}"), &images.to_vec1()?, &numbers(&expected[name]), 1e-9);
            if mode.tracks_weights() {
                let gradients = Gradients::of(&(images.sqr()? * images)?.sum_all()?, weights.parameters())?;
                assert_eq!(gradients.iter().count(), weights.parameters().count(), "{plugin}");
                assert_gradients(&gradients, "network", &expected["gradients"], 1e-9);
            }
        }
    }
    Ok(())
}
