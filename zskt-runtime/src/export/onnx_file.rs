//! An ONNX model of what a network computes, operator set 17 or, with GELU, 20, as it was traced on a batch of images.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use onnx_model::{Attribute, Dimension, ElementType, Graph, Model, Node, Port, ValueId};
use zskt_api::nn::{Activation, Padding, PoolWindows};
use zskt_api::tensor::trace::{Trace, TracedOperation, TracedStep, TracedValue, TracedWeight, trace};
use zskt_api::{Classifier, FeatureMap, ForwardMode, ImageShape, Normalization, Precision, Result, Weights};

use super::Metadata;

const OPSET: i64 = 17;
/// The first in which GELU is an operation; what else is written has not changed until then.
const OPSET_OF_GELU: i64 = 20;
/// The name of the free number of images.
const BATCH: &str = "batch";

/// A network to be exported.
pub struct Network<'n> {
    pub forward: &'n dyn Classifier,
    pub weights: &'n Weights,
    pub precision: Precision,
    pub image: ImageShape,
    pub classes: usize,
}

/// The bytes of a model with the input `input`, images `[batch, C, H, W]`, and the output `logits`, `[batch, classes]`. With a
/// normalization, the model normalizes images with numbers from 0 to 1 itself, and its metadata says so: mean 0, std 1.
///
/// # Errors
/// When the network computes with something that cannot be exported, or the normalization is for images of other channels.
pub fn encode(network: &Network<'_>, normalization: Option<&Normalization>, metadata: &Metadata) -> Result<Vec<u8>> {
    let ImageShape { channels, height, width } = network.image;
    let mut metadata = metadata.clone();
    if let Some(found) = normalization {
        let (means, stds) = (found.mean.len(), found.std.len());
        if means != channels || stds != channels {
            return Err(zskt_api::Error::new(format!(
                "its images have {channels} channels, and their normalization has {means} means and {stds} standard deviations: give \
                 its teacher one of each for each channel, or leave --with-normalization away"
            )));
        }
        let Normalization { mean, std } = Normalization::identity(channels);
        metadata.extend([("mean", mean), ("std", std)].map(|(name, numbers)| (name.into(), format!("{numbers:?}"))));
    }
    let images = Tensor::zeros((1, channels, height, width), network.precision.dtype(), &Device::Cpu)?;
    let images = FeatureMap::from_nchw(&images)?.to_precision(network.precision)?;
    let forward = |images: &FeatureMap| Ok(network.forward.forward(images, ForwardMode::eval())?.logits);
    let trace = trace(&images, network.weights, forward)?;
    let graph = graph(&trace, network, normalization)?;
    let has_gelu = graph.nodes.iter().any(|node| node.operation == "Gelu");
    let model = Model {
        producer: concat!("zskt ", env!("CARGO_PKG_VERSION")).into(),
        opset: Some(if has_gelu { OPSET_OF_GELU } else { OPSET }),
        metadata,
        graph,
        external_files: Vec::new(),
    };
    model.to_bytes().map_err(|error| zskt_api::Error::new(error.to_string()))
}

fn graph(trace: &Trace, network: &Network<'_>, normalization: Option<&Normalization>) -> Result<Graph> {
    let mut writer = GraphWriter::default();
    let ImageShape { channels, height, width } = network.image;
    let input = writer.graph.add_value("input");
    let port = |value, sizes: &[usize]| {
        let batch = std::iter::once(Dimension::Free(Some(BATCH.into())));
        let shape = batch.chain(sizes.iter().map(|size| Dimension::Fixed(*size))).collect();
        Port { value, element: Some(ElementType::F32), shape: Some(shape) }
    };
    writer.graph.name = "classifier".into();
    writer.graph.inputs.push(port(input, &[channels, height, width]));
    let mut images = input;
    if let Some(Normalization { mean, std }) = normalization {
        for (operation, name, numbers) in [("Sub", "normalization.mean", mean), ("Div", "normalization.std", std)] {
            let numbers: Vec<_> = numbers.iter().map(|number| *number as f32).collect();
            let tensor = onnx_model::Tensor::of_f32(&[1, numbers.len(), 1, 1], &numbers);
            let constant = writer.initializer(name, tensor);
            images = writer.node(operation, "normalization", &[images, constant], []);
        }
    }
    writer.values.insert(trace.input, images);
    for step in &trace.steps {
        writer.step(step)?;
    }
    let output = writer.value(trace.output)?;
    writer.rename(output, "logits");
    writer.graph.outputs.push(port(output, &[network.classes]));
    Ok(writer.graph)
}

