//! Gradients against finite differences.

use candle_core::{DType, Tensor};

use super::{normal, number};
use crate::{Context, Gradients, Parameter, Result};

/// Half the distance of two points between which a slope is measured: in deep networks some activation bends between points that are
/// far apart, and closer ones tell the slope on this side.
const STEPS: [f64; 3] = [1e-6, 1e-7, 1e-8];
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
    let gradients = Gradients::of(&value, parameters.iter()).context(format_args!("the gradient of {what}"))?;
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
        let gradient = gradients.iter().find(|(parameter, _)| parameter.name() == name);
        let gradient = gradient.map_or(Ok(0.0), |(_, gradient)| number(&(gradient * &direction)?.sum_all()?))?;
        let mut slopes = Vec::new();
        let agrees = |slope: f64| {
            let allowed = TOLERANCE * slope.abs().max(gradient.abs()) + rounding;
            (gradient - slope).abs() <= allowed
        };
        while !slopes.last().is_some_and(|slope| agrees(*slope)) {
            promise!(
                slopes.len() < STEPS.len(),
                "the gradient of {what} by `{name}` is {gradient} in a direction in which finite differences are {}",
                slopes[0]
            );
            let step = STEPS[slopes.len()];
            slopes.push((at(step)? - at(-step)?) / (2.0 * step));
        }
    }
    Ok(())
}
