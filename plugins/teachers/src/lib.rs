//! Teacher sources: where the knowledge to be transferred comes from.

mod checkpoint;
mod onnx;

pub use checkpoint::{Checkpoint, NamePattern, Rename};
pub use onnx::Onnx;

zskt_api::export! { reads: files; teacher: Checkpoint, Onnx }
