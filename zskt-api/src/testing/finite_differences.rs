//! Gradients against finite differences.

use candle_core::{DType, Tensor};

use super::{normal, number};
use crate::{Gradients, Parameter, Result};

/// Half the distance of two points between which a slope is measured.
const STEP: f64 = 1e-6;
/// Relative difference of a gradient from a slope.
const TOLERANCE: f64 = 1e-5;
/// What rounding does to a slope, for a value of 1.
const ROUNDING: f64 = 1e-7;

/// Changes parameters before something is computed from them.
type Change<'a> = dyn Fn(&[Parameter]) -> Result<()> + 'a;
/// Parameters, and the scalar that was computed from them.
type Computed = (Vec<Parameter>, Tensor);

/// Compares the gradient by each parameter, along a random direction, with the slope in this direction. `compute` makes
/// everything anew each time, in f64.
pub fn check(what: &str, compute: &dyn Fn(&Change<'_>) -> Result<Computed>) -> Result<()> {
    let (parameters, value) = compute(&|_| Ok(()))?;
    let gradients = Gradients::of(&value, parameters.iter())?;
    let rounding = ROUNDING * number(&value)?.abs().max(1.0);
    for (index, name) in parameters.iter().map(Parameter::name).enumerate() {
        let direction = normal(&format!("direction of {name}"), parameters[index].var().dims(), DType::F64)?;
        let at = |distance: f64| {
            let (_, value) = compute(&|parameters| {
                let moved = (parameters[index].value() + (&direction * distance)?)?;
                Ok(parameters[index].var().set(&moved)?)
            })?;
            number(&value)
        };
        let slope = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
        let gradient = gradients.iter().find(|(parameter, _)| parameter.name() == name);
        let gradient = gradient.map_or(Ok(0.0), |(_, gradient)| number(&(gradient * &direction)?.sum_all()?))?;
        let allowed = TOLERANCE * slope.abs().max(gradient.abs()) + rounding;
        promise!(
            (gradient - slope).abs() <= allowed,
            "the gradient of {what} by `{name}` is {gradient} in a direction in which finite differences are {slope}"
        );
    }
    Ok(())
}
