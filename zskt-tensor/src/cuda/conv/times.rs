//! How long each convolution of the paper's experiment takes on a GPU, by kernels of our own and by cuDNN, as `tests/gpu/check.sh`
//! reads it: a line of JSON for each.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

use crate::activation::Rectifier;
use crate::cuda::conv::{Normalization, Operand, ResultGradient, Towards, by_cudnn, tensor_cores};
use crate::cuda::convolution::Direction;
use crate::cuda::exact_sums::{self, GradientSums, MomentSums, UnfinishedGradients, UnfinishedMoments};
use crate::cuda::graph;
use crate::cuda::ops::depthwise;
use crate::error::Error;
use crate::precision::Precision;
use crate::shape::ConvGeometry;
use crate::test_device::test_device;

const BATCH: usize = 128;
/// Launches of a graph, which take turns with so many sets of tensors: what they read is in the L2 cache, as behind the kernel that
/// wrote it, but not in any multiprocessor.
const LAUNCHES: usize = 200;
const SETS: usize = 3;
const ROUNDS: usize = 10;

/// What surrounds a convolution.
#[derive(Clone, Copy, PartialEq)]
enum Around {
    /// Images, in front of a batch norm by the batch's statistics.
    Images,
    /// Batch norms by the batch's statistics.
    BatchNorms,
    /// Batch norms whose statistics are constants.
    FixedNorms,
}

/// A convolution of the experiment: channels read and written, the side of the map as it is stored, kernel, stride, upsampling.
struct Layer(usize, usize, usize, usize, usize, usize, Around);

use Around::{BatchNorms, FixedNorms, Images};

/// WRN-40-2 (fixed), WRN-16-1 and the generator.
const LAYERS: [Layer; 20] = [
    Layer(3, 16, 32, 3, 1, 1, Images),
    Layer(16, 16, 32, 3, 1, 1, BatchNorms),
    Layer(16, 32, 32, 3, 2, 1, BatchNorms),
    Layer(16, 32, 32, 1, 2, 1, BatchNorms),
    Layer(32, 32, 16, 3, 1, 1, BatchNorms),
    Layer(32, 64, 16, 3, 2, 1, BatchNorms),
    Layer(32, 64, 16, 1, 2, 1, BatchNorms),
    Layer(64, 64, 8, 3, 1, 1, BatchNorms),
    Layer(128, 128, 8, 3, 1, 2, BatchNorms),
    Layer(128, 64, 16, 3, 1, 2, BatchNorms),
    Layer(64, 3, 32, 3, 1, 1, BatchNorms),
    Layer(16, 32, 32, 3, 1, 1, FixedNorms),
    Layer(16, 32, 32, 1, 1, 1, FixedNorms),
    Layer(32, 32, 32, 3, 1, 1, FixedNorms),
    Layer(32, 64, 32, 3, 2, 1, FixedNorms),
    Layer(32, 64, 32, 1, 2, 1, FixedNorms),
    Layer(64, 64, 16, 3, 1, 1, FixedNorms),
    Layer(64, 128, 16, 3, 2, 1, FixedNorms),
    Layer(64, 128, 16, 1, 2, 1, FixedNorms),
    Layer(128, 128, 8, 3, 1, 1, FixedNorms),
];

impl Layer {
    fn geometry(&self) -> ConvGeometry {
        let &Self(in_channels, out_channels, side, kernel, stride, upsampling, _) = self;
        let (height, width, padding) = (side, side, kernel / 2);
        let batch = BATCH;
        ConvGeometry { batch, height, width, upsampling, in_channels, out_channels, kernel, stride, padding, groups: 1 }
    }

    fn name(&self, direction: Direction) -> String {
        let &Self(inputs, outputs, _, kernel, ..) = self;
        let letter = letter(direction);
        let shortcut = if kernel == 1 { " 1x1" } else { "" };
        format!("{letter} {inputs} {outputs} {}{shortcut}", self.geometry().out_height())
    }
}

fn letter(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "F",
        Direction::Input => "D",
        Direction::Weight => "W",
    }
}

/// Tensors of one launch.
struct Maps {
    input: Tensor,
    /// The convolution's result and its gradient.
    result: Tensor,
    gradient: Tensor,
    kept: Tensor,
}

