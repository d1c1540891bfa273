//! Whole blocks by our own convolutions, batch norms' statistics, and gradients that several operations give.

use candle_core::{DType, Device, Tensor, Var};

use crate::autograd::backward;
use crate::backend::Backend;
use crate::cuda::conv;
use crate::cuda::conv::tensor_cores::emulation::{self, surprises};
use crate::cuda::launch::launch_count;
use crate::cuda::map::CudaMap;
use crate::cuda::tests::{Make, cuda_map, random, values};
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::ops::{self, Activation};
use crate::precision::Precision;
use crate::random::{RandomStreams, standard_normal};
use crate::test_device::test_device as device;

/// From random variables: a function's value and gradients by our own convolutions and by others, against f64: ours are as near, or
/// as near as products of numbers with 16 bits. Returns what ours launch.
fn compare_fused(
    name: &str,
    shapes: &[&[usize]],
    compute: impl Fn(Make<'_>, &[Tensor]) -> Result<Tensor>,
) -> launch_count::Launches {
    let exact = random(name, shapes, Precision::F64);
    let exact = values(name, &exact, (&Device::Cpu, &|x| FeatureMap::from_nchw(x).unwrap()), Precision::F64, &compute);
    let numbers = random(name, shapes, Precision::Bf16);
    let errors = |precision| -> Vec<f64> {
        let found = values(name, &numbers, (&device(), &cuda_map), precision, &compute);
        let size = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
        let error = |found: &[f64], exact: &[f64]| {
            assert_eq!(found.len(), exact.len());
            size(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / size(&mut exact.iter().copied())
        };
        found.iter().zip(&exact).map(|(found, exact)| error(found, exact)).collect()
    };
    emulation::prepare(|| {
        for precision in [Precision::Tf32, Precision::Bf16] {
            values(name, &numbers, (&device(), &cuda_map), precision, &compute);
        }
    });
    let mut all = launch_count::Launches::new();
    for (precision, bound) in [(Precision::Tf32, 1e-4), (Precision::Bf16, 2e-3)] {
        conv::DISABLED.set(true);
        let others = errors(precision);
        conv::DISABLED.set(false);
        let (ours, launches) = launch_count::counted(|| errors(precision));
        for kernel in ["convolution", "convolution, data gradient"] {
            assert!(launches.contains_key(kernel), "{name} in {precision:?}: nothing is fused: {launches:?}");
        }
        let near = |(ours, others): (&f64, &f64)| *ours < 1.5 * others + bound;
        assert!(ours.iter().zip(&others).all(near), "{name} in {precision:?}: {ours:.6?}, and others {others:.6?}");
        all.extend(launches);
    }
    all
}

/// A batch norm by the statistics of `x`, with its rectifier.
fn normed(x: &FeatureMap, gamma: &Tensor, beta: &Tensor, activation: Activation) -> Result<FeatureMap> {
    let (mean, variance) = (
        Var::zeros(gamma.shape(), gamma.dtype(), gamma.device())?,
        Var::ones(gamma.shape(), gamma.dtype(), gamma.device())?,
    );
    let batches = Var::zeros((), DType::I64, gamma.device())?;
    let running = ops::RunningStatistics { mean: &mean, variance: &variance, batches: &batches };
    // As a layer has it: what reads the result finishes the statistics.
    let statistics = ops::batch_moments_to_normalize(x, running, 0.1)?;
    ops::batch_norm(x, gamma, beta, &statistics, 1e-5, activation)
}

/// Our own convolutions take batch norms, rectifiers, residual sums and upsampling along: whole blocks, as networks have them.
#[test]
fn blocks_agree_with_the_kernels() {
    let conv = |x: &FeatureMap, weight: &Tensor, stride: usize| {
        let padding = weight.dims()[2] / 2;
        ops::conv2d(x, weight, None, stride, padding, 1, x.precision())
    };
    // Pre-activation blocks: the first changes channels and size, the second has an identity; another reader in between.
    let mut shapes: Vec<&[usize]> = vec![&[2, 3, 10, 12], &[16, 3, 3, 3]];
    shapes.extend([&[16][..], &[16], &[32, 16, 3, 3], &[32], &[32], &[32, 32, 3, 3], &[32, 16, 1, 1]]);
    shapes.extend([&[32][..], &[32], &[32, 32, 3, 3], &[32], &[32], &[32, 32, 3, 3], &[32], &[32]]);
    compare_fused("pre-activation blocks", &shapes, |map, x| {
        let relu = Activation::Relu;
        let stem = conv(&map(&x[0]), &x[1], 1)?;
        let z = normed(&stem, &x[2], &x[3], relu)?;
        let inner = normed(&conv(&z, &x[4], 2)?, &x[5], &x[6], relu)?;
        let first = ops::add(&conv(&inner, &x[7], 1)?, &conv(&z, &x[8], 2)?)?;
        let attention = ops::attention_map(&first)?.sum_all()?;
        let inner = conv(&normed(&first, &x[9], &x[10], relu)?, &x[11], 1)?;
        let second = ops::add(&conv(&normed(&inner, &x[12], &x[13], relu)?, &x[14], 1)?, &first)?;
        let average = ops::global_average(&normed(&second, &x[15], &x[16], relu)?)?;
        Ok(average.broadcast_add(&attention)?)
    });
    assert_eq!(surprises(), [""; 0], "compiled one by one");
    // The same statistics for every batch: only images and no parameters have a gradient through them.
    compare_fused("by running statistics", &[&[2, 16, 7, 9], &[16], &[32, 16, 3, 3], &[32, 32, 3, 3]], |map, x| {
        let eval = |y: &FeatureMap| {
            let mean = (Tensor::arange(0., y.image().channels as f64, x[0].device())? * 0.1)?.to_dtype(x[0].dtype())?;
            let (variance, gamma) = ((&mean + 0.5)?, ((&mean * 0.2)? + 0.7)?);
            let statistics = ops::BatchNormStatistics { mean: mean.clone(), variance, of_batch: false };
            ops::batch_norm(y, &gamma, &mean, &statistics, 1e-5, Activation::Relu6)
        };
        let z = eval(&map(&x[0]))?;
        let y = ops::conv2d(&z, &x[2].detach(), None, 1, 1, 1, z.precision())?;
        let sum = ops::add(&ops::conv2d(&eval(&y)?, &x[3].detach(), None, 1, 1, 1, z.precision())?, &y)?;
        Ok(eval(&sum)?
            .to_nchw()?
            .flatten_from(1)?
            .broadcast_mul(&x[1].mean_all()?)?
            .broadcast_add(&(x[2].sum_all()? + x[3].sum_all()?)?)?)
    });
    assert_eq!(surprises(), [""; 0], "compiled one by one");
    // A generator: a bias in front of a batch norm, upsampling behind one, leaky rectifiers; few channels at the end. What is
    // upsampled first has another precision.
    let shapes: &[&[usize]] =
        &[&[2, 16, 4, 5], &[16], &[16], &[32, 16, 3, 3], &[32], &[32], &[32], &[3, 32, 3, 3], &[3]];
    let launches = compare_fused("upsampling", shapes, |map, x| {
        let leaky = Activation::LeakyRelu(0.2);
        let (wide, precision) = (Precision::of(x[0].dtype())?, map(&x[0]).precision());
        let first = map(&x[0]).to_precision(wide)?;
        let z = ops::upsample_nearest(&normed(&first, &x[1], &x[2], Activation::Identity)?, 2)?;
        let y = ops::conv2d(&z, &x[3], Some(&x[4]), 1, 1, 1, precision)?;
        let z = ops::upsample_nearest(&normed(&y, &x[5], &x[6], leaky)?, 2)?;
        ops::conv2d(&z, &x[7], Some(&x[8]), 1, 1, 1, z.precision())?.to_nchw()
    });
    assert_eq!(surprises(), [""; 0], "compiled one by one");
    for kernel in ["enlarge", "gather"] {
        assert!(!launches.contains_key(kernel), "{launches:?}");
    }
    // One weight in two convolutions; a convolution of a convolution; a sum that is read as it is, and a post-activation block.
    compare_fused("shared", &[&[2, 16, 6, 6], &[16, 16, 3, 3], &[16], &[16]], |map, x| {
        let y = conv(&conv(&map(&x[0]), &x[1], 1)?, &x[1], 1)?;
        let z = normed(&y, &x[2], &x[3], Activation::Identity)?;
        let sum = ops::activate(&ops::add(&z, &map(&x[0]))?, Activation::Relu)?;
        Ok((conv(&sum, &x[1], 1)?.to_nchw()? + ops::add(&y, &z)?.to_nchw()?)?)
    });
    // One gamma in two batch norms, in one as it is, in one made of it and of beta.
    compare_fused("shared by batch norms", &[&[2, 16, 6, 6], &[16, 16, 3, 3], &[16], &[16]], |map, x| {
        let first = normed(&conv(&map(&x[0]), &x[1], 1)?, &x[2], &x[3], Activation::Relu)?;
        let second = normed(&conv(&first, &x[1], 1)?, &x[2], &x[3], Activation::Relu)?;
        let gamma = (x[2].sqr()? + &x[3])?;
        let third = normed(&conv(&second, &x[1], 1)?, &gamma, &x[3], Activation::Relu)?;
        conv(&third, &x[1], 1)?.to_nchw()
    });
    // A weight and a bias that are made of others, behind another layer; a weight that cuDNN's convolution shares with ours.
    compare_fused("made", &[&[2, 16, 6, 6], &[16, 16, 3, 3], &[16], &[16], &[16]], |map, x| {
        let z = normed(&conv(&map(&x[0]), &x[1], 1)?, &x[2], &x[3], Activation::LeakyRelu(0.5))?;
        let (weight, bias) = ((x[1].sqr()? * 0.5)?, x[4].exp()?);
        let y = ops::conv2d(&z, &weight, Some(&bias), 1, 1, 1, z.precision())?;
        let by_cudnn = ops::conv2d(&z, &x[1], None, 1, 0, 1, z.precision())?;
        let y = conv(&y, &x[1], 1)?.to_nchw()?.flatten_all()?;
        Ok(Tensor::cat(&[y, by_cudnn.to_nchw()?.flatten_all()?], 0)?)
    });
}

#[test]
fn a_large_mean_costs_a_variance_no_digits() -> Result<()> {
    let numbers = standard_normal(&mut RandomStreams::new(3).named("mean"), 2 * 8 * 16 * 16);
    let x = (Tensor::from_vec(numbers, (2, 16, 16, 8), &Device::Cpu)? + 3000.0)?;
    let reference = ops::batch_moments(&FeatureMap::from_channels_last(&x)?)?.variance;
    let found = CudaMap::from_channels_last(&x.to_device(&device())?.to_dtype(DType::F32)?)?.batch_moments()?.variance;
    let error =
        (found.to_device(&Device::Cpu)?.to_dtype(DType::F64)? - reference)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(error < 1e-3, "{error}");
    Ok(())
}

#[test]
fn the_gradient_of_a_weight_is_collected() -> Result<()> {
    let x = Tensor::ones((1, 1, 2, 2), DType::F64, &device())?;
    let weight = Var::ones((1, 1, 1, 1), DType::F64, &device())?;
    let map = FeatureMap::from(CudaMap::from_nchw(&x)?);
    let y = ops::conv2d(&map, weight.as_tensor(), None, 1, 0, 1, Precision::F64)?.to_nchw()?.sum_all()?;
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("Gradients::of"), "{error}");
    // What failed leaves nothing behind.
    let gradients = backward(&y)?;
    assert_eq!(gradients.get(&weight).unwrap().flatten_all()?.to_vec1::<f64>()?, [4.0]);
    Ok(())
}

#[test]
fn running_statistics_agree() -> Result<()> {
    let found = |emulated: bool| -> Result<Vec<f64>> {
        let device = if emulated { device() } else { Device::Cpu };
        let batch = ops::BatchNormStatistics {
            mean: Tensor::new(&[1.0, -2.0], &device)?,
            variance: Tensor::new(&[0.5, 3.0], &device)?,
            of_batch: true,
        };
        let (mean, variance) = (Var::new(&[0.3, 0.4], &device)?, Var::new(&[1.0, 2.0], &device)?);
        let batches = Var::new(6_i64, &device)?;
        let running = ops::RunningStatistics { mean: &mean, variance: &variance, batches: &batches };
        if emulated {
            CudaMap::track(running, &batch, 0.1, 10)?;
        } else {
            ops::track(running, &batch, 0.1, 10)?;
        }
        assert_eq!(batches.to_scalar::<i64>()?, 7);
        Ok(Tensor::cat(&[mean.as_tensor(), variance.as_tensor()], 0)?.to_vec1()?)
    };
    for (found, expected) in found(true)?.iter().zip(found(false)?) {
        assert!((found - expected).abs() < 1e-14);
    }
    Ok(())
}

#[test]
fn the_moments_of_a_batch_move_running_statistics_in_the_same_launch() -> Result<()> {
    // More channels than are finished at once; more blocks than partial sums are in flight.
    for shape in [[2, 3, 4, 5], [2, 140, 12, 16], [4, 4, 130, 130]] {
        let numbers = standard_normal(&mut RandomStreams::new(4).named("moments"), shape.iter().product());
        let x = Tensor::from_vec(numbers, &shape[..], &Device::Cpu)?;
        let found = |map: &FeatureMap, device: &Device| -> Result<[Vec<f64>; 4]> {
            let (ones, zeros) =
                (Tensor::ones(shape[1], DType::F64, device)?, Tensor::zeros(shape[1], DType::F64, device)?);
            let (mean, variance) = (Var::from_tensor(&zeros)?, Var::from_tensor(&ones)?);
            let batches = Var::new(6_i64, device)?;
            let running = ops::RunningStatistics { mean: &mean, variance: &variance, batches: &batches };
            let batch = ops::tracked_batch_moments(map, running, 0.1)?;
            assert_eq!(batches.to_scalar::<i64>()?, 7);
            let numbers = |tensor: &Tensor| tensor.to_vec1::<f64>();
            Ok([numbers(&batch.mean)?, numbers(&batch.variance)?, numbers(&mean)?, numbers(&variance)?])
        };
        let map = CudaMap::from_nchw(&x.to_device(&device())?)?.into();
        let (emulated, launches) = launch_count::counted(|| found(&map, &device()));
        assert_eq!(launches, [("moments", 1)].into());
        let expected = found(&FeatureMap::from_nchw(&x)?, &Device::Cpu)?;
        for (found, expected) in emulated?.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-13, "{shape:?}: {found} {expected}");
        }
    }
    Ok(())
}
