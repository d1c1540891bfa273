//! A turn's losses, tried on made-up outputs of the right shapes before anything is built: a loss that cannot reach its player
//! would otherwise be found when the stage begins, hours after the start of the run.

use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::nn::{BatchNormInput, Observation};
use zskt_api::{
    Builder, CheckError, ClassifierOutput, FeatureMap, ForwardMode, Gradients, ImageShape, Init, Loss, LossBatch,
    OutputShape, Parameter, Precision, Result, TeacherOutput,
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
    image: ImageShape,
    player: TrialPlayer,
) -> Result<(), CheckError> {
    match try_each(losses, student, teacher, image, player) {
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
    image: ImageShape,
    player: TrialPlayer,
) -> Result<Outcome> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    let student = output("student", student, 37, &builder, ForwardMode::train())?;
    let teacher_mode = if player == TrialPlayer::Generator { ForwardMode::train() } else { ForwardMode::eval() };
    let teacher = teacher.map(|shape| output("teacher", shape, 53, &builder, teacher_mode)).transpose()?;
    let teacher = teacher.map(seen_within).transpose()?;
    let shape = [BATCH, image.channels, image.height, image.width];
    let images = FeatureMap::from_nchw(&made_up(&builder, "images", &shape, 71, -1.0)?.tensor(teacher_mode))?;
    let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu)?;
    let weights = builder.weights();
    let mut reached = false;
    for loss in losses {
        let needs = loss.needs();
        let target = teacher.as_ref().filter(|_| needs.teacher).map(|teacher| loss.target(teacher)).transpose()?;
        let value = loss.value(&LossBatch {
            student: Some(&student).filter(|_| needs.student),
            target: &target.unwrap_or_default(),
            labels: Some(&labels).filter(|_| needs.labels),
            images: Some(&images).filter(|_| needs.images),
        })?;
        if !value.dims().is_empty() {
            return Ok(Outcome::NotScalar(value.dims().to_vec()));
        }
        // One is enough: beside it, others may be constants.
        reached = reached || Gradients::of(&value, weights.parameters()).is_ok();
    }
    Ok(if reached { Outcome::Reached } else { Outcome::NotReached })
}

/// The teacher's output, with features and the inputs of two batch norms, made of its logits.
fn seen_within(output: ClassifierOutput) -> Result<TeacherOutput> {
    let input = |scale: f64| -> Result<BatchNormInput> {
        let scaled = (&output.logits * scale)?;
        let (mean, variance) = (scaled.mean(0)?, (scaled.sqr()?.mean(0)? + 0.1)?);
        let (running_mean, running_variance) = (mean.zeros_like()?, variance.ones_like()?);
        Ok(BatchNormInput { mean, variance, running_mean, running_variance })
    };
    let within = Observation { batch_norms: vec![input(1.0)?, input(0.5)?], features: Some(output.logits.clone()) };
    Ok(TeacherOutput { output, within })
}

/// Numbers that begin at `lowest`, others for each stride.
fn made_up(builder: &Builder, name: &str, shape: &[usize], stride: usize, lowest: f32) -> Result<Parameter> {
    let parameter = builder.parameter(name, shape, Init::Constant(0.0))?;
    let count = shape.iter().product::<usize>();
    let numbers: Vec<f32> = (0..count).map(|i| lowest + (i * stride % 101) as f32 / 50.0).collect();
    parameter.var().set(&Tensor::from_vec(numbers, shape, &Device::Cpu)?)?;
    Ok(parameter)
}

/// Logits of either sign, and activations as after a ReLU; other numbers for each stride.
fn output(
    network: &str,
    shape: &OutputShape,
    stride: usize,
    builder: &Builder,
    mode: ForwardMode,
) -> Result<ClassifierOutput> {
    let made_up = |name: &str, shape: &[usize], lowest: f32| -> Result<Tensor> {
        Ok(made_up(builder, &format!("{network}.{name}"), shape, stride, lowest)?.tensor(mode))
    };
    let activations = shape.activations.iter().enumerate().map(|(index, map)| {
        let shape = [BATCH, map.channels, map.height, map.width];
        FeatureMap::from_nchw(&made_up(&format!("activation{index}"), &shape, 0.0)?)
    });
    Ok(ClassifierOutput {
        logits: made_up("logits", &[BATCH, shape.classes], -1.0)?,
        activations: activations.collect::<Result<_>>()?,
    })
}
