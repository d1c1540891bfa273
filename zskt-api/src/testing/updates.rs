//! Optimizers and schedules.

use candle_core::{DType, Device, Tensor};

use super::{normal, same_bits};
use crate::{
    Builder, ClassTargets, ForwardMode, Gradients, Init, Optimizer, OptimizerState, Parameter, Precision,
    RandomStreams, Result, Schedule,
};

/// Steps before a state is saved, and after.
const STEPS: usize = 3;

pub fn optimizer(optimizer: &dyn Optimizer) -> Result<()> {
    let rate = optimizer.learning_rate();
    promise!(rate.is_finite() && rate >= 0.0, "`learning_rate` is {rate}");
    let (start, whole, again, resumed) = (weights()?, weights()?, weights()?, weights()?);
    for weights in [&whole, &again] {
        step(optimizer, optimizer.start(weights.clone())?.as_mut(), weights, 2 * STEPS)?;
    }
    let (start, whole, again) = (values(&start)?, values(&whole)?, values(&again)?);
    promise!(same_bits(&whole, &again)?, "the same steps lead to other weights the second time");
    promise!(same_bits(&start[2..], &whole[2..])?, "`step` moves a weight that has no gradient");
    let moved = rate == 0.0 || !same_bits(&start[..2], &whole[..2])?;
    promise!(moved, "`step` moves no weight that has a gradient");

    let mut updates = optimizer.start(resumed.clone())?;
    step(optimizer, updates.as_mut(), &resumed, STEPS)?;
    let (state, middle) = (updates.state()?, values(&resumed)?);
    let saved = state.values().map(Tensor::copy).collect::<Result<Vec<_>, _>>()?;
    step(optimizer, updates.as_mut(), &resumed, STEPS)?;
    promise!(same_bits(state.values(), &saved)?, "later steps change what `state` has given");
    for (weight, value) in resumed.iter().zip(&middle) {
        weight.var().set(value)?;
    }
    let mut updates = optimizer.start(resumed.clone())?;
    updates.restore(&state)?;
    step(optimizer, updates.as_mut(), &resumed, STEPS)?;
    let (same, names) = (same_bits(&whole, &values(&resumed)?)?, state.keys());
    promise!(same, "steps after a `restore` of its `state` ({names:?}) lead to other weights than without a pause");
    Ok(())
}

/// Two weights that learn, and one that the loss does not depend on.
fn weights() -> Result<Vec<Parameter>> {
    let builder = Builder::zeros(Precision::F64, &Device::Cpu);
    let make = |(name, shape): (&str, &[usize])| {
        let weight = builder.parameter(name, shape, Init::Constant(0.0))?;
        weight.var().set(&normal(name, shape, DType::F64)?)?;
        Ok(weight)
    };
    [("matrix", &[3, 2][..]), ("bias", &[4]), ("idle", &[2])].into_iter().map(make).collect()
}

/// Copies: weights are updated in place.
fn values(weights: &[Parameter]) -> Result<Vec<Tensor>> {
    weights.iter().map(|weight| Ok(weight.value().copy()?)).collect()
}

fn step(
    optimizer: &dyn Optimizer,
    updates: &mut dyn OptimizerState,
    weights: &[Parameter],
    steps: usize,
) -> Result<()> {
    for _ in 0..steps {
        let [first, second] = [0, 1].map(|index| weights[index].tensor(ForwardMode::train()));
        let loss = ((first.sqr()?.sum_all()? * 2.0)? + (second - 1.0)?.sqr()?.sqr()?.sum_all()?)?;
        updates.step(&Gradients::of(&loss, weights.iter())?, optimizer.learning_rate())?;
    }
    Ok(())
}

pub fn schedule(schedule: &dyn Schedule) -> Result<()> {
    for batches in [1, 2, 7, 100] {
        for batch in 0..batches {
            let (factor, again) = (schedule.factor(batch, batches), schedule.factor(batch, batches));
            let kept = factor.is_finite() && factor >= 0.0 && factor == again;
            promise!(kept, "`factor` of batch {batch} of {batches} is {factor}, and {again} the second time");
        }
    }
    Ok(())
}

pub fn targets(targets: &dyn ClassTargets) -> Result<()> {
    for (count, classes) in [(1, 2), (7, 3), (64, 10), (5, 100)] {
        let draw = || targets.draw(count, classes, &mut RandomStreams::new(0).named("targets"));
        let (drawn, again) = (draw(), draw());
        promise!(drawn.len() == count, "`draw` of {count} classes gives {}", drawn.len());
        let wrong = drawn.iter().find(|class| **class as usize >= classes);
        promise!(wrong.is_none(), "`draw` gives class {wrong:?} of {classes}");
        promise!(drawn == again, "`draw` gives other classes from the same stream the second time");
    }
    Ok(())
}
