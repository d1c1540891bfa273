//! What is the same for every network, whether it tells classes apart or makes images.

use zskt_api::{Error, ForwardMode, Parameter, Result, Role, Weights, WeightsDigest};

use super::attribution::PluginOfNode;
use super::boundary::Boundary;
use super::inspector::Looked;
use super::numbers::{first_not_finite, largest};

/// The boundary of a plugin that has made a network.
pub struct NetworkBoundary {
    /// Its boundary.
    pub boundary: Boundary,
    weights: Weights,
    /// In each mode, by [`mode_index`].
    looked: [Looked; 4],
}

impl NetworkBoundary {
    /// Takes in a network that was just made.
    ///
    /// # Errors
    /// When a weight is not finite, or a running variance is negative.
    pub fn new(boundary: Boundary, weights: Weights) -> Result<Self> {
        let maker = boundary.plugin;
        for weight in weights.iter() {
            if let Some((_, value)) = first_not_finite(&weight.value())? {
                return Err(made(maker, format_args!("the weight `{}` is not finite ({value})", weight.name())));
            }
            if let Some(variance) = smallest_variance(weight)?.filter(|variance| *variance < 0.0) {
                let told = format_args!("the running variance `{}` is negative ({variance})", weight.name());
                return Err(made(maker, told));
            }
        }
        Ok(Self { boundary, weights, looked: Default::default() })
    }

    /// Lets the network compute. At times it is looked whether that changes weights which it must not change in this mode.
    ///
    /// # Errors
    /// What the network returns, or that it changed them.
    pub fn forward<T>(&self, mode: ForwardMode, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let due = self.looked[mode_index(mode)].is_due(&self.boundary.inspector, self.boundary.is_cpu());
        if !due {
            return self.boundary.call(work);
        }
        // In training the running statistics move.
        let fixed = || self.weights.iter().filter(|w| !mode.uses_batch_statistics() || w.role() == Role::Parameter);
        let before = WeightsDigest::of(fixed())?;
        let result = self.boundary.call(work)?;
        match before.first_changed(fixed())? {
            None => Ok(result),
            Some(weight) => Err(Error::new(format!(
                "{} changed its weight `{}` in a forward pass in {} mode, which {}",
                self.boundary.plugin,
                weight.name(),
                if mode.uses_batch_statistics() { "training" } else { "evaluation" },
                if mode.uses_batch_statistics() { "changes running statistics alone" } else { "changes nothing" },
            ))),
        }
    }

    /// The error for an output that is not finite, with what is known of its cause.
    pub fn not_finite(&self, what: &str, value: f64, inputs: &str, inputs_are_finite: bool) -> Error {
        let plugin = self.boundary.plugin;
        match self.cause(inputs, inputs_are_finite) {
            Ok(cause) => Error::new(format!("{plugin} gave {what} that are not finite ({value}): {cause}")),
            Err(error) => error,
        }
    }

    fn cause(&self, inputs: &str, inputs_are_finite: bool) -> Result<String> {
        if !inputs_are_finite {
            return Ok(format!("the {inputs} that it was given are not finite"));
        }
        let (mut greatest, mut variance) = ((0.0, ""), String::new());
        for weight in self.weights.iter() {
            if let Some((_, value)) = first_not_finite(&weight.value())? {
                let advice = match self.lower_rate() {
                    Some(advice) => format!("training has diverged, and {advice}"),
                    None => "no node of the pipeline trains it".into(),
                };
                return Ok(format!("its weight `{}` has become {value}; {advice}", weight.name()));
            }
            if smallest_variance(weight)?.is_some_and(|variance| variance <= 0.0) {
                variance = format!(", and the running variance `{}` is 0 or less", weight.name());
            }
            let value = largest(&weight.value())?;
            if value > greatest.0 {
                greatest = (value, weight.name());
            }
        }
        let (value, name) = greatest;
        let facts =
            format!("the {inputs} and its weights are finite, the largest of these {value:.3e} (`{name}`){variance}");
        let fault = "it is a fault of the network";
        Ok(match self.lower_rate() {
            Some(advice) => format!("{facts}; if that is large, training has diverged, and {advice}; else {fault}"),
            None => format!("{facts}; if that is not large, {fault}"),
        })
    }

    /// What may help where the network is trained.
    fn lower_rate(&self) -> Option<String> {
        let node = self.boundary.plugin.node();
        // What a stage makes for itself is no network of the pipeline: the stage trains it.
        let trainers = self.boundary.inspector.trainers(node).unwrap_or_else(|| vec![node.to_owned()]);
        let trainers = trainers.iter().map(|node| format!("`{node}`")).collect::<Vec<_>>().join(", ");
        (!trainers.is_empty()).then(|| format!("a lower learning rate of {trainers} may help"))
    }
}

fn made(maker: PluginOfNode, what: std::fmt::Arguments<'_>) -> Error {
    let maker = maker.within_what_is_at_work();
    Error::new(format!("{maker} made a network that cannot compute: {what}"))
}

fn smallest_variance(weight: &Parameter) -> Result<Option<f64>> {
    if weight.role() != Role::Buffer
        || weight.name().rsplit('.').next() != Some("running_var")
        || weight.var().elem_count() == 0
    {
        return Ok(None);
    }
    Ok(Some(weight.value().to_dtype(candle_core::DType::F64)?.flatten_all()?.min(0)?.to_scalar()?))
}

fn mode_index(mode: ForwardMode) -> usize {
    usize::from(mode.uses_batch_statistics()) + 2 * usize::from(mode.tracks_weights())
}
