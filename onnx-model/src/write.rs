//! Models as bytes.

use prost::Message;
use prost::bytes::Bytes;

use crate::attribute::Attribute;
use crate::graph::{Dimension, Graph, Node, Port};
use crate::model::Model;
use crate::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::tensor::ElementType;

/// The oldest version of the format that goes with an operator set, so that older readers take the model.
fn ir_version(opset: i64) -> i64 {
    if opset <= 18 { 8 } else { 9 }
}

/// A model that does not fit into one file: Protocol Buffers end at 2 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a model of {bytes} bytes does not fit into one ONNX file, which has 2147483647 at the most")]
pub struct TooLarge {
    /// How many it would take.
    pub bytes: usize,
}

impl Model {
    /// The model as one file, with every tensor in it. Equal models give equal bytes.
    ///
    /// # Errors
    /// When it has more than 2 GiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TooLarge> {
        let (name, version) = self.producer.split_once(' ').unwrap_or((&self.producer, ""));
        let entry = |(key, value): (&String, &String)| StringStringEntryProto {
            key: Some(key.clone()),
            value: Some(value.clone()),
        };
        let proto = ModelProto {
            ir_version: Some(ir_version(self.opset.unwrap_or_default())),
            producer_name: Some(name.into()),
            producer_version: Some(version.into()),
            graph: Some(graph(&self.graph)),
            opset_import: vec![OperatorSetIdProto { domain: None, version: self.opset }],
            metadata_props: self.metadata.iter().map(entry).collect(),
            functions: Vec::new(),
        };
        let bytes = proto.encoded_len();
        if bytes > i32::MAX as usize { Err(TooLarge { bytes }) } else { Ok(proto.encode_to_vec()) }
    }
}

fn graph(graph: &Graph) -> GraphProto {
    let tensors = graph.initializers.iter().map(|(value, tensor)| tensor.to_proto(Some(graph.name_of(*value))));
    GraphProto {
        node: graph.nodes.iter().map(|node| self::node(graph, node)).collect(),
        name: Some(graph.name.clone()),
        initializer: tensors.collect(),
        input: graph.inputs.iter().map(|input| port(graph, input)).collect(),
        output: graph.outputs.iter().map(|output| port(graph, output)).collect(),
        sparse_initializer: Vec::new(),
    }
}

fn node(graph: &Graph, node: &Node) -> NodeProto {
    let names = |values: &[Option<_>]| {
        values.iter().map(|value| value.map_or("", |value| graph.name_of(value)).to_owned()).collect()
    };
    NodeProto {
        input: names(&node.inputs),
        output: names(&node.outputs),
        name: Some(node.name.clone()),
        op_type: Some(node.operation.clone()),
        attribute: node.attributes.iter().filter_map(|(name, value)| attribute(name, value)).collect(),
        domain: Some(node.domain.clone()).filter(|domain| !domain.is_empty()),
    }
}

/// `None` for what was not read.
fn attribute(name: &str, value: &Attribute) -> Option<AttributeProto> {
    let named = |kind: i32| AttributeProto { name: Some(name.into()), r#type: Some(kind), ..AttributeProto::default() };
    let bytes = |text: &String| Bytes::from(text.clone().into_bytes());
    Some(match value {
        Attribute::Float(number) => AttributeProto { f: Some(*number), ..named(1) },
        Attribute::Int(number) => AttributeProto { i: Some(*number), ..named(2) },
        Attribute::Text(text) => AttributeProto { s: Some(bytes(text)), ..named(3) },
        Attribute::Tensor(tensor) => AttributeProto { t: Some(Box::new(tensor.to_proto(None))), ..named(4) },
        Attribute::Floats(numbers) => AttributeProto { floats: numbers.clone(), ..named(6) },
        Attribute::Ints(numbers) => AttributeProto { ints: numbers.clone(), ..named(7) },
        Attribute::Texts(texts) => AttributeProto { strings: texts.iter().map(bytes).collect(), ..named(8) },
        Attribute::Graph | Attribute::Other => return None,
    })
}

fn port(graph: &Graph, port: &Port) -> ValueInfoProto {
    let dimension = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
        Dimension::Free(name) => DimensionProto { dim_value: None, dim_param: name.clone() },
    };
    let shape = port.shape.as_ref().map(|shape| TensorShapeProto { dim: shape.iter().map(dimension).collect() });
    let tensor_type = TensorTypeProto { elem_type: port.element.map(ElementType::code), shape };
    let value_type = TypeProto { tensor_type: Some(tensor_type) };
    ValueInfoProto { name: Some(graph.name_of(port.value).to_owned()), r#type: Some(value_type) }
}
