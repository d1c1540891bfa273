//! Every optimizer against PyTorch's.

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::serde_json::{self, Value};
use zskt_api::{Builder, ForwardMode, Gradients, Init, PluginInstance, Precision, Result, testing};
use zskt_optimizers as _;
use zskt_tests::{assert_close, numbers};

#[test]
fn twenty_updates_are_pytorchs() -> Result<()> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/optimizers.json")).expect("a fixture is JSON");
    let [start, target] =
        ["weight", "target"].map(|name| Tensor::new(numbers(&fixture[name]), &Device::Cpu).expect("a tensor"));
    for (plugin, expected) in fixture["updated"].as_object().expect("optimizers") {
        let PluginInstance::Optimizer(optimizer) = testing::plugin(plugin)? else {
            panic!("{plugin} is not an optimizer")
        };
        let weight =
            Builder::zeros(Precision::F64, &Device::Cpu).parameter("weight", start.dims(), Init::Constant(0.0))?;
        weight.var().set(&start)?;
        let mut updates = optimizer.start(vec![weight.clone()])?;
        for step in 0..20 {
            if step == 10 {
                // Half-way, the state moves into a fresh optimizer, as it does when a run is resumed.
                let state = updates.state()?;
                updates = optimizer.start(vec![weight.clone()])?;
                updates.restore(&state)?;
            }
            let loss = (weight.tensor(ForwardMode::train()) - &target)?.sqr()?.sqr()?.sum_all()?;
            let gradients = Gradients::of(&loss, std::iter::once(&weight))?;
            updates.step(&gradients, optimizer.learning_rate())?;
        }
        assert_close(plugin, &weight.value().to_vec1()?, &numbers(expected), 1e-10);
    }
    Ok(())
}
