//! One synthesis: steps on the generator, and perhaps on its latents, until the images are what the losses ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::nn::Wanted;
use zskt_api::ops::{crop_and_flip, gather_scalars, roll};
use zskt_api::{
    Augmentation, BuildContext, Builder, Error, FeatureMap, ForwardMode, GeneratorInput, Gradients, Init, KeptImages,
    Loss, Normalization, OptimizerState, Parameter, Result, Synthesis, Transforms, Turn,
};

use super::statistics::{Moments, MovingStatistics, from_named, named};
use super::{Table, part, prefixed};
use crate::batch_sampler::{Targets, device_of_latents};
use crate::draws::Draws;
use crate::gradient_reach::GradientReach;
use crate::loss_sum::{self, Given};

/// A synthesis that has begun.
pub struct InnerGame {
    /// Its number; 0 is the first of the stage.
    number: usize,
    /// Steps that are done.
    pub step: usize,
    /// The loss at the last of them.
    pub last_loss: Option<f64>,
    /// Each loss at that step, where there are several.
    pub last_parts: Vec<f64>,
    /// What the generator is given, `[B, latent_dim]`.
    latents: Parameter,
    /// `u32` `[B]`.
    labels: Option<Tensor>,
    parameters: Vec<Parameter>,
    optimizer: Box<dyn OptimizerState>,
    latents_optimizer: Option<Box<dyn OptimizerState>>,
    copy: Option<Copy>,
    best: Option<Best>,
    /// Of the teacher's batch norms at the last step.
    statistics: Vec<Moments>,
    /// What the first step of the stage reached, until it is taken.
    pub reach: Option<GradientReach>,
}

/// Where the steps are on a copy of the generator: what the generator itself was, and where the copy's gradients point in sum.
struct Copy {
    start: BTreeMap<String, Tensor>,
    gradients: Option<Gradients>,
}

/// The images with the smallest loss so far.
struct Best {
    loss: f64,
    images: FeatureMap,
}

/// What a synthesis leaves.
pub struct Finished {
    /// The images to keep, `[B, C, H, W]`, normalized.
    pub images: FeatureMap,
    /// Their classes.
    pub labels: Option<Tensor>,
    /// Of the teacher's batch norms at the last step.
    pub statistics: Vec<Moments>,
    /// The sum of the copy's gradients, where there was a copy.
    pub outer_gradients: Option<Gradients>,
}

impl InnerGame {
    /// Draws what synthesis number `number` begins with.
    pub fn begin(
        turn: &Turn,
        parameters: Vec<Parameter>,
        table: &Table<'_>,
        number: usize,
        draws: &mut dyn Draws,
    ) -> Result<Self> {
        let synthesis = settings(turn)?;
        let BuildContext { device, precision, .. } = table.context;
        let (images, generator) = (synthesis.images, &table.generator.forward);
        let numbers = generator.sample(images, &mut draws.stream("latents", number));
        let shape = [images, generator.latent_dim()];
        let of_latents = device_of_latents(shape[1], device);
        let latents = Builder::zeros(*precision, of_latents).parameter("latents", &shape, Init::Constant(0.0))?;
        latents.var().set(&Tensor::from_vec(numbers, &shape[..], of_latents)?.to_dtype(precision.dtype())?)?;
        let labels = table.targets.map(|Targets { plugin, classes }| {
            Tensor::from_vec(plugin.draw(images, *classes, &mut draws.stream("targets", number)), images, device)
        });
        let start = |parameters: Vec<Parameter>| turn.optimizer.start(parameters);
        let of_latents = synthesis.latents_lr.map(|_| start(vec![latents.clone()]));
        let copy = synthesis.outer.as_ref().map(|_| table.generator.weights.snapshot());
        Ok(Self {
            number,
            step: 0,
            last_loss: None,
            labels: labels.transpose()?,
            optimizer: start(parameters.clone())?,
            latents_optimizer: of_latents.transpose()?,
            copy: copy.transpose()?.map(|start| Copy { start, gradients: None }),
            latents,
            parameters,
            last_parts: Vec::new(),
            best: None,
            statistics: Vec::new(),
            reach: None,
        })
    }

