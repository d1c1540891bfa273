//! Gradients of what convolutions read, and the sums of them that batch norms need.

use candle_core::{Device, Result, Tensor};

use super::random_operands::{LEAKY, LIMITED, RELU, channels, map, normalization};
use super::reference::{
    ROUNDING, assert_close, assert_rounded, each, error_of_products, factors, floats, packed, read_gradient,
};
use super::{check, geometry};
use crate::activation::Rectifier;
use crate::cuda::conv::tensor_cores::{covers, data_gradient};
use crate::cuda::conv::{Normalization, ResultGradient, Towards};
use crate::cuda::exact_sums::{self, GradientSums, UnfinishedGradients};
use crate::precision::Precision::{self, Bf16, Tf32};
use crate::random::{RandomStreams, StreamRng};
use crate::shape::ConvGeometry;

/// A gradient of a result, as it is or made of those around a batch norm.
pub struct Behind {
    maps: [Tensor; 3],
    coefficients: Option<[Tensor; 3]>,
    plus: bool,
}

impl Behind {
    pub fn new(
        rng: &mut StreamRng,
        precision: Precision,
        geometry: &ConvGeometry,
        normalized: bool,
        plus: bool,
    ) -> Self {
        let count = geometry.out_channels;
        let dims = [geometry.batch, geometry.out_height(), geometry.out_width(), count];
        let maps = [(1.0, 0.0), (1.0, 0.5), (0.5, 0.0)].map(|(scale, shift)| map(rng, precision, dims, scale, shift));
        let coefficients = normalized
            .then(|| [channels(rng, count, 0.5, 1.0), channels(rng, count, 0.1, 0.0), channels(rng, count, 0.1, 0.0)]);
        Self { maps, coefficients, plus }
    }

    pub fn gradient<'a>(&'a self, kept: Option<&'a Tensor>) -> ResultGradient<'a> {
        let [behind, x, plus] = &self.maps;
        match &self.coefficients {
            None => ResultGradient::Dense(behind),
            Some(coefficients) => {
                let plus = self.plus.then_some(plus);
                ResultGradient::Normalized { behind, x, coefficients, unfinished: None, plus, kept }
            }
        }
    }

    /// A map for it to be kept in.
    pub fn kept(&self) -> Result<Option<Tensor>> {
        self.coefficients.as_ref().map(|_| self.maps[0].zeros_like()).transpose()
    }

