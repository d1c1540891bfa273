//! Activations that follow no batch norm.

use candle_core::{Result, Tensor};

use crate::activation::{Curve, Form, Gate};
use crate::cuda::launch::Argument::{self, Count, Real, Tensor as Of};
use crate::cuda::launch::{blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::cuda::sum::flat;

/// The activation of each number.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &CudaMap, form: Form) -> Result<CudaMap> {
    let values = empty(x.values()?.shape(), x.precision.storage_dtype(), x.device())?;
    let (variant, packs) = flat(x.values()?, x.precision);
    let arguments = [&[Of(x.values()?), Of(&values), Count(packs)][..], &arguments(form)].concat();
    let kernel = if matches!(form, Form::Rectifier(_)) { "activate" } else { "apply_curve" };
    launch(x.device(), variant, kernel, blocks_of_packs(packs), &arguments)?;
    CudaMap::record(values, x.precision, &[x], &[], || Activate { x: x.clone(), form })
}

/// What kernels are told about an activation.
fn arguments(form: Form) -> Vec<Argument<'static>> {
    match form {
        Form::Rectifier(rectifier) => vec![Real(rectifier.slope), Real(rectifier.limit)],
        Form::Curve(Curve { gate, times_x }) => {
            let (gate, line) = match gate {
                Gate::Line { alpha, beta, min, max } => (0, [alpha, beta, min, max]),
                Gate::Sigmoid => (1, [0.0; 4]),
                Gate::Tanh => (2, [0.0; 4]),
                Gate::Normal => (3, [0.0; 4]),
            };
            [&line.map(Real)[..], &[gate, usize::from(times_x)].map(Count)].concat()
        }
    }
}

struct Activate {
    x: CudaMap,
    form: Form,
}

impl Backward for Activate {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, form } = self;
        x.accumulate(|plus| {
            let of_x = empty(x.values()?.shape(), x.precision.storage_dtype(), x.device())?;
            let (variant, packs) = flat(x.values()?, x.precision);
            let maps = [Of(x.values()?), Of(gradient), plus.into(), Of(&of_x), Count(packs)];
            let kernel = if matches!(form, Form::Rectifier(_)) { "activate_gradient" } else { "curve_gradient" };
            let arguments = [&maps[..], &arguments(*form)].concat();
            launch(x.device(), variant, kernel, blocks_of_packs(packs), &arguments)?;
            Ok(of_x)
        })
    }
}
