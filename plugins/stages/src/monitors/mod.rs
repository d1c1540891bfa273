//! What goes wrong in a training that goes on all the same: it is looked at every now and then, and told.
//!
//! Losses and gradient norms that are not finite need no look: they end the run where they are read.

mod beliefs;
mod class_entropy;
mod weight_change;

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::{ClassifierNetwork, Error, FeatureMap, LoggedScalar, Result, StageContext, StageState, choice};

use beliefs::Beliefs;
use class_entropy::ClassEntropy;
use weight_change::WeightsBefore;

use crate::gradient_reach::{GradientReach, warnings};

/// Looks in a row that must agree: a single one may be chance.
const IN_A_ROW: u32 = 3;
/// What a stage's state calls the monitors'. It has no point, and the names of all turns' tensors have one.
const STATE: &str = "monitors";
/// What the figures call those whose beliefs they are about.
const PLAYERS: [&str; 2] = ["teacher", "student"];

choice! {
    /// What a warning does.
    pub enum OnWarning {
        /// It is told, and training goes on.
        Continue,
        /// It is told, and ends the run as a failure.
        Stop,
    }
}

/// How often a stage looks, and what follows; the meaning is documented there.
pub struct MonitorOptions {
    pub every: Option<usize>,
    pub on_warning: OnWarning,
}

/// The monitors of a stage.
pub struct Monitors<'a> {
    options: &'a MonitorOptions,
    collapsed: Streak,
    still: Streak,
}

impl<'a> Monitors<'a> {
    /// Goes on from the state of a stage, or begins.
    pub fn start(options: &'a MonitorOptions, resumed: Option<&StageState>) -> Result<Self> {
        let counts = resumed.and_then(|state| state.tensors.get(STATE)).map(Tensor::to_vec1::<u32>).transpose()?;
        let count =
            |index: usize| Streak(counts.as_ref().and_then(|counts| counts.get(index)).copied().unwrap_or_default());
        Ok(Self { options, collapsed: count(0), still: count(1) })
    }

    /// What a resumed stage must know of them.
    pub fn state(&self) -> Result<(String, Tensor)> {
        Ok((STATE.to_owned(), Tensor::new(&[self.collapsed.0, self.still.0], &Device::Cpu)?))
    }

    /// Prepares to look at a batch, if it is one to look at; `batch` counts from 1.
    pub fn before(&self, batch: usize, student: &ClassifierNetwork) -> Result<Option<WeightsBefore>> {
        let due = self.options.every.is_some_and(|every| batch.is_multiple_of(every));
        due.then(|| WeightsBefore::take(&student.weights)).transpose()
    }

    /// Looks at the `student` after a batch, and at images that its generator makes, as its teacher and it see them. It is judged by its
    /// movement only if it `learns` in this batch.
    ///
    /// # Errors
    /// When a warning is to end the run.
    pub fn after(
        &mut self,
        batch: usize,
        before: &WeightsBefore,
        learns: bool,
        student: &ClassifierNetwork,
        made: Option<(&ClassifierNetwork, FeatureMap)>,
        context: &mut StageContext<'_>,
    ) -> Result<()> {
        let change = before.change()?;
        let beliefs = made.map(|(teacher, images)| -> Result<_> {
            Ok([Beliefs::of(teacher, &images)?, Beliefs::of(student, &images)?])
        });
        let beliefs = beliefs.transpose()?;
        let entropy = beliefs.as_ref().map(|[teacher, _]| ClassEntropy::of(teacher));
        let mut figures = vec![LoggedScalar::new("weight_change", change.0)];
        figures.extend(entropy.iter().map(|entropy| LoggedScalar::new("class_entropy", entropy.nats())));
        figures.extend(beliefs.iter().flatten().zip(PLAYERS).map(|(beliefs, player)| beliefs.confidence(player)));
        context.observer.monitor(batch, &figures)?;
        if let Some(beliefs) = &beliefs {
            let of_both = beliefs.iter().zip(PLAYERS).flat_map(|(beliefs, player)| beliefs.distributions(player));
            context.observer.distributions(batch, &of_both.collect::<Vec<_>>())?;
        }
        let still = self.still.note(learns.then(|| change.is_still())).then(|| change.warning());
        let collapsed = self.collapsed.note(entropy.as_ref().map(ClassEntropy::is_collapsed));
        let collapsed = entropy.filter(|_| collapsed).map(|entropy| entropy.warning());
        collapsed.into_iter().chain(still).try_for_each(|warning| self.warn(batch, &warning, context))
    }

    /// Warns of what the first updates of turns did not reach, which needs no look.
    ///
    /// # Errors
    /// When a warning is to end the run.
    pub fn begun(&self, batch: usize, turns: &[GradientReach], context: &mut StageContext<'_>) -> Result<()> {
        warnings(turns).iter().try_for_each(|warning| self.warn(batch, warning, context))
    }

    fn warn(&self, batch: usize, warning: &str, context: &mut StageContext<'_>) -> Result<()> {
        context.observer.warn(batch, warning)?;
        match self.options.on_warning {
            OnWarning::Continue => Ok(()),
            OnWarning::Stop => Err(Error::new(format!("{warning} (batch {batch}; `on_warning: Stop` ends the run)"))),
        }
    }
}

/// How many looks in a row have found something.
struct Streak(u32);

impl Streak {
    /// Takes note of a look, and says whether it is the one to warn at. What cannot be judged changes nothing.
    fn note(&mut self, found: Option<bool>) -> bool {
        match found {
            Some(true) => self.0 = self.0.saturating_add(1),
            Some(false) => self.0 = 0,
            None => return false,
        }
        self.0 == IN_A_ROW
    }
}

#[cfg(test)]
mod tests {
    use super::Streak;

    #[test]
    fn a_warning_comes_once_and_again_when_it_comes_back() {
        let mut streak = Streak(0);
        let looks = [true, true, false, true, true, true, true, true, false, true, true, true];
        let warned: Vec<_> = looks.iter().enumerate().filter(|(_, found)| streak.note(Some(**found))).collect();
        assert_eq!(warned.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [5, 11]);
        // What cannot be judged in between neither ends it nor counts.
        assert_eq!([Some(true), Some(true), None, Some(true)].map(|found| streak.note(found)), [false; 4]);
        streak.note(Some(false));
        assert_eq!(
            [Some(true), None, Some(true), Some(true)].map(|found| streak.note(found)),
            [false, false, false, true]
        );
    }
}
