//! What is computed of constants and of shapes, before any image is there.

use onnx_model::Attribute;

use super::super::array::Array;
use super::super::value::{Axis, Constant, Size, Value};
use super::Operation;
use super::convolution::axis_of;

/// Numbers that `ConstantOfShape` may make: shapes have few.
const MOST_REPEATED: usize = 1 << 12;

/// `Constant`, `Shape`, and what takes constants alone.
pub fn constant(operation: &mut Operation<'_, '_, '_>) -> Result<Value, String> {
    let constant = match operation.node.operation.as_str() {
        "Constant" => attribute(operation)?,
        "ConstantOfShape" => repeated(operation)?,
        "Shape" => shape(operation)?,
        "Gather" => gather(operation)?,
        kind => {
            let array = operation.floats(0)?.array();
            let array = array.map(|number| match kind {
                "Neg" => -number,
                "Sqrt" => number.sqrt(),
                "Ceil" => number.ceil(),
                "Floor" => number.floor(),
                _ => 1.0 / number,
            });
            array.into()
        }
    };
    Ok(Value::Constant(constant))
}

fn attribute(operation: &Operation<'_, '_, '_>) -> Result<Constant, String> {
    let known = |numbers: &[i64]| numbers.iter().copied().map(Size::Known).collect::<Vec<_>>();
    let mut values = operation.node.attributes.values();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err("it does not have one value".into());
    };
    Ok(match value {
        Attribute::Tensor(tensor) => Constant::of(tensor)?,
        Attribute::Int(number) => Array::scalar(Size::Known(*number)).into(),
        Attribute::Ints(numbers) => Array::vector(known(numbers)).into(),
        Attribute::Float(number) => Array::scalar(f64::from(*number)).into(),
        Attribute::Floats(numbers) => {
            let numbers = numbers.iter().map(|number| f64::from(*number)).collect();
            Array::vector(numbers).into()
        }
        _ => return Err("its value is not numbers".into()),
    })
}

fn repeated(operation: &Operation<'_, '_, '_>) -> Result<Constant, String> {
    let shape = operation.ints(0)?.ok_or("it has no input 0")?;
    let sizes = shape.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>();
    let count = sizes.as_ref().and_then(|sizes| sizes.iter().try_fold(1_usize, |count, size| count.checked_mul(*size)));
    let (Some(sizes), Some(count)) = (sizes, count.filter(|count| *count <= MOST_REPEATED)) else {
        return Err(format!("its shape is {shape:?}; {MOST_REPEATED} numbers are the most"));
    };
    let value = match operation.node.attributes.get("value") {
        None => Array::scalar(0.0).into(),
        Some(Attribute::Tensor(tensor)) => Constant::of(tensor)?,
        Some(_) => return Err("its value is not a tensor".into()),
    };
    let single = || "its value is not one number".to_owned();
    Ok(match value {
        Constant::Sizes(array) => {
            let number = array.single().ok_or_else(single)?;
            Array { shape: sizes, numbers: vec![number; count] }.into()
        }
        Constant::Floats(floats) => {
            let number = floats.array().single().ok_or_else(single)?;
            Array { shape: sizes, numbers: vec![number; count] }.into()
        }
    })
}

fn shape(operation: &Operation<'_, '_, '_>) -> Result<Constant, String> {
    let known = |size: usize| Size::Known(size as i64);
    let sizes: Vec<_> = match operation.input(0) {
        Some(Value::Constant(constant)) => constant.shape().iter().copied().map(known).collect(),
        _ => {
            let input = operation.tracked(0)?;
            let (channels, size) = match operation.shape(input).as_map() {
                Some((channels, size)) => (known(channels), size),
                None => (Size::Unknown, Some([1, 1])),
            };
            let axis = |axis: &Axis| match (axis, size) {
                (Axis::Batch, _) => Size::Batch,
                (Axis::Channel, _) => channels,
                (Axis::Height, Some([rows, _])) => known(rows),
                (Axis::Width, Some([_, columns])) => known(columns),
                _ => Size::Unknown,
            };
            input.axes.iter().map(axis).collect()
        }
    };
    let place = |name: &str, otherwise: usize| -> Result<usize, String> {
        let Some(place) = operation.int_attribute(name)? else { return Ok(otherwise) };
        let from_start = if place < 0 { place.saturating_add(sizes.len() as i64) } else { place };
        Ok(from_start.clamp(0, sizes.len() as i64) as usize)
    };
    let (start, end) = (place("start", 0)?, place("end", sizes.len())?);
    Ok(Array::vector(sizes[start..end.max(start)].to_vec()).into())
}

