//! From a graph of ONNX operations to a plan of our own layers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use onnx_model::{Attribute, Dimension, Graph, Model, Node, Port, Tensor, ValueId};
use zskt_api::candle_core;
use zskt_api::nearest_name;
use zskt_api::nn::Activation;

use super::fusion;
use super::operations::{self, Operation};
use super::plan::{Images, Layer, Order, Plan, Shape, Slot, Step};
use super::value::{CHANNELS_FIRST, CHANNELS_LAST, Constant, Tracked, VECTORS, Value, quoted};

/// Versions of the operator set whose operations mean what is made of them here.
pub const OPSETS: std::ops::RangeInclusive<i64> = 9..=27;

/// Constants and weights may together have so many times the numbers of the model: several layers may share a weight, and constants
/// are computed of constants.
const SHARING: usize = 8;
/// Nodes may together read so many times the numbers of the model, whatever little they make of them: a model may have a node for each
/// few bytes, and each may take all of its numbers.
const READING: usize = 16;
/// Numbers that constants may have, and that nodes may read, in models of any size.
const FREE: usize = 1 << 20;

/// A network and its weights.
pub struct Lowered {
    pub plan: Plan,
    pub weights: BTreeMap<String, candle_core::Tensor>,
}

/// Why a model is not taken.
#[derive(Debug, PartialEq)]
pub enum Fault {
    /// Something about the model as a whole, and the way out.
    Model(String, &'static str),
    /// Each node that is not taken, and why.
    Nodes(Vec<String>),
    /// A name that was asked for.
    Name { parameter: &'static str, message: String, help: Option<String> },
}

/// Lowers a model: what makes `output`, or the only output, and the values or nodes called `activations`.
pub fn lower(model: &Model, output: Option<&str>, activations: &[String]) -> Result<Lowered, Fault> {
    let graph = &model.graph;
    let opset = match model.opset {
        Some(opset) if OPSETS.contains(&opset) => opset,
        found => {
            let found = found.map_or("none".to_owned(), |opset| opset.to_string());
            let (first, last) = OPSETS.into_inner();
            let message = format!("its operator set is {found}, and {first} to {last} are taken");
            return Err(Fault::Model(message, "export it with `opset_version=17`"));
        }
    };
    let (images, input) = images(graph)?;
    let output = output_of(graph, output)?;
    let wanted = activations.iter().map(|name| named(graph, name)).collect::<Result<Vec<_>, _>>()?;
    let needed = needed(graph, wanted.iter().copied().chain([output]));
    let mut lowering = Lowering::new(graph, opset, images, &input);
    for node in &graph.nodes {
        if node.outputs.iter().flatten().any(|value| needed.contains(value)) {
            lowering.node(node, &needed);
        }
    }
    if !lowering.refused.is_empty() {
        return Err(Fault::Nodes(lowering.refused));
    }
    let (logits, classes) = lowering.logits(output)?;
    let softmax = match lowering.values.get(&output) {
        Some(Value::Tracked(tracked)) => tracked.softmax.clone(),
        _ => None,
    };
    let mut kept = Vec::new();
    for (value, name) in wanted.into_iter().zip(activations) {
        match lowering.values.get(&value) {
            Some(Value::Tracked(tracked)) if matches!(lowering.shapes[tracked.slot.0], Shape::Map { .. }) => {
                kept.push(tracked.slot);
            }
            _ => {
                let message = format!("{} is not a map of features `[B, C, H, W]`", quoted(name));
                return Err(Fault::Name { parameter: "activations", message, help: None });
            }
        }
    }
    let Lowering { images, steps, weights, .. } = lowering;
    let plan = Plan { images, steps, logits, activations: kept, classes, softmax };
    let fused = fusion::fuse(Lowered { plan, weights });
    fused.map_err(|error| Fault::Model(error.to_string(), "export it again"))
}

/// The graph's images, and the value that they are.
fn images(graph: &Graph) -> Result<(Images, Input), Fault> {
    let [port] = &graph.inputs[..] else {
        let names: Vec<_> = graph.inputs.iter().map(|port| quoted(graph.name_of(port.value))).collect();
        let message =
            format!("it takes {} inputs ({}), and an image classifier takes one", names.len(), names.join(", "));
        return Err(Fault::Model(message, "export the network alone"));
    };
    let name = quoted(graph.name_of(port.value));
    if port.element.is_none_or(|element| !element.is_float()) {
        let message = format!("its input {name} does not hold floating-point numbers, as images do here");
        return Err(Fault::Model(message, "export the network without what turns bytes into numbers"));
    }
    let Some(shape @ [_, second, third, fourth]) = port.shape.as_deref() else {
        let message = format!("its input {name} is not said to have four dimensions, `[N, C, H, W]` or `[N, H, W, C]`");
        return Err(Fault::Model(message, "export it with an example of its images"));
    };
    let fixed = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Free(_) => None,
    };
    let first = is_channels_first(graph, port, shape);
    let (channels, height, width) = if first { (second, third, fourth) } else { (fourth, second, third) };
    let Some(channels) = fixed(channels).filter(|channels| *channels > 0) else {
        let message = format!("its input {name} does not say how many channels images have");
        return Err(Fault::Model(message, "leave only the batch, rows and columns free when exporting"));
    };
    let images = Images { channels, height: fixed(height), width: fixed(width) };
    Ok((images, Input { value: port.value, first, batch: fixed(&shape[0]) }))
}

/// The graph's input, as far as lowering asks.
struct Input {
    value: ValueId,
    first: bool,
    batch: Option<usize>,
}

/// Whether the axes of images are `[N, C, H, W]` rather than `[N, H, W, C]`: by which axis is as short as colours are, and where that
/// does not tell, by whether they are transposed first.
fn is_channels_first(graph: &Graph, port: &Port, shape: &[Dimension]) -> bool {
    let colours = |dimension: &Dimension| matches!(dimension, Dimension::Fixed(1..=4));
    match (colours(&shape[1]), colours(&shape[3])) {
        (true, false) => true,
        (false, true) => false,
        _ => {
            let mut reached = HashSet::from([port.value]);
            for node in &graph.nodes {
                if !node.inputs.iter().flatten().any(|value| reached.contains(value)) {
                    continue;
                }
                match node.operation.as_str() {
                    "Add" | "Sub" | "Mul" | "Div" | "Cast" | "Identity" => {
                        reached.extend(node.outputs.iter().flatten());
                    }
                    "Transpose" => {
                        let order = node.attributes.get("perm");
                        return order != Some(&Attribute::Ints(vec![0, 3, 1, 2]));
                    }
                    _ => return true,
                }
            }
            true
        }
    }
}

fn output_of(graph: &Graph, name: Option<&str>) -> Result<ValueId, Fault> {
    let names = || graph.outputs.iter().map(|port| graph.name_of(port.value));
    let list = || names().map(quoted).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        let [port] = &graph.outputs[..] else {
            let message = format!("it has {} outputs: {}", graph.outputs.len(), list());
            return Err(Fault::Name {
                parameter: "path",
                message,
                help: Some("name the one with the logits: `output: \"…\"`".into()),
            });
        };
        return Ok(port.value);
    };
    let port = graph.outputs.iter().find(|port| graph.name_of(port.value) == name);
    port.map(|port| port.value).ok_or_else(|| Fault::Name {
        parameter: "output",
        message: format!("the model has no output {}", quoted(name)),
        help: Some(format!("it has {}", list())),
    })
}

