//! The names that codebases have for the weights of networks which several of them hold.

use zskt_api::WeightLayout;

/// A layout of patterns and what takes the place of their matches.
pub fn layout(source: &'static str, renames: &[(&str, &str)]) -> WeightLayout {
    let renames = renames.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    WeightLayout { source, renames }
}

/// Those of residual networks; torchvision, timm, chenyaofo/pytorch-cifar-models, huyvnphan/PyTorch_CIFAR10 and HobbitLong/RepDistiller
/// have the architecture's own.
pub fn resnet() -> Vec<WeightLayout> {
    vec![
        // Also zju-vipa's and DAFL's, and akamaster/pytorch_resnet_cifar10's.
        layout("kuangliu/pytorch-cifar", &[(r"\.shortcut\.", ".downsample."), (r"^linear\.", "fc.")]),
        layout(
            "weiaicunzai/pytorch-cifar100",
            &[
                (r"^conv1\.0\.", "conv1."),
                (r"^conv1\.1\.", "bn1."),
                (r"^conv2_x\.", "layer1."),
                (r"^conv3_x\.", "layer2."),
                (r"^conv4_x\.", "layer3."),
                (r"^conv5_x\.", "layer4."),
                (r"\.residual_function\.0\.", ".conv1."),
                (r"\.residual_function\.1\.", ".bn1."),
                (r"\.residual_function\.3\.", ".conv2."),
                (r"\.residual_function\.4\.", ".bn2."),
                (r"\.residual_function\.6\.", ".conv3."),
                (r"\.residual_function\.7\.", ".bn3."),
                (r"\.shortcut\.", ".downsample."),
            ],
        ),
        layout(
            "transformers",
            &[
                (r"^(resnet\.)?embedder\.embedder\.convolution\.", "conv1."),
                (r"^(resnet\.)?embedder\.embedder\.normalization\.", "bn1."),
                (r"^(resnet\.)?encoder\.stages\.0\.layers\.", "layer1."),
                (r"^(resnet\.)?encoder\.stages\.1\.layers\.", "layer2."),
                (r"^(resnet\.)?encoder\.stages\.2\.layers\.", "layer3."),
                (r"^(resnet\.)?encoder\.stages\.3\.layers\.", "layer4."),
                (r"\.layer\.0\.convolution\.", ".conv1."),
                (r"\.layer\.0\.normalization\.", ".bn1."),
                (r"\.layer\.1\.convolution\.", ".conv2."),
                (r"\.layer\.1\.normalization\.", ".bn2."),
                (r"\.layer\.2\.convolution\.", ".conv3."),
                (r"\.layer\.2\.normalization\.", ".bn3."),
                (r"\.shortcut\.convolution\.", ".downsample.0."),
                (r"\.shortcut\.normalization\.", ".downsample.1."),
                (r"^classifier\.1\.", "fc."),
            ],
        ),
    ]
}
