//! Metrics: what is measured, on real images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use serde_json::{Map, Value};

use super::{BuildContext, ClassifierNetwork, Dataset, MetricFiles, Picture, PredictionCache, Predictions, Score};
use crate::{Batch, CheckError, Error, ForwardMode, Inputs, Params, PortInfo, Ports, Result, Signatures};

/// Images looked at together.
const BATCH: usize = 128;

/// Images looked at together on an accelerator, which is idle between one batch and the next.
const ACCELERATOR_BATCH: usize = 512;

/// What a metric found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// The figures by name, shares as fractions; `report.json` has them under the node's name.
    pub figures: Map<String, Value>,
    /// One line for a person; control characters in it are shown, not obeyed.
    pub summary: String,
    /// Pictures by name.
    pub pictures: BTreeMap<String, Picture>,
    /// Those of the figures whose entries are of one class each.
    pub by_class: BTreeSet<String>,
}

impl Measurement {
    /// A line for a person, and no figures yet.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), ..Self::default() }
    }

    /// Adds a figure: a number, or what else JSON has. Beside numbers TensorBoard shows lists of numbers, each of up to 20 as a curve and
    /// more as a histogram, and lists of such lists, which are matrices, as pictures. A float that is NaN or infinite, of which JSON has
    /// none, becomes `null` there and in every file made of it, as does a figure that does not exist (the accuracy of a class without
    /// images): a reader that takes `null` for "no number" is right either way. The summary is the place to say why.
    #[must_use]
    pub fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a figure with an entry for each class, in the order of the classes: a list of numbers, or a matrix with a row for each class of
    /// the labels. Its entries are called as the classes where the dataset [names these](crate::Dataset::class_names), and the report's page
    /// shows it: a list as a table, a matrix of counts, with a column for each class that was predicted, as a confusion matrix.
    #[must_use]
    pub fn figure_by_class(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.by_class.insert(name.to_owned());
        self.figure(name, value)
    }

    /// Adds a picture, which is kept as `NAME.png` in the folder of the evaluation, and is in TensorBoard and in the report's page. A page
    /// is passed on more easily than a folder: pictures of a dataset's own images are better [files](MetricContext::files).
    #[must_use]
    pub fn picture(mut self, name: &str, picture: Picture) -> Self {
        self.pictures.insert(name.to_owned(), picture);
        self
    }
}

/// Where and when a metric is evaluated.
pub struct MetricContext {
    /// The node's name, device, precision and random streams.
    pub build: BuildContext,
    /// The stage whose network is measured, while it trains or when it is done; `None` where no stage leads to the metric.
    pub stage: Option<String>,
    /// Batches of that stage that are done; 0 without one.
    pub batch: usize,
    /// Where files go.
    pub files: MetricFiles,
    /// Set when the user asked to stop; a long evaluation looks at it between batches.
    pub interrupted: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What classifiers make of datasets, for all metrics of the run.
    pub prediction_cache: PredictionCache,
}

impl MetricContext {
    /// For an evaluation outside of a run, as in a test: after no stage, with files below `folder`.
    pub fn alone(build: BuildContext, folder: &Path) -> Self {
        let files = MetricFiles::new(folder.join(&build.node), "start");
        let (interrupted, prediction_cache) = (Arc::new(|| false), PredictionCache::default());
        Self { build, stage: None, batch: 0, files, interrupted, prediction_cache }
    }

    /// What a classifier makes of a dataset in evaluation mode, its images not augmented. It is computed once for all metrics that ask while
    /// the weights stay what they are.
    ///
    /// # Errors
    /// [`Error::interrupted`] when the user asked to stop.
    pub fn predictions(
        &self,
        network: &Arc<ClassifierNetwork>,
        dataset: &Arc<dyn Dataset>,
    ) -> Result<Arc<Predictions>> {
        self.prediction_cache.get_or_make(network, dataset, || {
            let (mut logits, mut labels) = (Vec::new(), Vec::new());
            self.each_batch(dataset.as_ref(), |batch| {
                logits.push(network.forward.forward(&batch.images, ForwardMode::eval())?.logits.detach());
                labels.push(batch.labels);
                Ok(true)
            })?;
            Ok(Predictions { logits: Tensor::cat(&logits, 0)?, labels: Tensor::cat(&labels, 0)? })
        })
    }

