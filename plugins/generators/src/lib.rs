//! Generators.

mod conv_generator;

pub use conv_generator::ConvGenerator;

zskt_api::export! { generator: ConvGenerator }
