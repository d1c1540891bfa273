//! Classifiers.

mod lenet;
mod wide_resnet;

pub use lenet::LeNet;
pub use wide_resnet::WideResNet;

zskt_api::export! { reads: none; architecture: WideResNet, LeNet }

#[cfg(test)]
mod tests {
    use zskt_api::Result;
    use zskt_api::testing::conforms;

    #[test]
    fn every_architecture_keeps_its_contract() -> Result<()> {
        for plugin in [
            "LeNet()",
            "LeNet(classes: 4, channels: 1, size: 28)",
            "WideResNet(depth: 10, widen_factor: 1)",
            "WideResNet(depth: 10, widen_factor: 2, classes: 3, channels: 1)",
        ] {
            conforms(plugin)?;
        }
        Ok(())
    }
}
