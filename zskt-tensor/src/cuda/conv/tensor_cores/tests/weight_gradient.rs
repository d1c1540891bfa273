//! Gradients of weights, and the sums of their parts.

use candle_core::{DType, Device, Result, Tensor};

use super::check;
use super::data_gradient::Behind;
use super::forward::Forward;
use super::random_operands::{LEAKY, LIMITED, RELU};
use super::reference::{assert_close, each, error_of_products, floats, read, read_gradient};
use crate::activation::Rectifier;
use crate::cuda::conv::tensor_cores::{add_up, weight_gradient};
use crate::precision::Precision::{self, Bf16, Tf32};
use crate::random::RandomStreams;
use crate::shape::ConvGeometry;

struct Weight {
    forward: Forward,
    behind: Behind,
}

impl Weight {
    fn new(
        precision: Precision,
        layer: [usize; 5],
        extents: [usize; 3],
        rectifier: Option<Rectifier>,
        normalized: bool,
    ) -> Self {
        let forward = Forward::new(precision, layer, extents, rectifier, false, false);
        let mut rng = RandomStreams::new(2).named(&format!("{:?}", forward.geometry));
        let behind = Behind::new(&mut rng, precision, &forward.geometry, normalized, true);
        Self { forward, behind }
    }

    fn run(&self) -> Result<Vec<Tensor>> {
        let kept = self.behind.kept()?;
        let geometry = &self.forward.geometry;
        let parts = weight_gradient(geometry, self.forward.operand(), self.behind.gradient(kept.as_ref()))?;
        let ConvGeometry { in_channels, out_channels, kernel, .. } = *geometry;
        let [total, again] =
            [(); 2].map(|()| Tensor::zeros((out_channels, in_channels, kernel, kernel), DType::F32, &Device::Cpu));
        let totals = [(parts.clone(), total?), (parts, again?)];
        add_up(&totals)?;
        Ok(totals.into_iter().map(|(_, total)| total).chain(kept).collect())
    }

    fn verify(&self, made: &[Tensor]) {
        if let Some(kept) = made.get(2) {
            self.behind.verify_kept(kept);
        }
        let geometry = &self.forward.geometry;
        let ConvGeometry { in_channels, out_channels, kernel, .. } = *geometry;
        let (x, g) = (read(&self.forward.operand()), read_gradient(&self.behind.gradient(None)));
        let found = floats(&made[0]);
        assert_eq!(found, floats(&made[1]));
        let (mut wanted, mut size) = (vec![0.0; found.len()], vec![0.0; found.len()]);
        let taps = kernel * kernel;
        each(geometry, |pixel, tap, from| {
            for o in 0..out_channels {
                for i in 0..in_channels {
                    let product = f64::from(g[pixel * out_channels + o]) * f64::from(x[from * in_channels + i]);
                    wanted[(o * in_channels + i) * taps + tap] += product;
                    size[(o * in_channels + i) * taps + tap] += product.abs();
                }
            }
        });
        // A rounding for each sixteen pixels that a warp multiplies, and some where warps and blocks meet.
        let steps = (geometry.batch * geometry.out_height() * geometry.out_width()).div_ceil(16) as f64 + 4.0;
        for (at, found) in found.iter().enumerate() {
            let error = error_of_products(size[at], steps, self.forward.input.dtype());
            assert_close("weight", at, *found, wanted[at], error);
        }
    }
}

#[test]
fn gradients_of_weights_are_the_sums_of_products() {
    let cases = [
        Weight::new(Bf16, [3, 16, 3, 1, 1], [2, 13, 9], None, true),
        Weight::new(Bf16, [16, 16, 3, 1, 1], [1, 9, 35], Some(LEAKY), false),
        Weight::new(Bf16, [16, 32, 3, 2, 1], [2, 11, 7], Some(RELU), false),
        Weight::new(Bf16, [32, 64, 1, 2, 1], [2, 11, 7], Some(RELU), true),
        Weight::new(Bf16, [64, 64, 3, 1, 1], [5, 7, 8], Some(LIMITED), false),
        Weight::new(Bf16, [32, 64, 3, 2, 1], [1, 15, 13], None, true),
        Weight::new(Bf16, [128, 128, 3, 1, 2], [1, 4, 3], Some(LEAKY), false),
        Weight::new(Bf16, [64, 3, 3, 1, 1], [1, 5, 6], Some(LEAKY), false),
        Weight::new(Bf16, [48, 48, 3, 1, 1], [1, 6, 9], None, true),
        // Tiles of more images and of more rows, for each warp to have enough of them.
        Weight::new(Bf16, [64, 64, 3, 1, 1], [256, 2, 3], Some(RELU), false),
        Weight::new(Bf16, [16, 128, 3, 1, 1], [32, 9, 25], None, false),
        // Fewer blocks than tiles.
        Weight::new(Bf16, [256, 16, 3, 1, 1], [33, 3, 4], Some(RELU), false),
        Weight::new(Tf32, [3, 16, 3, 1, 1], [2, 13, 9], None, true),
        Weight::new(Tf32, [16, 16, 3, 1, 1], [1, 9, 35], Some(LEAKY), false),
        Weight::new(Tf32, [16, 32, 3, 2, 1], [2, 11, 7], Some(RELU), false),
        Weight::new(Tf32, [32, 64, 1, 2, 1], [2, 11, 7], Some(RELU), true),
        Weight::new(Tf32, [64, 64, 3, 1, 1], [5, 7, 8], Some(LIMITED), false),
        Weight::new(Tf32, [128, 128, 3, 1, 2], [1, 4, 3], Some(LEAKY), false),
        Weight::new(Tf32, [64, 3, 3, 1, 1], [1, 5, 6], Some(LEAKY), false),
        Weight::new(Tf32, [48, 48, 3, 1, 1], [1, 6, 9], None, true),
        Weight::new(Tf32, [128, 16, 3, 1, 1], [133, 3, 4], Some(RELU), false),
    ];
    check(&cases, Weight::run, Weight::verify, |case| case.forward.name());
}
