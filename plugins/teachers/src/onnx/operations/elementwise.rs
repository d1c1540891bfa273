//! What is done with each number by itself.

use zskt_api::nn::Activation;

use super::super::array::Array;
use super::super::plan::Layer;
use super::super::value::{Axis, Constant, Size, Tracked, Value};
use super::{Operation, tensor};

/// `BatchNormalization` by running statistics.
pub fn batch_normalization(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = operation.tracked(0)?.clone();
    if input.axes.get(1) != Some(&Axis::Channel) {
        return Err(format!("the axes of its input are `{}`, not `NCHW`", input.shown_axes()));
    }
    if operation.int_attribute("training_mode")?.unwrap_or(0) != 0 {
        return Err("it is in training mode: call `model.eval()` before exporting".into());
    }
    let epsilon = operation.float_attribute("epsilon")?.unwrap_or(1e-5);
    // ONNX's momentum is how much is kept, PyTorch's how much is new.
    let momentum = 1.0 - operation.float_attribute("momentum")?.unwrap_or(0.9);
    let channels = operation.channels(&input)?;
    let name = operation.layer_name(1);
    for (index, weight) in ["weight", "bias", "running_mean", "running_var"].into_iter().enumerate() {
        let tensor = tensor(&operation.floats(index + 1)?, &[channels])?;
        operation.weight(format!("{name}.{weight}"), tensor)?;
    }
    // A decimal number, as it was before the subtraction.
    let momentum = (momentum * 1e6).round() / 1e6;
    let layer = Layer::Normalization { channels, epsilon, momentum, activation: Activation::Identity };
    let slot = operation.step(name, layer, vec![input.slot])?;
    Ok(Value::Tracked(input.with(slot)))
}

/// Activations.
pub fn activation(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    if let ("Clip", Some(Value::Constant(constant))) = (operation.node.operation.as_str(), operation.input(0)) {
        let (min, max) = bounds(operation)?;
        return Ok(Value::Constant(match constant {
            Constant::Sizes(sizes) => {
                let clipped = |size| match size {
                    Size::Known(size) => Size::Known((size as f64).clamp(min, max) as i64),
                    size => size,
                };
                sizes.map(clipped).into()
            }
            Constant::Floats(floats) => floats.array().map(|number| number.clamp(min, max)).into(),
        }));
    }
    let input = operation.tracked(0)?.clone();
    let activation = match operation.node.operation.as_str() {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu(operation.float_attribute("alpha")?.unwrap_or(0.01)),
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid {
            alpha: operation.float_attribute("alpha")?.unwrap_or(0.2),
            beta: operation.float_attribute("beta")?.unwrap_or(0.5),
        },
        "HardSwish" => Activation::HardSwish,
        "Gelu" => match operation.text_attribute("approximate")? {
            None | Some("none") => Activation::Gelu,
            Some(_) => return Err("it approximates GELU by tanh; the exact one is taken".into()),
        },
        _ => clip(operation)?,
    };
    if activation == Activation::Identity {
        return Ok(Value::Tracked(input));
    }
    operation.layer(Layer::Activation(activation), &input)
}

fn clip(operation: &Operation<'_, '_, '_>) -> Result<Activation, String> {
    Ok(match bounds(operation)? {
        (0.0, f64::INFINITY) => Activation::Relu,
        (0.0, 6.0) => Activation::Relu6,
        (f64::NEG_INFINITY, f64::INFINITY) => Activation::Identity,
        (min, max) => Activation::Clip { min, max },
    })
}

/// From where to where `Clip` goes.
fn bounds(operation: &Operation<'_, '_, '_>) -> Result<(f64, f64), String> {
    let (min, max) = if operation.opset() < 11 {
        (operation.float_attribute("min")?, operation.float_attribute("max")?)
    } else {
        (operation.number(1)?, operation.number(2)?)
    };
    // Writers of operator set 6 to 10 wrote the largest float for no limit.
    let beyond = f64::from(f32::MAX) * 0.999;
    let min = min.filter(|min| *min > -beyond).unwrap_or(f64::NEG_INFINITY);
    let max = max.filter(|max| *max < beyond).unwrap_or(f64::INFINITY);
    if min.is_nan() || max.is_nan() || min > max {
        return Err(format!("it clips to {min} … {max}"));
    }
    Ok((min, max))
}