/// A layer with its tensors.
struct Bench {
    geometry: ConvGeometry,
    around: Around,
    weight: Tensor,
    maps: Vec<Maps>,
    /// How the input is read.
    normalization: Normalization,
    /// Mean and variance, and the running ones with their count.
    moments: [Tensor; 2],
    running: [Tensor; 3],
    coefficients: [Tensor; 3],
    /// The gradients of gamma and beta.
    of_norm: [Tensor; 2],
    /// Those that are made of sums.
    made: [Tensor; 3],
}

fn random(shape: [usize; 4], scale: f32, device: &Device) -> Result<Tensor> {
    (Tensor::randn(0_f32, 1.0, shape.to_vec(), device)? * f64::from(scale))?.to_dtype(DType::BF16)
}

impl Bench {
    fn new(layer: &Layer, device: &Device) -> Result<Self> {
        let geometry = layer.geometry();
        let ConvGeometry { batch, height, width, in_channels, out_channels, kernel, .. } = geometry;
        let result = [batch, geometry.out_height(), geometry.out_width(), out_channels];
        let map = || {
            Ok(Maps {
                input: random([batch, height, width, in_channels], 1.0, device)?,
                result: random(result, 1.0, device)?,
                gradient: random(result, 1.0, device)?,
                kept: random(result, 1.0, device)?,
            })
        };
        let per_channel = |channels: usize, value: f64| Tensor::full(value as f32, channels, device);
        let sum = |channels| per_channel(channels, 0.0);
        let normalization = Normalization {
            gamma: per_channel(in_channels, 1.1)?,
            beta: per_channel(in_channels, 0.1)?,
            mean: per_channel(in_channels, -0.1)?,
            variance: per_channel(in_channels, 0.9)?,
            epsilon: 1e-5,
            rectifier: Rectifier { slope: 0.0, limit: f64::INFINITY },
            unfinished: None,
        };
        let fan_in = (in_channels * kernel * kernel) as f32;
        Ok(Self {
            geometry,
            around: layer.6,
            weight: random([out_channels, kernel, kernel, in_channels], fan_in.sqrt().recip(), device)?,
            maps: (0..SETS).map(|_| map()).collect::<Result<_>>()?,
            normalization,
            moments: [sum(out_channels)?, sum(out_channels)?],
            running: [sum(out_channels)?, per_channel(out_channels, 1.0)?, Tensor::zeros((), DType::I64, device)?],
            coefficients: [per_channel(out_channels, 0.9)?, per_channel(out_channels, 0.1)?, sum(out_channels)?],
            of_norm: [sum(in_channels)?, sum(in_channels)?],
            made: [sum(in_channels)?, sum(in_channels)?, sum(in_channels)?],
        })
    }

    fn sums_of_result(&self) -> Result<UnfinishedMoments> {
        let [mean, variance] = self.moments.clone();
        let geometry = &self.geometry;
        Ok(UnfinishedMoments::new(MomentSums {
            limbs: exact_sums::zeros(geometry.out_channels, mean.device())?,
            mean,
            variance,
            running: Some((self.running.clone(), 0.1)),
            pixels: geometry.batch * geometry.out_height() * geometry.out_width(),
        }))
    }

    fn sums_of_gradient(&self) -> Result<UnfinishedGradients> {
        let Normalization { gamma, mean, variance, epsilon, .. } = &self.normalization;
        let ([of_gamma, of_beta], geometry) = (self.of_norm.clone(), &self.geometry);
        Ok(UnfinishedGradients::new(GradientSums {
            limbs: exact_sums::zeros(geometry.in_channels, gamma.device())?,
            norm: [gamma, mean, variance].map(Tensor::clone),
            epsilon: *epsilon,
            of_gamma,
            of_beta,
            coefficients: self.made.clone(),
            pixels: geometry.batch * geometry.height * geometry.width,
        }))
    }

    fn normalization(&self) -> Option<&Normalization> {
        (self.around != Images).then_some(&self.normalization)
    }

    /// Whether a batch norm by the batch's statistics reads the result. A shortcut's is a part of a sum first.
    fn is_normalized(&self) -> bool {
        self.around != FixedNorms && self.geometry.kernel > 1
    }

    /// Whether the gradient of what is read is summed for a batch norm.
    fn has_sums(&self) -> bool {
        self.around == BatchNorms && self.geometry.kernel > 1
    }

