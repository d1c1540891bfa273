//! Intel's matrix unit.

pub mod permission;
pub mod products;
pub mod registers;
pub mod strip;
