//! Convolutions, and the moments of their results.

use candle_core::{DType, Device, Result, Tensor};

use super::random_operands::{LEAKY, LIMITED, RELU, channels, map, normalization};
use super::reference::{ROUNDING, assert_close, assert_rounded, each, error_of_products, floats, packed, read};
use super::{check, geometry};
use crate::activation::Rectifier;
use crate::cuda::conv::tensor_cores::{covers, forward};
use crate::cuda::conv::{Normalization, Operand};
use crate::cuda::exact_sums::{self, MomentSums, UnfinishedMoments};
use crate::precision::Precision::{self, Bf16, Tf32};
use crate::random::RandomStreams;
use crate::shape::ConvGeometry;
use crate::statistics::bessel_correction;

pub struct Forward {
    pub geometry: ConvGeometry,
    pub input: Tensor,
    normalization: Option<Normalization>,
    weight: Tensor,
    bias: Option<Tensor>,
    residual: Option<Tensor>,
    moments: bool,
}

impl Forward {
    /// With the rectifier of a batch norm in front of it, if there is one; `more`: with bias and residual.
    pub fn new(
        precision: Precision,
        layer: [usize; 5],
        extents: [usize; 3],
        rectifier: Option<Rectifier>,
        more: bool,
        moments: bool,
    ) -> Self {
        let geometry = geometry(layer, extents);
        assert!(covers(&geometry, precision), "{geometry:?}");
        let mut rng = RandomStreams::new(0).named(&format!("{geometry:?}"));
        let ConvGeometry { batch, height, width, in_channels, out_channels, kernel, .. } = geometry;
        let out = [batch, geometry.out_height(), geometry.out_width(), out_channels];
        Self {
            geometry,
            input: map(&mut rng, precision, [batch, height, width, in_channels], 1.0, 0.25),
            normalization: rectifier.map(|rectifier| normalization(&mut rng, in_channels, rectifier)),
            weight: map(
                &mut rng,
                precision,
                [out_channels, kernel, kernel, in_channels],
                (in_channels as f64).sqrt().recip(),
                0.0,
            ),
            bias: more.then(|| channels(&mut rng, out_channels, 1.0, 0.0)),
            residual: more.then(|| map(&mut rng, precision, out, 1.0, 0.0)),
            moments,
        }
    }

    pub fn name(&self) -> String {
        format!("{:?} {:?}", self.input.dtype(), self.geometry)
    }

    pub fn operand(&self) -> Operand<'_> {
        Operand { values: &self.input, normalization: self.normalization.as_ref() }
    }

    /// The result and, of its moments, mean, variance and the running statistics.
    fn run(&self) -> Result<Vec<Tensor>> {
        let Self { geometry, weight, bias, residual, .. } = self;
        let of = |moments: Option<&UnfinishedMoments>| {
            forward(geometry, self.operand(), &packed(weight)?, bias.as_ref(), residual.as_ref(), moments)
        };
        if !self.moments {
            return Ok(vec![of(None)?]);
        }
        let one = |number: f32| Tensor::full(number, geometry.out_channels, &Device::Cpu);
        let [mean, variance] = [one(f32::NAN)?, one(f32::NAN)?];
        let running = [one(0.125)?, one(1.0)?, Tensor::new(6_i64, &Device::Cpu)?];
        let moments = UnfinishedMoments::new(MomentSums {
            limbs: exact_sums::zeros(geometry.out_channels, &Device::Cpu)?,
            mean: mean.clone(),
            variance: variance.clone(),
            // Without running statistics where there is nothing else, either.
            running: bias.is_some().then(|| (running.clone(), 0.1)),
            pixels: geometry.batch * geometry.out_height() * geometry.out_width(),
        });
        let y = of(Some(&moments))?;
        moments.finish()?;
        let [running_mean, running_variance, batches] = running;
        Ok(vec![y, mean, variance, running_mean, running_variance, batches.to_dtype(DType::F32)?])
    }

    fn verify(&self, made: &[Tensor]) {
        let ConvGeometry { in_channels, out_channels, kernel, .. } = self.geometry;
        let (x, w) = (read(&self.operand()), floats(&self.weight));
        let y = floats(&made[0]);
        let (mut wanted, mut size) = (vec![0.0; y.len()], vec![0.0; y.len()]);
        let taps = kernel * kernel;
        each(&self.geometry, |pixel, tap, from| {
            for o in 0..out_channels {
                for i in 0..in_channels {
                    let product =
                        f64::from(x[from * in_channels + i]) * f64::from(w[(o * taps + tap) * in_channels + i]);
                    wanted[pixel * out_channels + o] += product;
                    size[pixel * out_channels + o] += product.abs();
                }
            }
        });
        let (bias, residual) = (self.bias.as_ref().map(floats), self.residual.as_ref().map(floats));
        let roundings = (taps * in_channels.next_multiple_of(16) / 16 + 4) as f64;
        for (at, found) in y.iter().enumerate() {
            let more =
                [bias.as_ref().map(|bias| bias[at % out_channels]), residual.as_ref().map(|residual| residual[at])];
            let more = more.map(|number| f64::from(number.unwrap_or_default()));
            let (size, dtype) = (size[at] + more[0].abs() + more[1].abs(), self.input.dtype());
            let error = error_of_products(size, roundings, dtype);
            assert_rounded("y", at, *found, wanted[at] + more[0] + more[1], error, dtype);
        }
        if !self.moments {
            return;
        }
        let [mean, variance, running_mean, running_variance, batches] = [1, 2, 3, 4, 5].map(|i| floats(&made[i]));
        let moved = self.bias.is_some();
        assert_eq!(batches, [if moved { 7.0 } else { 6.0 }]);
        for c in 0..out_channels {
            let numbers = || y[c..].iter().step_by(out_channels).map(|y| f64::from(*y));
            let pixels = numbers().count() as f64;
            let m = numbers().sum::<f64>() / pixels;
            let v = numbers().map(|y| (y - m).powi(2)).sum::<f64>() / pixels;
            // In f32 a thread adds at most 16 numbers, a warp 5 times, a block 8.
            let of_mean = 32.0 * ROUNDING * numbers().map(f64::abs).sum::<f64>() / pixels + m.abs() * ROUNDING;
            let of_variance = 64.0 * ROUNDING * numbers().map(|y| y * y).sum::<f64>() / pixels;
            assert_close("mean", c, mean[c], m, of_mean);
            assert_close("variance", c, variance[c], v, of_variance);
            let unbiased = v * bessel_correction(pixels as usize);
            let (m, v) = if moved { (0.9 * 0.125 + 0.1 * m, 0.9 + 0.1 * unbiased) } else { (0.125, 1.0) };
            assert_close("running mean", c, running_mean[c], m, of_mean + 4.0 * ROUNDING);
            assert_close("running variance", c, running_variance[c], v, of_variance * 2.0 + v * 4.0 * ROUNDING);
        }
    }
}