    pub fn verify_kept(&self, kept: &Tensor) {
        assert!(floats(kept) == read_gradient(&self.gradient(None)), "what is kept is what is multiplied");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Through {
    Nothing,
    Batch(Rectifier),
    Fixed(Rectifier),
}

struct Data {
    geometry: ConvGeometry,
    behind: Behind,
    weight: Tensor,
    through: Through,
    normalization: Normalization,
    /// The map that is normalized, and what others gave in front of the rectifier and behind.
    maps: [Tensor; 3],
    more: bool,
}

impl Data {
    fn new(
        precision: Precision,
        layer: [usize; 5],
        extents: [usize; 3],
        normalized: bool,
        through: Through,
        more: bool,
    ) -> Self {
        let geometry = geometry(layer, extents);
        assert!(covers(&geometry, precision), "{geometry:?}");
        let mut rng = RandomStreams::new(1).named(&format!("{geometry:?}"));
        let ConvGeometry { batch, height, width, in_channels, out_channels, kernel, .. } = geometry;
        let dims = [batch, height, width, in_channels];
        let rectifier = match through {
            Through::Nothing => Rectifier::NONE,
            Through::Batch(rectifier) | Through::Fixed(rectifier) => rectifier,
        };
        Self {
            geometry,
            behind: Behind::new(&mut rng, precision, &geometry, normalized, more),
            weight: map(
                &mut rng,
                precision,
                [out_channels, kernel, kernel, in_channels],
                (out_channels as f64).sqrt().recip(),
                0.0,
            ),
            through,
            normalization: normalization(&mut rng, in_channels, rectifier),
            maps: [0.25, 0.0, 0.0].map(|shift| map(&mut rng, precision, dims, 1.0, shift)),
            more,
        }
    }

    /// The gradient; what is kept; and the sums.
    fn run(&self) -> Result<Vec<Tensor>> {
        let Self { geometry, weight, normalization, maps: [x, before, behind], .. } = self;
        let kept = self.behind.kept()?;
        let [plus, behind] = [before, behind].map(|map| self.more.then_some(map));
        let of_channel = || Tensor::full(f32::NAN, geometry.in_channels, &Device::Cpu);
        let Normalization { gamma, mean, variance, epsilon, .. } = normalization;
        let sums = UnfinishedGradients::new(GradientSums {
            limbs: exact_sums::zeros(geometry.in_channels, &Device::Cpu)?,
            norm: [gamma, mean, variance].map(Tensor::clone),
            epsilon: *epsilon,
            of_gamma: of_channel()?,
            of_beta: of_channel()?,
            coefficients: [of_channel()?, of_channel()?, of_channel()?],
            pixels: geometry.batch * geometry.height * geometry.width,
        });
        let towards = match self.through {
            Through::Nothing => Towards::Operand { plus },
            Through::Batch(_) => Towards::BatchNorm { x, normalization, plus, sums: &sums },
            Through::Fixed(_) => Towards::FixedNorm { x, normalization, plus, behind },
        };
        let mut made = vec![data_gradient(geometry, self.behind.gradient(kept.as_ref()), &packed(weight)?, &towards)?];
        made.extend(kept);
        if matches!(self.through, Through::Batch(_)) {
            sums.finish()?;
            let GradientSums { of_gamma, of_beta, coefficients, .. } = &sums.sums;
            made.extend([of_gamma, of_beta].map(Tensor::clone));
            made.extend(coefficients.clone());
        }
        Ok(made)
    }

    fn verify(&self, made: &[Tensor]) {
        let ConvGeometry { in_channels, out_channels, kernel, upsampling, .. } = self.geometry;
        if self.behind.coefficients.is_some() {
            self.behind.verify_kept(&made[1]);
        }
        let (g, w) = (read_gradient(&self.behind.gradient(None)), floats(&self.weight));
        let found = floats(&made[0]);
        let (mut wanted, mut size) = (vec![0.0; found.len()], vec![0.0; found.len()]);
        let taps = kernel * kernel;
        each(&self.geometry, |pixel, tap, to| {
            for o in 0..out_channels {
                for i in 0..in_channels {
                    let product =
                        f64::from(g[pixel * out_channels + o]) * f64::from(w[(o * taps + tap) * in_channels + i]);
                    wanted[to * in_channels + i] += product;
                    size[to * in_channels + i] += product.abs();
                }
            }
        });
        let [x, before, behind] = self.maps.each_ref().map(floats);
        let (factors, rectifier) = (factors(&self.normalization), self.normalization.rectifier);
        let roundings = (taps * out_channels.next_multiple_of(16) / 16 * upsampling * upsampling + 6) as f64;
        for (at, found) in found.iter().enumerate() {
            let (mut v, mut size) = (wanted[at], size[at]);
            let add = |v: &mut f64, size: &mut f64, number: f32| {
                if self.more {
                    *v += f64::from(number);
                    *size += f64::from(number).abs();
                }
            };
            add(&mut v, &mut size, before[at]);
            if self.through != Through::Nothing {
                let (scale, shift) = factors[at % in_channels];
                let above = scale.mul_add(x[at], shift);
                let slope = match above {
                    above if above <= 0.0 => f64::from(rectifier.slope as f32),
                    above if above < rectifier.limit as f32 => 1.0,
                    _ => 0.0,
                };
                (v, size) = (v * slope, size * slope);
                if matches!(self.through, Through::Fixed(_)) {
                    (v, size) = (v * f64::from(scale), size * f64::from(scale).abs());
                    add(&mut v, &mut size, behind[at]);
                }
            }
            let dtype = self.weight.dtype();
            assert_rounded("gradient", at, *found, v, error_of_products(size, roundings, dtype), dtype);
        }
        if !matches!(self.through, Through::Batch(_)) {
            return;
        }
        let sums = made[made.len() - 5..].iter().map(floats).collect::<Vec<_>>();
        let Normalization { gamma, mean, variance, epsilon, .. } = &self.normalization;
        let [gamma, mean, variance] =
            [gamma, mean, variance].map(|tensor| floats(tensor).into_iter().map(f64::from).collect::<Vec<_>>());
        for c in 0..in_channels {
            let numbers =
                || (c..found.len()).step_by(in_channels).map(|at| (f64::from(found[at]), f64::from(x[at]) - mean[c]));
            let pixels = numbers().count() as f64;
            let [sum, sum_size] = [numbers().map(|(g, _)| g).sum::<f64>(), numbers().map(|(g, _)| g.abs()).sum()];
            let [along, along_size] =
                [numbers().map(|(g, x)| g * x).sum::<f64>(), numbers().map(|(g, x)| (g * x).abs()).sum()];
            let (error, inv_std) = (64.0 * ROUNDING, 1.0 / (variance[c] + f64::from(*epsilon as f32)).sqrt());
            let a = gamma[c] * inv_std;
            let b = -a * inv_std * inv_std * along / pixels;
            assert_close("of gamma", c, sums[0][c], along * inv_std, along_size * inv_std * error);
            assert_close("of beta", c, sums[1][c], sum, sum_size * error);
            assert_close("a", c, sums[2][c], a, a.abs() * 4.0 * ROUNDING);
            let of_b = a.abs() * inv_std * inv_std * along_size / pixels * error;
            assert_close("b", c, sums[3][c], b, of_b);
            let of_c = a.abs() * sum_size / pixels * error + of_b * mean[c].abs();
            assert_close("c", c, sums[4][c], -a * sum / pixels - b * mean[c], of_c);
        }
    }
}

#[test]
fn gradients_of_inputs_are_the_sums_of_products() {
    let cases = [
        Data::new(Bf16, [3, 16, 3, 1, 1], [2, 13, 9], true, Through::Nothing, false),
        Data::new(Bf16, [16, 16, 3, 1, 1], [1, 9, 35], true, Through::Batch(LEAKY), true),
        Data::new(Bf16, [64, 64, 1, 1, 1], [131, 2, 3], false, Through::Batch(RELU), false),
        Data::new(Bf16, [16, 32, 3, 2, 1], [2, 11, 7], true, Through::Batch(RELU), false),
        Data::new(Bf16, [16, 32, 1, 2, 1], [2, 11, 7], false, Through::Nothing, true),
        Data::new(Bf16, [64, 64, 3, 1, 1], [3, 7, 8], true, Through::Batch(LIMITED), true),
        Data::new(Bf16, [64, 128, 3, 2, 1], [1, 15, 14], false, Through::Fixed(RELU), true),
        Data::new(Bf16, [128, 128, 3, 1, 1], [3, 7, 7], true, Through::Batch(RELU), false),
        Data::new(Bf16, [128, 64, 3, 1, 2], [1, 6, 9], true, Through::Batch(LEAKY), true),
        Data::new(Bf16, [16, 32, 3, 1, 2], [1, 5, 3], false, Through::Fixed(LIMITED), false),
        Data::new(Bf16, [64, 3, 3, 1, 1], [1, 5, 6], true, Through::Batch(LEAKY), false),
        Data::new(Bf16, [48, 96, 3, 1, 1], [1, 6, 9], false, Through::Fixed(RELU), true),
        Data::new(Bf16, [96, 48, 1, 1, 1], [1, 6, 9], true, Through::Nothing, true),
        Data::new(Bf16, [64, 512, 3, 1, 1], [2, 4, 4], false, Through::Batch(RELU), true),
        Data::new(Tf32, [3, 16, 3, 1, 1], [2, 13, 9], true, Through::Nothing, false),
        Data::new(Tf32, [16, 16, 3, 1, 1], [1, 9, 35], true, Through::Batch(LEAKY), true),
        Data::new(Tf32, [16, 32, 3, 2, 1], [2, 11, 7], true, Through::Batch(RELU), false),
        Data::new(Tf32, [16, 32, 1, 2, 1], [2, 11, 7], false, Through::Nothing, true),
        Data::new(Tf32, [64, 64, 3, 1, 1], [3, 7, 8], true, Through::Batch(LIMITED), true),
        Data::new(Tf32, [64, 128, 3, 2, 1], [1, 15, 14], false, Through::Fixed(RELU), true),
        Data::new(Tf32, [128, 64, 3, 1, 2], [1, 6, 9], true, Through::Batch(LEAKY), true),
        Data::new(Tf32, [64, 3, 3, 1, 1], [1, 5, 6], true, Through::Batch(RELU), false),
        Data::new(Tf32, [96, 48, 1, 1, 1], [1, 6, 9], true, Through::Nothing, true),
    ];
    check(&cases, Data::run, Data::verify, |case| {
        format!("{:?} {:?} {:?}", case.weight.dtype(), case.geometry, case.through)
    });
}
