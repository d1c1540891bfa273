//! Where numbers lie: nothing here computes with them.

use onnx_model::ElementType;

use super::super::array::{Array, is_permutation};
use super::super::plan::{Layer, Order, Shape};
use super::super::value::{Axis, CHANNELS_FIRST, CHANNELS_LAST, Constant, Size, Tracked, VECTORS, Value};
use super::convolution::axis_of;
use super::{Operation, constants};

/// `Identity`, `Dropout` and `Cast`.
pub fn unchanged(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let value = operation.input(0).cloned().ok_or("it has no input 0")?;
    if operation.node.operation != "Cast" {
        return Ok(value);
    }
    let to = operation.int_attribute("to")?.and_then(|code| i32::try_from(code).ok()).and_then(ElementType::of_code);
    let to = to.ok_or("it casts to a type that is not read")?;
    match value {
        Value::Constant(Constant::Floats(floats)) if !to.is_float() => {
            let whole = floats.array().map(|number| Size::Known(number as i64));
            Ok(Value::Constant(whole.into()))
        }
        Value::Constant(constant @ Constant::Sizes(_)) if to.is_float() => {
            let floats = constant.floats().ok_or("it casts a size that is not known before the run")?;
            Ok(Value::Constant(Constant::Floats(floats)))
        }
        Value::Tracked(_) if !to.is_float() => Err("it rounds to whole numbers".into()),
        value => Ok(value),
    }
}

/// Channels one after the other.
pub fn concat(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let axis = operation.int_attribute("axis")?.ok_or("it does not say along which axis")?;
    let count = operation.inputs.len();
    if (0..count).all(|index| matches!(operation.input(index), Some(Value::Constant(_)))) {
        return concat_constants(operation, axis);
    }
    let parts = (0..count).map(|index| operation.tracked(index).cloned()).collect::<Result<Vec<_>, _>>()?;
    let first = parts.first().ok_or("it takes nothing")?;
    if let Some(other) = parts.iter().find(|part| part.axes != first.axes) {
        return Err(format!("its inputs have the axes `{}` and `{}`", first.shown_axes(), other.shown_axes()));
    }
    let axis = axis_of(axis, first.axes.len())?;
    if first.axes[axis] != Axis::Channel {
        return Err(format!("it concatenates axis {axis} of `{}`, and channels are taken", first.shown_axes()));
    }
    let slots = parts.iter().map(|part| part.slot).collect();
    let slot = operation.step(String::new(), Layer::Concat, slots)?;
    Ok(Value::Tracked(first.with(slot)))
}

fn concat_constants(operation: &Operation<'_, '_, '_>, axis: i64) -> Result<Value, String> {
    let parts = (0..operation.inputs.len()).map(|index| operation.constant(index)).collect::<Result<Vec<_>, _>>()?;
    let axis = axis_of(axis, parts.first().map_or(0, |part| part.shape().len()))?;
    let unfit = || "its constants do not fit".to_owned();
    let sizes = parts.iter().map(|part| if let Constant::Sizes(sizes) = part { Some(&**sizes) } else { None });
    if let Some(sizes) = sizes.collect::<Option<Vec<_>>>() {
        return Ok(Value::Constant(Array::concat(&sizes, axis).ok_or_else(unfit)?.into()));
    }
    let floats = parts.iter().map(|part| part.floats().map(|floats| floats.array())).collect::<Option<Vec<_>>>();
    let joined = floats.and_then(|floats| Array::concat(&floats.iter().collect::<Vec<_>>(), axis)).ok_or_else(unfit)?;
    Ok(Value::Constant(joined.into()))
}

/// A part of a constant, or of the channels.
pub fn slice(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    if let Some(Value::Constant(_)) = operation.input(0) {
        return constants::slice(operation).map(Value::Constant);
    }
    let input = operation.tracked(0)?.clone();
    let bounds = constants::bounds(operation)?;
    let &[[start, end, axis, 1]] = &bounds[..] else {
        return Err("it slices several axes, or leaves some out; neighbouring channels are taken".into());
    };
    channel_axis(&input, axis, "slices")?;
    let channels = operation.channels(&input)?;
    let place = |place: i64| {
        let from_start = if place < 0 { place.saturating_add(channels as i64) } else { place };
        from_start.clamp(0, channels as i64) as usize
    };
    let (start, end) = (place(start), place(end));
    operation.layer(Layer::NarrowChannels { start, length: end.saturating_sub(start) }, &input)
}

