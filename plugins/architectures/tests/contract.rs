//! Every architecture keeps the contract of its kind.

use zskt_api::Result;
use zskt_api::testing::conforms;
use zskt_architectures as _;

#[test]
fn every_architecture_keeps_its_contract() -> Result<()> {
    for plugin in [
        "LeNet()",
        "LeNet(classes: 4, channels: 1, size: 28)",
        "WideResNet(depth: 10, widen_factor: 1)",
        "WideResNet(depth: 10, widen_factor: 2, classes: 3, channels: 1)",
        "WideResNet(depth: 10, widen_factor: 1, variant: Weiaicunzai)",
        "WideResNet(depth: 10, widen_factor: 1, variant: Meliketoy)",
        "ResNet(depth: 18, width: 2)",
        "ResNet(depth: 18, width: 2, stem: CifarPooled, classes: 3, channels: 1)",
        "ResNet(depth: 18, width: 2, stem: ImageNet)",
        "ResNet(depth: 50, width: 1)",
        "CifarResNet(depth: 8, widths: [4, 8, 12, 16])",
        "CifarResNet(depth: 14, widths: [4, 4, 8, 16], shortcut: Padding)",
        "Mlp(hidden: [5, 4], classes: 3, channels: 1, size: 8)",
        "Vgg(depth: 11, width: 2)",
        "Vgg(depth: 8, width: 2, batch_norm: false, head: [8, 6], pooled: 2, poolings: 3)",
        "MobileNetV2(width: 0.1, strides: ImageNet)",
        "MobileNetV2(width: 0.1, variant: Kuangliu)",
        "MobileNetV2(width: 0.1, variant: Weiaicunzai)",
        "MobileNetV2(width: 0.25, variant: RepDistiller, channels: 1)",
    ] {
        conforms(plugin)?;
    }
    Ok(())
}
