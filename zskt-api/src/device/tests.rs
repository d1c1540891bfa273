//! The operations on accelerators, computed on the CPU, against the CPU's own kernels.

use candle_core::{CpuStorage, Device, Layout, Shape, Tensor, Var};

use super::DeviceMap;
use super::convolution::{Convolution, Direction};
use crate::kernels::ConvGeometry;
use crate::{FeatureMap, Precision, Result, Streams, ops, standard_normal};

/// From random variables of these shapes: a function's value and gradients, by both.
fn compare(
    name: &str,
    shapes: &[&[usize]],
    compute: impl Fn(&dyn Fn(&Tensor) -> FeatureMap, &[Tensor]) -> Result<Tensor>,
) {
    let mut rng = Streams::new(0).named(name);
    let vars: Vec<Var> = shapes
        .iter()
        .map(|shape| {
            let numbers = standard_normal(&mut rng, shape.iter().product());
            Var::from_tensor(&Tensor::from_vec(numbers, *shape, &Device::Cpu).unwrap()).unwrap()
        })
        .collect();
    let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let found = |map: &dyn Fn(&Tensor) -> FeatureMap| -> Vec<Vec<f64>> {
        let value = compute(map, &inputs).unwrap();
        // Weighted, so that no gradient cancels out.
        let weights = standard_normal(&mut Streams::new(1).named(name), value.elem_count());
        let weights = Tensor::from_vec(weights, value.shape(), &Device::Cpu).unwrap();
        let gradients = (&value * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let of_inputs = inputs.iter().map(|input| gradients.get(input).unwrap().clone());
        std::iter::once(value).chain(of_inputs).map(|t| t.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let host = found(&|x| FeatureMap::from_nchw(x).unwrap());
    let device = found(&|x| DeviceMap::from_nchw(x).unwrap().into());
    for (index, (host, device)) in host.iter().zip(&device).enumerate() {
        let size = host.iter().fold(1e-300f64, |size, x| size.max(x.abs()));
        let error = host.iter().zip(device).fold(0f64, |error, (a, b)| error.max((a - b).abs()));
        assert!(error < 1e-10 * size, "{name}: {error} of {size} in number {index}");
        assert_eq!(host.len(), device.len());
    }
}

#[test]
fn each_operation_agrees_with_the_kernels() {
    let maps: &[&[usize]] = &[&[2, 3, 5, 4]];
    compare("to a tensor", maps, |map, x| map(&x[0]).channels_last());
    compare("detached, and in its own precision", maps, |map, x| {
        (&map(&x[0]).detach() + &map(&x[0]).to_precision(Precision::F64)?)?.to_nchw()
    });
    compare("activate", maps, |map, x| ops::activate(&map(&x[0]), 0.2)?.to_nchw());
    compare("upsample", maps, |map, x| ops::upsample_nearest(&map(&x[0]), 3)?.to_nchw());
    compare("max pool", maps, |map, x| ops::max_pool(&map(&x[0]), 2)?.to_nchw());
    compare("average pool", maps, |map, x| ops::average_pool(&map(&x[0]), 2)?.to_nchw());
    compare("global average", maps, |map, x| ops::global_average(&map(&x[0])));
    compare("attention map", maps, |map, x| ops::attention_map(&map(&x[0])));
    compare("attention distance", &[&[2, 3, 5, 4], &[2, 20]], |map, x| ops::attention_distance(&map(&x[0]), &x[1]));
    compare("add", &[&[2, 3, 5, 4], &[2, 3, 5, 4]], |map, x| ops::add(&map(&x[0]), &map(&x[1]))?.to_nchw());
    for (stride, padding) in [(1, 1), (2, 1), (1, 0), (2, 0)] {
        compare(&format!("convolution {stride} {padding}"), &[&[2, 3, 6, 5], &[4, 3, 3, 3], &[4]], |map, x| {
            ops::conv2d(&map(&x[0]), &x[1], Some(&x[2]), stride, padding, Precision::F64)?.to_nchw()
        });
    }
}

#[test]
fn batch_norm_agrees_with_the_kernels() {
    for slope in [0.0, 0.2, 1.0] {
        compare(&format!("of the batch {slope}"), &[&[3, 4, 5, 6], &[4], &[4]], |map, x| {
            let x0 = map(&x[0]);
            ops::batch_norm(&x0, &x[1], &x[2], &ops::batch_moments(&x0)?, 1e-5, slope)?.to_nchw()
        });
        compare(&format!("running {slope}"), &[&[3, 4, 5, 6], &[4], &[4]], |map, x| {
            let mean = Tensor::new(&[0.1, -0.2, 0.3, 0.0], &Device::Cpu)?;
            let variance = Tensor::new(&[0.5, 1.0, 2.0, 0.1], &Device::Cpu)?;
            let statistics = ops::BatchNormStatistics { mean, variance, of_batch: false };
            ops::batch_norm(&map(&x[0]), &x[1], &x[2], &statistics, 1e-5, slope)?.to_nchw()
        });
    }
}

#[test]
fn updates_and_the_rest_agree_with_the_kernels() -> Result<()> {
    let updates = [
        ops::Update::Average { decay: 0.9, share: 0.1, weight_decay: 0.01 },
        ops::Update::AverageOfSquares { decay: 0.99, weight_decay: 0.01 },
        ops::Update::Adam { keep: 0.999, rate: 0.01, root_bias: 0.3, epsilon: 1e-8 },
        ops::Update::Step { keep: 0.9, x: -0.1, y: -0.2 },
    ];
    let mut rng = Streams::new(2).named("updates");
    let mut tensor = |shape: &[usize]| -> Result<Tensor> {
        let numbers = standard_normal(&mut rng, shape.iter().product());
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.abs()?)
    };
    for update in updates {
        let (target, a, b) = (tensor(&[3, 4])?, tensor(&[3, 4])?, tensor(&[3, 4])?);
        let copy = target.copy()?;
        ops::update(&target, &a, &b, update)?;
        super::update(&copy, &a, &b, update)?;
        let error = (target - copy)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(error < 1e-14, "{update:?}: {error}");
    }
    let (x, weight, bias) = (tensor(&[3, 4])?, tensor(&[5, 4])?, tensor(&[5])?);
    let error = (ops::linear(&x, &weight, &bias)? - super::linear(&x, &weight, &bias)?)?.abs()?.max_all()?;
    assert!(error.to_scalar::<f64>()? < 1e-13);
    let error = (ops::log_softmax(&x)? - super::log_softmax(&x)?)?.abs()?.max_all()?;
    assert!(error.to_scalar::<f64>()? < 1e-13);
    assert!((ops::sum_of_squares([&x, &bias].into_iter())? - super::sum_of_squares(&[&x, &bias])?).abs() < 1e-12);
    Ok(())
}

/// What cuDNN is to compute, by the definition.
pub fn convolve(
    op: &Convolution,
    a: &CpuStorage,
    al: &Layout,
    b: &CpuStorage,
    bl: &Layout,
) -> candle_core::Result<(CpuStorage, Shape)> {
    let part = |storage: &CpuStorage, layout: &Layout| -> candle_core::Result<Vec<f64>> {
        let (start, end) = layout.contiguous_offsets().expect("dense");
        Ok(storage.as_slice::<f64>()?[start..end].to_vec())
    };
    let (a, b) = (part(a, al)?, part(b, bl)?);
    let mut out = vec![0.0; op.result().iter().product()];
    let at = |dims: [usize; 4], index: [usize; 4]| {
        ((index[0] * dims[1] + index[1]) * dims[2] + index[2]) * dims[3] + index[3]
    };
    let ConvGeometry { batch, in_channels, out_channels, height, width, kernel, stride, padding, .. } = op.geometry;
    let [_, _, rows, columns] = op.output();
    let all = |counts: [usize; 7]| {
        (0..counts.iter().product()).map(move |mut index: usize| {
            counts.map(|count| {
                let digit = index % count;
                index /= count;
                digit
            })
        })
    };
    for [n, o, i, y, x, ky, kx] in all([batch, out_channels, in_channels, rows, columns, kernel, kernel]) {
        let (from_y, from_x) = (y * stride + ky, x * stride + kx);
        let inside = |at: usize, size: usize| at >= padding && at < size + padding;
        if !inside(from_y, height) || !inside(from_x, width) {
            continue;
        }
        let of_x = at(op.input(), [n, i, from_y - padding, from_x - padding]);
        let (of_w, of_y) = (at(op.weight(), [o, i, ky, kx]), at(op.output(), [n, o, y, x]));
        match op.direction {
            Direction::Forward => out[of_y] += a[of_x] * b[of_w],
            Direction::Input => out[of_x] += a[of_y] * b[of_w],
            Direction::Weight => out[of_w] += a[of_x] * b[of_y],
        }
    }
    Ok((CpuStorage::F64(out), Shape::from(&op.result()[..])))
}
