//! Products of maps.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cpu::fusion::lazy_map::LazyMap;
use crate::cpu::fusion::storage::{MapStorage, Scalar, dispatch_precision};
use crate::cpu::kernels::epilogue::Epilogue;
use crate::cpu::kernels::product::Product;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::map::CpuMap;

/// The product of two maps of one precision; the second may have one factor for each channel, of each image or of all.
///
/// # Errors
/// When there is no room.
pub fn multiply(a: &CpuMap, b: &CpuMap) -> Result<CpuMap> {
    let (a, b) = (not_upsampled(a)?, not_upsampled(b)?);
    let product = Product { whole: a.shape(), factor: b.shape() };
    let mut values = MapStorage::new(a.precision(), product.whole.len());
    dispatch_precision!(a.precision(), T => {
        let (factors, out) = (b.input.to_vec::<T>(), T::of_mut(&mut values));
        a.input.read(|a: &InputView<T>| product.run(a, &factors, &Epilogue::STORE, out));
    });
    let to = Arc::new(LazyMap::of(product.whole, a.precision(), values));
    CpuMap::record(Arc::clone(&to), &[&a, &b], || Multiply { parts: [a.clone(), b.clone()], product, to })
}

fn not_upsampled(map: &CpuMap) -> Result<CpuMap> {
    if map.input.prologue.upsampling == 1 { Ok(map.clone()) } else { map.materialized() }
}

struct Multiply {
    parts: [CpuMap; 2],
    product: Product,
    to: Arc<LazyMap>,
}

impl Multiply {
    fn gradients<T: Scalar>(&self, gradient: &InputView<T>) {
        let [a, b] = &self.parts;
        let scaled = |of: &CpuMap, by: &CpuMap| {
            let factors = by.input.to_vec::<T>();
            of.input.accumulate(|epilogue, out| self.product.run(gradient, &factors, epilogue, out));
        };
        if a.is_tracked() {
            scaled(a, b);
            a.schedule();
        }
        if b.is_tracked() {
            if self.product.factor == self.product.whole {
                scaled(b, a);
            } else {
                b.input.accumulate_values(&a.input.read(|a| self.product.of_channels(gradient, a)));
            }
            b.schedule();
        }
    }
}

impl Node for Multiply {
    fn backward(&self) -> Result<()> {
        let gradient = self.to.gradient.take(&self.to)?;
        dispatch_precision!(self.to.precision, T => gradient.read(|gradient| self.gradients::<T>(gradient)));
        Ok(())
    }

    fn reset(&self) {
        self.to.gradient.reset();
    }
}