/// The channels in several parts.
pub fn split(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = operation.tracked(0)?.clone();
    channel_axis(&input, operation.int_attribute("axis")?.unwrap_or(0), "splits")?;
    let (channels, parts) = (operation.channels(&input)?, operation.node.outputs.len());
    let lengths = if operation.opset() < 13 { operation.ints_attribute("split")? } else { operation.ints(1)? };
    // Equal ones, but for the last.
    let equal = channels.div_ceil(parts);
    let lengths = match lengths {
        None => (0..parts).map(|part| equal.min(channels.saturating_sub(part * equal))).collect(),
        Some(lengths) => {
            let lengths = lengths.iter().map(|length| usize::try_from(*length).ok()).collect::<Option<Vec<_>>>();
            lengths.ok_or("the lengths of its parts are negative")?
        }
    };
    let sum = lengths.iter().try_fold(0_usize, |sum, length| sum.checked_add(*length));
    if lengths.len() != parts || sum != Some(channels) {
        return Err(format!("it splits {channels} channels into {parts} parts of {lengths:?}"));
    }
    let mut start = 0;
    let mut values = Vec::with_capacity(parts);
    for length in lengths {
        values.push(operation.layer(Layer::NarrowChannels { start, length }, &input)?);
        start += length;
    }
    operation.others = values.split_off(1);
    values.pop().ok_or("it makes nothing".into())
}

fn channel_axis(input: &Tracked, axis: i64, what: &str) -> Result<(), String> {
    let axis = axis_of(axis, input.axes.len())?;
    match input.axes[axis] {
        Axis::Channel => Ok(()),
        _ => Err(format!("it {what} axis {axis} of `{}`, and channels are taken", input.shown_axes())),
    }
}

pub fn flatten(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let input = operation.tracked(0)?.clone();
    let axis = operation.int_attribute("axis")?.unwrap_or(1);
    if axis_of(axis, input.axes.len())? != 1 {
        return Err(format!("it flattens from axis {axis} on; 1 is taken"));
    }
    rows(operation, &input, None)
}

/// Vectors of all numbers of an image.
fn rows(operation: &mut Operation<'_, '_, '_>, input: &Tracked, features: Option<usize>) -> Result<Value, String> {
    if input.axes.first() != Some(&Axis::Batch) {
        return Err(format!("the axes of its input are `{}`, and images do not come first", input.shown_axes()));
    }
    if let Shape::Vectors(length) = operation.shape(input) {
        if let (Some(expected), Some(found)) = (features, length)
            && expected != found
        {
            return Err(format!("it makes vectors of {expected} of vectors of {found}"));
        }
        return Ok(Value::Tracked(Tracked::new(input.slot, &VECTORS)));
    }
    let order = if input.axes == CHANNELS_FIRST {
        Order::ChannelsFirst
    } else if input.axes == CHANNELS_LAST {
        Order::ChannelsLast
    } else {
        return Err(format!("it flattens `{}`; `NCHW` and `NHWC` are taken", input.shown_axes()));
    };
    let slot = operation.step(String::new(), Layer::Flatten { order, features }, vec![input.slot])?;
    Ok(Value::Tracked(Tracked::new(slot, &VECTORS)))
}

/// Flattening, and axes of one element that are put elsewhere.
pub fn reshape(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let Constant::Sizes(target) = operation.constant(1)?.clone() else {
        return Err("its shape is not whole numbers".into());
    };
    let keeps_zero = operation.int_attribute("allowzero")?.unwrap_or(0) != 0;
    if let Some(Value::Constant(constant)) = operation.input(0) {
        return reshape_constant(constant, &target.numbers, keeps_zero);
    }
    let input = operation.tracked(0)?.clone();
    let refuse = || {
        let shown: Vec<_> = target
            .numbers
            .iter()
            .map(|size| match size {
                Size::Known(size) => size.to_string(),
                Size::Batch => "N".into(),
                Size::Unknown => "?".into(),
            })
            .collect();
        let shown = shown.join(", ");
        format!(
            "it makes [{shown}] of `{}`; flattening each image is taken, and putting channels in groups to shuffle them",
            input.shown_axes()
        )
    };
    let batch = operation.lowering.batch;
    let [first, rest @ ..] = &target.numbers[..] else { return Err(refuse()) };
    // The others are known where the batch is what is left.
    let is_batch = match first {
        Size::Batch => true,
        Size::Known(0) => !keeps_zero,
        Size::Known(-1) => rest.iter().all(|size| matches!(size, Size::Known(1..))),
        Size::Known(size) => batch.is_some_and(|batch| *size == batch as i64),
        Size::Unknown => false,
    };
    if !is_batch || input.axes.first() != Some(&Axis::Batch) {
        return Err(refuse());
    }
    if let [length] = rest {
        let features = match length {
            Size::Known(-1) | Size::Unknown => None,
            Size::Known(size @ 1..) => Some(*size as usize),
            _ => return Err(refuse()),
        };
        return rows(operation, &input, features);
    }
    if input.is_grouped() {
        let groups = ungrouped(operation, &input, rest).ok_or_else(refuse)?;
        let map = Tracked::new(input.slot, &CHANNELS_FIRST);
        return match groups {
            1 => Ok(Value::Tracked(map)),
            groups => operation.layer(Layer::ChannelShuffle(groups), &map),
        };
    }
    let axes = grouped(operation, &input, rest).or_else(|| moved_units(operation, &input, rest)).ok_or_else(refuse)?;
    Ok(Value::Tracked(Tracked { axes, ..input }))
}

