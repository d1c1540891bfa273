//! The operations on GPUs, their kernels run on the CPU, against the CPU's own kernels.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor, Var};

use crate::autograd::backward;
use crate::backend::Backend;
use crate::cpu::map::CpuMap;
use crate::cuda::conv;
use crate::cuda::convolution::{Convolution, Direction};
use crate::cuda::kernel_source::{KernelVariant, SOURCE};
use crate::cuda::launch::launch_count;
use crate::cuda::map::CudaMap;
use crate::cuda::nvrtc_library::Nvrtc;
use crate::cuda::{cpu_emulation, graph_parameters};
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::ops::{self, Activation, Pool};
use crate::precision::Precision;
use crate::random::{RandomStreams, standard_normal};
use crate::shape::ConvGeometry;
use crate::test_device::test_device as device;

type Make<'a> = &'a dyn Fn(&Tensor) -> FeatureMap;

/// From random variables of these shapes: a function's value and gradients, by both, in all precisions.
fn compare(name: &str, shapes: &[&[usize]], compute: impl Fn(Make<'_>, &[Tensor]) -> Result<Tensor>) {
    let bounds = [(Precision::F64, 1e-10), (Precision::F32, 5e-5), (Precision::Tf32, 5e-3), (Precision::Bf16, 3e-2)];
    for (precision, bound) in bounds {
        let numbers = random(name, shapes, precision);
        let host = values(name, &numbers, (&Device::Cpu, &|x| FeatureMap::from_nchw(x).unwrap()), precision, &compute);
        let on_device = values(name, &numbers, (&device(), &cuda_map), precision, &compute);
        cpu_emulation::BACKWARDS.set(true);
        let backwards = values(name, &numbers, (&device(), &cuda_map), precision, &compute);
        cpu_emulation::BACKWARDS.set(false);
        assert!(on_device == backwards, "{name} in {precision:?}: the order of threads, or chance, changes the result");
        for (index, (host, on_device)) in host.iter().zip(&on_device).enumerate() {
            let size = host.iter().fold(1e-300f64, |size, x| size.max(x.abs()));
            let error = host.iter().zip(on_device).fold(0f64, |error, (a, b)| error.max((a - b).abs()));
            assert!(error < bound * size, "{name} in {precision:?}: {error} of {size} in number {index}");
            assert_eq!(host.len(), on_device.len());
        }
    }
}

/// Random numbers that bf16 can hold, for all to begin with the same.
fn random(name: &str, shapes: &[&[usize]], precision: Precision) -> Vec<Tensor> {
    let mut rng = RandomStreams::new(0).named(name);
    let numbers = shapes.iter().map(|shape| {
        let numbers = standard_normal(&mut rng, shape.iter().product());
        let numbers = Tensor::from_vec(numbers, *shape, &Device::Cpu).unwrap();
        numbers.to_dtype(DType::BF16).unwrap().to_dtype(precision.dtype()).unwrap()
    });
    numbers.collect()
}

/// A function's value, and its gradients by all numbers.
fn values(
    name: &str,
    numbers: &[Tensor],
    (device, map): (&Device, Make<'_>),
    precision: Precision,
    compute: &impl Fn(Make<'_>, &[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let vars = numbers.iter().map(|numbers| Var::from_tensor(&numbers.to_device(device).unwrap()).unwrap());
    let inputs: Vec<Tensor> = vars.map(|var| var.as_tensor().clone()).collect();
    let value = compute(&|x| map(x).to_precision(precision).unwrap(), &inputs).unwrap();
    // Weighted, so that no gradient cancels out.
    let weights = standard_normal(&mut RandomStreams::new(1).named(name), value.elem_count());
    let weights = Tensor::from_vec(weights, value.shape(), device).unwrap();
    let loss = (&value * weights.to_dtype(value.dtype()).unwrap()).unwrap().sum_all().unwrap();
    let store = backward(&loss).unwrap();
    let gradient = |input: &Tensor| store.get(input).unwrap().clone();
    std::iter::once(value)
        .chain(inputs.iter().map(gradient))
        .map(|t| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap())
        .collect()
}

/// How far what was computed is from what was expected, at most.
fn difference(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let difference = (found.to_device(&Device::Cpu)? - expected)?.abs()?.flatten_all()?.max(0)?;
    Ok(difference.to_dtype(DType::F64)?.to_scalar()?)
}

fn cuda_map(x: &Tensor) -> FeatureMap {
    CudaMap::from_nchw(x).unwrap().into()
}

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

#[test]
fn each_operation_agrees_with_the_kernels() {
    // By single channels; by packs, in several blocks; more packs than a block has threads.
    for maps in [&[&[2, 3, 5, 4][..]][..], &[&[5, 16, 13, 11]], &[&[1, 2056, 2, 3]]] {
        let twice = [maps[0], maps[0]];
        let [batch, _, height, width] = maps[0] else { unreachable!() };
        compare("to a tensor", maps, |map, x| map(&x[0]).channels_last());
        compare("detached, and in its own precision", maps, |map, x| (&map(&x[0]).detach() + &map(&x[0]))?.to_nchw());
        if *batch > 1 {
            compare("a part of a batch", maps, |map, x| {
                let part = map(&x[0]).narrow(1, 1)?;
                (&part + &ops::activate(&map(&x[0]), Activation::LeakyRelu(0.5))?.narrow(0, 1)?)?.to_nchw()
            });
            compare("no more than a part", maps, |map, x| map(&x[0]).narrow(1, 1)?.to_nchw());
        }
        for activation in [
            Activation::LeakyRelu(0.2),
            Activation::Relu6,
            Activation::Clip { min: -0.5, max: 1.5 },
            Activation::HardSwish,
            Activation::Silu,
            Activation::Tanh,
        ] {
            compare(&format!("{activation:?}"), maps, |map, x| {
                // Wide enough for every part of it.
                ops::activate(&map(&(&x[0] * 4.0)?), activation)?.to_nchw()
            });
        }
        let parts =
            [ops::NormalizedOver::Pixels, ops::NormalizedOver::Groups(1), ops::NormalizedOver::Groups(maps[0][1] / 8)];
        for over in parts.into_iter().filter(|over| *over != ops::NormalizedOver::Groups(0)) {
            compare(&format!("normalized over {over:?}"), maps, |map, x| {
                // Behind what is computed as it is read.
                ops::normalize(&ops::activate(&map(&x[0]), Activation::LeakyRelu(0.1))?, over, 1e-5)?.to_nchw()
            });
        }
        for factor in [maps[0], &[*batch, maps[0][1], 1, 1], &[1, maps[0][1], 1, 1]] {
            compare("multiply", &[maps[0], factor], |map, x| ops::multiply(&map(&x[0]), &map(&x[1]))?.to_nchw());
        }
        compare("concat", &[maps[0], &[*batch, 8, *height, *width]], |map, x| {
            ops::concat(&[map(&x[1]), map(&x[0]), map(&x[1])])?.to_nchw()
        });
        for channels in [[1, 0], [8, 16]] {
            let padding = ops::Padding { channels, rows: [1, 0], columns: [2, 1] };
            compare("pad", maps, |map, x| ops::pad(&map(&x[0]), padding)?.to_nchw());
        }
        let uneven = ops::PoolWindows { size: [2, 3], stride: [2, 1], padding: [[0, 1], [1, 2]], count_padding: false };
        for windows in [Pool { size: 2, stride: 1, padding: 1 }.into(), uneven] {
            compare("max pool of windows that overlap", maps, |map, x| ops::max_pool(&map(&x[0]), windows)?.to_nchw());
            compare("means of windows that overlap", maps, |map, x| ops::average_pool(&map(&x[0]), windows)?.to_nchw());
        }
        for (rows, columns) in [(1, 1), (2, 2), (7, 5)] {
            compare("adaptive average pool", maps, |map, x| {
                ops::adaptive_average_pool(&map(&x[0]), rows, columns)?.to_nchw()
            });
        }
        let shifts: Vec<_> = (0..*batch as isize)
            .map(|image| ops::Shift { down: image - 1, right: 1 - 2 * image, flip: image % 2 == 0 })
            .collect();
        let fill: Vec<_> = (0..maps[0][1]).map(|channel| channel as f64 * 0.5 - 1.0).collect();
        compare("crop and flip", maps, |map, x| ops::crop_and_flip(&map(&x[0]), &shifts, &fill)?.to_nchw());
        for shift in [ops::Shift { down: -2, right: 1, flip: true }, ops::Shift { down: 9, right: -7, flip: false }] {
            compare("roll, beside its input", maps, |map, x| {
                let x = map(&x[0]);
                (&ops::roll(&x, shift)? + &x)?.to_nchw()
            });
        }
        compare("upsample", maps, |map, x| ops::upsample_nearest(&map(&x[0]), 3)?.to_nchw());
        compare("max pool", maps, |map, x| ops::max_pool(&map(&x[0]), Pool::squares(2))?.to_nchw());
        compare("average pool", maps, |map, x| ops::average_pool(&map(&x[0]), Pool::squares(2))?.to_nchw());
        compare("global average", maps, |map, x| ops::global_average(&map(&x[0])));
        compare("attention map", maps, |map, x| ops::attention_map(&map(&x[0])));
        compare("attention distance", maps, |map, x| {
            let target = Tensor::arange(0., (batch * height * width) as f64, x[0].device())?;
            let target = ((target * 1e-3)?.reshape((*batch, height * width))?).to_dtype(x[0].dtype())?;
            ops::attention_distance(&map(&x[0]), &target)
        });
        compare("attention distances", &[maps[0], maps[0], &[*batch, height * width]], |map, x| {
            let (a, b, target) = (map(&x[0]), map(&x[1]), ops::attention_map(&map(&x[0]).detach())?);
            let constant = ops::attention_distances(&[(&a, &target), (&b, &target), (&a, &target)], 2.5)?;
            Ok((constant + ops::attention_distances(&[(&b, &x[2]), (&a, &x[2])], 0.5)?)?)
        });
        compare("attention distance of two", &[maps[0], &[*batch, height * width]], |map, x| {
            ops::attention_distance(&map(&x[0]), &x[1])
        });
        compare("add", &twice, |map, x| ops::add(&map(&x[0]), &map(&x[1]))?.to_nchw());
        compare("used several times", maps, |map, x| {
            let x = map(&x[0]);
            let (a, b) = (ops::activate(&x, Activation::LeakyRelu(0.5))?, ops::upsample_nearest(&x, 1)?);
            let average = ops::global_average(&ops::average_pool(&x, Pool::squares(1))?)?.sum_all()?;
            let attention = ops::attention_map(&x)?.sum_all()?;
            Ok(((&(&a + &b)? + &x)?.to_nchw()?.sum_all()? + (average + attention)?)?)
        });
    }
}

#[test]
fn attention_to_many_pixels_agrees_with_the_kernels() {
    // More than a block has in flight.
    compare("attention distance of many pixels", &[&[2, 3, 35, 31]], |map, x| {
        let target = (Tensor::arange(0., (2 * 35 * 31) as f64, x[0].device())? * 1e-3)?.reshape((2, 35 * 31))?;
        ops::attention_distance(&map(&x[0]), &target.to_dtype(x[0].dtype())?)
    });
}

#[test]
fn convolutions_agree_with_the_kernels() {
    for (stride, padding) in [(1, 1), (2, 1), (1, 0), (2, 0)] {
        compare(&format!("convolution {stride} {padding}"), &[&[2, 3, 6, 5], &[4, 3, 3, 3], &[4]], |map, x| {
            let map = map(&x[0]);
            ops::conv2d(&map, &x[1], Some(&x[2]), stride, padding, 1, map.precision())?.to_nchw()
        });
    }
    for (groups, outputs) in [(8, 8), (8, 16), (2, 4)] {
        let shapes: &[&[usize]] = &[&[2, 8, 6, 5], &[outputs, 8 / groups, 3, 3], &[outputs]];
        compare(&format!("in {groups} groups"), shapes, |map, x| {
            let map = map(&x[0]);
            ops::conv2d(&map, &x[1], Some(&x[2]), 2, 1, groups, map.precision())?.to_nchw()
        });
    }
    // A weight that is made of another, and maps of two origins.
    compare("made weights", &[&[2, 8, 4, 4], &[8, 8, 1, 1], &[2, 8, 4, 4]], |map, x| {
        let (a, b) = (map(&x[0]), map(&x[2]));
        let weight = (x[1].sqr()? * 0.5)?;
        (&ops::conv2d(&a, &weight, None, 1, 0, 1, a.precision())? + &b)?.to_nchw()
    });
}

#[test]
fn batch_norm_agrees_with_the_kernels() {
    for activation in [Activation::Relu, Activation::LeakyRelu(0.2), Activation::Relu6, Activation::Silu] {
        // Channels that do not make up packs, and more than are finished at once.
        for (channels, side) in [(4, 6), (3, 7), (16, 17), (136, 3)] {
            let shapes: &[&[usize]] = &[&[3, channels, 5, side], &[channels], &[channels]];
            compare(&format!("of the batch {activation:?}"), shapes, |map, x| {
                let x0 = map(&x[0]);
                ops::batch_norm(&x0, &x[1], &x[2], &ops::batch_moments(&x0)?, 1e-5, activation)?.to_nchw()
            });
            compare(&format!("moments {activation:?}"), &shapes[..1], |map, x| {
                // Of a map that others read too.
                let (x0, dtype) = (map(&x[0]), x[0].dtype());
                let statistics = ops::batch_moments(&x0)?;
                let [mean, variance] = [statistics.mean.to_dtype(dtype)?, statistics.variance.to_dtype(dtype)?];
                let average = ops::global_average(&ops::activate(&x0, activation)?)?;
                Ok(average.broadcast_add(&(mean + variance)?)?)
            });
            compare(&format!("running {activation:?}"), shapes, |map, x| {
                let mean = (Tensor::arange(0., channels as f64, x[0].device())? * 0.1)?;
                let variance = (&mean + 0.5)?;
                let statistics = ops::BatchNormStatistics { mean, variance, of_batch: false };
                ops::batch_norm(&map(&x[0]), &x[1], &x[2], &statistics, 1e-5, activation)?.to_nchw()
            });
        }
    }
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
fn updates_and_the_rest_agree_with_the_kernels() -> Result<()> {
    let updates = [
        ops::UpdateRule::Average { decay: 0.9, share: 0.1, weight_decay: 0.01 },
        ops::UpdateRule::AverageOfSquares { decay: 0.99, weight_decay: 0.01 },
        ops::UpdateRule::Adam { keep: 0.999, rate: 0.01, root_bias: 0.3, epsilon: 1e-8 },
        ops::UpdateRule::Step { keep: 0.9, x: -0.1, y: -0.2 },
    ];
    let mut rng = RandomStreams::new(2).named("updates");
    let mut tensor = |shape: &[usize]| -> Result<Tensor> {
        let numbers = standard_normal(&mut rng, shape.iter().product());
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.abs()?)
    };
    let there = |tensor: &Tensor| tensor.to_device(&device());
    // More tensors than a launch has room for, of all sizes.
    let shapes: Vec<Vec<usize>> = (0..70).map(|index| vec![1 + index * index * 13 % 700, 3]).collect();
    for update in updates {
        let tensors = shapes.iter().map(|shape| Ok([tensor(shape)?, tensor(shape)?, tensor(shape)?]));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let copies = tensors.iter().map(|[t, a, b]| Ok([there(&t.copy()?)?, there(a)?, there(b)?]));
        let copies = copies.collect::<candle_core::Result<Vec<_>>>()?;
        let updated = copies.iter().map(|[target, a, b]| ops::UpdateOperands { target, a, b });
        CudaMap::update(&updated.collect::<Vec<_>>(), update)?;
        for ([target, a, b], [copy, ..]) in tensors.iter().zip(&copies) {
            ops::apply_updates(&[ops::UpdateOperands { target, a, b }], update)?;
            assert!(difference(copy, target)? < 1e-14, "{update:?}");
        }
    }
    let step = ops::AdamStep {
        betas: [0.9, 0.999],
        weight_decay: 0.01,
        keep: 0.98,
        rate: 0.02,
        root_bias: 0.3,
        epsilon: 1e-8,
    };
    fn adam(tensors: &[[Tensor; 4]]) -> Vec<ops::AdamOperands<'_>> {
        let operands = tensors.iter().map(|[weight, gradient, average, average_of_squares]| ops::AdamOperands {
            weight,
            gradient,
            average,
            average_of_squares,
        });
        operands.collect()
    }
    let tensors = shapes.iter().map(|shape| Ok([tensor(shape)?, tensor(shape)?, tensor(shape)?, tensor(shape)?]));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let copies =
        tensors.iter().map(|[w, g, a, s]| Ok([there(&w.copy()?)?, there(g)?, there(&a.copy()?)?, there(&s.copy()?)?]));
    let copies = copies.collect::<candle_core::Result<Vec<_>>>()?;
    let (done, launches) = launch_count::counted(|| CudaMap::adam(&adam(&copies), step));
    done?;
    assert_eq!(launches, [("adam", 2)].into());
    ops::apply_adam(&adam(&tensors), step)?;
    for (found, expected) in copies.iter().flatten().zip(tensors.iter().flatten()) {
        assert!(difference(found, expected)? < 1e-14);
    }
    let tensors = shapes.iter().map(|shape| tensor(shape)).collect::<Result<Vec<_>>>()?;
    let copies = tensors.iter().map(there).collect::<candle_core::Result<Vec<_>>>()?;
    let (norm, launches) = launch_count::counted(|| CudaMap::norm(&copies));
    let (norm, expected) = (norm?, ops::norm(&tensors)?);
    assert_eq!(launches, [("norm", 2)].into());
    assert!(difference(&norm, &expected)? < 1e-11);
    for limit in [0.5, 1e9] {
        let (found, expected) = (CudaMap::clip(&copies, &norm, limit)?, ops::clip(&tensors, &expected, limit)?);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(difference(found, expected)? < 1e-14);
        }
    }
    // More than a thread has in flight.
    let (many, norm) = ((Tensor::arange(0_f64, 4.3e6, &Device::Cpu)? / 4.3e6)?, Tensor::new(2_f64, &Device::Cpu)?);
    let found = CudaMap::clip(&[there(&many)?], &there(&norm)?, 0.5)?;
    assert!(difference(&found[0], &ops::clip(&[many], &norm, 0.5)?[0])? < 1e-14);
    for temperature in [1.0, 0.5] {
        let (logits, target) = (tensor(&[7, 300])?, ops::log_softmax(&tensor(&[7, 300])?)?);
        let (copy, logits) = (Var::from_tensor(&there(&logits)?)?, Var::from_tensor(&logits)?);
        let there = there(&target)?;
        let (there, log_target) = (there.exp()?, there);
        let divergence = || CudaMap::kl_divergence(&copy, &there, &log_target, temperature);
        let (found, launches) = launch_count::counted(divergence);
        let found = found?;
        assert_eq!(launches, [("divergence", 1)].into());
        let expected = ops::kl_divergence(&logits, &target.exp()?, &target, temperature)?;
        assert!(difference(&found, &expected)? < 1e-15);
        let gradient = |of: &Tensor, by: &Var| of.affine(3.0, 0.0)?.backward()?.remove(by.as_tensor()).unwrap().copy();
        assert!(difference(&gradient(&found, &copy)?, &gradient(&expected, &logits)?)? < 1e-15);
    }
    let logits = tensor(&[7, 300])?;
    let (copy, logits) = (Var::from_tensor(&there(&logits)?)?, Var::from_tensor(&logits)?);
    let (found, expected) = (CudaMap::log_softmax(&copy)?, ops::log_softmax(&logits)?);
    assert!(difference(&found, &expected)? < 1e-13);
    let gradient = |of: &Tensor, by: &Var| {
        Ok::<_, crate::error::Error>(of.sqr()?.sum_all()?.backward()?.remove(by.as_tensor()).unwrap())
    };
    assert!(difference(&gradient(&found, &copy)?, &gradient(&expected, &logits)?)? < 1e-11);
    Ok(())
}

#[test]
fn scalars_of_all_types_are_gathered_64_at_a_time() -> Result<()> {
    let numbers: Vec<f64> = (0..130).map(|index| f64::from(index) / 3.0).collect();
    let scalar = |(index, number): (usize, &f64)| -> Result<Tensor> {
        // Some of them in the midst of others.
        let row = Tensor::new(&[-1.0, *number, -1.0], &device())?;
        let [f32, f64] = [row.to_dtype(DType::F32)?, row];
        Ok([f64.get(1)?, f32.get(1)?, f32.narrow(0, 1, 1)?, f64.get(1)?.to_dtype(DType::BF16)?][index % 4].clone())
    };
    let scalars = numbers.iter().enumerate().map(scalar).collect::<Result<Vec<_>>>()?;
    let (gathered, launches) = launch_count::counted(|| CudaMap::gather_scalars(&scalars));
    assert_eq!(launches, [("gather_scalars", 3)].into());
    let host = scalars.iter().map(|scalar| scalar.to_device(&Device::Cpu)).collect::<candle_core::Result<Vec<_>>>()?;
    let (found, expected) = (gathered?.to_vec1::<f64>()?, ops::gather_scalars(&host)?.to_vec1::<f64>()?);
    assert_eq!(found, expected);
    assert_eq!([expected[8], expected[10]], [8.0 / 3.0, f64::from(10f32 / 3.0)]);
    Ok(())
}

#[test]
fn a_digest_tells_every_bit_and_every_place() -> Result<()> {
    // More than a block's numbers, and of all kinds that weights have; more tensors than a launch.
    let of_sixes = |count: usize| Tensor::full(6.0, count, &device());
    let mut tensors = vec![of_sixes(3000)?.to_dtype(DType::F32)?, of_sixes(1500)?, of_sixes(1)?.to_dtype(DType::I64)?];
    tensors.push(of_sixes(5)?.to_dtype(DType::BF16)?);
    for index in 0..70 {
        tensors.push(Tensor::new(&[f64::from(index), 0.0], &device())?);
    }
    let (before, launches) = launch_count::counted(|| CudaMap::digest(&tensors));
    let before = before?;
    assert_eq!(launches, [("digest", 2)].into());
    let distinct: BTreeSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), tensors.len());
    // One bit in the last block, a sign of zero, numbers that change places.
    tensors[0].slice_set(&Tensor::new(&[6.000_000_5_f32], &device())?, 0, 2999)?;
    tensors[9].slice_set(&Tensor::new(&[-0.0], &device())?, 0, 1)?;
    tensors[8] = Tensor::new(&[0.0, 4.0], &device())?;
    let after = CudaMap::digest(&tensors)?;
    let changed: Vec<_> = (0..tensors.len()).filter(|index| before[*index] != after[*index]).collect();
    assert_eq!(changed, [0, 8, 9]);
    Ok(())
}