/// `Add`, `Sub`, `Mul` and `Div`: of two maps, of a map and constants for each channel, or of constants alone.
pub fn arithmetic(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let kind = operation.node.operation.clone();
    if operation.inputs.len() != 2 {
        return Err("it does not have two inputs".into());
    }
    match (operation.input(0), operation.input(1)) {
        (Some(Value::Constant(a)), Some(Value::Constant(b))) => fold(&kind, a, b),
        (Some(Value::Tracked(_)), Some(Value::Tracked(_))) => {
            let (a, b) = (operation.tracked(0)?.clone(), operation.tracked(1)?.clone());
            if a.axes != b.axes {
                return Err(format!("its inputs have the axes `{}` and `{}`", a.shown_axes(), b.shown_axes()));
            }
            let layer = match kind.as_str() {
                "Add" => Layer::Add,
                "Mul" => Layer::Multiply,
                _ => return Err("it is taken of constants only".into()),
            };
            let slot = operation.step(String::new(), layer, vec![a.slot, b.slot])?;
            Ok(Value::Tracked(a.with(slot)))
        }
        _ if matches!(kind.as_str(), "Max" | "Min") => Err("it is taken of constants only".into()),
        (Some(Value::Tracked(_)), Some(Value::Constant(_))) => {
            let input = operation.tracked(0)?.clone();
            let constants = per_channel(operation, &input, 1)?;
            let (factors, terms): (Vec<_>, Vec<_>) = constants
                .into_iter()
                .map(|number| match kind.as_str() {
                    "Add" => (1.0, number),
                    "Sub" => (1.0, -number),
                    "Mul" => (number, 0.0),
                    _ => (1.0 / number, 0.0),
                })
                .unzip();
            affine(operation, &input, factors, terms)
        }
        (Some(Value::Constant(_)), Some(Value::Tracked(_))) => {
            let input = operation.tracked(1)?.clone();
            let constants = per_channel(operation, &input, 0)?;
            let (factors, terms) = match kind.as_str() {
                "Add" => (vec![1.0; constants.len()], constants),
                "Sub" => (vec![-1.0; constants.len()], constants),
                "Mul" => (constants.clone(), vec![0.0; constants.len()]),
                _ => return Err("it divides a constant by what depends on the images".into()),
            };
            affine(operation, &input, factors, terms)
        }
        _ => Err("it does not have two inputs".into()),
    }
}

fn affine(
    operation: &mut Operation<'_, '_, '_>,
    input: &Tracked,
    factors: Vec<f64>,
    terms: Vec<f64>,
) -> Result<Value, String> {
    let channels = factors.len();
    let name = operation.layer_name(usize::MAX);
    for (weight, numbers) in [("scale", factors), ("shift", terms)] {
        let tensor = tensor(&Array::vector(numbers).into(), &[channels])?;
        operation.weight(format!("{name}.{weight}"), tensor)?;
    }
    let layer = Layer::Affine { channels, activation: Activation::Identity };
    let slot = operation.step(name, layer, vec![input.slot])?;
    Ok(Value::Tracked(input.with(slot)))
}

/// A constant as one number for each channel of an input.
fn per_channel(operation: &mut Operation<'_, '_, '_>, input: &Tracked, index: usize) -> Result<Vec<f64>, String> {
    let constant = operation.floats(index)?;
    let channels = operation.channels(input)?;
    // Channels are as many as a model concatenates, whatever its size.
    operation.lowering.take(channels)?;
    let shape = constant.shape().to_vec();
    let refuse = || format!("its constant {shape:?} is not one number for each channel of `{}`", input.shown_axes());
    let missing = input.axes.len().checked_sub(shape.len()).ok_or_else(refuse)?;
    for (axis, size) in shape.iter().enumerate() {
        let fits = *size == 1 || (input.axes[missing + axis] == Axis::Channel && *size == channels);
        fits.then_some(()).ok_or_else(refuse)?;
    }
    let array = constant.array();
    Ok(match array.single() {
        Some(number) => vec![number; channels],
        None => array.numbers,
    })
}

fn fold(kind: &str, a: &Constant, b: &Constant) -> Result<Value, String> {
    let unfit = || format!("its constants have the shapes {:?} and {:?}", a.shape(), b.shape());
    if let (Constant::Sizes(a), Constant::Sizes(b)) = (a, b) {
        let sizes = a.zip(b, |a, b| combine_sizes(kind, a, b)).ok_or_else(unfit)?;
        return Ok(Value::Constant(sizes.into()));
    }
    let numbers = |constant: &Constant| constant.floats().map(|floats| floats.array());
    let (Some(x), Some(y)) = (numbers(a), numbers(b)) else {
        return Err("its constants are not known before the run".into());
    };
    let array = x.zip(&y, |a, b| match kind {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Max" => a.max(b),
        "Min" => a.min(b),
        _ => a / b,
    });
    Ok(Value::Constant(array.ok_or_else(unfit)?.into()))
}

fn combine_sizes(kind: &str, a: Size, b: Size) -> Size {
    let (Size::Known(a), Size::Known(b)) = (a, b) else {
        return match (kind, a, b) {
            ("Mul" | "Div", size, Size::Known(1)) | ("Mul", Size::Known(1), size) => size,
            _ => Size::Unknown,
        };
    };
    let result = match kind {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Max" => Some(a.max(b)),
        "Min" => Some(a.min(b)),
        _ => a.checked_div(b),
    };
    result.map_or(Size::Unknown, Size::Known)
}