    fn gradient(&self, set: usize) -> ResultGradient<'_> {
        let Maps { result: x, gradient, kept, .. } = &self.maps[set];
        match self.is_normalized() {
            false => ResultGradient::Dense(gradient),
            true => ResultGradient::Normalized {
                behind: gradient,
                x,
                coefficients: &self.coefficients,
                unfinished: None,
                plus: None,
                kept: Some(kept),
            },
        }
    }

    /// By kernels of our own, with what the experiment fuses with it, but for the sums, which the next kernel finishes: `finish` does.
    fn fused(&self, direction: Direction, set: usize, finish: bool) -> Result<Tensor> {
        let (maps, geometry) = (&self.maps[set], &self.geometry);
        let input = Operand { values: &maps.input, normalization: self.normalization() };
        match direction {
            Direction::Forward => {
                let moments = self.is_normalized().then(|| self.sums_of_result()).transpose()?;
                let y = tensor_cores::forward(geometry, input, &self.weight, None, None, moments.as_ref())?;
                moments.filter(|_| finish).map_or(Ok(()), |moments| moments.finish())?;
                Ok(y)
            }
            Direction::Input => {
                let (x, normalization) = (&maps.input, &self.normalization);
                let sums = self.sums_of_gradient()?;
                let towards = match self.around {
                    Images => Towards::Operand { plus: None },
                    _ if geometry.kernel == 1 => Towards::Operand { plus: None },
                    BatchNorms => Towards::BatchNorm { x, normalization, plus: None, sums: &sums },
                    FixedNorms => Towards::FixedNorm { x, normalization, plus: None, behind: None },
                };
                let gradient = tensor_cores::data_gradient(geometry, self.gradient(set), &self.weight, &towards)?;
                if finish {
                    sums.finish()?;
                }
                Ok(gradient)
            }
            Direction::Weight => {
                let dense = ResultGradient::Dense(&maps.gradient);
                Ok(tensor_cores::weight_gradient(geometry, input, dense)?.0)
            }
        }
    }

    /// By kernels of our own, with nothing else.
    fn plain(&self, direction: Direction, set: usize) -> Result<Tensor> {
        let (maps, geometry) = (&self.maps[set], &self.geometry);
        let input = Operand { values: &maps.input, normalization: None };
        let gradient = ResultGradient::Dense(&maps.gradient);
        match direction {
            Direction::Forward => tensor_cores::forward(geometry, input, &self.weight, None, None, None),
            Direction::Input => {
                tensor_cores::data_gradient(geometry, gradient, &self.weight, &Towards::Operand { plus: None })
            }
            Direction::Weight => Ok(tensor_cores::weight_gradient(geometry, input, gradient)?.0),
        }
    }

    /// What cuDNN reads.
    fn operands(&self, direction: Direction, set: usize) -> Result<[Tensor; 2]> {
        let maps = &self.maps[set];
        let input = by_cudnn::enlarge(&maps.input, self.geometry.upsampling)?;
        Ok(match direction {
            Direction::Forward => [input, self.weight.clone()],
            Direction::Input => [maps.gradient.clone(), self.weight.clone()],
            Direction::Weight => [input, maps.gradient.clone()],
        })
    }

    /// How far results are from what they must be, 1 being what rounding may do: alone, and with what is fused, where a number that is read
    /// may have been rounded to its other neighbour.
    fn error(&self, direction: Direction) -> Result<f32> {
        let Maps { input, gradient, kept, .. } = &self.maps[0];
        let (geometry, weight) = (&self.geometry, &self.weight);
        let exactly = |a: &Tensor, b: &Tensor| by_cudnn::exactly(geometry, direction, [a, b]);
        let whole = |found: Tensor| if direction == Direction::Weight { found.sum(0) } else { Ok(found) };
        // A result in bf16 is rounded by half a last place at most.
        let of_each = if direction == Direction::Weight { 0.0 } else { 2_f64.powi(-8) };

        let read = match self.normalization() {
            None => input.clone(),
            Some(normalization) => by_cudnn::normalize(input, normalization)?.to_dtype(DType::BF16)?,
        };
        let (alone, fused) = match direction {
            Direction::Forward => (exactly(input, weight)?, exactly(&read, weight)?),
            Direction::Weight => (exactly(input, gradient)?, exactly(&read, gradient)?),
            Direction::Input => {
                let gradient_of_result = by_cudnn::gradient(&self.gradient(0))?;
                (exactly(gradient, weight)?, self.backwards(&exactly(&gradient_of_result, weight)?)?)
            }
        };
        let mut errors = vec![by_cudnn::error(&whole(self.plain(direction, 0)?)?, &alone, of_each, 2_f64.powi(-12))?];
        let found = whole(self.fused(direction, 0, true)?)?;
        errors.push(by_cudnn::error(&found, &fused, of_each, 2_f64.powi(-9))?);
        let found = found.to_dtype(DType::F32)?;
        match direction {
            Direction::Forward if self.is_normalized() => {
                let mean = found.mean_keepdim((0, 1, 2))?;
                let variance = found.broadcast_sub(&mean)?.sqr()?.mean((0, 1, 2))?;
                let [found_mean, found_variance] = &self.moments;
                // By deviations, of which the largest is near 1: a mean is near zero.
                let deviations = ((found_mean - mean.flatten_all()?)? + 1.0)?;
                errors.push(by_cudnn::error(&deviations, &deviations.ones_like()?, 1e-3, 0.0)?);
                errors.push(by_cudnn::error(found_variance, &variance, 1e-3, 0.0)?);
            }
            Direction::Input if self.is_normalized() => {
                errors.push(by_cudnn::error(kept, &by_cudnn::gradient(&self.gradient(0))?, 2_f64.powi(-7), 1e-6)?);
            }
            _ => {}
        }
        if direction == Direction::Input && self.has_sums() {
            let Normalization { mean, .. } = &self.normalization;
            let centred = input.to_dtype(DType::F32)?.broadcast_sub(mean)?;
            let normalized = centred.broadcast_mul(&by_cudnn::inverse_deviation(&self.normalization)?)?;
            for (sum, terms) in [(&self.of_norm[1], found.clone()), (&self.of_norm[0], (found * normalized)?)] {
                // Terms of both signs: what may be lost is a part of all of them.
                let all = terms.abs()?.sum((0, 1, 2))?;
                let apart = ((sum - terms.sum((0, 1, 2))?)? / &all)?;
                errors.push(by_cudnn::error(&(apart + 1.0)?, &all.ones_like()?, 1e-3, 0.0)?);
            }
        }
        Ok(errors.into_iter().fold(0.0, |most, error| if error <= most { most } else { error }))
    }

    /// The gradient of what a convolution reads, through what it is read by.
    fn backwards(&self, gradient: &Tensor) -> Result<Tensor> {
        if self.around == Images || self.geometry.kernel == 1 {
            return Ok(gradient.clone());
        }
        let passes = by_cudnn::normalize(&self.maps[0].input, &self.normalization)?.gt(0_f32)?;
        let gradient = (gradient * passes.to_dtype(DType::F32)?)?;
        match self.around {
            FixedNorms => {
                let scale = (by_cudnn::inverse_deviation(&self.normalization)? * &self.normalization.gamma)?;
                gradient.broadcast_mul(&scale)
            }
            Images | BatchNorms => Ok(gradient),
        }
    }

    /// Whether the same is computed twice.
    fn is_same(&self, direction: Direction) -> Result<bool> {
        let found = || -> Result<Vec<Vec<f32>>> {
            let mut tensors = vec![self.fused(direction, 0, true)?];
            tensors.extend(self.moments.iter().chain(&self.of_norm).chain(&self.made).cloned());
            tensors.iter().map(|tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()).collect()
        };
        Ok(found()? == found()?)
    }
}

