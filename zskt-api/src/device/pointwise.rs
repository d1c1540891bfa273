//! Activations that follow no batch norm, and sums of maps.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::kernel::Argument::{Count, Real, Tensor as Of};
use super::kernel::{Variant, blocks_of_packs, empty, launch};
use super::tape::{Map, Node, record};
use crate::Precision;

/// `x` above zero and `slope`·`x` below.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &Arc<Map>, slope: f64) -> Result<Arc<Map>> {
    let values = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
    let (variant, packs) = flat(&x.values, x.precision);
    let arguments = [Of(&x.values), Of(&values), Count(packs), Real(slope)];
    launch(x.values.device(), variant, "activate", blocks_of_packs(packs), &arguments)?;
    record(values, x.precision, &[x], &[], || Activate { x: Arc::clone(x), slope })
}

struct Activate {
    x: Arc<Map>,
    slope: f64,
}

impl Node for Activate {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, slope } = self;
        x.deposit(|plus| {
            let of_x = empty(x.values.shape(), x.values.dtype(), x.values.device())?;
            let (variant, packs) = flat(&x.values, x.precision);
            let arguments = [Of(&x.values), Of(gradient), plus.into(), Of(&of_x), Count(packs), Real(*slope)];
            launch(x.values.device(), variant, "activate_gradient", blocks_of_packs(packs), &arguments)?;
            Ok(of_x)
        })
    }
}

/// The sum of two maps of one shape and precision.
///
/// # Errors
/// When the device fails.
pub fn add(x: &Arc<Map>, y: &Arc<Map>) -> Result<Arc<Map>> {
    let sum = plus(x.values.clone(), Some(&y.values), x.precision)?;
    record(sum, x.precision, &[x, y], &[], || Add([x, y].map(Arc::clone)))
}

struct Add([Arc<Map>; 2]);

impl Node for Add {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        for part in &self.0 {
            part.deposit(|earlier| plus(gradient.clone(), earlier, part.precision))?;
        }
        Ok(())
    }
}

/// The sum of two dense tensors of a map's numbers, or the first.
///
/// # Errors
/// When the device fails.
pub fn plus(x: Tensor, y: Option<&Tensor>, precision: Precision) -> Result<Tensor> {
    let Some(y) = y else { return Ok(x) };
    let sum = empty(x.shape(), x.dtype(), x.device())?;
    let (variant, packs) = flat(&x, precision);
    launch(x.device(), variant, "sum", blocks_of_packs(packs), &[Of(&x), Of(y), Of(&sum), Count(packs)])?;
    Ok(sum)
}

/// How all numbers of a map are read, channels being the same to the kernel.
fn flat(values: &Tensor, precision: Precision) -> (Variant, usize) {
    let count = values.elem_count();
    // By the channels and not by the count, for parts of a batch to begin where a pack may.
    let variant = Variant::of(precision, values.dims().last().copied().unwrap_or_default());
    (variant, count / variant.pack)
}
