//! Convolutions and the zeros around them.

use zskt_api::nn::{Conv2dShape, Padding};

use super::super::plan::{Layer, Shape, same_padding};
use super::super::value::{Axis, CHANNELS_FIRST, Tracked, Value};
use super::{Operation, tensor};

/// How a window reaches beyond a map.
pub enum AutoPadding {
    /// At the beginning and the end of rows, and of columns.
    Fixed([[usize; 2]; 2]),
    Same {
        at_end: bool,
    },
}

/// `auto_pad` and `pads`.
pub fn padding(operation: &Operation<'_, '_, '_>) -> Result<AutoPadding, String> {
    match operation.text_attribute("auto_pad")? {
        None | Some("NOTSET") => {}
        Some("VALID") => return Ok(AutoPadding::Fixed([[0; 2]; 2])),
        Some("SAME_UPPER") => return Ok(AutoPadding::Same { at_end: true }),
        Some("SAME_LOWER") => return Ok(AutoPadding::Same { at_end: false }),
        Some(other) => return Err(format!("its `auto_pad` is `{other}`")),
    }
    let pads = operation.ints_attribute("pads")?.unwrap_or_else(|| vec![0; 4]);
    let sizes: Vec<_> =
        pads.iter().filter_map(|pad| usize::try_from(*pad).ok().filter(|pad| *pad <= 1 << 16)).collect();
    match sizes[..] {
        [top, left, bottom, right] if pads.len() == 4 => Ok(AutoPadding::Fixed([[top, bottom], [left, right]])),
        _ => Err(format!("its `pads` are {pads:?}, not four sizes")),
    }
}

/// An input whose axes are those that convolutions and pooling take.
pub fn channels_first(operation: &Operation<'_, '_, '_>) -> Result<Tracked, String> {
    let tracked = operation.tracked(0)?.clone();
    if tracked.axes != CHANNELS_FIRST {
        return Err(format!("the axes of its input are `{}`, not `NCHW`", tracked.shown_axes()));
    }
    Ok(tracked)
}

/// A convolution; padding that differs from side to side is a step of its own.
pub fn conv(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let mut input = channels_first(operation)?;
    let weight = operation.floats(1)?;
    let &[output, group_inputs, rows, columns] = weight.shape() else {
        return Err(format!("its kernel has the shape {:?}, not four dimensions", weight.shape()));
    };
    if let Some(size) = operation.pair_attribute("kernel_shape")?
        && size != [rows, columns]
    {
        return Err(format!("its kernel is {rows}×{columns}, and `kernel_shape` says {size:?}"));
    }
    if rows != columns || rows == 0 || output == 0 || group_inputs == 0 {
        return Err(format!("its kernel is {rows}×{columns}; square ones are taken"));
    }
    if operation.pair_attribute("dilations")?.is_some_and(|dilations| dilations != [1, 1]) {
        return Err("it is dilated".into());
    }
    let [stride, other] = operation.pair_attribute("strides")?.unwrap_or([1, 1]);
    if stride != other {
        return Err(format!("its strides are {stride} and {other}; equal ones are taken"));
    }
    let groups = operation.int_attribute("group")?.unwrap_or(1);
    let channels = operation.channels(&input)?;
    let groups = usize::try_from(groups).ok().filter(|groups| {
        *groups > 0 && group_inputs.checked_mul(*groups) == Some(channels) && output.is_multiple_of(*groups)
    });
    let Some(groups) = groups else {
        let kernel = weight.shape();
        return Err(format!("a kernel {kernel:?} in {groups:?} groups does not fit {channels} channels"));
    };
    let symmetric = match padding(operation)? {
        AutoPadding::Fixed([[top, bottom], [left, right]]) if top == bottom && left == right && top == left => {
            Some(top)
        }
        AutoPadding::Fixed([rows, columns]) => {
            let layer = Layer::Pad(Padding { rows, columns, ..Padding::default() });
            input = input.with(operation.step(String::new(), layer, vec![input.slot])?);
            None
        }
        // The same for maps of every size.
        AutoPadding::Same { at_end } if stride == 1 => {
            let [before, after] = same_padding(rows, rows, 1, at_end);
            if before == after {
                Some(before)
            } else {
                let sides = [before, after];
                let layer = Layer::Pad(Padding { rows: sides, columns: sides, ..Padding::default() });
                input = input.with(operation.step(String::new(), layer, vec![input.slot])?);
                None
            }
        }
        AutoPadding::Same { at_end } => {
            let layer = Layer::PadSame { kernel: rows, stride, at_end };
            input = input.with(operation.step(String::new(), layer, vec![input.slot])?);
            None
        }
    };
    let bias = operation.optional(2)?.is_some().then(|| operation.floats(2)).transpose()?;
    let weight = tensor(&weight, &[output, group_inputs, rows, rows])?;
    let name = operation.layer_name(1);
    if let Some(bias) = &bias {
        let bias = tensor(bias, &[output])?;
        operation.weight(format!("{name}.bias"), bias)?;
    }
    operation.weight(format!("{name}.weight"), weight)?;
    let padding = symmetric.unwrap_or(0);
    let shape = Conv2dShape { input: channels, output, kernel: rows, stride, padding, groups, dilation: 1 };
    let slot = operation.step(name, Layer::Convolution { shape, bias: bias.is_some() }, vec![input.slot])?;
    Ok(Value::Tracked(input.with(slot)))
}

/// Zeros around a map.
pub fn pad(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = operation.tracked(0)?.clone();
    if !matches!(operation.text_attribute("mode")?, None | Some("constant")) {
        return Err("it pads with something else than zeros".into());
    }
    let (pads, value) = if operation.opset() < 11 {
        (operation.ints_attribute("pads")?, operation.float_attribute("value")?)
    } else {
        (operation.ints(1)?, operation.number(2)?)
    };
    if value.is_some_and(|value| value != 0.0) {
        return Err("it pads with something else than zeros".into());
    }
    let pads = pads.ok_or("it does not say how much it pads")?;
    let rank = input.axes.len();
    let axes = match operation.ints(3)? {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("it pads {} axes by {pads:?}", axes.len()));
    }
    let mut padding = Padding::default();
    for (index, axis) in axes.iter().enumerate() {
        let size = |pad: i64| usize::try_from(pad).ok().filter(|pad| *pad <= 1 << 16);
        let sides = [size(pads[index]), size(pads[axes.len() + index])];
        let [Some(before), Some(after)] = sides else { return Err(format!("it pads by {pads:?}")) };
        let place = match input.axes[*axis] {
            Axis::Channel => &mut padding.channels,
            Axis::Height => &mut padding.rows,
            Axis::Width => &mut padding.columns,
            Axis::Batch if [before, after] == [0, 0] => continue,
            Axis::Batch | Axis::Group(_) => return Err("it pads the batch".into()),
        };
        *place = [before, after];
    }
    if padding == Padding::default() {
        return Ok(Value::Tracked(input));
    }
    if matches!(operation.shape(&input), Shape::Vectors(_)) {
        return Err("it pads vectors".into());
    }
    operation.layer(Layer::Pad(padding), &input)
}

/// An axis that may be counted from the end.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let axis_from_start = from_start.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
    axis_from_start.ok_or(format!("it has an axis {axis} of {rank}"))
}
