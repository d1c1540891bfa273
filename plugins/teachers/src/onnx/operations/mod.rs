//! The operations that are taken, each as the layers that compute the same.

mod constants;
mod convolution;
mod dense;
mod elementwise;
mod layout;
mod pooling;

use onnx_model::{Attribute, Node, Tensor};
use zskt_api::candle_core::{self, DType, Device};

use super::lowering::Lowering;
use super::plan::{Layer, Shape, Slot};
use super::value::{Constant, Floats, Tracked, Value};

/// Makes layers of a node, or says why it is not taken.
pub type Lower = fn(&mut Operation<'_, '_, '_>) -> Result<Value, String>;

/// How a node's operation is lowered.
pub fn find(node: &Node) -> Result<Lower, String> {
    if !node.domain.is_empty() {
        return Err(format!("operations of the domain {} are not taken", super::value::quoted(&node.domain)));
    }
    Ok(match node.operation.as_str() {
        "Conv" => convolution::conv,
        "Pad" => convolution::pad,
        "BatchNormalization" => elementwise::batch_normalization,
        "Relu" | "LeakyRelu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Gelu" => elementwise::activation,
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" => elementwise::arithmetic,
        "MaxPool" | "AveragePool" => pooling::pool,
        "GlobalAveragePool" | "ReduceMean" => pooling::mean,
        "Gemm" => dense::gemm,
        "MatMul" => dense::matmul,
        "Softmax" | "LogSoftmax" => dense::softmax,
        "Concat" => layout::concat,
        "Slice" => layout::slice,
        "Split" => layout::split,
        "Flatten" => layout::flatten,
        "Reshape" => layout::reshape,
        "Squeeze" => layout::squeeze,
        "Unsqueeze" => layout::unsqueeze,
        "Transpose" => layout::transpose,
        "Identity" | "Dropout" | "Cast" => layout::unchanged,
        "Constant" | "ConstantOfShape" | "Shape" | "Gather" | "Neg" | "Sqrt" | "Reciprocal" | "Ceil" | "Floor" => {
            constants::constant
        }
        _ => return Err("this operation is not taken".into()),
    })
}

/// A node while it is lowered.
pub struct Operation<'o, 'n, 'g> {
    pub node: &'n Node,
    pub inputs: Vec<Option<Value>>,
    /// What it makes behind its first output.
    pub others: Vec<Value>,
    pub lowering: &'o mut Lowering<'g>,
}