#[test]
fn convolutions_are_the_sums_of_products() {
    let cases = [
        Forward::new(Bf16, [3, 16, 3, 1, 1], [2, 13, 9], None, true, true),
        Forward::new(Bf16, [1, 16, 3, 1, 1], [1, 9, 28], None, false, false),
        Forward::new(Bf16, [16, 16, 3, 1, 1], [1, 9, 35], Some(LEAKY), true, true),
        // More blocks than the last of them reads rows at once.
        Forward::new(Bf16, [64, 64, 1, 1, 1], [131, 2, 3], Some(RELU), true, true),
        Forward::new(Bf16, [16, 32, 3, 2, 1], [2, 11, 7], Some(RELU), false, true),
        Forward::new(Bf16, [16, 32, 1, 2, 1], [2, 11, 7], Some(RELU), false, false),
        Forward::new(Bf16, [64, 64, 3, 1, 1], [3, 7, 8], Some(LIMITED), true, true),
        Forward::new(Bf16, [64, 128, 3, 2, 1], [1, 15, 16], None, false, true),
        Forward::new(Bf16, [128, 128, 3, 1, 1], [3, 7, 7], None, true, false),
        Forward::new(Bf16, [128, 128, 3, 1, 2], [1, 4, 3], Some(LEAKY), false, true),
        Forward::new(Bf16, [16, 32, 3, 1, 2], [1, 5, 3], None, true, false),
        Forward::new(Bf16, [64, 3, 3, 1, 1], [1, 5, 6], Some(LEAKY), true, true),
        Forward::new(Bf16, [48, 48, 3, 1, 1], [1, 6, 9], Some(RELU), false, true),
        Forward::new(Bf16, [96, 32, 3, 2, 1], [1, 6, 9], None, false, false),
        Forward::new(Bf16, [512, 64, 3, 1, 1], [2, 4, 4], Some(RELU), true, false),
        Forward::new(Tf32, [3, 16, 3, 1, 1], [2, 13, 9], None, true, true),
        Forward::new(Tf32, [16, 16, 3, 1, 1], [1, 9, 35], Some(LEAKY), true, true),
        Forward::new(Tf32, [16, 32, 3, 2, 1], [2, 11, 7], Some(RELU), false, true),
        Forward::new(Tf32, [16, 32, 1, 2, 1], [2, 11, 7], Some(RELU), false, false),
        Forward::new(Tf32, [64, 64, 3, 1, 1], [3, 7, 8], Some(LIMITED), true, true),
        Forward::new(Tf32, [64, 128, 3, 2, 1], [1, 15, 16], None, false, true),
        Forward::new(Tf32, [128, 128, 3, 1, 2], [1, 4, 3], Some(LEAKY), false, true),
        Forward::new(Tf32, [64, 3, 3, 1, 1], [1, 5, 6], Some(RELU), true, true),
        Forward::new(Tf32, [48, 48, 3, 1, 1], [1, 6, 9], Some(RELU), false, true),
    ];
    check(&cases, Forward::run, Forward::verify, Forward::name);
}
