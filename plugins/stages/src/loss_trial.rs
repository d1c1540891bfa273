//! A turn's losses, tried on made-up outputs of the right shapes before anything is built: a loss that cannot reach its player
//! would otherwise be found when the stage begins, hours after the start of the run.

use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Builder, CheckError, ClassifierOutput, FeatureMap, ForwardMode, Gradients, Init, Loss, LossTarget, OutputShape,
    Precision, Result,
};

/// Images that the outputs are for.
const BATCH: usize = 2;

/// The network that a turn updates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrialPlayer {
    /// Its losses reach it through the student's output.
    Student,
    /// Its losses reach it through the images, and so through both classifiers.
    Generator,
}

/// Tries the losses of a turn. What fails here may do well on the run's own device, and is left to the run, but for what fits no
/// contract.
///
/// # Errors
/// When one is not a scalar, or none depends on the player.
pub fn try_losses(
    losses: &[Arc<dyn Loss>],
    student: &OutputShape,
    teacher: Option<&OutputShape>,
    player: TrialPlayer,
) -> Result<(), CheckError> {
    match try_each(losses, student, teacher, player) {
        Err(error) if error.is_broken_contract() => Err(CheckError::new(error.to_string())),
        Err(_) | Ok(Outcome::Reached) => Ok(()),
        Ok(Outcome::NotScalar(shape)) => {
            Err(CheckError::new(format!("a loss of this turn is not a scalar (shape []), but of shape {shape:?}")))
        }
        Ok(Outcome::NotReached) => {
            let player = match player {
                TrialPlayer::Student => "the student's output",
                TrialPlayer::Generator => "the output of the student or the teacher",
            };
            Err(CheckError::new(format!(
                "the losses of this turn do not depend on {player}, so that no gradient reaches its player"
            )))
        }
    }
}

/// What came of the trial.
enum Outcome {
    /// A gradient reaches the player.
    Reached,
    /// None does.
    NotReached,
    /// A loss has this shape.
    NotScalar(Vec<usize>),
}

fn try_each(
    losses: &[Arc<dyn Loss>],
    student: &OutputShape,
    teacher: Option<&OutputShape>,
    player: TrialPlayer,
) -> Result<Outcome> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    let student = output("student", student, 37, &builder, ForwardMode::train())?;
    let teacher_mode = if player == TrialPlayer::Generator { ForwardMode::train() } else { ForwardMode::eval() };
    let teacher = teacher.map(|shape| output("teacher", shape, 53, &builder, teacher_mode)).transpose()?;
    let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu)?;
    let weights = builder.weights();
    let mut reached = false;
    for loss in losses {
        let needs = loss.needs();
        let teacher = teacher.as_ref().filter(|_| needs.teacher).map(|teacher| loss.target(teacher)).transpose()?;
        let target = LossTarget { teacher: teacher.unwrap_or_default(), labels: needs.labels.then(|| labels.clone()) };
        let value = loss.value(&student, &target)?;
        if !value.dims().is_empty() {
            return Ok(Outcome::NotScalar(value.dims().to_vec()));
        }
        // One is enough: beside it, others may be constants.
        reached = reached || Gradients::of(&value, weights.parameters()).is_ok();
    }
    Ok(if reached { Outcome::Reached } else { Outcome::NotReached })
}

/// Logits of either sign, and activations as after a ReLU; other numbers for each stride.
fn output(
    network: &str,
    shape: &OutputShape,
    stride: usize,
    builder: &Builder,
    mode: ForwardMode,
) -> Result<ClassifierOutput> {
    let made_up = |name: String, shape: &[usize], lowest: f32| -> Result<Tensor> {
        let parameter = builder.parameter(&name, shape, Init::Constant(0.0))?;
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count).map(|i| lowest + (i * stride % 101) as f32 / 50.0).collect();
        parameter.var().set(&Tensor::from_vec(numbers, shape, &Device::Cpu)?)?;
        Ok(parameter.tensor(mode))
    };
    let activations = shape.activations.iter().enumerate().map(|(index, map)| {
        let shape = [BATCH, map.channels, map.height, map.width];
        FeatureMap::from_nchw(&made_up(format!("{network}.activation{index}"), &shape, 0.0)?)
    });
    Ok(ClassifierOutput {
        logits: made_up(format!("{network}.logits"), &[BATCH, shape.classes], -1.0)?,
        activations: activations.collect::<Result<_>>()?,
    })
}
