//! Classifiers.

mod cifar_resnet;
mod layouts;
mod lenet;
mod mlp;
mod mobilenet_v2;
mod recognition;
mod residual;
mod resnet;
mod vgg;
mod wide_resnet;

pub use cifar_resnet::{CifarResNet, Shortcut};
pub use lenet::LeNet;
pub use mlp::Mlp;
pub use mobilenet_v2::{MobileNetV2, Strides, Variant as MobileNetV2Variant};
pub use resnet::{ResNet, Stem};
pub use vgg::Vgg;
pub use wide_resnet::{Variant, WideResNet};

zskt_api::export! { reads: none; architecture: WideResNet, LeNet, ResNet, CifarResNet, Vgg, MobileNetV2, Mlp }
