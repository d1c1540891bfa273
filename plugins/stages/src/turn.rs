//! One player's updates on one batch, computing once what is constant in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Tensor};
use zskt_api::{
    Beliefs, ClassifierNetwork, Context, Error, FeatureMap, GeneratorNetwork, Gradients, Loss, Objective, Parameter,
    Pass, Player, Result, Target, Turn, Updates,
};

use crate::images::Material;

/// A turn being played, with its optimizer's state.
pub struct ActiveTurn {
    turn: Arc<Turn>,
    parameters: Vec<Parameter>,
    updates: Box<dyn Updates>,
    /// Whether records hold the gradients of each step.
    pub keeps_gradients: bool,
}

/// What happened in one turn, still where it was computed: an accelerator does not stop for it.
#[derive(Default)]
pub struct Record {
    /// What the player makes small at each step, before the step's update: the sum of the losses, negated for one that
    /// maximizes it.
    losses: Vec<Tensor>,
    /// The gradient's norm before clipping, at each step; empty without clipping.
    norms: Vec<Tensor>,
    /// The gradients of each step, where they are recorded for replays.
    gradients: Vec<Gradients>,
    /// The learning rate.
    pub learning_rate: f64,
}

impl Record {
    /// A copy of the figures, at another learning rate.
    pub fn copied(&self, learning_rate: f64) -> Result<Self> {
        let copy = |scalars: &[Tensor]| scalars.iter().map(Tensor::copy).collect::<Result<Vec<_>, _>>();
        Ok(Self { losses: copy(&self.losses)?, norms: copy(&self.norms)?, gradients: Vec::new(), learning_rate })
    }

    /// All figures.
    pub fn figures(&self) -> Result<Vec<f64>> {
        Ok([numbers(&self.losses)?, numbers(&self.norms)?].concat())
    }

    /// The mean loss and, with clipping, the mean norm of the gradient, once all steps are computed.
    pub fn read(&self) -> Result<(f64, Option<f64>)> {
        let loss = mean(&self.losses, "loss")?;
        Ok((loss, (!self.norms.is_empty()).then(|| mean(&self.norms, "gradient's norm")).transpose()?))
    }
}

fn numbers(scalars: &[Tensor]) -> Result<Vec<f64>> {
    if scalars.is_empty() {
        return Ok(Vec::new());
    }
    Ok(Tensor::stack(scalars, 0)?.to_dtype(DType::F64)?.to_vec1::<f64>()?)
}

fn mean(scalars: &[Tensor], what: &str) -> Result<f64> {
    let numbers = numbers(scalars)?;
    if let Some(value) = numbers.iter().find(|value| !value.is_finite()) {
        return Err(Error::new(format!(
            "the {what} is {value}: training has diverged; a lower learning rate may help"
        )));
    }
    Ok(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Who sits at the table while a turn is played.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// The frozen network whose beliefs count, if any.
    pub teacher: Option<&'a ClassifierNetwork>,
    /// The network that is to imitate it.
    pub student: &'a ClassifierNetwork,
    /// The network that makes the images, where they are made.
    pub generator: Option<&'a GeneratorNetwork>,
}

impl Table<'_> {
    /// Whether a GPU may replay all networks.
    pub fn replays(&self) -> bool {
        self.student.forward.replays()
            && self.teacher.is_none_or(|teacher| teacher.forward.replays())
            && self.generator.is_none_or(|generator| generator.forward.replays())
    }
}

impl ActiveTurn {
    /// Begins with a fresh optimizer.
    pub fn new(turn: Arc<Turn>) -> Result<Self> {
        let weights = match &turn.player {
            Player::Classifier(network) => &network.weights,
            Player::Generator(network) => &network.weights,
        };
        let parameters: Vec<_> = weights.parameters().cloned().collect();
        let updates = turn.optimizer.start(parameters.clone()).context(format!("turn `{}`", turn.name))?;
        Ok(Self { turn, parameters, updates, keeps_gradients: false })
    }

    /// The turn.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Whether a GPU may replay its updates and losses.
    pub fn replays(&self) -> bool {
        self.updates.replays() && self.turn.losses.iter().all(|loss| loss.replays())
    }

    fn learning_rate(&self, batch: usize, batches: usize) -> f64 {
        let factor = self.turn.schedule.as_ref().map_or(1.0, |schedule| schedule.factor(batch, batches));
        self.turn.optimizer.learning_rate() * factor
    }

    /// Asks for the updates of a recorded turn once more, for another batch; and the learning rate.
    pub fn update_again(&mut self, recorded: &Record, batch: usize, batches: usize) -> Result<f64> {
        let learning_rate = self.learning_rate(batch, batches);
        for gradients in &recorded.gradients {
            self.updates.step(gradients, learning_rate)?;
        }
        Ok(learning_rate)
    }