impl Operation<'_, '_, '_> {
    fn opset(&self) -> i64 {
        self.lowering.opset
    }

    fn input(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// What depends on the images, at this input. A softmax is the end of a network, and channels in groups are put together again.
    fn tracked(&self, index: usize) -> Result<&Tracked, String> {
        match self.input(index) {
            Some(Value::Tracked(tracked))
                if tracked.is_grouped() && !matches!(self.node.operation.as_str(), "Reshape" | "Transpose") =>
            {
                Err(format!("it takes channels in groups, `{}`, which only a shuffle may", tracked.shown_axes()))
            }
            Some(Value::Tracked(tracked)) => match &tracked.softmax {
                None => Ok(tracked),
                Some(node) => Err(format!("it takes the output of {node}, and a softmax is taken at the end only")),
            },
            _ => Err(format!("its input {index} does not depend on the images")),
        }
    }

    /// A constant at this input, which may be left out.
    fn optional(&self, index: usize) -> Result<Option<&Constant>, String> {
        match self.input(index) {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(_) => Err(format!("its input {index} is not a constant")),
        }
    }

    fn constant(&self, index: usize) -> Result<&Constant, String> {
        self.optional(index)?.ok_or(format!("it has no input {index}"))
    }

    /// The floating-point numbers at this input.
    fn floats(&self, index: usize) -> Result<Floats, String> {
        self.constant(index)?.floats().ok_or(format!("its input {index} is not known before the run"))
    }

    /// The only number at this input, which may be left out.
    fn number(&self, index: usize) -> Result<Option<f64>, String> {
        let Some(constant) = self.optional(index)? else { return Ok(None) };
        let number = constant.floats().and_then(|floats| floats.array().single());
        number.map(Some).ok_or(format!("its input {index} is not one number"))
    }

    /// The whole numbers at this input, which may be left out.
    fn ints(&self, index: usize) -> Result<Option<Vec<i64>>, String> {
        let Some(constant) = self.optional(index)? else { return Ok(None) };
        constant
            .known()
            .map(Some)
            .ok_or(format!("its input {index} is not whole numbers that are known before the run"))
    }

    fn int_attribute(&self, name: &str) -> Result<Option<i64>, String> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Int(number)) => Ok(Some(*number)),
            Some(_) => Err(format!("its attribute `{name}` is not a whole number")),
        }
    }

    /// As the shortest decimal number that is this f32: PyTorch's 1e-5 was one before it was exported.
    fn float_attribute(&self, name: &str) -> Result<Option<f64>, String> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Float(number)) => Ok(Some(number.to_string().parse().unwrap_or(f64::from(*number)))),
            Some(_) => Err(format!("its attribute `{name}` is not a number")),
        }
    }

    fn ints_attribute(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(numbers)) => Ok(Some(numbers.clone())),
            Some(_) => Err(format!("its attribute `{name}` is not a list of whole numbers")),
        }
    }

    fn text_attribute(&self, name: &str) -> Result<Option<&str>, String> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("its attribute `{name}` is not text")),
        }
    }

    /// Two positive sizes that an attribute has, for rows and columns.
    fn pair_attribute(&self, name: &str) -> Result<Option<[usize; 2]>, String> {
        /// Larger than any image.
        const LARGEST: i64 = 1 << 16;
        let Some(numbers) = self.ints_attribute(name)? else { return Ok(None) };
        match numbers[..] {
            [rows, columns] if (1..=LARGEST).contains(&rows) && (1..=LARGEST).contains(&columns) => {
                Ok(Some([rows as usize, columns as usize]))
            }
            _ => Err(format!("its attribute `{name}` is {numbers:?}, not two sizes")),
        }
    }

    fn shape(&self, tracked: &Tracked) -> Shape {
        self.lowering.shapes[tracked.slot.0]
    }

    fn channels(&self, tracked: &Tracked) -> Result<usize, String> {
        self.shape(tracked).channels().ok_or("how many numbers it takes depends on the size of images".into())
    }

    /// What its weights' names begin with, where one of them is this input.
    fn layer_name(&mut self, weight: usize) -> String {
        let value = self.node.inputs.get(weight).copied().flatten();
        self.lowering.layer_name(self.node, value)
    }

    fn step(&mut self, name: String, layer: Layer, inputs: Vec<Slot>) -> Result<Slot, String> {
        self.lowering.step(self.node, name, layer, inputs)
    }

    /// A layer without weights, of one input.
    fn layer(&mut self, layer: Layer, of: &Tracked) -> Result<Value, String> {
        let slot = self.step(String::new(), layer, vec![of.slot])?;
        Ok(Value::Tracked(of.with(slot)))
    }

    fn weight(&mut self, name: String, tensor: candle_core::Tensor) -> Result<(), String> {
        self.lowering.take(tensor.elem_count())?;
        self.lowering.weights.insert(name, tensor);
        Ok(())
    }
}

/// Numbers of the model as a tensor of this shape.
fn tensor(floats: &Floats, shape: &[usize]) -> Result<candle_core::Tensor, String> {
    let tensor = match floats {
        Floats::Tensor(tensor) => of_model(tensor),
        Floats::Array(array) => {
            candle_core::Tensor::from_vec(array.numbers.clone(), array.shape.as_slice(), &Device::Cpu)
        }
    };
    let tensor = tensor.and_then(|tensor| tensor.reshape(shape));
    tensor.map_err(|_| format!("its weight has the shape {:?} instead of {shape:?}", floats.shape()))
}

fn of_model(tensor: &Tensor) -> candle_core::Result<candle_core::Tensor> {
    use onnx_model::ElementType as E;
    let dtype = match tensor.element() {
        E::F32 => DType::F32,
        E::F16 => DType::F16,
        E::Bf16 => DType::BF16,
        _ => return candle_core::Tensor::from_vec(tensor.to_f64(), tensor.shape(), &Device::Cpu),
    };
    candle_core::Tensor::from_raw_buffer(tensor.bytes(), dtype, tensor.shape(), &Device::Cpu)
}
