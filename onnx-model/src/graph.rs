//! The graph of a model: values, and the nodes that make them, in an order in which they can be computed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::attribute::Attribute;
use crate::error::{ErrorKind, printable};
use crate::external_data::ExternalData;
use crate::proto::{GraphProto, NodeProto, ValueInfoProto};
use crate::tensor::{ElementType, Tensor};

/// A value of a graph: an input, an initializer, or what a node makes. It belongs to one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(usize);

/// A graph, whose every value is defined once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// What it is given; initializers that are listed as inputs too are not among them.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Each behind the nodes whose values it takes.
    pub nodes: Vec<Node>,
    /// The values that are tensors of the model.
    pub initializers: BTreeMap<ValueId, Tensor>,
    names: Vec<String>,
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The value.
    pub value: ValueId,
    /// The type of its elements, where the model says it and it is read here.
    pub element: Option<ElementType>,
    /// Its shape, where the model says it.
    pub shape: Option<Vec<Dimension>>,
}

/// The size of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Always the same.
    Fixed(usize),
    /// Any; with the name that the model gives it.
    Free(Option<String>),
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name; empty where the model has none.
    pub name: String,
    /// Which operation it is: `Conv`.
    pub operation: String,
    /// Whose operation it is; empty for the format's own.
    pub domain: String,
    /// What it takes; `None` where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes; `None` where an optional output is left out.
    pub outputs: Vec<Option<ValueId>>,
    /// Its attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Graph {
    /// The name of a value.
    pub fn name_of(&self, value: ValueId) -> &str {
        self.names.get(value.0).map_or("", String::as_str)
    }

    /// A value that is not there yet, to be an input, an initializer, or what a node makes.
    pub fn add_value(&mut self, name: impl Into<String>) -> ValueId {
        self.names.push(name.into());
        ValueId(self.names.len() - 1)
    }

    /// Calls a value otherwise.
    pub fn rename_value(&mut self, value: ValueId, name: impl Into<String>) {
        if let Some(old) = self.names.get_mut(value.0) {
            *old = name.into();
        }
    }

    /// Takes a graph of a file if it is sound.
    pub(crate) fn read(proto: GraphProto, external: &mut ExternalData) -> Result<Self, ErrorKind> {
        if !proto.sparse_initializer.is_empty() {
            return Err(ErrorKind::Unsupported { what: "it has sparse tensors".into(), help: "export dense ones" });
        }
        let mut reader = GraphReader { graph: Self::default(), ids: HashMap::new() };
        reader.graph.name = proto.name.unwrap_or_default();
        for mut tensor in proto.initializer {
            let name = tensor.name.take().unwrap_or_default();
            let value = reader.define(name.clone(), "the initializers")?;
            reader.graph.initializers.insert(value, Tensor::read(tensor, &name, external)?);
        }
        let mut given = HashSet::new();
        for input in proto.input {
            let name = input.name.clone().unwrap_or_default();
            let initializer = reader.ids.get(&name).is_some_and(|value| reader.graph.initializers.contains_key(value));
            if initializer && given.insert(name.clone()) {
                continue;
            }
            let value = reader.define(name, "the inputs")?;
            reader.graph.inputs.push(port(input, value)?);
        }
        let nodes = proto.node;
        for node in &nodes {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                reader.define(output.clone(), &describe(node))?;
            }
        }
        for node in nodes {
            let node = reader.node(node, external)?;
            reader.graph.nodes.push(node);
        }
        for output in proto.output {
            let name = output.name.clone().unwrap_or_default();
            let value = reader.ids.get(&name).copied().ok_or_else(|| {
                ErrorKind::damaged(format!("its output `{}` is nothing that a node makes", printable(&name)))
            })?;
            reader.graph.outputs.push(port(output, value)?);
        }
        if reader.graph.outputs.is_empty() {
            return Err(ErrorKind::damaged("its graph has no output"));
        }
        reader.graph.sort()?;
        Ok(reader.graph)
    }

    /// Puts each node behind those whose values it takes, and otherwise leaves the order as it is.
    fn sort(&mut self) -> Result<(), ErrorKind> {
        let mut maker = vec![None; self.names.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for output in node.outputs.iter().flatten() {
                maker[output.0] = Some(index);
            }
        }
        let mut takers = vec![Vec::new(); self.nodes.len()];
        let mut waits = vec![0_usize; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for from in node.inputs.iter().flatten().filter_map(|input| maker[input.0]) {
                takers[from].push(index);
                waits[index] += 1;
            }
        }
        let mut ready: VecDeque<_> = (0..self.nodes.len()).filter(|index| waits[*index] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(index) = ready.pop_front() {
            order.push(index);
            for taker in &takers[index] {
                waits[*taker] -= 1;
                if waits[*taker] == 0 {
                    ready.push_back(*taker);
                }
            }
        }
        if let Some(index) = (0..self.nodes.len()).find(|index| waits[*index] > 0) {
            let node = self.describe(&self.nodes[index]);
            return Err(ErrorKind::damaged(format!("{node} takes what depends on its own output")));
        }
        let mut nodes: Vec<_> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|index| nodes[index].take()).collect();
        Ok(())
    }

    /// A node for messages: by its name, or else by what it makes.
    pub fn describe(&self, node: &Node) -> String {
        let made = node.outputs.iter().flatten().next().map_or("", |output| self.name_of(*output));
        shown(&node.name, &node.operation, made)
    }
}