#[test]
fn divergences_of_two_players_take_a_kernel_each_way() -> Result<()> {
    // Fewer classes than a block has threads, and more; of both players, and of one beside a constant.
    for (temperature, classes, dtype, bound) in
        [(1.0, 10, DType::F64, 1e-14), (0.5, 300, DType::F64, 1e-13), (4.0, 10, DType::F32, 1e-6)]
    {
        for tracked in [[true, true], [true, false], [false, true]] {
            let numbers = random("two players", &[&[7, classes], &[7, classes]], Precision::F64);
            let numbers =
                numbers.iter().map(|numbers| numbers.to_dtype(dtype)).collect::<candle_core::Result<Vec<_>>>()?;
            let on = |device: &Device| -> Result<Vec<Tensor>> {
                let of = |(numbers, tracked): (&Tensor, bool)| {
                    let numbers = numbers.to_device(device)?;
                    Ok(if tracked { Var::from_tensor(&numbers)?.into_inner() } else { numbers })
                };
                numbers.iter().zip(tracked).map(of).collect()
            };
            let (ours, host) = (on(&device())?, on(&Device::Cpu)?);
            let computed = || -> Result<_> {
                let divergence = CudaMap::kl_divergence_with_logits(&ours[0], &ours[1], temperature)?;
                let gradients = backward(&divergence)?;
                Ok((divergence, gradients))
            };
            let (computed, launches) = launch_count::counted(computed);
            assert_eq!(launches, [("divergence", 1), ("divergence_gradient", 1)].into());
            let (divergence, gradients) = computed?;
            let expected = ops::kl_divergence_with_logits(&host[0], &host[1], temperature)?;
            let expected_gradients = backward(&expected)?;
            assert!(difference(&divergence, &expected)? < bound);
            for which in [0, 1] {
                let (found, expected) = (gradients.get(&ours[which]), expected_gradients.get(&host[which]));
                assert_eq!([found.is_some(), expected.is_some()], [tracked[which]; 2]);
                if let (Some(found), Some(expected)) = (found, expected) {
                    assert!(difference(found, expected)? < bound, "{which} at {temperature}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn linear_layers_agree_with_the_kernels() -> Result<()> {
    // Fewer numbers than a block has threads, more than one has, and more than our kernels do.
    for (shape @ [batch, inputs, outputs], ours) in [
        ([3, 4, 5], true),
        ([130, 65, 40], true),
        ([9, 300, 33], true),
        ([128, 512, 17], false),
        ([65, 300, 70], false),
    ] {
        let numbers = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let numbers = standard_normal(&mut RandomStreams::new(6).named(name), shape.iter().product());
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        };
        let tensors = [numbers("x", &[batch, inputs])?, numbers("w", &[outputs, inputs])?, numbers("b", &[outputs])?];
        let by = numbers("gradient", &[batch, outputs])?;
        // All learn; or only what is in front of the layer, or only its parameters.
        for tracked in [[true; 3], [true, false, false], [false, true, true]] {
            let found = |emulated: bool| -> Result<Vec<Vec<f64>>> {
                let device = if emulated { device() } else { Device::Cpu };
                let variables = tensors.iter().map(|tensor| Ok(Var::from_tensor(&tensor.to_device(&device)?)?));
                let variables = variables.collect::<Result<Vec<_>>>()?;
                let inputs = variables.iter().zip(tracked).map(|(variable, tracked)| {
                    if tracked { variable.as_tensor().clone() } else { variable.as_detached_tensor() }
                });
                let [x, weight, bias] = &inputs.collect::<Vec<_>>()[..] else { unreachable!() };
                let y = if emulated { CudaMap::linear(x, weight, bias)? } else { ops::linear(x, weight, bias)? };
                let gradients = backward(&(&y * by.to_device(&device)?)?.sum_all()?)?;
                let of_variables = variables.iter().filter_map(|variable| gradients.get(variable));
                let all = std::iter::once(&y).chain(of_variables);
                Ok(all.map(|tensor| tensor.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?)
            };
            let (emulated, launches) = launch_count::counted(|| found(true));
            let expected = match (ours, tracked[2]) {
                (true, _) => BTreeMap::from([("linear", 1), ("linear_gradient", 1)]),
                (false, true) => [("add_bias", 1), ("column_sums", 1)].into(),
                (false, false) => [("add_bias", 1)].into(),
            };
            assert_eq!(launches, expected);
            let (emulated, expected) = (emulated?, found(false)?);
            cpu_emulation::BACKWARDS.set(true);
            let backwards = found(true)?;
            cpu_emulation::BACKWARDS.set(false);
            assert!(emulated == backwards, "{shape:?} {tracked:?}: the order of threads changes the result");
            assert_eq!(emulated.len(), 1 + tracked.iter().filter(|tracked| **tracked).count());
            assert_eq!(emulated.len(), expected.len());
            for (found, expected) in emulated.iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 1e-11, "{shape:?} {tracked:?}: {found} {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn captured_updates_read_their_parameters_from_a_buffer() -> Result<()> {
    let tensors = |count: usize| -> Result<Vec<Tensor>> {
        (0..count).map(|index| Ok((Tensor::ones(5, DType::F64, &device())? * index as f64)?)).collect()
    };
    let step = |target: &[Tensor], a: &[Tensor], rate: f64| {
        let updated: Vec<_> = target.iter().zip(a).map(|(target, a)| ops::UpdateOperands { target, a, b: a }).collect();
        CudaMap::update(&updated, ops::UpdateRule::Step { keep: 0.5, x: rate, y: 0.0 })
    };
    // More than one launch for each update.
    let (plain, captured, a) = (tensors(70)?, tensors(70)?, tensors(70)?);
    let buffer = graph_parameters::new_parameter_buffer(&device())?;
    let asked = |rate: f64| -> Result<()> {
        step(&captured, &a, rate)?;
        Ok(step(&captured, &a, 2.0 * rate)?)
    };
    // A capture computes nothing on a GPU; here it reads an empty buffer, for nothing is in it yet.
    let (_, constants) = graph_parameters::with_parameter_buffer(&buffer, || asked(7.0))?;
    assert_eq!(constants.len(), 4 * 4);
    let values = |tensors: &[Tensor]| Tensor::stack(tensors, 0)?.flatten_all()?.to_vec1::<f64>();
    assert!(values(&captured)?.iter().all(|value| *value == 0.0));
    // What is collected is not made.
    let (_, constants) = graph_parameters::collect_parameters(|| asked(3.0))?;
    assert!(values(&captured)?.iter().all(|value| *value == 0.0));
    graph_parameters::write_parameters(&buffer, constants)?;
    for (target, plain) in captured.iter().zip(&plain) {
        target.slice_set(plain, 0, 0)?;
    }
    // What is in the buffer counts, and not what is asked for.
    graph_parameters::with_parameter_buffer(&buffer, || asked(100.0))?;
    step(&plain, &a, 3.0)?;
    step(&plain, &a, 6.0)?;
    assert_eq!(values(&captured)?, values(&plain)?);
    assert!(values(&plain)?[5..].iter().all(|value| *value != 0.0));
    // Adam's have two rows, here behind another's.
    let adam = |rate: f64| -> Result<Vec<f64>> {
        let [weight, gradient, average, average_of_squares] =
            [1.0, 2.0, 3.0, 4.0].map(|number| Tensor::full(number, 5, &device()));
        let (weight, gradient, average, average_of_squares) = (weight?, gradient?, average?, average_of_squares?);
        let moved = ops::AdamOperands {
            weight: &weight,
            gradient: &gradient,
            average: &average,
            average_of_squares: &average_of_squares,
        };
        let (betas, root_bias) = ([0.1 * rate, 0.2 * rate], 0.3 * rate);
        step(std::slice::from_ref(&weight), std::slice::from_ref(&gradient), rate)?;
        CudaMap::adam(
            &[moved],
            ops::AdamStep { betas, weight_decay: rate, keep: rate, rate, root_bias, epsilon: rate },
        )?;
        values(&[weight.clone(), average.clone(), average_of_squares.clone()]).map_err(Into::into)
    };
    let (_, constants) = graph_parameters::collect_parameters(|| adam(3.0))?;
    assert_eq!(constants.len(), 3 * 4);
    graph_parameters::write_parameters(&buffer, constants)?;
    let (found, _) = graph_parameters::with_parameter_buffer(&buffer, || adam(2.0))?;
    assert_eq!(found, adam(3.0)?);
    assert_ne!(found, adam(2.0)?);
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

/// What candle's tape has of a step costs on a GPU: zeros and a sum for each gradient.
#[test]
fn little_of_a_step_is_on_candles_tape() -> Result<()> {
    let var = |shape: &[usize]| -> Result<Var> {
        let numbers = standard_normal(&mut RandomStreams::new(5).named("tape"), shape.iter().product());
        Ok(Var::from_tensor(&Tensor::from_vec(numbers, shape, &device())?.to_dtype(DType::F32)?)?)
    };
    let map = |tensor: &Tensor| CudaMap::from_nchw(tensor).map(FeatureMap::from);
    let [x, weight, matrix, bias] = [var(&[2, 4, 3, 5])?, var(&[4, 4, 3, 3])?, var(&[6, 4])?, var(&[6])?];
    let step = |x: &FeatureMap, weight: &Tensor| -> Result<Tensor> {
        let y = &(&ops::conv2d(x, weight, None, 1, 1, 1, Precision::F32)? + x)?;
        let target = ops::attention_map(&x.detach())?;
        let logits = CudaMap::linear(&ops::global_average(y)?, &matrix, &bias)?;
        let beliefs = CudaMap::log_softmax(&logits.detach())?.affine(0.5, 0.0)?;
        let divergence = CudaMap::kl_divergence(&logits, &beliefs.exp()?, &beliefs, 1.0)?;
        let distances = ops::attention_distances(&[(y, &target), (x, &target), (y, &target)], 2.0)?;
        let sum = CudaMap::add_scalars(&[divergence, distances])?;
        Ok(sum.expect("the losses were made on our tape"))
    };
    let operations = |loss: &Tensor| loss.sorted_nodes().iter().filter(|node| !node.is_variable()).count();
    // The sum: what it is made of is on ours.
    let ((loss, gradients), launches) = {
        let done = || -> Result<_> {
            let loss = step(&map(&x.as_detached_tensor())?, &weight)?;
            let gradients = backward(&loss)?;
            Ok((loss, gradients))
        };
        let (done, launches) = launch_count::counted(done);
        (done?, launches)
    };
    assert_eq!(operations(&loss), 1);
    for kernel in
        ["add_scalars", "divergence", "divergence_gradient", "average", "average_gradient", "linear", "linear_gradient"]
    {
        assert_eq!(launches[kernel], 1, "{kernel}");
    }
    // The target's and that of all distances; the map that is in two of these gets its gradient twice.
    assert_eq!([launches["attention"], launches["attention_gradient"]], [2, 2]);
    for variable in [&weight, &matrix, &bias] {
        assert!(gradients.get(variable).is_some());
    }
    // And where a tensor became a map, and that meets the map of a weight.
    let loss = step(&map(&x)?, &weight)?;
    assert_eq!(operations(&loss), 1 + 2);
    let gradients = backward(&loss)?;
    for variable in [&x, &weight, &matrix, &bias] {
        assert!(gradients.get(variable).is_some());
    }
    Ok(())
}

/// A classifier's head and losses of all kinds: of what is on our tape, and of what candle's tape has beside it.
fn losses<B: Backend>(map: Make<'_>, x: &[Tensor]) -> Result<Tensor> {
    let images = map(&x[0]);
    let means = ops::global_average(&images)?;
    let (logits, others) = (B::linear(&means, &x[1], &x[2])?, B::linear(&means, &x[3], &x[2])?);
    let log_target = B::log_softmax(&logits.detach().affine(0.5, 0.0)?)?;
    let losses = [
        B::kl_divergence(&logits, &log_target.exp()?, &log_target, 2.0)?,
        B::kl_divergence_with_logits(&logits, &others, 1.0)?,
        // A sum on candle's tape, of what both tapes read.
        (B::log_softmax(&logits)?.sqr()?.mean_all()? + (&logits * &others)?.mean_all()?)?,
        ops::attention_distance(&images, &ops::attention_map(&images.detach())?.affine(0.5, 0.0)?)?,
        means.sqr()?.mean_all()?,
    ];
    // Read, and of no use.
    B::kl_divergence_with_logits(&others, &logits, 1.0)?;
    let [first, .., last] = &losses;
    let made = [first.clone(), losses[1].clone(), losses[3].clone()];
    let sum = B::add_scalars(&made)?.map_or_else(|| (&made[0] + &made[1])? + &made[2], Ok)?;
    Ok(((sum + &losses[2])? + last)?)
}

#[test]
fn gradients_on_both_tapes_meet() {
    let shapes: &[&[usize]] = &[&[3, 8, 4, 5], &[6, 8], &[6], &[6, 8]];
    let numbers = random("tapes", shapes, Precision::F64);
    let host = |x: &Tensor| FeatureMap::from_nchw(x).unwrap();
    let expected = values("tapes", &numbers, (&Device::Cpu, &host), Precision::F64, &losses::<CpuMap>);
    let (found, launches) =
        launch_count::counted(|| values("tapes", &numbers, (&device(), &cuda_map), Precision::F64, &losses::<CudaMap>));
    // Each once, whoever reads it.
    assert_eq!([launches["linear_gradient"], launches["average_gradient"]], [2, 1]);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len());
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
            "{found:?} {expected:?}"
        );
    }
}

#[test]
fn launches_are_counted_where_they_are_asked_for() -> Result<()> {
    let x = FeatureMap::from(CudaMap::from_nchw(&Tensor::ones((1, 4, 2, 2), DType::F32, &device())?)?);
    let (inner, outer) = launch_count::counted(|| -> Result<_> {
        ops::max_pool(&x, Pool::squares(2))?;
        let (_, inner) = launch_count::counted(|| ops::average_pool(&x, Pool::squares(2)));
        Ok(inner)
    });
    assert_eq!(inner?, [("mean", 1)].into());
    assert_eq!(outer, [("mean", 1), ("largest", 1)].into());
    Ok(())
}

/// The compiler of a GPU's driver takes every kernel in every variant: needs no GPU, but NVRTC.
#[test]
#[ignore = "needs the NVRTC library of a CUDA toolkit, in NVRTC_LIBRARY"]
fn every_kernel_compiles() {
    let nvrtc = Nvrtc::open();
    let kernels = SOURCE.matches("\nKERNEL(").count();
    assert!(kernels > 20);
    for (variant, architecture) in KernelVariant::ALL.iter().flat_map(|variant| [(variant, "80"), (variant, "90")]) {
        let options = [vec![format!("--gpu-architecture=sm_{architecture}")], variant.options().to_vec()].concat();
        let (ptx, log) = nvrtc.compile(SOURCE, &options);
        assert_eq!(ptx.matches(".entry zskt_").count(), kernels, "{variant:?}");
        assert!(!log.contains("warning"), "{variant:?}: {log}");
    }
}

/// What cuDNN is to compute, by the definition.
pub fn convolve(op: &Convolution, a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let dtype = a.dtype();
    let (a, b) = (numbers(a)?, numbers(b)?);
    let mut out = vec![0.0; op.result().iter().product()];
    let at = |dims: [usize; 4], index: [usize; 4]| {
        ((index[0] * dims[1] + index[1]) * dims[2] + index[2]) * dims[3] + index[3]
    };
    let ConvGeometry { batch, out_channels, height, width, kernel, stride, padding, groups, .. } = op.geometry;
    let (inputs, outputs) = (op.geometry.group_inputs(), out_channels / groups);
    let [_, rows, columns, _] = op.output();
    let all = |counts: [usize; 7]| {
        (0..counts.iter().product()).map(move |mut index: usize| {
            counts.map(|count| {
                let digit = index % count;
                index /= count;
                digit
            })
        })
    };
    for [n, o, i, y, x, ky, kx] in all([batch, out_channels, inputs, rows, columns, kernel, kernel]) {
        let (from_y, from_x) = (y * stride + ky, x * stride + kx);
        let inside = |at: usize, size: usize| at >= padding && at < size + padding;
        if !inside(from_y, height) || !inside(from_x, width) {
            continue;
        }
        let of_x = at(op.input(), [n, from_y - padding, from_x - padding, o / outputs * inputs + i]);
        let (of_w, of_y) = (at(op.weight(), [o, ky, kx, i]), at(op.output(), [n, y, x, o]));
        match op.direction {
            Direction::Forward => out[of_y] += a[of_x] * b[of_w],
            Direction::Input => out[of_x] += a[of_y] * b[of_w],
            Direction::Weight => out[of_w] += a[of_x] * b[of_y],
        }
    }
    Tensor::from_vec(out, &op.result()[..], &Device::Cpu)?.to_dtype(dtype)
}
