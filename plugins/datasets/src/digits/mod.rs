//! Street-number digits drawn by a program: a dataset for whoever has none at hand.

mod draw;
mod strokes;

pub(crate) use draw::{MIN_SIZE, draw};