#[derive(Default)]
struct GraphWriter {
    graph: Graph,
    values: BTreeMap<TracedValue, ValueId>,
    initializers: BTreeMap<String, ValueId>,
    /// How many nodes have a name.
    names: BTreeMap<String, usize>,
}

impl GraphWriter {
    fn value(&self, value: TracedValue) -> Result<ValueId> {
        let value = self.values.get(&value).copied();
        value.ok_or_else(|| zskt_api::Error::new("a step of the network takes what no step before it makes"))
    }

    fn initializer(&mut self, name: &str, tensor: onnx_model::Tensor) -> ValueId {
        if let Some(value) = self.initializers.get(name) {
            return *value;
        }
        let value = self.graph.add_value(name);
        self.graph.initializers.insert(value, tensor);
        self.initializers.insert(name.to_owned(), value);
        value
    }

    /// What a node is told about shapes, in one dimension.
    fn whole_numbers(&mut self, name: &str, numbers: &[i64]) -> ValueId {
        let tensor = onnx_model::Tensor::of_i64(&[numbers.len()], numbers);
        self.initializer(&self.unused(name), tensor)
    }

    /// Under the network's own name, or else one that says where it belongs.
    fn weight(&mut self, weight: &TracedWeight, otherwise: &str) -> Result<ValueId> {
        let tensor = weight.tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        let tensor = onnx_model::Tensor::of_f32(tensor.dims(), &numbers);
        Ok(self.initializer(weight.name.as_deref().unwrap_or(otherwise), tensor))
    }

