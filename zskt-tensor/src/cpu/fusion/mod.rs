//! Feature maps that are computed when they are read.

pub mod convolution;
pub mod gradient;
pub mod lazy_map;
