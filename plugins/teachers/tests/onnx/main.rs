//! Teachers out of ONNX models: what PyTorch computes of them, and what is said of those that are not taken.

mod hostile;
mod networks;
mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onnx_model::{Dimension, ElementType, Graph, Model, Node, Port, ValueId};
use zskt_api::testing::plugin;
use zskt_api::{PluginInstance, TeacherSource};
use zskt_teachers as _;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/fixtures").join(name)
}

/// The teacher of a model, with further parameters as a pipeline has them.
fn teacher(path: &Path, more: &str) -> Arc<dyn TeacherSource> {
    match plugin(&format!("Onnx(path: {path:?}{more})")).expect("the parameters are sound") {
        PluginInstance::Teacher(teacher) => teacher,
        _ => panic!("Onnx is a teacher source"),
    }
}

/// What graphs of tests are made by.
trait Nodes {
    /// The input, images `[N, 3, 4, 4]`.
    fn images(&mut self, name: &str) -> ValueId;
    /// A node without attributes; gives what it makes.
    fn node(&mut self, name: &str, operation: &str, inputs: &[ValueId]) -> ValueId;
}

impl Nodes for Graph {
    fn images(&mut self, name: &str) -> ValueId {
        let value = self.add_value(name);
        let sizes = [3, 4, 4].map(Dimension::Fixed);
        let shape = std::iter::once(Dimension::Free(None)).chain(sizes).collect();
        self.inputs.push(Port { value, element: Some(ElementType::F32), shape: Some(shape) });
        value
    }

    fn node(&mut self, name: &str, operation: &str, inputs: &[ValueId]) -> ValueId {
        let output = self.add_value(format!("{name}_output"));
        self.nodes.push(Node {
            name: name.into(),
            operation: operation.into(),
            domain: String::new(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(output)],
            attributes: BTreeMap::new(),
        });
        output
    }
}

/// A model with this output.
fn saved(mut graph: Graph, output: ValueId) -> tempfile::NamedTempFile {
    graph.outputs.push(Port { value: output, element: Some(ElementType::F32), shape: None });
    let model = Model {
        producer: String::new(),
        opset: Some(17),
        metadata: BTreeMap::new(),
        graph,
        external_files: Vec::new(),
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), model.to_bytes().unwrap()).unwrap();
    file
}
