//! Optimizers and schedules against PyTorch's.

use zskt_api::candle_core::Device;
use zskt_api::{Builder, Gradients, Init, Optimizer, Pass, Precision, Schedule};
use zskt_optimizers::{Adam, AdamW, Sgd};
use zskt_schedules::{Anneal, Constant, Cosine, MultiStep, OneCycle};
use zskt_tests::{fixture, numbers, relative_error, tensor};

#[test]
fn twenty_updates_are_pytorchs() {
    let sgd = |momentum, nesterov, weight_decay| Sgd { lr: 0.05, momentum, nesterov, weight_decay };
    let optimizers: [(&str, Box<dyn Optimizer>); 5] = [
        (
            "Adam(lr: 0.05, weight_decay: 0.1)",
            Box::new(Adam { lr: 0.05, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1 }),
        ),
        ("AdamW(lr: 0.05)", Box::new(AdamW { lr: 0.05, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 })),
        ("Sgd(lr: 0.05)", Box::new(sgd(0.0, false, 0.0))),
        ("Sgd(lr: 0.05, momentum: 0.9, weight_decay: 0.1)", Box::new(sgd(0.9, false, 0.1))),
        ("Sgd(lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 0.1)", Box::new(sgd(0.9, true, 0.1))),
    ];
    let expected = fixture("optimizers.json");
    for (name, optimizer) in optimizers {
        let builder = Builder::zeros(Precision::F64, &Device::Cpu);
        let weight = builder.parameter("weight", &[7], Init::Constant(0.0)).unwrap();
        weight.var().set(&tensor("optimizer.weight", &[7], 1.0)).unwrap();
        let target = tensor("optimizer.target", &[7], 1.0);
        let mut updates = optimizer.start(vec![weight.clone()]).unwrap();
        for step in 0..20 {
            if step == 10 {
                // Half-way, the state moves into a fresh optimizer, as it does when a run is resumed.
                let state = updates.state().unwrap();
                updates = optimizer.start(vec![weight.clone()]).unwrap();
                updates.restore(&state).unwrap();
            }
            let difference = (weight.tensor(Pass::learn()) - &target).unwrap();
            let loss = difference.sqr().unwrap().sqr().unwrap().sum_all().unwrap();
            let gradients = Gradients::of(&loss, std::iter::once(&weight)).unwrap();
            updates.step(&gradients, optimizer.learning_rate()).unwrap();
        }
        let found = weight.value().to_vec1::<f64>().unwrap();
        let error = relative_error(&found, &numbers(&expected[name]));
        assert!(error < 1e-9, "{name} is off by {error:.1e}");
    }
}

#[test]
fn schedules_are_pytorchs() {
    let one_cycle = |anneal| OneCycle { warm_up: 0.2, start_divisor: 25.0, end_divisor: 1e4, anneal };
    let schedules: [(&str, Box<dyn Schedule>); 5] = [
        ("Constant", Box::new(Constant {})),
        ("Cosine", Box::new(Cosine { floor: 0.0 })),
        (
            "MultiStep(milestones: [0.3, 0.6, 0.8], gamma: 0.2)",
            Box::new(MultiStep { milestones: vec![0.3, 0.6, 0.8], gamma: 0.2 }),
        ),
        ("OneCycle(warm_up: 0.2)", Box::new(one_cycle(Anneal::Cosine))),
        ("OneCycle(warm_up: 0.2, anneal: Linear)", Box::new(one_cycle(Anneal::Linear))),
    ];
    let expected = fixture("schedules.json");
    for (name, schedule) in schedules {
        let found: Vec<f64> = (0..50).map(|batch| schedule.factor(batch, 50)).collect();
        let error = relative_error(&found, &numbers(&expected[name]));
        assert!(error < 1e-9, "{name} is off by {error:.1e}");
    }
}