/// The axes of a map whose channels are put in groups, `[groups, C / groups, H, W]`, as a shuffle begins.
fn grouped(operation: &Operation<'_, '_, '_>, input: &Tracked, target: &[Size]) -> Option<Vec<Axis>> {
    let Shape::Map { channels, size } = operation.shape(input) else { return None };
    let &[Size::Known(groups @ 1..), each, rows, columns] = target else { return None };
    let groups = groups as usize;
    let fits = input.axes == CHANNELS_FIRST
        && channels.is_multiple_of(groups)
        && [(each, Some(channels / groups)), (rows, size.map(|size| size[0])), (columns, size.map(|size| size[1]))]
            .into_iter()
            .all(|(size, found)| is_size(size, found));
    let [batch, channel, height, width] = CHANNELS_FIRST;
    fits.then(|| vec![batch, Axis::Group(groups), channel, height, width])
}

/// In how many groups the channels are shuffled that become those of a map again.
fn ungrouped(operation: &Operation<'_, '_, '_>, input: &Tracked, target: &[Size]) -> Option<usize> {
    let (channels, size) = operation.shape(input).as_map()?;
    let groups = match input.axes[..] {
        [Axis::Batch, Axis::Channel, Axis::Group(groups), Axis::Height, Axis::Width] => groups,
        [Axis::Batch, Axis::Group(_), Axis::Channel, Axis::Height, Axis::Width] => 1,
        _ => return None,
    };
    let &[all, rows, columns] = target else { return None };
    let sizes = [(all, Some(channels)), (rows, size.map(|size| size[0])), (columns, size.map(|size| size[1]))];
    sizes.into_iter().all(|(size, found)| is_size(size, found)).then_some(groups)
}

/// Whether an axis of a shape has as many elements as it has; the one that is left open is as long as it must be.
fn is_size(size: Size, found: Option<usize>) -> bool {
    match size {
        Size::Known(-1) | Size::Unknown => true,
        Size::Known(size) => usize::try_from(size).ok() == found,
        Size::Batch => false,
    }
}

/// The axes of a map of which all but one has one element, or one has, in the order that a shape gives them.
fn moved_units(operation: &Operation<'_, '_, '_>, input: &Tracked, target: &[Size]) -> Option<Vec<Axis>> {
    let (channels, size) = operation.shape(input).as_map()?;
    let length = |axis: Axis| match axis {
        Axis::Channel => Some(channels),
        Axis::Height => size.map(|[rows, _]| rows),
        Axis::Width => size.map(|[_, columns]| columns),
        Axis::Batch | Axis::Group(_) => None,
    };
    let all = [Axis::Channel, Axis::Height, Axis::Width];
    // In the order of the input; axes that it lacks have one element.
    let mut longer = input.axes.iter().copied().filter(|axis| *axis != Axis::Batch && length(*axis) != Some(1));
    let mut units: Vec<_> = all.into_iter().filter(|axis| length(*axis) == Some(1)).collect();
    let mut axes = vec![Axis::Batch];
    (target.len() == 3).then_some(())?;
    for size in target {
        axes.push(match size {
            Size::Known(1) if units.is_empty() => return None,
            Size::Known(1) => units.remove(0),
            Size::Known(found @ 2..) => longer.next().filter(|axis| length(*axis) == Some(*found as usize))?,
            Size::Known(-1) | Size::Unknown => longer.next()?,
            _ => return None,
        });
    }
    (longer.next().is_none() && units.is_empty()).then_some(axes)
}

fn reshape_constant(constant: &Constant, target: &[Size], keeps_zero: bool) -> Result<Value, String> {
    let known = target.iter().map(|size| if let Size::Known(size) = size { Some(*size) } else { None });
    let known = known.collect::<Option<Vec<_>>>().ok_or("its shape is not known before the run")?;
    let count: usize = constant.shape().iter().product();
    let mut shape = Vec::with_capacity(known.len());
    let mut open = None;
    for (axis, size) in known.iter().enumerate() {
        shape.push(match size {
            0 if !keeps_zero => *constant.shape().get(axis).ok_or("it keeps an axis that is not there")?,
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            size => usize::try_from(*size).map_err(|_| format!("its shape is {known:?}"))?,
        });
    }
    let product = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let product = product.filter(|product| *product > 0 || count == 0).ok_or(format!("its shape is {known:?}"))?;
    if let Some(axis) = open {
        shape[axis] = count.checked_div(product).unwrap_or(0);
    }
    reshaped(constant, shape)
}

