//! What is on our tape, and what on candle's.

use candle_core::{DType, Device, Tensor, Var};

use crate::autograd::backward;
use crate::backend::Backend;
use crate::cpu::map::CpuMap;
use crate::cuda::launch::launch_count;
use crate::cuda::map::CudaMap;
use crate::cuda::tests::{Make, cuda_map, random, values};
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::ops;
use crate::precision::Precision;
use crate::random::{RandomStreams, standard_normal};
use crate::test_device::test_device as device;

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
