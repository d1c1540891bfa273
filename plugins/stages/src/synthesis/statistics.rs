//! Moving averages of what the teacher's batch norms are given, from synthesis to synthesis.

use std::collections::BTreeMap;

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::nn::BatchNormInput;
use zskt_api::{Error, Result};

/// Mean and variance of one batch norm's input, each `[C]`.
pub type Moments = [Tensor; 2];

/// The averages, and how fast they move.
pub struct MovingStatistics {
    momentum: Option<f64>,
    /// Of each batch norm; nothing before the first synthesis is over.
    averages: Option<Vec<Moments>>,
}

impl MovingStatistics {
    /// None yet. Without a momentum there will be none.
    pub fn new(momentum: Option<f64>) -> Self {
        Self { momentum, averages: None }
    }

    /// Whether there will be any.
    pub fn are_wanted(&self) -> bool {
        self.momentum.is_some()
    }

    /// Puts the averages with the batch's own part into the place of the batch's statistics. Gradients flow through that part.
    pub fn blend(&self, inputs: &mut [BatchNormInput]) -> Result<()> {
        let (Some(momentum), Some(averages)) = (self.momentum, &self.averages) else { return Ok(()) };
        for (input, [mean, variance]) in inputs.iter_mut().zip(averages) {
            input.mean = moved(mean, &input.mean, momentum)?;
            input.variance = moved(variance, &input.variance, momentum)?;
        }
        Ok(())
    }

    /// Moves them on by the statistics of a synthesis' last step.
    pub fn remember(&mut self, last: Vec<Moments>) -> Result<()> {
        let Some(momentum) = self.momentum else { return Ok(()) };
        self.averages = Some(match self.averages.take() {
            None => last,
            Some(averages) => {
                let pairs = averages.iter().zip(&last);
                let moved = pairs.map(|([mean, variance], [last_mean, last_variance])| {
                    Ok([moved(mean, last_mean, momentum)?, moved(variance, last_variance, momentum)?])
                });
                moved.collect::<Result<_>>()?
            }
        });
        Ok(())
    }

    /// The averages by name.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.averages.iter().flat_map(|averages| named("average", averages)).collect()
    }

    /// Continues from saved averages.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, device: &Device) -> Result<()> {
        let averages = from_named("average", state, device)?;
        self.averages = (!averages.is_empty()).then_some(averages);
        Ok(())
    }
}

fn moved(average: &Tensor, now: &Tensor, momentum: f64) -> Result<Tensor> {
    Ok(((average * momentum)? + (now * (1.0 - momentum))?)?)
}

/// Moments under names that say which batch norm they are of.
pub fn named(what: &str, moments: &[Moments]) -> BTreeMap<String, Tensor> {
    let each = |(index, [mean, variance]): (usize, &Moments)| {
        [(format!("{what}.{index}.mean"), mean.clone()), (format!("{what}.{index}.variance"), variance.clone())]
    };
    moments.iter().enumerate().flat_map(each).collect()
}

/// The moments that are saved under such names.
pub fn from_named(what: &str, state: &BTreeMap<String, Tensor>, device: &Device) -> Result<Vec<Moments>> {
    let get = |index: usize, which: &str| {
        let name = format!("{what}.{index}.{which}");
        let found = state.get(&name).ok_or_else(|| Error::new(format!("`{name}` is missing")))?;
        Ok::<_, Error>(found.to_device(device)?)
    };
    let count = (0..).take_while(|index| state.contains_key(&format!("{what}.{index}.mean"))).count();
    (0..count).map(|index| Ok([get(index, "mean")?, get(index, "variance")?])).collect()
}
