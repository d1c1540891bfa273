//! What is written about a network: beside its weights, as Hugging Face and timm do it (`config.json`, `preprocessor_config.json`), or in
//! the metadata of a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{ErrorKind, Location, ReadError, printable};
use crate::weights_file::metadata;

/// Longer than what is written about any network.
const LONGEST: u64 = 16 << 20;

/// Longer than what metadata says of a network under one name.
const LONGEST_TEXT: usize = 64 << 10;

/// More classes than any network tells apart.
const MOST_CLASSES: usize = 1_000_000;

/// What PyTorch's batch norms add to the variance by default.
const USUAL_EPSILON: f64 = 1e-5;

/// What is written about a network. Nothing of it is needed to read the weights, so what is not as expected is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// What the network is called: timm's `architecture` (`resnet18`), the class in transformers
    /// (`ResNetForImageClassification`).
    pub architecture: Option<String>,
    /// What the classes are called, in their order.
    pub labels: Vec<String>,
    /// How many classes it tells apart.
    pub classes: Option<usize>,
    /// What is taken from each channel of images in 0 to 1.
    pub mean: Option<Vec<f64>>,
    /// What each channel is divided by then.
    pub std: Option<Vec<f64>>,
    /// Channels, height and width of its images.
    pub input_size: Option<[usize; 3]>,
    /// What its batch norms add to the variance, where that is not PyTorch's default.
    pub batch_norm_epsilon: Option<f64>,
}

/// The header of a safetensors file, but for its tensors.
#[derive(Default, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: Metadata,
}

/// What metadata says of a network: the architecture, and JSON in texts.
#[derive(Default, Deserialize)]
struct Metadata {
    architecture: Option<String>,
    classes: Option<String>,
    image: Option<String>,
    mean: Option<String>,
    std: Option<String>,
    batch_norm_eps: Option<String>,
}

impl Configuration {
    /// What the header of a safetensors file says in its metadata.
    pub(crate) fn of_header(header: &[u8]) -> Self {
        let Header { metadata } = serde_json::from_slice(header).unwrap_or_default();
        let short = |text: Option<String>| text.filter(|text| text.len() <= LONGEST_TEXT);
        let parsed = |text: Option<String>| serde_json::from_str(&short(text)?).ok();
        let entries = [
            ("architecture", short(metadata.architecture).map(Value::String)),
            ("num_classes", parsed(metadata.classes)),
            ("input_size", parsed(metadata.image)),
            ("mean", parsed(metadata.mean)),
            ("std", parsed(metadata.std)),
            ("batch_norm_eps", parsed(metadata.batch_norm_eps)),
        ];
        let mut configuration = Self::default();
        configuration.add(&entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect());
        configuration
    }