/// The value of this name, or what the node of this name makes.
fn named(graph: &Graph, name: &str) -> Result<ValueId, Fault> {
    let made = || graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten().map(move |value| (node, *value)));
    let value = made().find(|(_, value)| graph.name_of(*value) == name);
    if let Some((_, value)) = value.or_else(|| made().find(|(node, _)| node.name == name)) {
        return Ok(value);
    }
    let names: BTreeSet<_> = made().flat_map(|(node, value)| [node.name.as_str(), graph.name_of(value)]).collect();
    let help = match nearest_name(name, names) {
        Some(near) => format!("did you mean {}?", quoted(near)),
        None => "Netron (netron.app) shows the names of nodes and values".into(),
    };
    Err(Fault::Name {
        parameter: "activations",
        message: format!("the model has no node and no value called {}", quoted(name)),
        help: Some(help),
    })
}

/// What these values are made of: nothing else has to be taken.
fn needed(graph: &Graph, values: impl Iterator<Item = ValueId>) -> HashSet<ValueId> {
    let mut needed: HashSet<_> = values.collect();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().flatten().any(|value| needed.contains(value)) {
            needed.extend(node.inputs.iter().flatten());
        }
    }
    needed
}

/// The plan while it is made.
pub struct Lowering<'g> {
    pub graph: &'g Graph,
    pub opset: i64,
    /// The batch that the model was exported for, where it is fixed.
    pub batch: Option<usize>,
    pub values: HashMap<ValueId, Value>,
    pub steps: Vec<Step>,
    /// That of each step, as far as it is known for images of any size.
    pub shapes: Vec<Shape>,
    pub weights: BTreeMap<String, candle_core::Tensor>,
    images: Images,
    /// How often each was given.
    layer_names: HashMap<String, usize>,
    /// Numbers that constants and weights may still take.
    numbers: usize,
    /// Numbers of constants that nodes may still read.
    reading: usize,
    refused: Vec<String>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, opset: i64, images: Images, input: &Input) -> Self {
        let step = Step { node: "its input".into(), name: String::new(), layer: Layer::Images, inputs: Vec::new() };
        let of_nodes = graph.nodes.iter().flat_map(|node| node.attributes.values());
        let of_nodes = of_nodes.map(|value| if let Attribute::Tensor(tensor) = value { tensor.count() } else { 0 });
        let numbers = graph.initializers.values().map(Tensor::count).chain(of_nodes).sum::<usize>();
        let size = images.height.zip(images.width).map(|(height, width)| [height, width]);
        let axes = if input.first { CHANNELS_FIRST } else { CHANNELS_LAST };
        let tracked = Value::Tracked(Tracked::new(Slot(0), &axes));
        Self {
            graph,
            opset,
            batch: input.batch,
            values: HashMap::from([(input.value, tracked)]),
            steps: vec![step],
            shapes: vec![Shape::Map { channels: images.channels, size }],
            weights: BTreeMap::new(),
            images,
            layer_names: HashMap::new(),
            numbers: numbers.saturating_mul(SHARING).saturating_add(FREE),
            reading: numbers.saturating_mul(READING).saturating_add(FREE),
            refused: Vec::new(),
        }
    }

    fn node(&mut self, node: &Node, needed: &HashSet<ValueId>) {
        let [first, others @ ..] = &node.outputs[..] else { return };
        let result = self.value_of(node);
        let further = others.iter().flatten().any(|value| needed.contains(value));
        let result = match result {
            Ok((value, made)) if further && made.is_empty() && !matches!(value, Value::Unknown) => {
                Err("only its first output is taken".into())
            }
            result => result,
        };
        let (value, made) = result.unwrap_or_else(|why: String| {
            self.refused.push(format!("{}: {why}", self.graph.describe(node)));
            (Value::Unknown, Vec::new())
        });
        let mut made = made.into_iter();
        for other in others {
            let value = made.next().unwrap_or(Value::Unknown);
            if let Some(other) = other {
                self.values.insert(*other, value);
            }
        }
        if let Some(first) = first {
            self.values.insert(*first, value);
        }
    }

    /// What its first output is, and what those behind it are, where they are taken.
    fn value_of(&mut self, node: &Node) -> Result<(Value, Vec<Value>), String> {
        let operation = operations::find(node)?;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(match input {
                None => None,
                Some(value) => Some(self.input(*value)?),
            });
        }
        // The node that made it has been listed.
        if inputs.iter().flatten().any(|value| matches!(value, Value::Unknown)) {
            return Ok((Value::Unknown, Vec::new()));
        }
        for input in inputs.iter().flatten() {
            if let Value::Constant(constant) = input {
                self.read(constant)?;
            }
        }
        let mut lowered = Operation { node, inputs, others: Vec::new(), lowering: self };
        let value = operation(&mut lowered)?;
        let others = lowered.others;
        if let Value::Constant(constant) = &value {
            self.take(constant.count())?;
        }
        Ok((value, others))
    }

    fn input(&mut self, value: ValueId) -> Result<Value, String> {
        if let Some(known) = self.values.get(&value) {
            return Ok(known.clone());
        }
        let tensor = self.graph.initializers.get(&value).ok_or("it takes what is not computed")?;
        let constant = Value::Constant(Constant::of(tensor)?);
        self.values.insert(value, constant.clone());
        Ok(constant)
    }

    /// Sets numbers aside for a constant or a weight.
    pub fn take(&mut self, numbers: usize) -> Result<(), String> {
        let left = self.numbers.checked_sub(numbers).ok_or("its constants take far more memory than the model")?;
        self.numbers = left;
        Ok(())
    }

    /// Counts a constant as read.
    pub fn read(&mut self, constant: &Constant) -> Result<(), String> {
        let left = self.reading.checked_sub(constant.count());
        self.reading = left.ok_or("the nodes up to it read the model's constants far too often")?;
        Ok(())
    }

    /// Adds a step, if its inputs have shapes that it takes.
    pub fn step(&mut self, node: &Node, name: String, layer: Layer, inputs: Vec<Slot>) -> Result<Slot, String> {
        let shapes: Vec<_> = inputs.iter().map(|input| self.shapes[input.0]).collect();
        let shape = layer.shape(&shapes)?;
        self.steps.push(Step { node: self.graph.describe(node), name, layer, inputs });
        self.shapes.push(shape);
        Ok(Slot(self.steps.len() - 1))
    }

    /// What the names of a layer's weights begin with: what those of the model begin with, or else the node's own name.
    pub fn layer_name(&mut self, node: &Node, weight: Option<ValueId>) -> String {
        let of_weight = weight.map(|value| self.graph.name_of(value)).and_then(|name| name.strip_suffix(".weight"));
        let name = match of_weight {
            Some(name) => name.to_owned(),
            None => module_path(node, self.graph),
        };
        // Names end in a message or a file's header at last.
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(200).collect();
        let name = if name.is_empty() { node.operation.to_lowercase() } else { name };
        loop {
            let count = self.layer_names.entry(name.clone()).or_insert(0);
            *count += 1;
            if *count == 1 {
                return name;
            }
            let unique = format!("{name}_{count}");
            if !self.layer_names.contains_key(&unique) {
                self.layer_names.insert(unique.clone(), 1);
                return unique;
            }
        }
    }

    /// The step that makes the logits, and how many there are.
    fn logits(&mut self, output: ValueId) -> Result<(Slot, usize), Fault> {
        let not = |found: &str| {
            let message =
                format!("its output {} is {found}, not logits `[N, classes]`", quoted(self.graph.name_of(output)));
            Fault::Model(
                message,
                "choose the output with the logits by `output`, or export the classifier with its head",
            )
        };
        let Some(Value::Tracked(tracked)) = self.values.get(&output) else {
            return Err(not("the same for every image"));
        };
        if tracked.is_grouped() {
            return Err(not(&format!("a tensor `{}`", tracked.shown_axes())));
        }
        let (slot, shape) = (tracked.slot, self.shapes[tracked.slot.0]);
        if let (None, Some(node)) = (&tracked.softmax, self.gate(slot)) {
            let name = quoted(self.graph.name_of(output));
            let message = format!("its output {name} is made by {node}: numbers from 0 to 1, not logits");
            return Err(Fault::Model(
                message,
                "choose the output before that node by `output`, or export the classifier without it",
            ));
        }
        if !tracked.axes.starts_with(&VECTORS) && shape.as_map().is_none_or(|(_, size)| size != Some([1, 1])) {
            return Err(not(&format!("a tensor `{}`", tracked.shown_axes())));
        }
        match shape {
            Shape::Vectors(Some(classes)) if classes > 0 => Ok((slot, classes)),
            Shape::Map { channels, size: Some([1, 1]) | None } if channels > 0 => {
                let layer = Layer::Flatten { order: Order::ChannelsFirst, features: Some(channels) };
                let shape = Shape::Vectors(Some(channels));
                self.steps.push(Step { node: "its output".into(), name: String::new(), layer, inputs: vec![slot] });
                self.shapes.push(shape);
                Ok((Slot(self.steps.len() - 1), channels))
            }
            _ => Err(not("a map of features")),
        }
    }

    /// The sigmoid that makes this, if one does.
    fn gate(&self, slot: Slot) -> Option<&str> {
        let mut step = &self.steps[slot.0];
        while let (Layer::Flatten { .. }, [before]) = (&step.layer, &step.inputs[..]) {
            step = &self.steps[before.0];
        }
        let is_gate = matches!(step.layer, Layer::Activation(Activation::Sigmoid | Activation::HardSigmoid { .. }));
        is_gate.then_some(&step.node)
    }
}

/// PyTorch's path to a module as its exporter writes it: `/layer1/layer1.0/conv1/Conv` is `layer1.0.conv1`.
fn module_path(node: &Node, graph: &Graph) -> String {
    let made = node.outputs.iter().flatten().next().map_or("", |value| graph.name_of(*value));
    let name = if node.name.is_empty() { made } else { &node.name };
    let Some(scopes) = name.strip_prefix('/') else { return name.replace('/', ".") };
    let mut path = String::new();
    let mut parts: Vec<_> = scopes.split('/').collect();
    // The last is the operation.
    if parts.len() > 1 {
        parts.pop();
    }
    let mut module = "";
    for part in parts {
        let inner = part.strip_prefix(module).and_then(|rest| rest.strip_prefix('.')).unwrap_or(part);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(inner);
        module = part;
    }
    path
}
