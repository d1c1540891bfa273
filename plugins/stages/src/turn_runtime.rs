//! The turns of a batch: updates of one network each. What is the same for all steps of a turn is computed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::Tensor;
use zskt_api::nn::Wanted;
use zskt_api::ops::gather_scalars;
use zskt_api::{
    ClassifierNetwork, ClassifierOutput, Context, Error, FeatureMap, ForwardMode, GeneratorInput, GeneratorNetwork,
    Gradients, Latents, Objective, OptimizerState, PackedWeights, Parameter, Player, Result, Turn, Weights,
    forget_packed_weights,
};

use crate::batch_metrics::BatchResult;
use crate::batch_sampler::BatchInput;
use crate::gradient_reach::GradientReach;
use crate::loss_sum::{self, Given};

/// A turn, with the state of its optimizer.
pub struct TurnRuntime {
    turn: Arc<Turn>,
    parameters: Vec<Parameter>,
    optimizer: Box<dyn OptimizerState>,
    /// The first of the batch's latents that are its alone.
    first_draw: usize,
    /// What its first update of the stage reached, until somebody asks.
    reach: Option<GradientReach>,
}

/// Where training is.
#[derive(Clone, Copy)]
pub struct BatchPosition {
    /// The batch's number; 0 is the first.
    pub batch: usize,
    /// Batches in all.
    pub batches: usize,
}

/// What came of one turn, still where it was computed: an accelerator does not stop for it.
pub struct TurnResult {
    /// All losses, step by step, and all norms: one tensor, for a replay to be followed by one copy.
    numbers: Tensor,
    steps: usize,
    /// Losses of a step.
    each: usize,
    /// The gradients of each step, where they are kept for replays.
    gradients: Option<Vec<Gradients>>,
    /// The learning rate of all steps.
    pub learning_rate: f64,
}

/// A turn's steps, as they are made.
struct Steps {
    /// What is minimized, at each step before its update: the sum of the losses, negated for a turn that maximizes it, and behind it
    /// each loss as it came where there are several.
    losses: Vec<Tensor>,
    /// The gradient's norm before clipping, at each step; empty without clipping.
    norms: Vec<Tensor>,
    made: usize,
    /// Whether they are the first of the stage.
    begin: bool,
    gradients: Option<Vec<Gradients>>,
    learning_rate: f64,
}

impl Steps {
    fn result(self) -> Result<TurnResult> {
        let Self { losses, norms, made, gradients, learning_rate, .. } = self;
        let each = losses.len() / made.max(1);
        let numbers = gather_scalars(&[losses, norms].concat())?;
        Ok(TurnResult { numbers, steps: made, each, gradients, learning_rate })
    }
}

impl TurnResult {
    /// A copy of the losses and norms, at another learning rate: a replay writes over the numbers of the one before.
    pub fn copied(&self, learning_rate: f64) -> Result<Self> {
        Ok(Self { numbers: self.numbers.copy()?, gradients: None, learning_rate, ..*self })
    }

    /// How many steps there were.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// All losses and norms, once all steps are computed.
    pub fn numbers(&self) -> Result<Vec<f64>> {
        Ok(self.numbers.to_vec1()?)
    }

    /// The means over the steps, once all are computed.
    pub fn read(&self) -> Result<TurnFigures> {
        let numbers = self.numbers()?;
        let (losses, norms) = numbers.split_at(self.steps * self.each);
        let of_part = |part: usize| losses.iter().copied().skip(part).step_by(self.each).collect::<Vec<_>>();
        let is_cpu = self.numbers.device().is_cpu();
        let loss = mean(&of_part(0), "loss", is_cpu)?;
        let parts = (1..self.each).map(|part| mean(&of_part(part), "loss", is_cpu)).collect::<Result<_>>()?;
        let norm = (!norms.is_empty()).then(|| mean(norms, "gradient's norm", is_cpu)).transpose()?;
        Ok(TurnFigures { loss, parts, norm })
    }
}

/// What came of one turn, as numbers.
pub struct TurnFigures {
    /// The mean loss.
    pub loss: f64,
    /// The mean of each loss as it came, where there are several.
    pub parts: Vec<f64>,
    /// With clipping, the mean norm of the gradient before it.
    pub norm: Option<f64>,
}

