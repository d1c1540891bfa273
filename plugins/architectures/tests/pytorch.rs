//! Every architecture against PyTorch: logits, activations and the gradients of all weights.

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::serde_json::{self, Value};
use zskt_api::{Builder, FeatureMap, ForwardMode, Gradients, PluginInstance, Precision, Result, testing};
use zskt_architectures as _;
use zskt_tests::{assert_close, assert_gradients, fill, numbers, tensor};

#[test]
fn outputs_and_gradients_are_pytorchs() -> Result<()> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/architectures.json")).expect("a fixture is JSON");
    for (plugin, expected) in fixture.as_object().expect("architectures") {
        let PluginInstance::Architecture(architecture) = testing::plugin(plugin)? else {
            panic!("{plugin} is not one")
        };
        let builder = Builder::zeros(Precision::F64, &Device::Cpu);
        let (network, weights) = (architecture.build(&builder)?, builder.weights());
        fill(&weights, "network");
        let shape: Vec<_> = numbers(&expected["images"]).into_iter().map(|size| size as usize).collect();
        let images = FeatureMap::from_nchw(&tensor("images", &shape, 1.0))?;
        // In this order: learning moves the running statistics.
        for (name, mode) in [("frozen", ForwardMode::eval()), ("learning", ForwardMode::train())] {
            let output = network.forward(&images, mode)?;
            let energy = |map: &FeatureMap| -> Result<Tensor> { Ok(map.channels_last()?.sqr()?.sum_all()?) };
            let energies = output.activations.iter().map(energy).collect::<Result<Vec<_>>>()?;
            let what = format!("{plugin}, {name}");
            let found = Tensor::stack(&energies, 0)?.to_vec1()?;
            assert_close(&what, &found, &numbers(&expected[name]["energies"]), 1e-10);
            let logits = output.logits.flatten_all()?.to_vec1()?;
            assert_close(&what, &logits, &numbers(&expected[name]["logits"]), 1e-10);
            if mode.tracks_weights() {
                let energy = (output.logits.sqr()?.sum_all()? + Tensor::stack(&energies, 0)?.sum_all()?)?;
                let gradients = Gradients::of(&(energy * 0.5)?, weights.parameters())?;
                assert_eq!(gradients.iter().count(), weights.parameters().count(), "{plugin}");
                assert_gradients(&gradients, "network", &expected["gradients"], 1e-9);
            }
        }
    }
    Ok(())
}
