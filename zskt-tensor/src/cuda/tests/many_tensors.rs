//! Many tensors in one launch: updates, norms, scalars, digests.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor, Var};

use crate::backend::Backend;
use crate::cuda::graph_parameters;
use crate::cuda::launch::launch_count;
use crate::cuda::map::CudaMap;
use crate::cuda::tests::difference;
use crate::error::Result;
use crate::ops;
use crate::random::{RandomStreams, standard_normal};
use crate::test_device::test_device as device;

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
fn captured_updates_read_their_parameters_from_a_buffer() -> Result<()> {
    let tensors = |count: usize| -> Result<Vec<Tensor>> {
        (0..count).map(|index| Ok((Tensor::ones(5, DType::F64, &device())? * index as f64)?)).collect()
    };
    let step = |target: &[Tensor], a: &[Tensor], rate: f64| {
        let updated: Vec<_> = target.iter().zip(a).map(|(target, a)| ops::UpdateOperands { target, a, b: a }).collect();
        CudaMap::update(&updated, ops::UpdateRule::Step { keep: 0.5, x: rate, y: 0.0 })
    };
    // More than one launch for each update, which read the same row.
    let (plain, captured, a) = (tensors(70)?, tensors(70)?, tensors(70)?);
    let buffer = graph_parameters::new_parameter_buffer(&device())?;
    let asked = |rate: f64| -> Result<()> {
        step(&captured, &a, rate)?;
        Ok(step(&captured, &a, 2.0 * rate)?)
    };
    // A capture computes nothing on a GPU; here it reads an empty buffer, for nothing is in it yet.
    let (_, constants) = graph_parameters::with_parameter_buffer(&buffer, || asked(7.0))?;
    assert_eq!(constants.len(), 2 * 4);
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