    /// Makes the images, asks the losses, and moves what makes the images.
    pub fn play_step(
        &mut self,
        turn: &Turn,
        losses: &[Arc<dyn Loss>],
        table: &Table<'_>,
        statistics: &MovingStatistics,
        draws: &mut dyn Draws,
    ) -> Result<()> {
        let synthesis = settings(turn)?;
        let images = self.images(table, ForwardMode::train())?;
        let seen = self.transformed(&images, synthesis.transforms, table.normalization, draws)?;
        let wanted = Wanted { batch_norms: statistics.are_wanted(), ..Wanted::default() };
        let mut teacher = loss_sum::teacher_output(losses, wanted, table.networks.teacher, &seen)?;
        if let Some(teacher) = &mut teacher {
            let now = teacher.within.batch_norms.iter().map(|input| [input.mean.detach(), input.variance.detach()]);
            self.statistics = now.collect();
            statistics.blend(&mut teacher.within.batch_norms)?;
        }
        let targets = loss_sum::targets(losses, teacher.as_ref())?;
        let looks_at_student = losses.iter().any(|loss| loss.needs().student);
        let student = looks_at_student
            .then(|| table.networks.student.forward.forward(&seen, turn.opponent.frozen()))
            .transpose()?;
        let given = Given { targets, images: Some(images.clone()), labels: self.labels.clone() };
        let sum = loss_sum::sum(losses, student.as_ref(), &given)?;
        let numbers = gather_scalars(&sum.scalars().collect::<Vec<_>>())?.to_vec1::<f64>()?;
        let (loss, parts) = (numbers[0], &numbers[1..]);
        if !loss.is_finite() {
            return Err(Error::new(format!(
                "the loss is {loss} at step {} of synthesis {}: a lower learning rate of this turn may help",
                self.step + 1,
                self.number + 1
            )));
        }
        if synthesis.keep == KeptImages::Best && self.best.as_ref().is_none_or(|best| loss < best.loss) {
            self.best = Some(Best { loss, images: copied(&images)? });
        }
        let learnt = self.latents_optimizer.as_ref().map(|_| &self.latents);
        self.last_parts = parts.to_vec();
        let gradients = Gradients::of(&sum.sum, self.parameters.iter().chain(learnt))?;
        if (self.number, self.step) == (0, 0) {
            self.reach = Some(GradientReach::of(turn, losses, &sum, &self.parameters, &gradients));
        }
        self.update(gradients, turn, synthesis)?;
        table.generator.forward.constrain()?;
        self.last_loss = Some(loss);
        self.step += 1;
        Ok(())
    }

    fn update(&mut self, gradients: Gradients, turn: &Turn, synthesis: &Synthesis) -> Result<()> {
        let factor = turn.schedule.as_ref().map_or(1.0, |schedule| schedule.factor(self.step, turn.steps));
        let id = self.latents.var().as_tensor().id();
        let (of_latents, mut gradients) = gradients.partition(|parameter| parameter.var().as_tensor().id() == id);
        if let Some(limit) = turn.clip_norm {
            gradients.clip(limit)?;
        }
        self.optimizer.step(&gradients, turn.optimizer.learning_rate() * factor)?;
        if let (Some(optimizer), Some(rate)) = (&mut self.latents_optimizer, synthesis.latents_lr) {
            optimizer.step(&of_latents, rate * factor)?;
        }
        if let Some(copy) = &mut self.copy {
            copy.gradients = Some(match copy.gradients.take() {
                None => gradients,
                Some(sum) => sum.plus(gradients)?,
            });
        }
        Ok(())
    }

    fn images(&self, table: &Table<'_>, mode: ForwardMode) -> Result<FeatureMap> {
        let latents = if self.latents_optimizer.is_some() { self.latents.tensor(mode) } else { self.latents.value() };
        let input = GeneratorInput { latents: &latents, labels: self.labels.as_ref() };
        table.generator.forward.forward(&input, mode)
    }

    /// The images as the classifiers see them in this step.
    fn transformed(
        &self,
        images: &FeatureMap,
        transforms: Transforms,
        normalization: &Normalization,
        draws: &mut dyn Draws,
    ) -> Result<FeatureMap> {
        let Transforms { crop, roll: limit, flip } = transforms;
        let mut seen = images.clone();
        if limit > 0 {
            seen = roll(&seen, draws.roll(limit, flip, self.number, self.step))?;
        }
        let augmentation = Augmentation { crop, flip: flip && limit == 0 };
        if augmentation != Augmentation::default() {
            let shifts = draws.crops(augmentation, seen.batch(), self.number, self.step);
            let black: Vec<_> =
                normalization.mean.iter().zip(&normalization.std).map(|(mean, std)| -mean / std).collect();
            seen = crop_and_flip(&seen, &shifts, &black)?;
        }
        Ok(seen)
    }

