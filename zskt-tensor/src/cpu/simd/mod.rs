//! Vectors of numbers, for each instruction set.

pub mod dtype;
pub mod float;
pub mod instruction_set;
pub mod vector;
