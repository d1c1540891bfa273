//! How fast the layers are, forward and backward, at sizes that the paper's networks have.
//!
//! An element of the throughput is an operation (a multiplication or an addition), so that criterion's Gelem/s are
//! GFLOP/s. A backward pass counts twice the forward one: the gradient of the input, and that of the weights.

use criterion::{Criterion, Throughput};
use zskt_tensor::candle_core::{DType, Device, Tensor, Var};
use zskt_tensor::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear, global_average};
use zskt_tensor::nn::{Builder, ForwardMode};
use zskt_tensor::ops::attention_map;
use zskt_tensor::{Error, FeatureMap, Precision, RandomStreams, Result, standard_normal};

const BATCH: usize = 128;

/// What layers take and give.
trait Batch: Sized {
    fn from_tensor(tensor: &Tensor) -> Result<Self>;

    /// Something of all numbers, for which they must be computed.
    fn sum(&self) -> Result<Tensor>;
}

impl Batch for FeatureMap {
    fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Self::from_channels_last(tensor)
    }

    fn sum(&self) -> Result<Tensor> {
        Ok(global_average(self)?.sum_all()?)
    }
}

impl Batch for Tensor {
    fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(tensor.clone())
    }

    fn sum(&self) -> Result<Tensor> {
        Ok(self.sum_all()?)
    }
}

fn builder(precision: Precision) -> Builder {
    Builder::random(&RandomStreams::new(0), "bench", precision, &Device::Cpu)
}

fn random(shape: &[usize]) -> Result<Var> {
    let numbers = standard_normal(&mut RandomStreams::new(0).named("input"), shape.iter().product());
    Ok(Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(DType::F32)?)?)
}

/// Times a layer as a student's forward pass without and with what it costs to learn.
fn measure<X: Batch, Y: Batch>(
    criterion: &mut Criterion,
    name: &str,
    input: &[usize],
    operations: usize,
    layer: impl Fn(&X, ForwardMode) -> Result<Y>,
) -> Result<()> {
    let input = random(input)?;
    let (plain, tracked) = (X::from_tensor(&input.as_detached_tensor())?, X::from_tensor(input.as_tensor())?);
    let forward = || layer(&plain, ForwardMode::train_frozen())?.sum();
    let backward = || Ok::<_, Error>(zskt_tensor::backward(&layer(&tracked, ForwardMode::train())?.sum()?)?);
    // Once outside of the timing: what does not work is an error, not a panic.
    forward()?;
    backward()?;

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(operations as u64));
    group.bench_function("forward", |bencher| bencher.iter(forward));
    group.throughput(Throughput::Elements(3 * operations as u64));
    group.bench_function("forward + backward", |bencher| bencher.iter(backward));
    group.finish();
    Ok(())
}

fn convolution(criterion: &mut Criterion, precision: Precision, shape: Conv2dShape, size: usize) -> Result<()> {
    let Conv2dShape { input, output, stride, .. } = shape;
    let conv = Conv2d::new(&builder(precision), shape)?;
    let name = format!("{precision:?} conv 3x3 {input} to {output}, {size}x{size}, stride {stride}");
    let forward = |x: &FeatureMap, mode| conv.forward(x, mode);
    measure(criterion, &name, &[BATCH, size, size, input], operations(shape, size), forward)
}

/// Multiplications and additions of a convolution of `size` × `size` maps.
fn operations(shape: Conv2dShape, size: usize) -> usize {
    let pixels = size.div_ceil(shape.stride).pow(2);
    2 * BATCH * pixels * shape.output * shape.input * shape.kernel.pow(2)
}

fn main() -> Result<()> {
    let criterion = &mut Criterion::default().configure_from_args();
    for precision in [Precision::F32, Precision::Bf16] {
        layers(criterion, precision)?;
    }
    criterion.final_summary();
    Ok(())
}

fn layers(criterion: &mut Criterion, precision: Precision) -> Result<()> {
    // The student's three groups, the generator's first, and a group's first convolution.
    convolution(criterion, precision, Conv2dShape::same(16, 16, 3), 32)?;
    convolution(criterion, precision, Conv2dShape::same(32, 32, 3), 16)?;
    convolution(criterion, precision, Conv2dShape::same(64, 64, 3), 8)?;
    convolution(criterion, precision, Conv2dShape::same(128, 128, 3), 16)?;
    convolution(criterion, precision, Conv2dShape { stride: 2, ..Conv2dShape::same(16, 32, 3) }, 32)?;

    // Half of a pre-activation block. Only the convolution's operations are counted.
    let shape = Conv2dShape::same(16, 16, 3);
    let norm = BatchNorm2d::new(&builder(precision), 16, Activation::Relu)?;
    let conv = Conv2d::new(&builder(precision), shape)?;
    let block = |x: &FeatureMap, mode| conv.forward(&norm.forward(x, mode)?, mode);
    measure(
        criterion,
        &format!("{precision:?} batch norm, ReLU, conv 3x3 16 to 16, 32x32"),
        &[BATCH, 32, 32, 16],
        operations(shape, 32),
        block,
    )?;

    // The generator's first layer.
    let linear = Linear::new(&builder(precision), 100, 8192)?;
    let forward = |x: &Tensor, mode| linear.forward(x, mode);
    measure(criterion, &format!("{precision:?} linear 100 to 8192"), &[BATCH, 100], 2 * BATCH * 100 * 8192, forward)?;

    // A square and an addition for every number.
    let attention = |x: &FeatureMap, _: ForwardMode| attention_map(x);
    measure(
        criterion,
        &format!("{precision:?} attention map of 16 channels, 32x32"),
        &[BATCH, 32, 32, 16],
        2 * BATCH * 32 * 32 * 16,
        attention,
    )?;
    Ok(())
}