fn describe(node: &NodeProto) -> String {
    let made = node.output.first().map_or("", String::as_str);
    shown(node.name.as_deref().unwrap_or_default(), node.op_type.as_deref().unwrap_or_default(), made)
}

fn shown(name: &str, operation: &str, made: &str) -> String {
    let operation = printable(operation);
    if name.is_empty() {
        format!("the {operation} that makes `{}`", printable(made))
    } else {
        format!("`{}` ({operation})", printable(name))
    }
}

struct GraphReader {
    graph: Graph,
    ids: HashMap<String, ValueId>,
}

impl GraphReader {
    fn define(&mut self, name: String, by: &str) -> Result<ValueId, ErrorKind> {
        if self.ids.contains_key(&name) {
            return Err(ErrorKind::damaged(format!(
                "the value `{}` is defined twice, again by {by}",
                printable(&name)
            )));
        }
        let value = self.graph.add_value(name.clone());
        self.ids.insert(name, value);
        Ok(value)
    }

    fn node(&self, proto: NodeProto, external: &mut ExternalData) -> Result<Node, ErrorKind> {
        let shown = describe(&proto);
        let operation = proto.op_type.unwrap_or_default();
        if operation.is_empty() {
            return Err(ErrorKind::damaged(format!("{shown} does not say which operation it is")));
        }
        let value =
            |name: &String| {
                if name.is_empty() {
                    return Ok(None);
                }
                self.ids.get(name).copied().map(Some).ok_or_else(|| {
                    ErrorKind::damaged(format!("{shown} takes `{}`, which nothing makes", printable(name)))
                })
            };
        let inputs = proto.input.iter().map(value).collect::<Result<_, _>>()?;
        let outputs = proto.output.iter().map(value).collect::<Result<_, _>>()?;
        let mut attributes = BTreeMap::new();
        for attribute in proto.attribute {
            let name = attribute.name.clone().unwrap_or_default();
            let value = Attribute::read(attribute, &shown, external)?;
            if attributes.insert(name.clone(), value).is_some() {
                return Err(ErrorKind::damaged(format!("{shown} has the attribute `{}` twice", printable(&name))));
            }
        }
        let domain = proto.domain.filter(|domain| domain != "ai.onnx").unwrap_or_default();
        Ok(Node { name: proto.name.unwrap_or_default(), operation, domain, inputs, outputs, attributes })
    }
}

fn port(info: ValueInfoProto, value: ValueId) -> Result<Port, ErrorKind> {
    let name = info.name.unwrap_or_default();
    let tensor = info.r#type.unwrap_or_default().tensor_type.unwrap_or_default();
    let dimension = |size: i64| {
        let size = usize::try_from(size);
        size.map_err(|_| ErrorKind::damaged(format!("`{}` has a dimension of negative size", printable(&name))))
    };
    let shape = tensor.shape.map(|shape| {
        let dimensions = shape.dim.into_iter().map(|dim| match dim.dim_value {
            Some(size) => Ok(Dimension::Fixed(dimension(size)?)),
            None => Ok(Dimension::Free(dim.dim_param.filter(|name| !name.is_empty()))),
        });
        dimensions.collect::<Result<Vec<_>, ErrorKind>>()
    });
    let element = tensor.elem_type.and_then(ElementType::of_code);
    Ok(Port { value, element, shape: shape.transpose()? })
}