/// Microseconds of a launch.
fn time<T>(device: &Device, launch: impl Fn(usize) -> Result<T>) -> Result<f64> {
    let failed = |error: Error| candle_core::Error::Msg(error.to_string());
    let all = |count| (0..count).try_for_each(|number| launch(number % SETS).map(drop));
    graph::warm_up(device, || Ok(all(SETS)?)).map_err(failed)?;
    let captured = graph::capture(device, || Ok(all(LAUNCHES)?)).map_err(failed)?;
    let (graph, ()) = captured.expect("a GPU captures");
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        device.synchronize()?;
        let began = Instant::now();
        graph.launch().map_err(failed)?;
        device.synchronize()?;
        times.push(1e6 * began.elapsed().as_secs_f64() / LAUNCHES as f64);
    }
    // The first launch also takes the graph to the device.
    let times = &mut times[1..];
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn row(layer: &Layer, direction: Direction, bench: &Bench, device: &Device) -> Result<String> {
    let operands = (0..SETS).map(|set| bench.operands(direction, set)).collect::<Result<Vec<_>>>()?;
    let cudnn_us = time(device, |set| {
        let [a, b] = &operands[set];
        by_cudnn::convolve(&bench.geometry, direction, Precision::Bf16, [a, b])
    })?;
    let shape = layer.name(direction);
    let mut row = format!("{{\"shape\": \"{shape}\", \"cudnn_us\": {cudnn_us:.2}");
    if tensor_cores::covers(&bench.geometry, Precision::Bf16) {
        let ours = time(device, |set| bench.fused(direction, set, false))?;
        let plain = time(device, |set| bench.plain(direction, set))?;
        let bits = if bench.is_same(direction)? { "same" } else { "other" };
        let error = bench.error(direction)?;
        row +=
            &format!(", \"ours_us\": {ours:.2}, \"plain_us\": {plain:.2}, \"bits\": \"{bits}\", \"error\": {error:.4}");
    }
    Ok(row + "}")
}

