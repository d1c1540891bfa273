//! The one training loop: players take turns on batches of images.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::{
    BuildContext, ClassifierNetwork, ClassifierSignature, Context, Error, Fault, ImageSource, Pass, Player, PortInfo,
    Result, Signature, Signatures, StageContext, StageState, Turn,
};

use crate::images::{Material, Supply};
use crate::played::{Played, Unread};
use crate::replays::Replays;
use crate::timetable::{Due, Timetable};
use crate::turn::{ActiveTurn, Table};

/// Images in a preview.
const PREVIEW: usize = 64;

/// A game before it begins.
pub struct Game {
    /// The frozen network whose beliefs count, if any.
    pub teacher: Option<Arc<ClassifierNetwork>>,
    /// The network that is to learn.
    pub student: Arc<ClassifierNetwork>,
    /// Where the images come from.
    pub images: ImageSource,
    /// The turns of each batch, in order.
    pub turns: Vec<Arc<Turn>>,
    /// How long it takes.
    pub timetable: Timetable,
}

impl Game {
    /// Plays all batches, from the start or from where a checkpoint was made.
    pub fn play(&self, context: &mut StageContext<'_>) -> Result<()> {
        let Timetable { batches, batch_size, .. } = self.timetable;
        let mut turns = self.turns.iter().cloned().map(ActiveTurn::new).collect::<Result<Vec<_>>>()?;
        let mut done = 0;
        if let Some(state) = context.resume.take() {
            for turn in &mut turns {
                turn.restore(&state.tensors).context("the checkpoint")?;
            }
            done = state.batch;
        }
        let build = context.build.clone();
        let mut supply = Supply::new(&self.images, batch_size, &build);
        let table = self.table();
        let mut unread = Unread::new(batches);
        let mut replays = Replays::new(&turns, table, &build.device, self.timetable.replay);
        while done < batches {
            if context.observer.interrupted() {
                unread.read(context)?;
                context.observer.checkpoint(&state(&turns, done)?)?;
                return Err(Error::interrupted());
            }
            let played = supply.batch(done).and_then(|material| {
                let played = replays.play(&mut turns, table, &material, done, batches)?;
                Ok((material, played))
            });
            let (material, played) = match played {
                Err(error) if error.is_out_of_memory() => {
                    unread.read(context)?;
                    return Err(self.too_large(&error, &mut turns, done, &build));
                }
                played => played?,
            };
            done += 1;
            let due = self.timetable.due(done);
            if unread.push(done, played) || build.device.is_cpu() || done == batches || due.any() {
                unread.read(context)?;
                self.attend(due, &material, &turns, done, context)?;
                unread.restart_clock();
            }
        }
        Ok(())
    }

    /// What to say when a batch does not fit into the device's memory: how large one may be, found by playing smaller ones.
    /// That spoils the weights, but the run has failed, and what it kept on disk stays as it is.
    fn too_large(&self, error: &Error, turns: &mut [ActiveTurn], done: usize, build: &BuildContext) -> Error {
        let Timetable { batches, batch_size, .. } = self.timetable;
        let mut fits = |size: usize| {
            let material = Supply::new(&self.images, size, build).batch(done)?;
            let played = Played::of(turns, self.table(), &material, done, batches)?;
            played.read(done)
        };
        let halves = std::iter::successors(Some(batch_size / 2), |size| Some(size / 2)).take_while(|size| *size > 0);
        let mut smaller = halves
            .map(|size| (size, fits(size)))
            .skip_while(|(_, played)| matches!(played, Err(error) if error.is_out_of_memory()));
        let way_out = match smaller.next() {
            Some((size, Ok(_))) => {
                format!("{size} fit: `--set {}.batch_size={size}`", build.node)
            }
            Some((size, Err(error))) => format!("whether {size} fit could not be tried: {error}"),
            None => "not even one fits beside the networks and their optimizers".to_owned(),
        };
        Error::out_of_memory(format!(
            "the device has no room for a batch of {batch_size} images, and {way_out} ({error})"
        ))
    }

    /// Does what is due beside playing.
    fn attend(
        &self,
        due: Due,
        material: &Material,
        turns: &[ActiveTurn],
        done: usize,
        context: &mut StageContext<'_>,
    ) -> Result<()> {
        if due.preview {
            self.preview(material, done, context)?;
        }
        if due.evaluation {
            context.observer.evaluate(done)?;
        }
        if due.checkpoint {
            context.observer.checkpoint(&state(turns, done)?)?;
        }
        Ok(())
    }

