//! Every schedule against PyTorch's.

use zskt_api::serde_json::{self, Value};
use zskt_api::{PluginInstance, Result, testing};
use zskt_schedules as _;
use zskt_tests::{assert_close, numbers};

#[test]
fn fifty_factors_are_pytorchs() -> Result<()> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/schedules.json")).expect("a fixture is JSON");
    for (plugin, expected) in fixture.as_object().expect("schedules") {
        let PluginInstance::Schedule(schedule) = testing::plugin(plugin)? else { panic!("{plugin} is not a schedule") };
        let found: Vec<f64> = (0..50).map(|batch| schedule.factor(batch, 50)).collect();
        assert_close(plugin, &found, &numbers(expected), 1e-10);
    }
    Ok(())
}