    /// Adds what a file says.
    pub(crate) fn read(&mut self, path: &Path) -> Result<(), ReadError> {
        let failed = |kind| ReadError { path: path.to_path_buf(), kind };
        let length = metadata(path)?.len();
        if length > LONGEST {
            let what = format!("a configuration of {length} bytes, where {LONGEST} are the most");
            return Err(failed(ErrorKind::Excessive { location: Location::from(0), what }));
        }
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST).read_to_end(&mut text))
            .map_err(|error| failed(error.into()))?;
        // Python writes NaN and infinities into what it calls JSON, but not into these files.
        let value: Value = serde_json::from_slice(&text).map_err(|error| {
            failed(ErrorKind::Damaged {
                location: Location::from(0),
                what: format!("it is not JSON ({})", printable(&error.to_string())),
            })
        })?;
        if let Value::Object(entries) = &value {
            self.add(entries);
        }
        Ok(())
    }

    fn add(&mut self, entries: &Map<String, Value>) {
        // timm: {architecture, num_classes, label_names, pretrained_cfg: {mean, std, input_size}}.
        let pretrained = entries.get("pretrained_cfg").and_then(Value::as_object).unwrap_or(entries);
        let first = |value: &Value| value.as_array().and_then(|all| all.first()?.as_str().map(str::to_owned));
        set(&mut self.architecture, entries.get("architecture").and_then(|name| name.as_str().map(str::to_owned)));
        // transformers: {architectures, model_type, id2label, num_channels}, {image_mean, image_std, size, do_rescale}.
        set(&mut self.architecture, entries.get("architectures").and_then(first));
        set(&mut self.classes, count(entries.get("num_classes")));
        for labels in [entries.get("label_names"), pretrained.get("label_names"), entries.get("id2label")] {
            let labels = labels.map(names).unwrap_or_default();
            if self.labels.is_empty() && !labels.is_empty() {
                self.labels = labels;
            }
        }
        let labelled = Some(self.labels.len()).filter(|count| *count > 0);
        set(&mut self.classes, count(pretrained.get("num_classes")).or(labelled));
        let normalizes = entries.get("do_normalize").and_then(Value::as_bool).unwrap_or(true);
        for (ours, timms, theirs) in [(&mut self.mean, "mean", "image_mean"), (&mut self.std, "std", "image_std")] {
            set(ours, numbers(pretrained.get(timms)));
            set(ours, numbers(entries.get(theirs)).filter(|_| normalizes));
        }
        // Its processor takes pixels as they are, from 0 to 255.
        let of_bytes = entries.get("do_rescale").and_then(Value::as_bool) == Some(false);
        if of_bytes && self.mean.iter().flatten().any(|mean| *mean > 1.0) {
            self.mean
                .iter_mut()
                .chain(&mut self.std)
                .flatten()
                .for_each(|number| *number = (*number / 255.0 * 1e6).round() / 1e6);
        }
        // timm: {model_args: {bn_eps}}. transformers' MobileNets call that of their batch norms `layer_norm_eps`; other networks, which have
        // layer norms, are none of those that are built here.
        let arguments = entries.get("model_args").and_then(Value::as_object);
        for name in ["batch_norm_eps", "bn_eps", "norm_eps", "layer_norm_eps"] {
            let stated = |entries: &Map<String, Value>| entries.get(name).and_then(Value::as_f64);
            let found = stated(entries).or_else(|| arguments.and_then(stated));
            // Not to the last digit: some have passed through f32.
            let is_other =
                |epsilon: &f64| (0.0..=1.0).contains(epsilon) && (epsilon / USUAL_EPSILON - 1.0).abs() > 1e-6;
            set(&mut self.batch_norm_epsilon, found.filter(is_other));
        }
        let size = pretrained.get("input_size").and_then(Value::as_array).and_then(|sizes| {
            let sizes: Vec<_> = sizes.iter().filter_map(|size| count(Some(size))).collect();
            sizes.try_into().ok()
        });
        set(&mut self.input_size, size.or_else(|| of_processor(entries)));
    }
}

fn set<T>(ours: &mut Option<T>, found: Option<T>) {
    if ours.is_none() {
        *ours = found;
    }
}

fn count(value: Option<&Value>) -> Option<usize> {
    value?.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| (1..=MOST_CLASSES).contains(count))
}

fn numbers(value: Option<&Value>) -> Option<Vec<f64>> {
    let numbers: Option<Vec<f64>> = value?.as_array()?.iter().map(Value::as_f64).collect();
    numbers.filter(|numbers| !numbers.is_empty() && numbers.len() <= 1024)
}

/// A list of names, or an object from numbers to names.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        Value::Object(names) => {
            let numbered: BTreeMap<usize, &str> =
                names.iter().filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?))).collect();
            let whole = numbered.keys().copied().eq(0..names.len());
            if whole { numbered.into_values().map(str::to_owned).collect() } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// The size to which transformers' processors bring an image of three channels: `size` or `crop_size`, a number or an object.
fn of_processor(entries: &Map<String, Value>) -> Option<[usize; 3]> {
    let size = |value: &Value| match value {
        Value::Object(size) => {
            let edge = size.get("shortest_edge");
            Some((count(size.get("height").or(edge))?, count(size.get("width").or(edge))?))
        }
        value => count(Some(value)).map(|size| (size, size)),
    };
    let cropped = entries.get("do_center_crop").and_then(Value::as_bool).unwrap_or(false);
    let crop = entries.get("crop_size").filter(|_| cropped);
    let (height, width) = crop.or_else(|| entries.get("size")).and_then(size)?;
    Some([entries.get("image_mean").and_then(Value::as_array).map_or(3, Vec::len), height, width])
}