    /// Shows what the generator makes of this batch. It is run frozen, so that looking changes nothing.
    fn preview(&self, material: &Material, done: usize, context: &mut StageContext<'_>) -> Result<()> {
        let images = match (material, &self.images) {
            (Material::Latents(latents), ImageSource::Generator(generator)) => {
                let count = latents.dims()[0].min(PREVIEW);
                generator.forward.forward(&latents.narrow(0, 0, count)?, Pass::evaluate())?
            }
            (Material::Real { images, .. }, _) if done == 1 => images.narrow(0, images.batch().min(PREVIEW))?,
            _ => return Ok(()),
        };
        context.observer.images(done, &images)
    }

    fn table(&self) -> Table<'_> {
        let generator = match &self.images {
            ImageSource::Generator(generator) => Some(generator.as_ref()),
            ImageSource::Dataset(_) => None,
        };
        Table { teacher: self.teacher.as_deref(), student: &self.student, generator }
    }

    /// Whether every turn's player sits at this table; what was checked before the run, once more on what was built.
    pub fn players_are_seated(&self) -> Result<()> {
        for turn in &self.turns {
            let seated = match (&turn.player, &self.images) {
                (Player::Classifier(player), _) => Arc::ptr_eq(player, &self.student),
                (Player::Generator(player), ImageSource::Generator(generator)) => Arc::ptr_eq(player, generator),
                (Player::Generator(_), ImageSource::Dataset(_)) => false,
            };
            if !seated {
                return Err(Error::new(format!("the player of turn `{}` is not part of this stage", turn.name)));
            }
        }
        Ok(())
    }
}

fn state(turns: &[ActiveTurn], batch: usize) -> Result<StageState> {
    let mut tensors = BTreeMap::new();
    for turn in turns {
        tensors.extend(turn.state()?);
    }
    Ok(StageState { batch, tensors })
}

/// What is wrong with a game before it is built. `teacher` is whether the stage has that port at all.
pub fn check(inputs: &Signatures, ports: &[PortInfo], teacher: bool) -> Vec<Fault> {
    let mut faults = inputs.agree(ports);
    let student = inputs.classifier("student");
    let images = inputs.one("images");
    let generator = images.and_then(Signature::network);
    let mut student_plays = false;
    for (index, signature) in inputs.all("turns") {
        let Signature::Turn(turn) = signature else { continue };
        let of_student = student.is_some_and(|student| student.network == turn.network);
        student_plays |= of_student;
        if let (Some(student), Some(_)) = (student, images)
            && !of_student
            && generator != Some(turn.network.as_str())
        {
            let seated = generator.map_or(String::new(), |generator| format!(" nor its generator `{generator}`"));
            faults.push(
                Fault::port(
                    "turns",
                    format!(
                        "the turn updates `{}`, which is not this stage's student `{}`{seated}",
                        turn.network, student.network
                    ),
                )
                .index(index)
                .help("no gradient of this stage's losses reaches that network"),
            );
        }
        for loss in &turn.losses {
            faults.extend(check_loss(loss.as_ref(), inputs, teacher).map(|fault| Fault {
                port: Some("turns".into()),
                parameter: None,
                index,
                ..fault
            }));
        }
    }
    // Without any known turn, what is wrong with the turns has been reported already.
    if !student_plays && student.is_some() && inputs.all("turns").count() > 0 {
        faults.push(Fault::port("student", "no turn of this stage updates the student, so it would learn nothing"));
    }
    faults
}

/// What a game gives: its student, trained on these images.
pub fn trained(inputs: &Signatures) -> Option<Signature> {
    let student = inputs.classifier("student")?.clone();
    let images = inputs.one("images").and_then(Signature::image);
    Some(Signature::Classifier(ClassifierSignature { images, ..student }))
}

fn check_loss(loss: &dyn zskt_api::Loss, inputs: &Signatures, teacher: bool) -> Option<Fault> {
    let needs = loss.needs();
    let images = inputs.one("images")?;
    if needs.labels && matches!(images, Signature::Generator(_)) {
        return Some(
            Fault::new("a loss of this turn needs labels, but generated images have none")
                .help("leave that loss out of the turn, or take the images from a dataset"),
        );
    }
    if needs.teacher && !teacher {
        return Some(Fault::new("a loss of this turn needs a teacher, but this stage has none").help("use `Transfer`"));
    }
    let image = images.image()?;
    let beliefs = |port| inputs.classifier(port).and_then(|network| network.shape.beliefs(image).ok());
    loss.check(&beliefs("student")?, beliefs("teacher").as_ref()).err()
}