    /// A node whose name begins with that of its layer; gives what it makes.
    fn node<const N: usize>(
        &mut self,
        operation: &str,
        layer: &str,
        inputs: &[ValueId],
        attributes: [(&str, Attribute); N],
    ) -> ValueId {
        let base = if layer.is_empty() { operation.to_owned() } else { format!("{layer}/{operation}") };
        let count = self.names.entry(base.clone()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { base } else { format!("{base}_{count}") };
        let output = self.graph.add_value(format!("{name}_output"));
        self.graph.nodes.push(Node {
            name,
            operation: operation.into(),
            domain: String::new(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(output)],
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        });
        output
    }

    fn step(&mut self, step: &TracedStep) -> Result<()> {
        let inputs = step.inputs.iter().map(|input| self.value(*input)).collect::<Result<Vec<_>>>()?;
        let layer = layer_of(&step.operation);
        let made = self.operation(&step.operation, &layer, &inputs)?;
        self.values.insert(step.output, made);
        Ok(())
    }

    fn operation(&mut self, operation: &TracedOperation, layer: &str, inputs: &[ValueId]) -> Result<ValueId> {
        let int = |number: usize| Attribute::Int(number as i64);
        let pair = |size: usize| Attribute::Ints(vec![size as i64; 2]);
        let unfit = || zskt_api::Error::new("a step of the network takes nothing");
        let x = *inputs.first().ok_or_else(unfit)?;
        // Of what has no name of the network's own.
        let named = |part: &str| format!("constant/{layer}.{part}");
        Ok(match operation {
            TracedOperation::Convolution { weight, bias, stride, padding, groups } => {
                let kernel = weight.tensor.dim(3)?;
                let mut inputs = vec![x, self.weight(weight, &self.unused(&named("weight")))?];
                if let Some(bias) = bias {
                    inputs.push(self.weight(bias, &self.unused(&named("bias")))?);
                }
                let attributes = [
                    ("kernel_shape", pair(kernel)),
                    ("strides", pair(*stride)),
                    ("pads", Attribute::Ints(vec![*padding as i64; 4])),
                    ("group", int(*groups)),
                ];
                self.node("Conv", layer, &inputs, attributes)
            }
            TracedOperation::BatchNorm { gamma, beta, mean, variance, epsilon, activation } => {
                let mut inputs = vec![x];
                for (weight, part) in
                    [(gamma, "weight"), (beta, "bias"), (mean, "running_mean"), (variance, "running_var")]
                {
                    inputs.push(self.weight(weight, &self.unused(&named(part)))?);
                }
                let epsilon = Attribute::Float(*epsilon as f32);
                let normalized = self.node("BatchNormalization", layer, &inputs, [("epsilon", epsilon)]);
                self.activation(*activation, layer, normalized)
            }
            TracedOperation::Activation(activation) => self.activation(*activation, layer, x),
            TracedOperation::Add => self.node("Add", layer, inputs, []),
            TracedOperation::Multiply => self.node("Mul", layer, inputs, []),
            TracedOperation::Concat => self.node("Concat", layer, inputs, [("axis", Attribute::Int(1))]),
            TracedOperation::NarrowChannels { start, length } => {
                let mut inputs = vec![x];
                for (name, number) in [("starts", *start), ("ends", start + length), ("axes", 1)] {
                    inputs.push(self.whole_numbers(name, &[number as i64]));
                }
                self.node("Slice", layer, &inputs, [])
            }
            TracedOperation::ChannelShuffle { of: ImageShape { channels, height, width }, groups } => {
                let [rows, columns] = [height, width].map(|size| *size as i64);
                // Zero keeps the axis of images.
                let apart = [0, *groups as i64, (channels / groups) as i64, rows, columns];
                let apart = self.whole_numbers("shape", &apart);
                let together = self.whole_numbers("shape", &[0, *channels as i64, rows, columns]);
                let apart = self.node("Reshape", layer, &[x, apart], []);
                let order = Attribute::Ints(vec![0, 2, 1, 3, 4]);
                let transposed = self.node("Transpose", layer, &[apart], [("perm", order)]);
                self.node("Reshape", layer, &[transposed, together], [])
            }
            TracedOperation::MaxPool(windows) => self.node("MaxPool", layer, &[x], pool(windows)),
            TracedOperation::AveragePool(windows) => {
                let [size, stride, pads] = pool(windows);
                let count = ("count_include_pad", Attribute::Int(windows.count_padding.into()));
                self.node("AveragePool", layer, &[x], [size, stride, pads, count])
            }
            TracedOperation::AdaptiveAveragePool { of, output: [1, 1] } if of.height > 0 => {
                self.node("GlobalAveragePool", layer, &[x], [])
            }
            TracedOperation::AdaptiveAveragePool { of, output: [rows, columns] } => {
                if !of.height.is_multiple_of(*rows) || !of.width.is_multiple_of(*columns) {
                    return Err(zskt_api::Error::new(format!(
                        "it pools a map of {}×{} to {rows}×{columns}, and ONNX has windows of one size only",
                        of.height, of.width
                    )));
                }
                let size = [of.height / rows, of.width / columns];
                let windows = PoolWindows { size, stride: size, padding: [[0; 2]; 2], count_padding: false };
                self.node("AveragePool", layer, &[x], pool(&windows))
            }
            TracedOperation::Pad(Padding { channels, rows, columns }) => {
                let sides = [0, 1].map(|side| [0, channels[side] as i64, rows[side] as i64, columns[side] as i64]);
                let pads = self.whole_numbers("pads", sides.as_flattened());
                self.node("Pad", layer, &[x, pads], [])
            }
            TracedOperation::GlobalAverage => {
                let pooled = self.node("GlobalAveragePool", layer, &[x], []);
                self.node("Flatten", layer, &[pooled], [("axis", Attribute::Int(1))])
            }
            TracedOperation::Flatten => self.node("Flatten", layer, &[x], [("axis", Attribute::Int(1))]),
            TracedOperation::FromVectors => {
                let axes = self.whole_numbers("axes", &[2, 3]);
                self.node("Unsqueeze", layer, &[x, axes], [])
            }
            TracedOperation::Linear { weight, bias } => {
                let weight = self.weight(weight, &self.unused(&named("weight")))?;
                let bias = self.weight(bias, &self.unused(&named("bias")))?;
                self.node("Gemm", layer, &[x, weight, bias], [("transB", Attribute::Int(1))])
            }
            TracedOperation::Upsample(_) => {
                return Err(zskt_api::Error::new("it upsamples maps, which is not exported"));
            }
        })
    }

    fn activation(&mut self, activation: Activation, layer: &str, x: ValueId) -> ValueId {
        let float = |number: f64| Attribute::Float(number as f32);
        match activation {
            Activation::Identity => x,
            Activation::Relu => self.node("Relu", layer, &[x], []),
            Activation::Relu6 => self.activation(Activation::Clip { min: 0.0, max: 6.0 }, layer, x),
            Activation::LeakyRelu(slope) => self.node("LeakyRelu", layer, &[x], [("alpha", float(slope))]),
            Activation::Clip { min, max } => {
                let mut bound = |number: f64| {
                    let tensor = onnx_model::Tensor::of_f32(&[], &[number as f32]);
                    self.initializer(&format!("bound_{number}"), tensor)
                };
                let bounds = [bound(min), bound(max)];
                self.node("Clip", layer, &[x, bounds[0], bounds[1]], [])
            }
            Activation::Sigmoid => self.node("Sigmoid", layer, &[x], []),
            Activation::Tanh => self.node("Tanh", layer, &[x], []),
            Activation::HardSigmoid { alpha, beta } => {
                self.node("HardSigmoid", layer, &[x], [("alpha", float(alpha)), ("beta", float(beta))])
            }
            Activation::HardSwish => self.node("HardSwish", layer, &[x], []),
            Activation::Gelu => self.node("Gelu", layer, &[x], []),
            Activation::Silu => {
                let gate = self.node("Sigmoid", layer, &[x], []);
                self.node("Mul", layer, &[x, gate], [])
            }
        }
    }

    /// A name of an initializer that none has.
    fn unused(&self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(|name| !self.initializers.contains_key(name)).unwrap_or_default()
    }

    /// Calls what a node makes by another name.
    fn rename(&mut self, value: ValueId, name: &str) {
        self.graph.rename_value(value, name);
    }
}

/// `kernel_shape`, `strides` and `pads`.
fn pool(windows: &PoolWindows) -> [(&'static str, Attribute); 3] {
    let PoolWindows { size, stride, padding: [[top, bottom], [left, right]], .. } = *windows;
    let ints = |numbers: &[usize]| Attribute::Ints(numbers.iter().map(|number| *number as i64).collect());
    [("kernel_shape", ints(&size)), ("strides", ints(&stride)), ("pads", ints(&[top, left, bottom, right]))]
}

/// The layer that an operation's weights belong to: `layer1.0.conv1` of `layer1.0.conv1.weight`.
fn layer_of(operation: &TracedOperation) -> String {
    let weight = match operation {
        TracedOperation::Convolution { weight, .. } | TracedOperation::Linear { weight, .. } => weight,
        TracedOperation::BatchNorm { gamma, .. } => gamma,
        _ => return String::new(),
    };
    let layer = weight.name.as_deref().and_then(|name| name.rsplit_once('.')).map(|(layer, _)| layer);
    layer.unwrap_or_default().to_owned()
}
