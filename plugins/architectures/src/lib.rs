//! Classifiers.

mod lenet;
mod wide_resnet;

pub use lenet::LeNet;
pub use wide_resnet::WideResNet;

zskt_api::export! { architecture: WideResNet, LeNet }
