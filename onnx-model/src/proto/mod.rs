//! The messages of the format, as `proto/onnx.proto` has them.

include!("onnx.rs");
