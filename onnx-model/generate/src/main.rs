//! Makes `src/proto/onnx.rs` of `proto/onnx.proto`, without protoc:
//!
//! ```text
//! cargo run --manifest-path onnx-model/generate/Cargo.toml && cargo fmt
//! ```

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate is gone")?;
    let descriptors = protox::compile(["onnx.proto"], [root.join("proto")])?;
    let mut config = prost_build::Config::new();
    // Parts of the file's own bytes instead of copies.
    config.bytes(["."]);
    // Few attributes hold a tensor.
    config.boxed(".onnx.AttributeProto.t");
    config.disable_comments(["."]);
    config.out_dir(root.join("src/proto"));
    Ok(config.compile_fds(descriptors)?)
}
