//! Reads and writes ONNX models: a typed graph of nodes in the order of their computation, and its tensors.
//!
//! [`read`] gives a [`Model`]. A model is data from somewhere else, and it is read as data: no declared length is believed before
//! there are bytes to bear it out, names that are defined twice or nowhere and cycles are refused, and external data is read from
//! files in the model's own folder only. Whatever is wrong ends in one [`ReadError`] that says what, where, and what to do about it.
//!
//! A file takes at most 32 times its size and 32 MiB of memory, and what it holds of external data the size of those files: tensors
//! that lie in the file as bytes are parts of the file's own memory.
//!
//! IR versions 3 to 13 are read. Which operator sets and operations make sense is for the reader's user to say. Not read: sparse
//! tensors, segmented ones, strings, complex numbers, and types of less than a byte or of 8-bit floats.
//!
//! [`Model::to_bytes`] writes a model, with all its tensors, as one file.
//!
//! ```no_run
//! let model = onnx_model::read("resnet18.onnx".as_ref())?;
//! for node in &model.graph.nodes {
//!     println!("{} {}", node.operation, onnx_model::printable(&node.name));
//! }
//! # Ok::<(), onnx_model::ReadError>(())
//! ```

mod attribute;
mod error;
mod external_data;
mod graph;
mod memory_demand;
mod model;
mod proto;
mod tensor;
mod write;

pub use attribute::Attribute;
pub use error::{ErrorKind, ReadError, printable};
pub use graph::{Dimension, Graph, Node, Port, ValueId};
pub use model::{Model, read};
pub use tensor::{ElementType, Tensor};
pub use write::TooLarge;