fn mean(numbers: &[f64], what: &str, is_cpu: bool) -> Result<f64> {
    if let Some(value) = numbers.iter().find(|value| !value.is_finite()) {
        // On the CPU the run has looked at every output on the way here.
        let elsewhere = !is_cpu;
        let culprit = if elsewhere {
            "; `--set device=cpu` names the node whose output is the first that is not finite"
        } else {
            ""
        };
        return Err(Error::new(format!(
            "the {what} is {value}: training has diverged, and a lower learning rate of this turn may help{culprit}"
        )));
    }
    Ok(numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// The networks of a stage.
#[derive(Clone, Copy)]
pub struct Networks<'a> {
    /// The frozen network that losses may compare the student with.
    pub teacher: Option<&'a ClassifierNetwork>,
    /// The network that learns.
    pub student: &'a ClassifierNetwork,
    /// The network that makes the images, where they are made.
    pub generator: Option<&'a GeneratorNetwork>,
}

impl Networks<'_> {
    /// Whether a GPU may replay all of them.
    pub fn replays(&self) -> bool {
        self.student.forward.replays()
            && self.teacher.is_none_or(|teacher| teacher.forward.replays())
            && self.generator.is_none_or(|generator| generator.forward.replays())
    }

    /// The weights of all of them, to be packed in each batch.
    pub fn packed_weights(&self) -> PackedWeights {
        let classifiers = [self.teacher, Some(self.student)].into_iter().flatten().map(|network| &network.weights);
        let weights = classifiers.chain(self.generator.map(|generator| &generator.weights));
        PackedWeights::new(weights.flat_map(Weights::parameters).map(|parameter| parameter.var().as_tensor()))
    }
}

/// Trains on a batch, kernel by kernel: each turn in order.
pub fn train_eagerly(
    turns: &mut [TurnRuntime],
    networks: Networks<'_>,
    input: &BatchInput,
    position: BatchPosition,
) -> Result<BatchResult> {
    let results = turns.iter_mut().map(|turn| turn.train(networks, input, position)).collect::<Result<_>>()?;
    Ok(BatchResult::new(turns, results, input.count()))
}

impl TurnRuntime {
    /// The turns of a stage, each with a fresh optimizer.
    pub fn start(turns: &[Arc<Turn>]) -> Result<Vec<Self>> {
        let mut first_draw = 1;
        let start = |turn: &Arc<Turn>| {
            let runtime = Self::new(Arc::clone(turn), first_draw)?;
            first_draw += turn.fresh_draws();
            Ok(runtime)
        };
        turns.iter().filter(|turn| turn.synthesis.is_none()).map(start).collect()
    }

    fn new(turn: Arc<Turn>, first_draw: usize) -> Result<Self> {
        let weights = match &turn.player {
            Player::Classifier(network) => &network.weights,
            Player::Generator(network) => &network.weights,
        };
        let parameters: Vec<_> = weights.parameters().cloned().collect();
        let optimizer = turn.optimizer.start(parameters.clone()).context(format!("turn `{}`", turn.name))?;
        Ok(Self { turn, parameters, optimizer, first_draw, reach: None })
    }

    /// The turn.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// What its first update of the stage reached; once, and not where a checkpoint is later than that.
    pub fn take_reach(&mut self) -> Option<GradientReach> {
        self.reach.take()
    }

    /// Whether a GPU may replay its updates and losses.
    pub fn replays(&self) -> bool {
        self.optimizer.replays() && self.turn.losses.iter().all(|loss| loss.replays())
    }

    /// Makes the updates of the turn on one batch.
    pub fn train(&mut self, networks: Networks<'_>, input: &BatchInput, position: BatchPosition) -> Result<TurnResult> {
        self.train_steps(None, networks, input, position)
    }

    /// Makes the updates of the turn as [`train`](Self::train) does, and keeps what [`update_again`](Self::update_again) needs.
    pub fn train_for_replays(
        &mut self,
        networks: Networks<'_>,
        input: &BatchInput,
        position: BatchPosition,
    ) -> Result<TurnResult> {
        self.train_steps(Some(Vec::new()), networks, input, position)
    }

    fn train_steps(
        &mut self,
        gradients: Option<Vec<Gradients>>,
        networks: Networks<'_>,
        input: &BatchInput,
        position: BatchPosition,
    ) -> Result<TurnResult> {
        let learning_rate = self.learning_rate(position);
        let mut steps = Steps {
            losses: Vec::new(),
            norms: Vec::new(),
            made: 0,
            begin: position.batch == 0,
            gradients,
            learning_rate,
        };
        let turn = Arc::clone(&self.turn);
        let trained = match &turn.player {
            Player::Generator(generator) => self.generator_steps(generator, networks, input, &mut steps),
            Player::Classifier(student) => self.student_steps(student, networks, input, &mut steps),
        };
        trained.and_then(|()| steps.result()).context(format!(
            "turn `{}`, batch {}",
            self.turn.name,
            position.batch + 1
        ))
    }

    /// Asks the optimizer for the updates of a recorded turn once more, at the learning rate of another batch, which it returns.
    pub fn update_again(&mut self, recorded: &TurnResult, position: BatchPosition) -> Result<f64> {
        let learning_rate = self.learning_rate(position);
        for gradients in recorded.gradients.iter().flatten() {
            self.optimizer.step(gradients, learning_rate)?;
        }
        Ok(learning_rate)
    }

    fn learning_rate(&self, BatchPosition { batch, batches }: BatchPosition) -> f64 {
        let factor = self.turn.schedule.as_ref().map_or(1.0, |schedule| schedule.factor(batch, batches));
        self.turn.optimizer.learning_rate() * factor
    }