fn gather(operation: &Operation<'_, '_, '_>) -> Result<Constant, String> {
    let constant = operation.constant(0)?;
    let rank = constant.shape().len();
    let axis = axis_of(operation.int_attribute("axis")?.unwrap_or(0), rank)?;
    let size = constant.shape()[axis];
    let indices = operation.ints(1)?.ok_or("it has no input 1")?;
    let places = indices.iter().map(|place| axis_of(*place, size)).collect::<Result<Vec<_>, _>>()?;
    let index_shape = operation.constant(1)?.shape().to_vec();
    if places.len() > MOST_REPEATED.max(size) {
        return Err(format!("it gathers {} slices of {size}", places.len()));
    }
    let shaped = |mut shape: Vec<usize>| {
        shape.splice(axis..=axis, index_shape.iter().copied());
        shape
    };
    let outside = || "it gathers what is not there".to_owned();
    Ok(match constant {
        Constant::Sizes(array) => {
            let taken = array.take(axis, &places).ok_or_else(outside)?;
            Array { shape: shaped(taken.shape), numbers: taken.numbers }.into()
        }
        Constant::Floats(floats) => {
            if places.len() > size {
                return Err(format!("it gathers {} slices of {size}", places.len()));
            }
            let taken = floats.array().take(axis, &places).ok_or_else(outside)?;
            Array { shape: shaped(taken.shape), numbers: taken.numbers }.into()
        }
    })
}

/// Where a `Slice` goes: from, to, along which axis, by how many.
pub type Bounds = Vec<[i64; 4]>;

/// Where a `Slice` goes, as the model says it.
pub fn bounds(operation: &Operation<'_, '_, '_>) -> Result<Bounds, String> {
    let [starts, ends, axes, steps] = if operation.opset() < 10 {
        let numbers = |name| operation.ints_attribute(name);
        [numbers("starts")?, numbers("ends")?, numbers("axes")?, None]
    } else {
        [operation.ints(1)?, operation.ints(2)?, operation.ints(3)?, operation.ints(4)?]
    };
    let (Some(starts), Some(ends)) = (starts, ends) else { return Err("it does not say from where to where".into()) };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("its starts, ends, axes and steps do not go together".into());
    }
    let bounds = starts.into_iter().zip(ends).zip(axes).zip(steps);
    Ok(bounds.map(|(((start, end), axis), step)| [start, end, axis, step]).collect())
}

/// A part of a constant.
pub fn slice(operation: &mut Operation<'_, '_, '_>) -> Result<Constant, String> {
    let constant = operation.constant(0)?;
    let rank = constant.shape().len();
    let bounds = bounds(operation)?;
    if bounds.len() > rank {
        return Err("it slices more axes than there are".into());
    }
    let mut sliced = constant.clone();
    for [start, end, axis, step] in bounds {
        let axis = axis_of(axis, rank)?;
        let size = sliced.shape()[axis] as i64;
        let place = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
        let stride = usize::try_from(step.unsigned_abs()).ok().filter(|stride| *stride > 0).ok_or("it goes nowhere")?;
        let places: Vec<_> = if step > 0 {
            let [start, end] = [start, end].map(|bound| place(bound).clamp(0, size) as usize);
            (start..end).step_by(stride).collect()
        } else {
            // From the start down to the place behind the end.
            let [start, end] = [start, end].map(|bound| place(bound).saturating_add(1).clamp(0, size) as usize);
            (end..start).rev().step_by(stride).collect()
        };
        let outside = || "it takes what is not there".to_owned();
        sliced = match sliced {
            Constant::Sizes(array) => array.take(axis, &places).ok_or_else(outside)?.into(),
            Constant::Floats(floats) => {
                let taken = floats.array().take(axis, &places).ok_or_else(outside)?;
                taken.into()
            }
        };
        // An axis may be sliced again and again.
        operation.lowering.read(&sliced)?;
    }
    Ok(sliced)
}
