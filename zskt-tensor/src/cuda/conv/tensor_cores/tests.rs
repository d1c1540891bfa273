//! The kernels, by the emulator, against sums in f64 over the same numbers, rounded as they are read. Each case runs in three orders
//! of threads and blocks, whose results must have the same bits.

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rand::Rng;

use super::{add_up, covers, data_gradient, emulation, forward, weight_gradient};
use crate::activation::Rectifier;
use crate::cuda::conv::{Normalization, Operand, ResultGradient, Towards};
use crate::cuda::exact_sums::{self, GradientSums, MomentSums, UnfinishedGradients, UnfinishedMoments};
use crate::precision::Precision::{self, Bf16, Tf32};
use crate::random::{RandomStreams, StreamRng, standard_normal};
use crate::shape::ConvGeometry;
use crate::statistics::bessel_correction;

/// Half a last place of f32.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// What a product of two numbers in f32 may be off, as parts of it. Rounded to bf16 a number leaves 2⁻⁸ of it at most, and that,
/// rounded, 2⁻¹⁶: as much is missing of either factor, and as much is the product of what both leave, which is not made.
const SPLIT: f64 = 3.02 / (1 << 16) as f64;

const EPSILON: f64 = 1e-5;

const RELU: Rectifier = Rectifier { slope: 0.0, limit: f64::INFINITY };
const LEAKY: Rectifier = Rectifier { slope: 0.2, limit: f64::INFINITY };
const LIMITED: Rectifier = Rectifier { slope: 0.0, limit: 1.5 };

/// Channels in and out, side, stride, upsampling; images, rows, columns of the map as it is stored.
pub fn geometry(layer: [usize; 5], map: [usize; 3]) -> ConvGeometry {
    let ([in_channels, out_channels, kernel, stride, upsampling], [batch, height, width]) = (layer, map);
    let padding = kernel / 2;
    ConvGeometry { batch, height, width, upsampling, in_channels, out_channels, kernel, stride, padding, groups: 1 }
}

fn map(rng: &mut StreamRng, precision: Precision, dims: [usize; 4], scale: f64, shift: f64) -> Tensor {
    let numbers = standard_normal(rng, dims.iter().product());
    let numbers: Vec<f64> = numbers.into_iter().map(|x| x * scale + shift).collect();
    Tensor::from_vec(numbers, &dims[..], &Device::Cpu).unwrap().to_dtype(precision.storage_dtype()).unwrap()
}

/// A weight as convolutions of maps of its type read it.
fn packed(weight: &Tensor) -> Result<Tensor> {
    if weight.dtype() == DType::BF16 {
        return Ok(weight.clone());
    }
    let high = weight.to_dtype(DType::BF16)?;
    let low = (weight - high.to_dtype(DType::F32)?)?.to_dtype(DType::BF16)?;
    Tensor::stack(&[high, low], 0)
}

/// As a number of a map is rounded.
fn rounded(x: f32, dtype: DType) -> f32 {
    if dtype == DType::BF16 { bf16::from_f32(x).to_f32() } else { x }
}

/// What sums of products may be off, whose absolute values have this sum: by their rounding, so often, and by that of their factors.
fn error_of_products(size: f64, roundings: f64, dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => size * ROUNDING * roundings,
        // Three products of parts for each.
        _ => size * (ROUNDING * 3.0 * roundings + SPLIT),
    }
}

fn channels(rng: &mut StreamRng, count: usize, scale: f64, shift: f64) -> Tensor {
    let numbers: Vec<f32> = standard_normal(rng, count).into_iter().map(|x| (x * scale + shift) as f32).collect();
    Tensor::from_vec(numbers, count, &Device::Cpu).unwrap()
}

