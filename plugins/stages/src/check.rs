//! What can be said of a stage before anything is built.

use std::sync::Arc;

use zskt_api::{CheckError, ClassifierSignature, Loss, OutputShape, PortInfo, Signature, Signatures};

use crate::loss_trial::{TrialPlayer, try_losses};

/// What is wrong with the inputs of a stage. `has_teacher` is whether the stage has that port at all.
pub fn check_inputs(inputs: &Signatures, ports: &[PortInfo], has_teacher: bool) -> Vec<CheckError> {
    let mut faults = inputs.check_compatible(ports);
    let student = inputs.classifier("student");
    let images = inputs.one("images");
    let generator = images.and_then(Signature::network);
    let mut student_learns = false;
    for (index, signature) in inputs.all("turns") {
        let Signature::Turn(turn) = signature else { continue };
        let of_student = student.is_some_and(|student| student.network == turn.network);
        student_learns |= of_student;
        if let (Some(student), Some(_)) = (student, images)
            && !of_student
            && generator != Some(turn.network.as_str())
        {
            let or_generator = generator.map_or(String::new(), |generator| format!(" nor its generator `{generator}`"));
            faults.push(
                CheckError::port(
                    "turns",
                    format!(
                        "the turn updates `{}`, which is not this stage's student `{}`{or_generator}",
                        turn.network, student.network
                    ),
                )
                .index(index)
                .help("no gradient of this stage's losses reaches that network"),
            );
        }
        let of_turn = |fault| CheckError { port: Some("turns".into()), parameter: None, index, ..fault };
        let player = if of_student { TrialPlayer::Student } else { TrialPlayer::Generator };
        let misfits: Vec<_> =
            turn.losses.iter().filter_map(|loss| check_loss(loss.as_ref(), inputs, has_teacher)).map(of_turn).collect();
        if misfits.is_empty() && faults.is_empty() {
            faults.extend(try_turn(&turn.losses, inputs, player).map(of_turn));
        }
        faults.extend(misfits);
    }
    // What is wrong with a turn has been reported already, and it may be the one.
    if !student_learns && student.is_some() && inputs.one("turns").is_some() && inputs.is_known("turns") {
        faults
            .push(CheckError::port("student", "no turn of this stage updates the student, so it would learn nothing"));
    }
    faults
}

/// The output of a stage: its student, trained on these images.
pub fn trained_student(inputs: &Signatures) -> Option<Signature> {
    let student = inputs.classifier("student")?.clone();
    let images = inputs.one("images").and_then(Signature::image);
    Some(Signature::Classifier(ClassifierSignature { images, ..student }))
}

fn check_loss(loss: &dyn Loss, inputs: &Signatures, has_teacher: bool) -> Option<CheckError> {
    let needs = loss.needs();
    let images = inputs.one("images")?;
    if needs.labels && matches!(images, Signature::Generator(_)) {
        return Some(
            CheckError::new("a loss of this turn needs labels, but generated images have none")
                .help("leave that loss out of the turn, or take the images from a dataset"),
        );
    }
    if needs.teacher && !has_teacher {
        return Some(
            CheckError::new("a loss of this turn needs a teacher, but this stage has none").help("use `Transfer`"),
        );
    }
    loss.check(&output_shape(inputs, "student")?, output_shape(inputs, "teacher").as_ref()).err()
}

/// Tries the losses of a turn, where all shapes are known.
fn try_turn(losses: &[Arc<dyn Loss>], inputs: &Signatures, player: TrialPlayer) -> Option<CheckError> {
    let teacher = output_shape(inputs, "teacher");
    if teacher.is_none() && losses.iter().any(|loss| loss.needs().teacher) {
        return None;
    }
    try_losses(losses, &output_shape(inputs, "student")?, teacher.as_ref(), player).err()
}

/// What a classifier gives for the images of this stage, where both are known and fit.
fn output_shape(inputs: &Signatures, port: &str) -> Option<OutputShape> {
    let image = inputs.one("images").and_then(Signature::image)?;
    inputs.classifier(port)?.shape.output_shape(image).ok()
}