/// Depthwise convolutions of a MobileNetV2 for CIFAR-10, 3×3: channels, side of the map, stride.
const DEPTHWISE: [(usize, usize, usize); 5] = [(32, 32, 1), (96, 32, 2), (144, 16, 1), (384, 8, 1), (960, 4, 1)];

fn depthwise_row(
    (channels, side, stride): (usize, usize, usize),
    direction: Direction,
    device: &Device,
) -> Result<String> {
    let geometry = ConvGeometry {
        batch: BATCH,
        height: side,
        width: side,
        upsampling: 1,
        in_channels: channels,
        out_channels: channels,
        kernel: 3,
        stride,
        padding: 1,
        groups: channels,
    };
    let (rows, columns, precision) = (geometry.out_height(), geometry.out_width(), Precision::Bf16);
    let weight = random([channels, 3, 3, 1], 0.3, device)?;
    let packed = weight.permute((3, 1, 2, 0))?.contiguous()?;
    let maps = (0..SETS).map(|_| {
        Ok([
            random([BATCH, side, side, channels], 1.0, device)?,
            random([BATCH, rows, columns, channels], 1.0, device)?,
        ])
    });
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let operands = |set: usize| {
        let [x, gradient] = &maps[set];
        match direction {
            Direction::Forward => [x, &weight],
            Direction::Input => [gradient, &weight],
            Direction::Weight => [x, gradient],
        }
    };
    let ours = |set: usize| {
        let [x, gradient] = &maps[set];
        match direction {
            Direction::Forward => depthwise::forward(&geometry, precision, x, &packed, None),
            Direction::Input => depthwise::data_gradient(&geometry, precision, gradient, &packed, None),
            Direction::Weight => depthwise::weight_gradient(&geometry, precision, x, gradient),
        }
    };
    let cudnn_us = time(device, |set| by_cudnn::convolve(&geometry, direction, precision, operands(set)))?;
    let plain_us = time(device, ours)?;
    let found = ours(0)?;
    let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
    let bits = if numbers(&ours(0)?)? == numbers(&found)? { "same" } else { "other" };
    let exactly = by_cudnn::exactly(&geometry, direction, operands(0))?;
    let (found, of_each) = match direction {
        Direction::Weight => (found.permute((0, 2, 3, 1))?.contiguous()?, 0.0),
        Direction::Forward | Direction::Input => (found, 2_f64.powi(-8)),
    };
    let error = by_cudnn::error(&found, &exactly, of_each, 2_f64.powi(-12))?;
    let letter = letter(direction);
    Ok(format!(
        "{{\"shape\": \"{letter} {channels} depthwise {rows}\", \"cudnn_us\": {cudnn_us:.2}, \"plain_us\": {plain_us:.2}, \
         \"bits\": \"{bits}\", \"error\": {error:.4}}}"
    ))
}

#[test]
#[ignore = "times a GPU"]
fn convolution_times() {
    let device = test_device();
    assert!(device.is_cuda(), "ZSKT_TEST_DEVICE names no GPU");
    let mut failures = 0;
    for layer in &LAYERS {
        let bench = Bench::new(layer, &device).unwrap();
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            // No weight of a fixed network is trained.
            if direction == Direction::Weight && bench.around == FixedNorms {
                continue;
            }
            match row(layer, direction, &bench, &device) {
                Ok(row) => println!("\n{row}"),
                Err(error) => {
                    failures += 1;
                    println!("\n{}: {error}", layer.name(direction));
                }
            }
        }
    }
    for layer in DEPTHWISE {
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            match depthwise_row(layer, direction, &device) {
                Ok(row) => println!("\n{row}"),
                Err(error) => {
                    failures += 1;
                    println!("\n{} {layer:?}: {error}", letter(direction));
                }
            }
        }
    }
    assert_eq!(failures, 0, "convolutions could not be timed");
}