fn normalization(rng: &mut StreamRng, count: usize, rectifier: Rectifier) -> Normalization {
    let variance = (0..count).map(|_| rng.random_range(0.25_f32..2.0)).collect::<Vec<_>>();
    Normalization {
        gamma: channels(rng, count, 0.3, 1.0),
        beta: channels(rng, count, 0.3, 0.0),
        mean: channels(rng, count, 0.5, 0.0),
        variance: Tensor::from_vec(variance, count, &Device::Cpu).unwrap(),
        epsilon: EPSILON,
        rectifier,
        unfinished: None,
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Scale and shift of each channel, as kernels round them.
fn factors(normalization: &Normalization) -> Vec<(f32, f32)> {
    let Normalization { gamma, beta, mean, variance, epsilon, .. } = normalization;
    let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(floats);
    (0..gamma.len())
        .map(|c| {
            let scale = gamma[c] * (1.0 / (variance[c] + *epsilon as f32).sqrt());
            (scale, (-scale).mul_add(mean[c], beta[c]))
        })
        .collect()
}

/// An operand's numbers as they are multiplied.
fn read(operand: &Operand<'_>) -> Vec<f32> {
    let x = floats(operand.values);
    let Some(normalization) = operand.normalization else { return x };
    let (factors, rectifier) = (factors(normalization), normalization.rectifier);
    let at = |(i, x): (usize, f32)| {
        let (scale, shift) = factors[i % factors.len()];
        let y = scale.mul_add(x, shift);
        let y = if y > 0.0 { y } else { rectifier.slope as f32 * y };
        let y = if y > rectifier.limit as f32 { rectifier.limit as f32 } else { y };
        rounded(y, operand.values.dtype())
    };
    x.into_iter().enumerate().map(at).collect()
}

fn read_gradient(gradient: &ResultGradient<'_>) -> Vec<f32> {
    match gradient {
        ResultGradient::Dense(gradient) => floats(gradient),
        ResultGradient::Normalized { behind, x, coefficients, plus, .. } => {
            let [behind, x] = [behind, x].map(|map| floats(map));
            let [a, b, c] = coefficients.each_ref().map(floats);
            let plus = plus.map(floats);
            let at = |i: usize| {
                let channel = i % a.len();
                let of_x = b[channel].mul_add(x[i], c[channel]);
                let sum = a[channel].mul_add(behind[i], of_x) + plus.as_ref().map_or(0.0, |plus| plus[i]);
                rounded(sum, gradient.dtype())
            };
            (0..x.len()).map(at).collect()
        }
    }
}

/// Each pixel of the result, tap and pixel of the map that meet.
fn each(geometry: &ConvGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvGeometry { batch, height, width, upsampling, kernel, stride, padding, .. } = *geometry;
    let (rows, columns) = (geometry.out_height(), geometry.out_width());
    for pixel in 0..batch * rows * columns {
        let (image, row, column) = (pixel / columns / rows, pixel / columns % rows, pixel % columns);
        for tap in 0..kernel * kernel {
            let (y, x) = (row * stride + tap / kernel, column * stride + tap % kernel);
            if (padding..height * upsampling + padding).contains(&y)
                && (padding..width * upsampling + padding).contains(&x)
            {
                let (y, x) = ((y - padding) / upsampling, (x - padding) / upsampling);
                visit(pixel, tap, (image * height + y) * width + x);
            }
        }
    }
}

/// A number within `error` of what is wanted, rounded as a map's.
fn assert_rounded(what: &str, at: usize, found: f32, wanted: f64, error: f64, dtype: DType) {
    let (most, bits) = (wanted.abs() + error, if dtype == DType::BF16 { 8 } else { 24 });
    let half = if most > 0.0 { 2.0_f64.powi(most.log2().floor() as i32 - bits) } else { 0.0 };
    assert_close(what, at, found, wanted, half + error);
}

fn assert_close(what: &str, at: usize, found: f32, wanted: f64, bound: f64) {
    let off = (f64::from(found) - wanted).abs();
    assert!(off <= bound + 1e-37, "{what}, {at}: {found} and not {wanted}, by {off:e} of {bound:e}");
}

/// What some work makes in each order, the same bits.
fn in_all_orders(name: &str, work: impl Fn() -> Result<Vec<Tensor>>) -> Vec<Tensor> {
    let bits =
        |made: &[Tensor]| made.iter().map(|tensor| floats(tensor).iter().map(|x| x.to_bits()).collect()).collect();
    let mut first: Option<(Vec<Tensor>, Vec<Vec<u32>>)> = None;
    for order in 0..3 {
        emulation::ORDER.set(order);
        let made = work().unwrap_or_else(|error| panic!("{name}: {error}"));
        let bits = bits(&made);
        match &first {
            None => first = Some((made, bits)),
            Some((_, expected)) => assert!(bits == *expected, "{name}: two orders, two results"),
        }
    }
    first.unwrap().0
}

/// First all kernels of all cases are compiled, then they are run.
fn check<C>(
    cases: &[C],
    work: impl Fn(&C) -> Result<Vec<Tensor>>,
    verify: impl Fn(&C, &[Tensor]),
    name: impl Fn(&C) -> String,
) {
    emulation::prepare(|| cases.iter().for_each(|case| drop(work(case).unwrap())));
    for case in cases {
        let name = name(case);
        let made = in_all_orders(&name, || work(case));
        verify(case, &made);
    }
}

struct Forward {
    geometry: ConvGeometry,
    input: Tensor,
    normalization: Option<Normalization>,
    weight: Tensor,
    bias: Option<Tensor>,
    residual: Option<Tensor>,
    moments: bool,
}

impl Forward {
    /// With the rectifier of a batch norm in front of it, if there is one; `more`: with bias and residual.
    fn new(
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

    fn name(&self) -> String {
        format!("{:?} {:?}", self.input.dtype(), self.geometry)
    }

    fn operand(&self) -> Operand<'_> {
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

/// A gradient of a result, as it is or made of those around a batch norm.
struct Behind {
    maps: [Tensor; 3],
    coefficients: Option<[Tensor; 3]>,
    plus: bool,
}

impl Behind {
    fn new(rng: &mut StreamRng, precision: Precision, geometry: &ConvGeometry, normalized: bool, plus: bool) -> Self {
        let count = geometry.out_channels;
        let dims = [geometry.batch, geometry.out_height(), geometry.out_width(), count];
        let maps = [(1.0, 0.0), (1.0, 0.5), (0.5, 0.0)].map(|(scale, shift)| map(rng, precision, dims, scale, shift));
        let coefficients = normalized
            .then(|| [channels(rng, count, 0.5, 1.0), channels(rng, count, 0.1, 0.0), channels(rng, count, 0.1, 0.0)]);
        Self { maps, coefficients, plus }
    }

    fn gradient<'a>(&'a self, kept: Option<&'a Tensor>) -> ResultGradient<'a> {
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
    fn kept(&self) -> Result<Option<Tensor>> {
        self.coefficients.as_ref().map(|_| self.maps[0].zeros_like()).transpose()
    }

    fn verify_kept(&self, kept: &Tensor) {
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

#[test]
fn what_has_no_kernels_is_not_covered() {
    let covered = geometry([16, 16, 3, 1, 1], [1, 8, 8]);
    assert!(covers(&covered, Bf16) && covers(&covered, Tf32));
    for other in [
        ConvGeometry { groups: 16, ..covered },
        ConvGeometry { padding: 0, ..covered },
        ConvGeometry { kernel: 5, padding: 2, ..covered },
        ConvGeometry { upsampling: 4, ..covered },
        ConvGeometry { in_channels: 24, ..covered },
        geometry([3, 3, 3, 1, 1], [1, 8, 8]),
        geometry([1024, 1024, 3, 2, 1], [1, 8, 8]),
    ] {
        assert!(!covers(&other, Bf16) && !covers(&other, Tf32), "{other:?}");
    }
    assert!(!covers(&covered, Precision::F32));
}

/// Integers of twelve bits are the sums of two numbers in bf16, so products of them with small ones, and sums of these, are exact: a part that
/// is missing anywhere, or meets another's, is seen.
#[test]
fn numbers_of_two_parts_are_multiplied_exactly() {
    // All weights in shared memory, and some at a time; a stride and an upsampling.
    let layers = [[32, 32, 3, 1, 1], [128, 64, 3, 1, 1], [32, 64, 3, 2, 1], [64, 16, 3, 1, 2], [3, 16, 3, 1, 1]];
    for (layer, most) in layers.into_iter().flat_map(|layer| [[4095, 3], [3, 4095]].map(|most| (layer, most))) {
        let geometry = geometry(layer, [1, 8, 8]);
        assert!(covers(&geometry, Tf32), "{geometry:?}");
        let ConvGeometry { height, width, in_channels, out_channels, kernel, .. } = geometry;
        let mut rng = RandomStreams::new(0).named(&format!("{layer:?} {most:?}"));
        let mut integers = |dims: [usize; 4], most: i32| {
            let numbers = (0..dims.iter().product()).map(|_| rng.random_range(-most..=most) as f32);
            Tensor::from_vec(numbers.collect(), &dims[..], &Device::Cpu).unwrap()
        };
        let input = integers([1, height, width, in_channels], most[0]);
        let weight = integers([out_channels, kernel, kernel, in_channels], most[1]);
        let result = [1, geometry.out_height(), geometry.out_width(), out_channels];
        let [large, small] = [integers(result, most[0]), integers(result, most[1])];
        let operand = Operand { values: &input, normalization: None };
        let towards = Towards::Operand { plus: None };
        let of_weight = Tensor::zeros(weight.shape(), DType::F32, &Device::Cpu).unwrap();
        let made = in_all_orders(&format!("{geometry:?}"), || {
            let packed = packed(&weight)?;
            let parts = weight_gradient(&geometry, operand, ResultGradient::Dense(&small))?;
            let total = of_weight.permute((0, 3, 1, 2))?.contiguous()?;
            add_up(&[(parts, total.clone())])?;
            Ok(vec![
                forward(&geometry, operand, &packed, None, None, None)?,
                data_gradient(&geometry, ResultGradient::Dense(&large), &packed, &towards)?,
                total.permute((0, 2, 3, 1))?.contiguous()?,
            ])
        });
        let numbers = [&input, &weight, &large, &small].map(floats);
        let [x, w, large, small] = numbers.each_ref().map(|numbers| |at: usize| f64::from(numbers[at]));
        let mut wanted = made.iter().map(|made| vec![0.0; made.elem_count()]).collect::<Vec<_>>();
        each(&geometry, |pixel, tap, from| {
            for o in 0..out_channels {
                for i in 0..in_channels {
                    let at = [
                        pixel * out_channels + o,
                        from * in_channels + i,
                        (o * kernel * kernel + tap) * in_channels + i,
                    ];
                    wanted[0][at[0]] += x(at[1]) * w(at[2]);
                    wanted[1][at[1]] += large(at[0]) * w(at[2]);
                    wanted[2][at[2]] += small(at[0]) * x(at[1]);
                }
            }
        });
        for (what, (made, wanted)) in made.iter().zip(&wanted).enumerate() {
            let found: Vec<_> = floats(made).into_iter().map(f64::from).collect();
            assert!(found == *wanted, "{layer:?}, {most:?}: {}", ["result", "data gradient", "weight gradient"][what]);
        }
    }
}
