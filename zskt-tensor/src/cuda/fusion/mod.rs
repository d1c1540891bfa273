//! Maps that are computed when they are first read, and gradients likewise, so that what precedes and follows a convolution
//! becomes part of it.

pub mod gradient;
pub mod lazy_map;