fn reshaped(constant: &Constant, shape: Vec<usize>) -> Result<Value, String> {
    let count = |shape: &[usize]| shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    if count(&shape) != count(constant.shape()) {
        return Err(format!("it makes {shape:?} of {:?}", constant.shape()));
    }
    Ok(Value::Constant(match constant {
        Constant::Sizes(sizes) => Array { shape, numbers: sizes.numbers.clone() }.into(),
        Constant::Floats(floats) => Array { shape, numbers: floats.array().numbers }.into(),
    }))
}

/// The axes of `Squeeze` and `Unsqueeze`: an attribute, since operator set 13 an input.
fn axes(operation: &Operation<'_, '_, '_>) -> Result<Option<Vec<i64>>, String> {
    if operation.opset() < 13 { operation.ints_attribute("axes") } else { operation.ints(1) }
}

pub fn squeeze(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let axes = axes(operation)?;
    if let Some(Value::Constant(constant)) = operation.input(0) {
        let shape = constant.shape();
        let dropped = match axes {
            None => (0..shape.len()).filter(|axis| shape[*axis] == 1).collect(),
            Some(axes) => axes.iter().map(|axis| axis_of(*axis, shape.len())).collect::<Result<Vec<_>, _>>()?,
        };
        let kept = (0..shape.len()).filter(|axis| !dropped.contains(axis)).map(|axis| shape[axis]).collect();
        return reshaped(constant, kept);
    }
    let input = operation.tracked(0)?.clone();
    let rank = input.axes.len();
    let axes = axes.ok_or("it does not say which axes it drops")?;
    let dropped = axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    if dropped.iter().any(|axis| !matches!(input.axes[*axis], Axis::Height | Axis::Width)) {
        return Err(format!("it drops axes {axes:?} of `{}`; rows and columns are taken", input.shown_axes()));
    }
    let kept: Vec<_> = (0..rank).filter(|axis| !dropped.contains(axis)).map(|axis| input.axes[axis]).collect();
    let slot = match operation.shape(&input) {
        Shape::Vectors(_) => input.slot,
        // Vectors, if there is one row and one column.
        Shape::Map { channels, .. } => {
            let layer = Layer::Flatten { order: Order::ChannelsFirst, features: Some(channels) };
            operation.step(String::new(), layer, vec![input.slot])?
        }
    };
    Ok(Value::Tracked(Tracked::new(slot, &kept)))
}

pub fn unsqueeze(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let axes = axes(operation)?.ok_or("it does not say where it puts axes")?;
    let rank = |before: usize| before + axes.len();
    if let Some(Value::Constant(constant)) = operation.input(0) {
        let rank = rank(constant.shape().len());
        let mut places = axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
        places.sort_unstable();
        let mut shape = constant.shape().to_vec();
        for place in places {
            if place > shape.len() {
                return Err(format!("it puts axes at {axes:?}"));
            }
            shape.insert(place, 1);
        }
        return reshaped(constant, shape);
    }
    let input = operation.tracked(0)?.clone();
    let mut places = axes.iter().map(|axis| axis_of(*axis, rank(input.axes.len()))).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    let mut new = [Axis::Height, Axis::Width].into_iter().filter(|axis| !input.axes.contains(axis));
    let mut axes = input.axes.clone();
    for place in places {
        let axis = new.next().filter(|_| place <= axes.len());
        axes.insert(
            place,
            axis.ok_or(format!("it puts more axes into `{}` than rows and columns", input.shown_axes()))?,
        );
    }
    Ok(Value::Tracked(Tracked { axes, ..input }))
}

pub fn transpose(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let order = operation.ints_attribute("perm")?;
    let order = |rank: usize| -> Result<Vec<usize>, String> {
        let order = match &order {
            None => (0..rank).rev().collect(),
            Some(order) => order.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?,
        };
        if is_permutation(&order, rank) { Ok(order) } else { Err(format!("its order of {rank} axes is {order:?}")) }
    };
    if let Some(Value::Constant(constant)) = operation.input(0) {
        let order = order(constant.shape().len())?;
        let unfit = || "its constant has other axes".to_owned();
        return Ok(Value::Constant(match constant {
            Constant::Sizes(sizes) => sizes.transpose(&order).ok_or_else(unfit)?.into(),
            Constant::Floats(floats) => floats.array().transpose(&order).ok_or_else(unfit)?.into(),
        }));
    }
    let input = operation.tracked(0)?.clone();
    let axes = order(input.axes.len())?.into_iter().map(|axis| input.axes[axis]).collect();
    Ok(Value::Tracked(Tracked { axes, ..input }))
}