    /// The images that are kept, and the generator as it was where the steps were on a copy.
    pub fn finish(self, turn: &Turn, table: &Table<'_>) -> Result<Finished> {
        let images = match (settings(turn)?.keep, &self.best) {
            (KeptImages::Best, Some(best)) => best.images.clone(),
            _ => copied(&self.images(table, ForwardMode::train_frozen())?)?,
        };
        let outer_gradients = match self.copy {
            None => None,
            Some(copy) => {
                table.generator.weights.load(&copy.start)?;
                copy.gradients
            }
        };
        Ok(Finished { images, labels: self.labels, statistics: self.statistics, outer_gradients })
    }

    /// All that its later steps depend on, but for what is drawn by its number.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let scalar = |number: f64| Tensor::new(number, &Device::Cpu);
        let mut state = BTreeMap::from([("step".to_owned(), scalar(self.step as f64)?)]);
        state.insert("latents".to_owned(), self.latents.value().copy()?);
        state.extend(prefixed("optimizer", self.optimizer.state()?));
        state.extend(named("statistics", &self.statistics));
        if let Some(loss) = self.last_loss {
            state.insert("last_loss".to_owned(), scalar(loss)?);
        }
        if let Some(optimizer) = &self.latents_optimizer {
            state.extend(prefixed("latents_optimizer", optimizer.state()?));
        }
        if let Some(Copy { start, gradients }) = &self.copy {
            state.extend(prefixed("start", start.clone()));
            let sums = gradients.iter().flat_map(Gradients::iter);
            let sums = sums.map(|(parameter, sum)| (parameter.name().to_owned(), sum.clone()));
            state.extend(prefixed("gradients", sums.collect()));
        }
        if let Some(Best { loss, images }) = &self.best {
            state.insert("best_loss".to_owned(), scalar(*loss)?);
            state.insert("best_images".to_owned(), images.to_nchw()?);
        }
        Ok(state)
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, device: &Device) -> Result<()> {
        let get =
            |name: &str| state.get(name).ok_or_else(|| Error::new(format!("`{name}` of the synthesis is missing")));
        let scalar = |tensor: &Tensor| Ok::<_, Error>(tensor.to_device(&Device::Cpu)?.to_scalar::<f64>()?);
        self.step = scalar(get("step")?)? as usize;
        self.last_loss = state.get("last_loss").map(scalar).transpose()?;
        self.latents.var().set(&get("latents")?.to_device(self.latents.var().device())?)?;
        self.optimizer.restore(&part("optimizer", state))?;
        self.statistics = from_named("statistics", state, device)?;
        if let Some(optimizer) = &mut self.latents_optimizer {
            optimizer.restore(&part("latents_optimizer", state))?;
        }
        if let Some(copy) = &mut self.copy {
            copy.start = part("start", state);
            let sums = part("gradients", state);
            let sum = |parameter: &Parameter| {
                let sum = sums.get(parameter.name())?;
                Some(sum.to_device(device).map(|sum| (parameter.clone(), sum)))
            };
            let sums = self.parameters.iter().filter_map(sum).collect::<Result<Vec<_>, _>>()?;
            copy.gradients = (!sums.is_empty()).then(|| Gradients::from_entries(sums));
        }
        if let Some(loss) = state.get("best_loss") {
            let images = FeatureMap::from_nchw(&get("best_images")?.to_device(device)?)?;
            self.best = Some(Best { loss: scalar(loss)?, images });
        }
        Ok(())
    }
}

/// The same images in memory of their own: they may be weights, which change in place.
fn copied(images: &FeatureMap) -> Result<FeatureMap> {
    FeatureMap::from_channels_last(&images.channels_last()?.detach().copy()?)
}

fn settings(turn: &Turn) -> Result<&Synthesis> {
    turn.synthesis.as_ref().ok_or_else(|| Error::new(format!("turn `{}` is no synthesis", turn.name)))
}
