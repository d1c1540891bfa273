//! What can be said of a stage before anything is built.

use std::sync::Arc;

use zskt_api::{CheckError, ClassifierSignature, Loss, OutputShape, PortInfo, Signature, Signatures};

use crate::loss_trial::{TrialPlayer, try_losses};

/// What is wrong with the inputs of a stage. `has_teacher` is whether the stage has that port at all, `has_targets` whether it says
/// which classes made images are to show.
pub fn check_inputs(inputs: &Signatures, ports: &[PortInfo], has_teacher: bool, has_targets: bool) -> Vec<CheckError> {
    let mut faults = regardless_of_unused_labels(inputs, ports).check_compatible(ports);
    faults.extend(check_targets(inputs, has_teacher, has_targets));
    faults.extend(check_syntheses(inputs));
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
        if of_student && turn.synthesis.is_some() {
            let message = format!("the turn makes images, but its player `{}` is a classifier", turn.network);
            faults.push(
                CheckError::port("turns", message).index(index).help("its player has to be the stage's generator"),
            );
        }
        let of_turn = |fault| CheckError { port: Some("turns".into()), parameter: None, index, ..fault };
        let player = if of_student { TrialPlayer::Student } else { TrialPlayer::Generator };
        let misfits: Vec<_> = turn
            .losses
            .iter()
            .filter_map(|loss| check_loss(loss.as_ref(), inputs, has_teacher, has_targets))
            .map(of_turn)
            .collect();
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

/// The inputs, with the student's classes for those of a dataset whose labels no loss looks at: such images may show anything.
fn regardless_of_unused_labels(inputs: &Signatures, ports: &[PortInfo]) -> Signatures {
    let uses_labels = |signature: &Signature| match signature {
        Signature::Turn(turn) => turn.losses.iter().any(|loss| loss.needs().labels),
        _ => false,
    };
    let unused = inputs.is_known("turns") && !inputs.all("turns").any(|(_, turn)| uses_labels(turn));
    let classes = inputs.classifier("student").map(|student| student.shape.classes()).filter(|_| unused);
    let mut adapted = Signatures::default();
    for port in ports {
        let mut edges = 0;
        for (index, signature) in inputs.all(port.name) {
            // The places of edges are those of faults.
            (edges..index).for_each(|_| adapted.push(port.name, None));
            edges = index + 1;
            let mut signature = signature.clone();
            if let (Signature::Dataset(dataset), Some(classes)) = (&mut signature, classes) {
                dataset.classes = classes;
            }
            adapted.push(port.name, Some(signature));
        }
    }
    adapted
}

/// The output of a stage: its student, trained on these images.
pub fn trained_student(inputs: &Signatures) -> Option<Signature> {
    let student = inputs.classifier("student")?.clone();
    let images = inputs.one("images").and_then(Signature::image);
    Some(Signature::Classifier(ClassifierSignature { images, ..student }))
}

/// Whether class targets are there where they are needed, and not where they are of no use.
fn check_targets(inputs: &Signatures, has_teacher: bool, has_targets: bool) -> Option<CheckError> {
    match inputs.one("images")? {
        Signature::Generator(generator) => {
            let (classes, student) = (generator.classes?, inputs.classifier("student"));
            if !has_targets {
                return Some(
                    CheckError::port("images", "the generator makes images of classes, and nothing says of which")
                        .help(if has_teacher {
                            "give the stage `targets: Balanced()` or `targets: Uniform()`"
                        } else {
                            "use `Transfer`, which has `targets`"
                        }),
                );
            }
            let expected = student.map(|student| student.shape.classes()).filter(|expected| *expected != classes)?;
            let message =
                format!("the generator makes images of {classes} classes, but the student tells {expected} apart");
            Some(CheckError::port("images", message))
        }
        _ if has_targets => Some(
            CheckError::parameter("targets", "the images come from a dataset, and show the classes that they show")
                .help("leave `targets` out"),
        ),
        _ => None,
    }
}

/// Whether the turns that make images fit the others.
fn check_syntheses(inputs: &Signatures) -> Vec<CheckError> {
    let Some(Signature::Generator(generator)) = inputs.one("images") else { return Vec::new() };
    let turns = || {
        inputs.all("turns").filter_map(|(index, signature)| match signature {
            Signature::Turn(turn) => Some((index, turn, turn.synthesis)),
            _ => None,
        })
    };
    let mut faults = Vec::new();
    let mut syntheses = turns().filter_map(|(index, turn, synthesis)| Some((index, turn, synthesis?)));
    let Some((index, turn, synthesis)) = syntheses.next() else { return faults };
    if let Some((other, ..)) = syntheses.next() {
        faults.push(CheckError::port("turns", "a second turn makes images, and a stage has one bank").index(other));
    }
    for (index, other, synthesis) in turns() {
        if synthesis.is_none() && other.network == generator.network {
            let message = format!("the turn updates `{}`, whose images a synthesis makes", other.network);
            let help = "leave this turn out, or the `Synthesize`: each batch takes its images from the bank";
            faults.push(CheckError::port("turns", message).index(index).help(help));
        }
    }
    if let Some(size) = generator.batch_size.filter(|size| *size != synthesis.images) {
        let (name, images) = (&generator.network, synthesis.images);
        let message = format!("a synthesis is of {images} images, but `{name}` makes {size} at once");
        faults.push(CheckError::port("turns", message).index(index).help("give both the same number"));
    }
    if synthesis.averages_statistics && !turn.losses.iter().any(|loss| loss.needs().within_teacher.batch_norms) {
        let message = "it averages statistics of batch norms, and none of its losses looks at any";
        let help = "leave `statistics_momentum` out, or add `BatchNormMatching`";
        faults.push(CheckError::port("turns", message).index(index).help(help));
    }
    let looks_at_student = |loss: &Arc<dyn Loss>| loss.needs().student;
    if synthesis.ignores_student_at_first && !turn.losses.is_empty() && turn.losses.iter().all(looks_at_student) {
        let message =
            "all its losses look at the student, which has learnt nothing in the first syntheses: these have no loss";
        let help = "add a loss on the teacher alone, or say `warm_up: 0` and `student_after: 0`";
        faults.push(CheckError::port("turns", message).index(index).help(help));
    }
    faults
}

fn check_loss(loss: &dyn Loss, inputs: &Signatures, has_teacher: bool, has_targets: bool) -> Option<CheckError> {
    let needs = loss.needs();
    let images = inputs.one("images")?;
    if needs.labels && !has_targets && matches!(images, Signature::Generator(_)) {
        return Some(
            CheckError::new("a loss of this turn needs labels, but generated images have none").help(
                "leave that loss out of the turn, take the images from a dataset, or give `Transfer` the classes that images are to \
                 show: `targets: Uniform()`",
            ),
        );
    }
    if needs.teacher && !has_teacher {
        return Some(
            CheckError::new("a loss of this turn needs a teacher, but this stage has none").help("use `Transfer`"),
        );
    }
    if let Some(fault) = inputs.classifier("teacher").and_then(|teacher| check_observable(loss, teacher)) {
        return Some(fault);
    }
    loss.check(&output_shape(inputs, "student")?, output_shape(inputs, "teacher").as_ref()).err()
}

/// Whether a teacher has within it what a loss looks at.
fn check_observable(loss: &dyn Loss, teacher: &ClassifierSignature) -> Option<CheckError> {
    let (wanted, name) = (loss.needs().within_teacher, &teacher.network);
    if wanted.batch_norms && !teacher.observable.batch_norms {
        let message = format!(
            "a loss of this turn compares statistics with those that batch norms have tracked, and `{name}` has no batch norm"
        );
        let help = "leave that loss out; where the teacher is an ONNX model whose batch norms were folded into its convolutions, \
                    export it without folding them (PyTorch: `training=torch.onnx.TrainingMode.PRESERVE`)";
        return Some(CheckError::new(message).help(help));
    }
    if wanted.features && !teacher.observable.features {
        let message = format!(
            "a loss of this turn looks at features, the input of the last fully connected layer, and `{name}` has no such layer"
        );
        return Some(CheckError::new(message).help("leave that loss out"));
    }
    None
}

/// Tries the losses of a turn, where all shapes are known.
fn try_turn(losses: &[Arc<dyn Loss>], inputs: &Signatures, player: TrialPlayer) -> Option<CheckError> {
    let teacher = output_shape(inputs, "teacher");
    if teacher.is_none() && losses.iter().any(|loss| loss.needs().teacher) {
        return None;
    }
    let image = inputs.one("images").and_then(Signature::image)?;
    try_losses(losses, &output_shape(inputs, "student")?, teacher.as_ref(), image, player).err()
}

/// What a classifier gives for the images of this stage, where both are known and fit.
fn output_shape(inputs: &Signatures, port: &str) -> Option<OutputShape> {
    let image = inputs.one("images").and_then(Signature::image)?;
    inputs.classifier(port)?.shape.output_shape(image).ok()
}
