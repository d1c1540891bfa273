//! What `benches/depthwise.py` times of zskt: layers of MobileNetV2, named by its arguments, on one thread.
//!
//! An argument is `depthwise CHANNELS SIZE STRIDE`, `activated depthwise CHANNELS SIZE STRIDE`, behind batch norm and ReLU6,
//! `pointwise INPUTS OUTPUTS SIZE` or `block INPUTS EXPANDED OUTPUTS SIZE STRIDE`, an inverted residual in training. For each it
//! prints a line: the argument, and the milliseconds of processor time of a forward pass and of a forward and a backward pass to
//! all weights, the fastest of some.

#![expect(unsafe_code, reason = "the system says how much processor time has passed")]

use std::hint::black_box;

use zskt_tensor::candle_core::{DType, Device, Tensor};
use zskt_tensor::nn::{Activation, BatchNorm2d, Builder, Conv2d, Conv2dShape, ForwardMode, Init};
use zskt_tensor::{Error, FeatureMap, Precision, RandomStreams, Result, backward, ops, standard_normal};

const BATCH: usize = 128;
const REPETITIONS: usize = 7;

/// A layer, and whether it is in training.
type Layer = Box<dyn Fn(&FeatureMap, ForwardMode) -> Result<FeatureMap>>;

fn main() -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().map_err(|error| Error::new(error.to_string()))?;
    // cargo's own arguments begin with dashes.
    for case in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        let (kind, numbers) = case.split_at(case.find(|c: char| c.is_ascii_digit()).unwrap_or(case.len()));
        let numbers = numbers.split(' ').map(str::parse).collect::<Result<Vec<usize>, _>>();
        let numbers = numbers.map_err(|error| Error::new(format!("{case}: {error}")))?;
        let ([inputs, size], layer) = layer(kind.trim(), &numbers)?;
        let [forward, both] = measure(&[BATCH, size, size, inputs], &*layer)?;
        println!("{case}\t{forward:.3}\t{both:.3}");
    }
    Ok(())
}

/// The layer, with the channels and the size of its input.
fn layer(kind: &str, numbers: &[usize]) -> Result<([usize; 2], Layer)> {
    let conv =
        |name: &str, shape: Conv2dShape| Conv2d::without_bias(&builder(name), shape, Init::Uniform { bound: 0.1 });
    let depthwise =
        |channels, stride| Conv2dShape { stride, groups: channels, ..Conv2dShape::same(channels, channels, 3) };
    let norm = |name: &str, channels, activation| BatchNorm2d::new(&builder(name), channels, activation);
    Ok(match (kind, numbers) {
        ("depthwise", &[channels, size, stride]) => {
            let conv = conv("conv", depthwise(channels, stride))?;
            ([channels, size], Box::new(move |x, mode| conv.forward(x, mode)))
        }
        ("activated depthwise", &[channels, size, stride]) => {
            let (norm, conv) = (norm("norm", channels, Activation::Relu6)?, conv("conv", depthwise(channels, stride))?);
            ([channels, size], Box::new(move |x, mode| conv.forward(&norm.forward(x, mode)?, mode)))
        }
        ("pointwise", &[inputs, outputs, size]) => {
            let conv = conv("conv", Conv2dShape::same(inputs, outputs, 1))?;
            ([inputs, size], Box::new(move |x, mode| conv.forward(x, mode)))
        }
        ("block", &[inputs, expanded, outputs, size, stride]) => {
            let expand = conv("expand", Conv2dShape::same(inputs, expanded, 1))?;
            let deep = conv("deep", depthwise(expanded, stride))?;
            let project = conv("project", Conv2dShape::same(expanded, outputs, 1))?;
            let norms = [norm("norm1", expanded, Activation::Relu6)?, norm("norm2", expanded, Activation::Relu6)?];
            let last = norm("norm3", outputs, Activation::Identity)?;
            let layer: Layer = Box::new(move |x, mode| {
                let wide = norms[0].forward(&expand.forward(x, mode)?, mode)?;
                let filtered = norms[1].forward(&deep.forward(&wide, mode)?, mode)?;
                let narrow = last.forward(&project.forward(&filtered, mode)?, mode)?;
                if stride == 1 && inputs == outputs { &narrow + x } else { Ok(narrow) }
            });
            ([inputs, size], layer)
        }
        _ => return Err(Error::new(format!("{kind} of {numbers:?} is not a layer"))),
    })
}

/// Milliseconds of a forward pass, and of a forward and a backward pass.
fn measure(shape: &[usize], layer: &dyn Fn(&FeatureMap, ForwardMode) -> Result<FeatureMap>) -> Result<[f64; 2]> {
    let numbers = standard_normal(&mut RandomStreams::new(0).named("input"), shape.iter().product());
    let x = FeatureMap::from_channels_last(&Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(DType::F32)?)?;
    let forward = || sum(&layer(&x, ForwardMode::train_frozen())?);
    let both = || Ok::<_, Error>(backward(&sum(&layer(&x, ForwardMode::train())?)?)?);
    Ok([fastest(&forward)?, fastest(&both)?])
}

/// Something of all numbers of a map, for which they must be computed.
fn sum(map: &FeatureMap) -> Result<Tensor> {
    let means = ops::global_average(map)?;
    let ones = Tensor::ones((means.dim(1)?, 1), means.dtype(), means.device())?;
    // candle adds up one number after the other.
    Ok(means.matmul(&ones)?.sum_all()?)
}

/// The fewest milliseconds of processor time, once it has run.
fn fastest<R>(pass: &dyn Fn() -> Result<R>) -> Result<f64> {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: it writes to the struct.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        assert_eq!(status, 0, "every system that this is built for has the clock");
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
    };
    black_box(pass()?);
    let mut fastest = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let begin = now();
        black_box(pass()?);
        fastest = fastest.min(now() - begin);
    }
    Ok(fastest)
}

fn builder(name: &str) -> Builder {
    Builder::random(&RandomStreams::new(0), name, Precision::F32, &Device::Cpu)
}
