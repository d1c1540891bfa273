//! The operations on GPUs, their kernels run on the CPU, against the CPU's own kernels.

mod blocks;
mod kernels;
mod many_tensors;
mod operations;
mod tapes;

use candle_core::{DType, Device, Tensor, Var};

use crate::autograd::backward;
use crate::cuda::convolution::{Convolution, Direction};
use crate::cuda::cpu_emulation;
use crate::cuda::map::CudaMap;
use crate::error::Result;
use crate::feature_map::FeatureMap;
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
