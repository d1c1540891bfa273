//! Fully connected layers, and the softmax at the end.

use super::super::plan::Layer;
use super::super::value::{Axis, Floats, Tracked, VECTORS, Value};
use super::convolution::axis_of;
use super::{Operation, tensor};

/// `alpha · x · B + beta · C`.
pub fn gemm(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = vectors(operation)?;
    if operation.int_attribute("transA")?.unwrap_or(0) != 0 {
        return Err("it transposes its first input".into());
    }
    let is_transposed = operation.int_attribute("transB")?.unwrap_or(0) != 0;
    let alpha = operation.float_attribute("alpha")?.unwrap_or(1.0);
    let beta = operation.float_attribute("beta")?.unwrap_or(1.0);
    let weight = scaled(operation.floats(1)?, alpha);
    let bias = operation.optional(2)?.is_some().then(|| operation.floats(2)).transpose()?;
    linear(operation, &input, &weight, is_transposed, bias.map(|bias| scaled(bias, beta)))
}

/// `x · B`.
pub fn matmul(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = vectors(operation)?;
    let weight = operation.floats(1)?;
    linear(operation, &input, &weight, false, None)
}

fn scaled(floats: Floats, factor: f64) -> Floats {
    if factor == 1.0 { floats } else { floats.array().map(|number| factor * number).into() }
}

fn vectors(operation: &Operation<'_, '_, '_>) -> Result<Tracked, String> {
    let input = operation.tracked(0)?;
    if input.axes != VECTORS {
        return Err(format!("the axes of its first input are `{}`, and vectors `NC` are taken", input.shown_axes()));
    }
    Ok(input.clone())
}

/// `is_transposed` says that the weight is `[outputs, inputs]`, as PyTorch has it.
fn linear(
    operation: &mut Operation<'_, '_, '_>,
    input: &Tracked,
    weight: &Floats,
    is_transposed: bool,
    bias: Option<Floats>,
) -> Result<Value, String> {
    let &[rows, columns] = weight.shape() else {
        return Err(format!("its weight has the shape {:?}, not two dimensions", weight.shape()));
    };
    let mut matrix = tensor(weight, &[rows, columns])?;
    let (inputs, outputs) = if is_transposed { (columns, rows) } else { (rows, columns) };
    if !is_transposed {
        matrix = matrix.t().and_then(|matrix| matrix.contiguous()).map_err(|error| error.to_string())?;
    }
    let bias = match bias.map(|bias| bias.array()) {
        None => vec![0.0; outputs],
        Some(bias) if bias.numbers.len() == outputs => bias.numbers,
        Some(bias) => match bias.single() {
            Some(number) => vec![number; outputs],
            None => return Err(format!("its bias has the shape {:?} for {outputs} outputs", bias.shape)),
        },
    };
    let bias = tensor(&super::super::array::Array::vector(bias).into(), &[outputs])?;
    let name = operation.layer_name(1);
    operation.weight(format!("{name}.weight"), matrix)?;
    operation.weight(format!("{name}.bias"), bias)?;
    let slot = operation.step(name, Layer::Linear { inputs, outputs }, vec![input.slot])?;
    Ok(Value::Tracked(Tracked::new(slot, &VECTORS)))
}

/// Taken off: networks give logits here.
pub fn softmax(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let mut input = operation.tracked(0)?.clone();
    let rank = input.axes.len();
    let axis = operation.int_attribute("axis")?.unwrap_or(if operation.opset() < 13 { 1 } else { -1 });
    let axis = axis_of(axis, rank)?;
    // Before operator set 13 it went over all axes from this one on.
    let classes = input.axes[axis] == Axis::Channel && (operation.opset() >= 13 || axis == 1);
    if !classes {
        return Err(format!("it goes over axis {axis} of `{}`, which is not that of classes", input.shown_axes()));
    }
    input.softmax = Some(operation.lowering.graph.describe(operation.node));
    Ok(Value::Tracked(input))
}
