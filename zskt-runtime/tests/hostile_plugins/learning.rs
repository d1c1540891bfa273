//! A loss, an optimizer and a schedule.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use zskt_api::candle_core::Tensor;
use zskt_api::{
    Gradients, Loss, LossBatch, LossInputs, Optimizer, OptimizerState, Parameter, Result, Schedule, TeacherOutput,
    choice, params,
};

choice! {
    /// What a loss does that it must not.
    pub enum LossLie {
        /// Nothing.
        Honest,
        /// A number for each image.
        Vector,
        /// NaN.
        NotFinite,
        /// The teacher's size.
        IgnoresPlayer,
        /// It changes what optimizers were started with.
        ChangesWeights,
        /// It panics.
        Panics,
    }
}

params! {
    /// The mean square of the logits' differences.
    pub struct HostileLoss {
        /// What it does that it must not.
        pub lie: LossLie = LossLie::Honest,
    }
}

impl Loss for HostileLoss {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        Ok(vec![teacher.logits.clone()])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let squares = (&batch.student()?.logits - &batch.target[0])?.sqr()?;
        Ok(match self.lie {
            LossLie::Honest => squares.mean_all()?,
            LossLie::ChangesWeights => {
                halve_all()?;
                squares.mean_all()?
            }
            LossLie::Panics => panic!("no loss"),
            LossLie::Vector => squares.mean(1)?,
            LossLie::NotFinite => (squares.mean_all()? * f64::NAN)?,
            LossLie::IgnoresPlayer => batch.target[0].sqr()?.mean_all()?,
        })
    }
}

choice! {
    /// What an optimizer does that it must not.
    pub enum OptimizerLie {
        /// Nothing.
        Honest,
        /// It changes what any optimizer of its kind was started with.
        Others,
        /// Its learning rate is negative.
        NegativeRate,
        /// It panics.
        Panics,
    }
}

params! {
    /// Gradient descent.
    pub struct HostileOptimizer {
        /// Learning rate.
        pub lr: f64 = 0.1,
        /// What it does that it must not.
        pub lie: OptimizerLie = OptimizerLie::Honest,
    }
}

/// What any such optimizer was started with.
static STARTED: Mutex<Vec<Parameter>> = Mutex::new(Vec::new());

fn halve_all() -> Result<()> {
    for parameter in STARTED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        parameter.var().set(&(parameter.value() * 0.5)?)?;
    }
    Ok(())
}

impl Optimizer for HostileOptimizer {
    fn learning_rate(&self) -> f64 {
        if self.lie == OptimizerLie::NegativeRate { -self.lr } else { self.lr }
    }

    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        STARTED.lock().unwrap_or_else(PoisonError::into_inner).extend(parameters);
        Ok(Box::new(Self { lr: self.lr, lie: self.lie }))
    }
}

impl OptimizerState for HostileOptimizer {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        assert!(self.lie != OptimizerLie::Panics, "no step");
        for (parameter, gradient) in gradients.iter() {
            parameter.var().set(&(parameter.value() - (gradient * learning_rate)?)?)?;
        }
        if self.lie == OptimizerLie::Others {
            halve_all()?;
        }
        Ok(())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    fn restore(&mut self, _: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}

choice! {
    /// What a schedule does that it must not.
    pub enum ScheduleLie {
        /// Nothing.
        Honest,
        /// A factor of −1.
        Negative,
        /// A factor of NaN.
        NotFinite,
        /// It panics.
        Panics,
    }
}

params! {
    /// No change.
    pub struct HostileSchedule {
        /// What it does that it must not.
        pub lie: ScheduleLie = ScheduleLie::Honest,
    }
}

impl Schedule for HostileSchedule {
    fn factor(&self, _: usize, _: usize) -> f64 {
        match self.lie {
            ScheduleLie::Honest => 1.0,
            ScheduleLie::Negative => -1.0,
            ScheduleLie::NotFinite => f64::NAN,
            ScheduleLie::Panics => panic!("no schedule"),
        }
    }
}

zskt_api::export! { loss: HostileLoss; optimizer: HostileOptimizer; schedule: HostileSchedule }