    /// The generator learns: the gradient flows through both classifiers into the images, and into no weight of theirs.
    fn generator_steps(
        &mut self,
        generator: &GeneratorNetwork,
        networks: Networks<'_>,
        input: &BatchInput,
        steps: &mut Steps,
    ) -> Result<()> {
        let BatchInput::Latents(latents) = input else {
            return Err(Error::new("its player makes images, but the images come from a dataset"));
        };
        let looks_at_student = self.turn.losses.iter().any(|loss| loss.needs().student);
        for step in 0..self.turn.steps {
            let (latents, labels) = latents.draw(self.draw(step))?;
            let input = GeneratorInput { latents: &latents, labels: labels.as_ref() };
            let images = generator.forward.forward(&input, ForwardMode::train())?;
            let student =
                looks_at_student.then(|| networks.student.forward.forward(&images, self.turn.opponent.frozen()));
            let given = Given { targets: self.targets(networks, &images)?, images: Some(images), labels };
            self.step(student.transpose()?.as_ref(), &given, steps)?;
            generator.forward.constrain()?;
            forget_packed_weights(self.parameters.iter().map(|parameter| parameter.var().as_tensor()))?;
        }
        Ok(())
    }

    /// The student learns: images, the teacher's output, and what the losses make of these are the same for all steps that share
    /// their latents.
    fn student_steps(
        &mut self,
        student: &ClassifierNetwork,
        networks: Networks<'_>,
        input: &BatchInput,
        steps: &mut Steps,
    ) -> Result<()> {
        let mut given: Option<(Given, FeatureMap)> = None;
        let is_ready = matches!(input, BatchInput::Ready { .. });
        for step in 0..self.turn.steps {
            let (given, images) = match &mut given {
                Some(given) if self.turn.latents == Latents::Shared || is_ready => given,
                given => {
                    let (images, labels) = self.images(networks.generator, input, step)?;
                    let targets = self.targets(networks, &images)?;
                    given.insert((Given { targets, images: Some(images.clone()), labels }, images))
                }
            };
            let output = student.forward.forward(images, ForwardMode::train())?;
            self.step(Some(&output), given, steps)?;
        }
        Ok(())
    }

    /// What each loss makes of the teacher's output for these images.
    fn targets(&self, networks: Networks<'_>, images: &FeatureMap) -> Result<Vec<Vec<Tensor>>> {
        let losses = &self.turn.losses;
        let teacher = loss_sum::teacher_output(losses, Wanted::default(), networks.teacher, images)?;
        loss_sum::targets(losses, teacher.as_ref())
    }

    /// Which of the batch's latents a step takes.
    fn draw(&self, step: usize) -> usize {
        match self.turn.latents {
            Latents::Shared => 0,
            Latents::Fresh => self.first_draw + step,
        }
    }

    /// The images of a student's step, through which no gradient flows, and their labels.
    fn images(
        &self,
        generator: Option<&GeneratorNetwork>,
        input: &BatchInput,
        step: usize,
    ) -> Result<(FeatureMap, Option<Tensor>)> {
        match (input, generator) {
            (BatchInput::Ready { images, labels }, _) => Ok((images.clone(), labels.clone())),
            (BatchInput::Latents(latents), Some(generator)) => {
                let (latents, labels) = latents.draw(self.draw(step))?;
                let input = GeneratorInput { latents: &latents, labels: labels.as_ref() };
                Ok((generator.forward.forward(&input, self.turn.opponent.frozen())?, labels))
            }
            (BatchInput::Latents(_), None) => Err(Error::new("there are latents but no generator")),
        }
    }

    fn step(&mut self, student: Option<&ClassifierOutput>, given: &Given, steps: &mut Steps) -> Result<()> {
        let mut loss = loss_sum::sum(&self.turn.losses, student, given)?;
        if self.turn.objective == Objective::Maximize {
            loss = loss.negated()?;
        }
        steps.losses.extend(loss.scalars());
        let mut gradients = Gradients::of(&loss.sum, self.parameters.iter())?;
        if steps.begin && steps.made == 0 {
            self.reach = Some(GradientReach::of(&self.turn, &self.turn.losses, &loss, &self.parameters, &gradients));
        }
        steps.made += 1;
        if let Some(limit) = self.turn.clip_norm {
            steps.norms.push(gradients.clip(limit)?);
        }
        self.optimizer.step(&gradients, steps.learning_rate)?;
        if let Some(kept) = &mut steps.gradients {
            kept.push(gradients);
        }
        Ok(())
    }

    /// The optimizer's state under names that begin with the turn's.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let state = self.optimizer.state()?;
        Ok(state.into_iter().map(|(name, tensor)| (format!("{}.{name}", self.turn.name), tensor)).collect())
    }

    /// Continues from a saved state.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let prefix = format!("{}.", self.turn.name);
        let own =
            state.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone())));
        self.optimizer.restore(&own.collect()).context(format!("turn `{}`", self.turn.name))
    }
}
