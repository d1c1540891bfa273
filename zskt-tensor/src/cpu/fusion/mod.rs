//! Feature maps that are computed when they are read.

pub mod bf16_products;
pub mod both_gradients;
pub mod conv_gradient;
pub mod convolution;
pub mod gradient;
pub mod lazy_map;
pub mod storage;
