//! Teacher sources: where the knowledge to be transferred comes from.

mod checkpoint;
mod ensemble;
mod onnx;

pub use checkpoint::{Checkpoint, NamePattern, Rename};
pub use ensemble::{Combination, Ensemble};
pub use onnx::Onnx;

zskt_api::export! { reads: files; teacher: Checkpoint, Onnx, Ensemble }
