//! Pooling and means.

use super::super::plan::{Layer, Shape, WindowPadding, Windows};
use super::super::value::{Axis, Tracked, Value};
use super::Operation;
use super::convolution::{AutoPadding, axis_of, channels_first, padding};

/// `MaxPool` and `AveragePool`.
pub fn pool(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = channels_first(operation)?;
    let size = operation.pair_attribute("kernel_shape")?.ok_or("it does not say how large its windows are")?;
    let stride = operation.pair_attribute("strides")?.unwrap_or([1, 1]);
    if operation.pair_attribute("dilations")?.is_some_and(|dilations| dilations != [1, 1]) {
        return Err("its windows are dilated".into());
    }
    let padding = match padding(operation)? {
        AutoPadding::Fixed(padding) => WindowPadding::Fixed(padding),
        AutoPadding::Same { at_end } => WindowPadding::Same { at_end },
    };
    let ceil = operation.int_attribute("ceil_mode")?.unwrap_or(0) != 0;
    let is_mean = operation.node.operation == "AveragePool";
    let count_padding = is_mean && operation.int_attribute("count_include_pad")?.unwrap_or(0) != 0;
    let has_padding = padding != WindowPadding::Fixed([[0; 2]; 2]);
    if ceil && count_padding && has_padding {
        return Err("it counts its padding and has `ceil_mode`".into());
    }
    let windows = Windows { size, stride, padding, ceil, count_padding: count_padding && has_padding };
    operation.layer(if is_mean { Layer::AveragePool(windows) } else { Layer::MaxPool(windows) }, &input)
}

/// Means over rows and columns.
pub fn mean(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = operation.tracked(0)?.clone();
    let rank = input.axes.len();
    let spatial: Vec<_> = (0..rank).filter(|axis| matches!(input.axes[*axis], Axis::Height | Axis::Width)).collect();
    let (axes, keeps) = if operation.node.operation == "GlobalAveragePool" {
        (spatial.clone(), true)
    } else {
        let axes = if operation.opset() < 18 { operation.ints_attribute("axes")? } else { operation.ints(1)? };
        let axes = axes.unwrap_or_default().iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
        (axes, operation.int_attribute("keepdims")?.unwrap_or(1) != 0)
    };
    let mut sorted = axes;
    sorted.sort_unstable();
    if sorted != spatial || spatial.len() != 2 {
        return Err("means over rows and columns together are taken".into());
    }
    let axes: Vec<_> =
        input.axes.iter().copied().filter(|axis| keeps || !matches!(axis, Axis::Height | Axis::Width)).collect();
    let slot = match operation.shape(&input) {
        // The mean of one number.
        Shape::Vectors(_) => input.slot,
        Shape::Map { .. } => operation.step(String::new(), Layer::GlobalAverage, vec![input.slot])?,
    };
    Ok(Value::Tracked(Tracked::new(slot, &axes)))
}