    /// Calls `look` with each batch of a dataset, in order and not augmented, until it says that it has seen enough.
    ///
    /// # Errors
    /// Those of `look`; [`Error::interrupted`] when the user asked to stop.
    pub fn each_batch(&self, dataset: &dyn Dataset, mut look: impl FnMut(Batch) -> Result<bool>) -> Result<()> {
        let BuildContext { device, precision, .. } = &self.build;
        let count = dataset.signature().images;
        let batch = if device.is_cpu() { BATCH } else { ACCELERATOR_BATCH };
        for start in (0..count).step_by(batch) {
            if (self.interrupted)() {
                return Err(Error::interrupted());
            }
            let indices: Vec<usize> = (start..(start + batch).min(count)).collect();
            if !look(dataset.batch(&indices, None, precision.dtype(), device)?)? {
                break;
            }
        }
        Ok(())
    }
}

/// A plugin that measures.
///
/// ```
/// use std::sync::Arc;
///
/// use zskt_api::candle_core::DType;
/// use zskt_api::{ClassifierNetwork, Dataset, Measurement, Metric, MetricContext, Result, params, ports};
///
/// params! {
///     /// The largest logit of a network on a dataset.
///     pub struct LargestLogit {}
/// }
///
/// ports! {
///     /// What is measured on what.
///     pub struct LargestLogitInputs {
///         /// The network to measure.
///         pub classifier: Arc<ClassifierNetwork>,
///         /// The images to measure it on.
///         pub dataset: Arc<dyn Dataset>,
///     }
/// }
///
/// impl Metric for LargestLogit {
///     type Inputs = LargestLogitInputs;
///
///     fn evaluate(&self, inputs: &LargestLogitInputs, context: &MetricContext) -> Result<Measurement> {
///         let predictions = context.predictions(&inputs.classifier, &inputs.dataset)?;
///         let largest = predictions.logits.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
///         Ok(Measurement::new(format!("no logit above {largest:.2}")).figure("largest_logit", largest))
///     }
/// }
///
/// zskt_api::export! { reads: none; metric: LargestLogit }
/// # fn main() {}
/// ```
pub trait Metric: Params + Send + Sync + 'static {
    /// The struct of its inputs, declared with [`ports!`](crate::ports).
    type Inputs: Ports;

    /// What is wrong with what arrives; by default, classifiers must take the images and all class counts must agree.
    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        inputs.check_compatible(&Self::Inputs::ports())
    }

    /// Whether it is cheap enough to be evaluated again and again while a stage trains, not only at its end.
    fn during_stages(&self) -> bool {
        true
    }

    /// The figure by which the best weights of a stage can be chosen (`keep: Best("…")`), and whether it is better when it is larger
    /// or smaller. It is a number or `null` in every measurement. Without one, stages cannot choose by this metric.
    fn score(&self) -> Option<Score> {
        None
    }

    /// The names of all numbers that it may report, also of those that are not in every measurement; within an object their full names
    /// (`errors.mean`). Lists have none. A pipeline that expects another (`expect: {"accuracy.topp1": …}`) is refused before it runs; without
    /// an answer that is found at the end of the run.
    fn figures(&self, _inputs: &Signatures) -> Option<Vec<&'static str>> {
        None
    }

    /// Measures.
    ///
    /// # Errors
    /// [`Error::interrupted`](crate::Error::interrupted) when the user asked to stop.
    fn evaluate(&self, inputs: &Self::Inputs, context: &MetricContext) -> Result<Measurement>;
}

/// A metric whose inputs are no longer part of its type: what the graph holds.
pub trait MetricNode: Send + Sync {
    /// [`Metric::Inputs`], as the graph checks them.
    fn ports(&self) -> Vec<PortInfo>;
    /// See [`Metric::check`].
    fn check(&self, inputs: &Signatures) -> Vec<CheckError>;
    /// See [`Metric::during_stages`].
    fn during_stages(&self) -> bool;
    /// See [`Metric::score`].
    fn score(&self) -> Option<Score>;
    /// See [`Metric::figures`].
    fn figures(&self, inputs: &Signatures) -> Option<Vec<&'static str>>;
    /// See [`Metric::evaluate`].
    ///
    /// # Errors
    /// Also when the inputs are of other types than declared, which the check before a run excludes.
    fn evaluate(&self, inputs: Inputs, context: &MetricContext) -> Result<Measurement>;
}

impl<T: Metric> MetricNode for T {
    fn ports(&self) -> Vec<PortInfo> {
        T::Inputs::ports()
    }
    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        Metric::check(self, inputs)
    }
    fn during_stages(&self) -> bool {
        Metric::during_stages(self)
    }
    fn score(&self) -> Option<Score> {
        Metric::score(self)
    }
    fn figures(&self, inputs: &Signatures) -> Option<Vec<&'static str>> {
        Metric::figures(self, inputs)
    }
    fn evaluate(&self, inputs: Inputs, context: &MetricContext) -> Result<Measurement> {
        Metric::evaluate(self, &T::Inputs::take(inputs)?, context)
    }
}