    /// Plays the turn for batch number `batch` of `batches`.
    pub fn play(&mut self, table: Table<'_>, material: &Material, batch: usize, batches: usize) -> Result<Record> {
        let mut record = Record { learning_rate: self.learning_rate(batch, batches), ..Record::default() };
        let turn = Arc::clone(&self.turn);
        let played = match &turn.player {
            Player::Generator(generator) => self.seek(generator, table, material, &mut record),
            Player::Classifier(student) => self.imitate(student, table, material, &mut record),
        };
        played.context(format!("turn `{}`, batch {}", self.turn.name, batch + 1))?;
        Ok(record)
    }

    /// The generator learns: the gradient flows through both classifiers into the images, and into no weight of theirs.
    fn seek(
        &mut self,
        generator: &GeneratorNetwork,
        table: Table<'_>,
        material: &Material,
        record: &mut Record,
    ) -> Result<()> {
        let Material::Latents(latents) = material else {
            return Err(Error::new("its player makes images, but the images come from a dataset"));
        };
        for _ in 0..self.turn.steps {
            let images = generator.forward.forward(latents, Pass::learn())?;
            let student = table.student.forward.forward(&images, Pass::probe())?;
            let teacher =
                self.asked(table.teacher).map(|t| t.forward.forward(&images, Pass::evaluate())).transpose()?;
            let targets = self.targets(teacher.as_ref(), None)?;
            self.step(&student, &targets, record)?;
        }
        Ok(())
    }

    /// The student learns: images, the teacher's beliefs, and what the losses make of these are the same for all steps.
    fn imitate(
        &mut self,
        student: &ClassifierNetwork,
        table: Table<'_>,
        material: &Material,
        record: &mut Record,
    ) -> Result<()> {
        let (images, labels) = images(table.generator, material)?;
        let teacher = self.asked(table.teacher).map(|t| t.forward.forward(&images, Pass::evaluate())).transpose()?;
        let targets = self.targets(teacher.as_ref(), labels)?;
        drop(teacher);
        for _ in 0..self.turn.steps {
            let beliefs = student.forward.forward(&images, Pass::learn())?;
            self.step(&beliefs, &targets, record)?;
        }
        Ok(())
    }

    /// The teacher, where a loss asks for its beliefs.
    fn asked<'a>(&self, teacher: Option<&'a ClassifierNetwork>) -> Option<&'a ClassifierNetwork> {
        teacher.filter(|_| self.turn.losses.iter().any(|loss| loss.needs().teacher))
    }

    fn targets(&self, teacher: Option<&Beliefs>, labels: Option<&Tensor>) -> Result<Vec<(Arc<dyn Loss>, Target)>> {
        let target = |loss: &Arc<dyn Loss>| {
            let teacher = teacher.map(|teacher| loss.target(teacher)).transpose()?.unwrap_or_default();
            Ok((Arc::clone(loss), Target { teacher, labels: labels.cloned() }))
        };
        self.turn.losses.iter().map(target).collect()
    }

    fn step(&mut self, student: &Beliefs, targets: &[(Arc<dyn Loss>, Target)], record: &mut Record) -> Result<()> {
        let mut sum: Option<Tensor> = None;
        for (loss, target) in targets {
            let value = loss.value(student, target)?;
            sum = Some(match sum {
                None => value,
                Some(sum) => (sum + value)?,
            });
        }
        let mut sum = sum.ok_or_else(|| Error::new("it has no loss"))?;
        if self.turn.objective == Objective::Maximize {
            sum = sum.neg()?;
        }
        record.losses.push(sum.detach());
        let mut gradients = Gradients::of(&sum, self.parameters.iter())?;
        if let Some(limit) = self.turn.clip_norm {
            record.norms.push(gradients.clip(limit)?);
        }
        self.updates.step(&gradients, record.learning_rate)?;
        if self.keeps_gradients {
            record.gradients.push(gradients);
        }
        Ok(())
    }

    /// The optimizer's state under names that begin with the turn's.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let state = self.updates.state()?;
        Ok(state.into_iter().map(|(name, tensor)| (format!("{}.{name}", self.turn.name), tensor)).collect())
    }

    /// Continues from a saved state.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let prefix = format!("{}.", self.turn.name);
        let own =
            state.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone())));
        self.updates.restore(&own.collect()).context(format!("turn `{}`", self.turn.name))
    }
}

/// The images of a batch, through which no gradient flows, and their labels.
pub fn images<'a>(
    generator: Option<&GeneratorNetwork>,
    material: &'a Material,
) -> Result<(FeatureMap, Option<&'a Tensor>)> {
    match (material, generator) {
        (Material::Real { images, labels }, _) => Ok((images.clone(), Some(labels))),
        (Material::Latents(latents), Some(generator)) => Ok((generator.forward.forward(latents, Pass::probe())?, None)),
        (Material::Latents(_), None) => Err(Error::new("there are latents but no generator")),
    }
}
