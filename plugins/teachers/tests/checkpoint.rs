//! The plugin: an architecture takes its weights from a file.

use std::collections::HashMap;
use std::path::Path;

use zskt_api::candle_core::{Device, Tensor, safetensors};
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap,
    ForwardMode, ImageShape, Init, Name, OutputShape, Params, Precision, RandomStreams, Result, Span, TeacherSource,
    Value, ValueKind, export, params,
};
use zskt_teachers::Checkpoint;

params! {
    /// A network with the weights that the tests have at hand.
    pub struct Tiny {
        /// The length of its weights.
        pub length: usize,
    }
}

export! { architecture: Tiny }

impl ClassifierShape for Tiny {
    fn output_shape(&self, _: ImageShape) -> Result<OutputShape, CheckError> {
        Ok(OutputShape { classes: self.length, activations: Vec::new() })
    }

    fn classes(&self) -> usize {
        self.length
    }
}

struct Silent;

impl Classifier for Silent {
    fn forward(&self, images: &FeatureMap, _: ForwardMode) -> Result<ClassifierOutput> {
        Ok(ClassifierOutput { logits: images.flatten()?, activations: Vec::new() })
    }
}

impl Architecture for Tiny {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let bn = builder.at("bn");
        bn.parameter("weight", &[self.length], Init::Constant(1.0))?;
        bn.buffer("running_mean", &[self.length], 0.0)?;
        bn.counter("num_batches_tracked")?;
        Ok(Box::new(Silent))
    }
}

/// A value as a pipeline would have it.
fn value(form: ValueKind) -> Value {
    Value { span: Span::default(), kind: form }
}

fn named(name: &str, fields: Vec<(&str, Value)>) -> Value {
    let text = |text: &str| Name { span: Span::default(), text: text.to_string() };
    let fields = fields.into_iter().map(|(field, value)| (text(field), value)).collect();
    value(ValueKind::Named { name: Some(text(name)), fields, items: Vec::new() })
}

fn checkpoint(length: i128, path: &Path, key: Option<&str>) -> Checkpoint {
    let text = |text: &str| value(ValueKind::Text(text.to_string()));
    let model = named("Tiny", vec![("length", value(ValueKind::Integer(length)))]);
    let mut fields = vec![("model", model), ("path", text(path.to_str().unwrap()))];
    fields.extend(key.map(|key| ("key", text(key))));
    let mut problems = Vec::new();
    Checkpoint::read(&named("Checkpoint", fields), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

fn context() -> BuildContext {
    BuildContext {
        node: "teacher".to_string(),
        device: Device::Cpu,
        precision: Precision::F64,
        streams: RandomStreams::new(0),
    }
}

/// A file with a tensor of two numbers under each name.
fn file(names: &[&str]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let tensor = Tensor::new(&[1_f32, 2.0], &Device::Cpu).unwrap();
    let tensors: HashMap<_, _> = names.iter().map(|name| (*name, tensor.clone())).collect();
    safetensors::save(&tensors, file.path()).unwrap();
    file
}

#[test]
fn weights_arrive_in_the_networks_precision() {
    // As files from before `num_batches_tracked` have it.
    let file = file(&["bn.weight", "bn.running_mean"]);
    let checkpoint = checkpoint(2, file.path(), None);
    checkpoint.check().unwrap();
    assert_eq!(checkpoint.classes(), 2);
    assert_eq!(checkpoint.files(), [file.path()]);

    let network = checkpoint.load(&context()).unwrap();
    assert_eq!(network.name, "teacher");
    let weights = network.weights.snapshot().unwrap();
    assert_eq!(weights["bn.weight"].to_vec1::<f64>().unwrap(), [1.0, 2.0]);
    assert_eq!(weights["bn.num_batches_tracked"].to_scalar::<i64>().unwrap(), 0);
}

#[test]
fn every_difference_is_in_one_error() {
    let file = file(&["bn.weight", "bn.bias", "fc\x1b[2J.weight"]);
    let checkpoint = checkpoint(3, file.path(), None);
    let fault = checkpoint.check().unwrap_err();
    let message = format!("the weights in `{}` do not fit the model: 4 differences", file.path().display());
    let help = "give the model the parameters it was trained with
  bn.weight: expected shape [3], found [2]
  bn.running_mean: missing, expected shape [3]
  bn.bias: not part of the network, has shape [2]
  fc\\u{1b}[2J.weight: not part of the network, has shape [2]";
    assert_eq!((fault.parameter.as_deref(), fault.message.as_str()), (Some("path"), message.as_str()));
    assert_eq!(fault.help.as_deref(), Some(help));

    let error = checkpoint.load(&context()).err().unwrap();
    assert_eq!(error.to_string(), format!("{message}; {help}"));
}

#[test]
fn a_fault_names_the_parameter() {
    let missing = checkpoint(2, Path::new("/no/such/file"), None).check().unwrap_err();
    let expected = CheckError::parameter("path", "cannot take weights from `/no/such/file`: there is no such file")
        .help("relative paths start at the working directory");
    assert_eq!(missing, expected);

    let file = file(&["bn.weight"]);
    let key = checkpoint(2, file.path(), Some("state_dcit")).check().unwrap_err();
    let path = file.path().display();
    let message = format!("cannot take weights from `{path}`: it has no state dict under the key `state_dcit`");
    let help = "its tensors are not wrapped in anything: leave `key` out";
    assert_eq!(key, CheckError::parameter("key", message).help(help));
}
