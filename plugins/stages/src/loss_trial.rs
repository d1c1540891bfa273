//! A turn's losses, tried on made-up outputs of the right shapes before anything is built: a loss that cannot reach its player
//! would otherwise be found when the stage begins, hours after the start of the run.

use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Builder, CheckError, ClassifierOutput, Context, Error, FeatureMap, ForwardMode, Gradients, Init, Loss, LossTarget,
    OutputShape, Parameter, Precision, Result,
};

/// Images that the outputs are for.
const BATCH: usize = 4;

/// The network that a turn updates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrialPlayer {
    /// Its losses reach it through the student's output.
    Student,
    /// Its losses reach it through the images, and so through both classifiers.
    Generator,
}

/// Tries the losses of a turn.
///
/// # Errors
/// When a loss fails, is not a scalar, or none depends on the player.
pub fn try_losses(
    losses: &[Arc<dyn Loss>],
    student: &OutputShape,
    teacher: Option<&OutputShape>,
    player: TrialPlayer,
) -> Result<(), CheckError> {
    let reached = values(losses, student, teacher, player).map_err(|error| CheckError::new(error.to_string()))?;
    if reached {
        return Ok(());
    }
    let player = match player {
        TrialPlayer::Student => "the student's output",
        TrialPlayer::Generator => "the output of the student or the teacher",
    };
    Err(CheckError::new(format!(
        "the losses of this turn do not depend on {player}, so that no gradient reaches its player"
    )))
}

/// Whether a gradient of the losses reaches the player.
fn values(
    losses: &[Arc<dyn Loss>],
    student: &OutputShape,
    teacher: Option<&OutputShape>,
    player: TrialPlayer,
) -> Result<bool> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    let student = output("student", student, &builder, ForwardMode::train())?;
    let teacher_mode = if player == TrialPlayer::Generator { ForwardMode::train() } else { ForwardMode::eval() };
    let teacher = teacher.map(|shape| output("teacher", shape, &builder, teacher_mode)).transpose()?;
    let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu)?;
    let mut sum: Option<Tensor> = None;
    for loss in losses {
        let needs = loss.needs();
        let teacher = teacher.as_ref().filter(|_| needs.teacher).map(|teacher| loss.target(teacher)).transpose()?;
        let target = LossTarget { teacher: teacher.unwrap_or_default(), labels: needs.labels.then(|| labels.clone()) };
        let value = loss.value(&student, &target).context("a loss of this turn fails")?;
        if !value.dims().is_empty() {
            return Err(Error::new(format!("a loss of this turn is not a scalar, but of shape {:?}", value.dims())));
        }
        sum = Some(match sum {
            None => value,
            Some(sum) => (sum + value)?,
        });
    }
    let (weights, sum) = (builder.weights(), sum.ok_or_else(|| Error::new("this turn has no loss"))?);
    let parameters: Vec<&Parameter> = weights.parameters().collect();
    Ok(Gradients::of(&sum, parameters.into_iter()).is_ok())
}

/// Logits of either sign, and activations as after a ReLU.
fn output(network: &str, shape: &OutputShape, builder: &Builder, mode: ForwardMode) -> Result<ClassifierOutput> {
    let made_up = |name: String, shape: &[usize], lowest: f32| -> Result<Tensor> {
        let parameter = builder.parameter(&name, shape, Init::Constant(0.0))?;
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count).map(|i| lowest + (i * 37 % 101) as f32 / 50.0).collect();
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
