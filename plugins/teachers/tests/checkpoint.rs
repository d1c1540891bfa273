//! The plugin: an architecture takes its weights from a file, wherever they lie in it and whatever they are called there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use zskt_api::candle_core::{Device, Tensor, safetensors};
use zskt_api::nn::{Activation, BatchNorm2d, Conv2d, Conv2dShape, Linear};
use zskt_api::testing::build_context;
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, Diagnostic,
    FeatureMap, ForwardMode, FoundWeights, ImageShape, Init, Name, NamedShapes, Normalization, OutputShape, Params,
    Precision, Recognized, Result, Span, StateDictPlace, TeacherSource, Value, ValueKind, WeightLayout, export, params,
};
use zskt_teachers::Checkpoint;

params! {
    /// A small network.
    pub struct Net {
        /// Classes it tells apart.
        pub classes: usize = 4,
    }
}

export! { architecture: Net }

impl ClassifierShape for Net {
    fn output_shape(&self, _: ImageShape) -> Result<OutputShape, CheckError> {
        Ok(OutputShape { classes: self.classes, activations: Vec::new() })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

struct Silent;

impl Classifier for Silent {
    fn forward(&self, images: &FeatureMap, _: ForwardMode) -> Result<ClassifierOutput> {
        Ok(ClassifierOutput { logits: images.flatten()?, activations: Vec::new() })
    }
}

impl Architecture for Net {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        let conv = |name: &str, input| {
            let shape = Conv2dShape { padding: 0, ..Conv2dShape::same(input, 2, 1) };
            Conv2d::without_bias(&builder.at(name), shape, Init::Constant(0.0))
        };
        conv("conv", 3)?;
        for block in 0..2 {
            conv(&format!("blocks.{block}.conv"), 2)?;
            BatchNorm2d::new(&builder.at(format!("blocks.{block}.bn")), 2, Activation::Relu)?;
        }
        Linear::new(&builder.at("fc"), 2, self.classes)?;
        Ok(Box::new(Silent))
    }

    fn layouts(&self) -> Vec<WeightLayout> {
        let pairs = [(r"^head\.", "fc."), (r"^stage\.(\d+)\.", "blocks.$1.")];
        let renames = pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec();
        vec![WeightLayout { source: "somebody/else", renames }]
    }

    fn recognize(weights: &NamedShapes) -> Option<Recognized> {
        let classes = *weights.get("fc.weight").filter(|_| weights.contains_key("blocks.1.conv.weight"))?.first()?;
        Some(Recognized { ron: format!("Net(classes: {classes})"), image_size: 1, assumptions: Vec::new() })
    }
}

/// A value as a pipeline would have it.
fn value(kind: ValueKind) -> Value {
    Value { span: Span::default(), kind }
}

fn text(text: &str) -> Value {
    value(ValueKind::Text(text.to_owned()))
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    value(ValueKind::List(items.into_iter().collect()))
}

fn named(name: &str, fields: Vec<(&str, Value)>) -> Value {
    let name_of = |text: &str| Name { span: Span::default(), text: text.to_string() };
    let fields = fields.into_iter().map(|(field, value)| (name_of(field), value)).collect();
    value(ValueKind::Named { name: Some(name_of(name)), fields, items: Vec::new() })
}

fn pairs(pairs: &[(&str, &str)]) -> Value {
    list(pairs.iter().map(|(from, to)| list([text(from), text(to)])))
}

/// A checkpoint with further parameters.
fn read(path: &Path, classes: usize, more: Vec<(&str, Value)>) -> Result<Checkpoint, Vec<Diagnostic>> {
    let model = named("Net", vec![("classes", value(ValueKind::Integer(classes as i128)))]);
    let mut fields = vec![("model", model), ("path", text(path.to_str().unwrap()))];
    fields.extend(more);
    let mut problems = Vec::new();
    Checkpoint::read(&named("Checkpoint", fields), &mut problems).ok_or(problems)
}

fn checkpoint(path: &Path, more: Vec<(&str, Value)>) -> Checkpoint {
    read(path, 4, more).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn context() -> BuildContext {
    build_context("teacher", Precision::F64)
}

/// The number that every weight has.
fn number(checkpoint: &Checkpoint) -> f64 {
    let weights = checkpoint.load(&context()).unwrap().weights.snapshot().unwrap();
    weights["fc.weight"].to_vec2::<f64>().unwrap()[0][0]
}

fn place(key: &str, prefix: &str) -> StateDictPlace {
    StateDictPlace { key: key.to_owned(), prefix: prefix.to_owned(), ..StateDictPlace::default() }
}

/// Where the network was found.
fn found(checkpoint: &Checkpoint) -> StateDictPlace {
    match checkpoint.weights_source().unwrap().unwrap().found {
        FoundWeights::StateDict(place) => place,
        FoundWeights::Onnx(origin) => panic!("{origin:?}"),
    }
}

/// The shapes of the network, and of whatever else.
fn shapes(more: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
    let net = Builder::shapes_of(|builder| Net { classes: 4 }.build(builder).map(drop)).unwrap();
    let more = more.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    net.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).chain(more).collect()
}

/// A file with ones under these names.
fn file(shapes: impl IntoIterator<Item = (String, Vec<usize>)>) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let ones = |shape: Vec<usize>| Tensor::ones(shape, zskt_api::candle_core::DType::F32, &Device::Cpu).unwrap();
    let tensors: HashMap<_, _> = shapes.into_iter().map(|(name, shape)| (name, ones(shape))).collect();
    safetensors::save(&tensors, file.path()).unwrap();
    file
}

fn renamed(rename: impl Fn(&str) -> String) -> tempfile::NamedTempFile {
    file(shapes(&[]).into_iter().map(|(name, shape)| (rename(&name), shape)))
}

fn refused(checkpoint: &Checkpoint) -> (String, String) {
    let fault = checkpoint.check().unwrap_err();
    (fault.message, fault.help.unwrap_or_default())
}

#[test]
fn weights_arrive_in_the_networks_precision() {
    // As files from before `num_batches_tracked` have it.
    let file = file(shapes(&[]));
    let checkpoint = checkpoint(file.path(), vec![]);
    checkpoint.check().unwrap();
    assert_eq!(checkpoint.classes(), 4);
    assert_eq!(checkpoint.files(), [file.path()]);
    assert_eq!(found(&checkpoint), StateDictPlace::default());

    let network = checkpoint.load(&context()).unwrap();
    assert_eq!(network.name, "teacher");
    let weights = network.weights.snapshot().unwrap();
    assert_eq!(weights["fc.bias"].to_vec1::<f64>().unwrap(), [1.0; 4]);
    assert_eq!(weights["blocks.0.bn.num_batches_tracked"].to_scalar::<i64>().unwrap(), 0);
}

/// Puts texts into a safetensors file, as exports of zskt have them.
fn add_metadata(path: &Path, metadata: &str) {
    let bytes = std::fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let header = header.replacen('{', &format!("{{\"__metadata__\":{metadata},"), 1);
    let parts = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), tensors];
    std::fs::write(path, parts.concat()).unwrap();
}

#[test]
fn what_a_file_says_of_its_images_is_taken_unless_the_pipeline_says_it() {
    let numbers = |number: f64| list((0..3).map(|_| value(ValueKind::Float(number))));
    let stated = || vec![("mean", numbers(0.5)), ("std", numbers(0.5))];
    let found = |more| {
        let file = file(shapes(&[]));
        add_metadata(file.path(), r#"{"format": "pt", "mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"}"#);
        let checkpoint = checkpoint(file.path(), more);
        checkpoint.check().unwrap();
        checkpoint.normalization()
    };
    let of_file = Normalization { mean: vec![0.1, 0.2, 0.3], std: vec![0.4, 0.5, 0.6] };
    assert_eq!(found(vec![]), Some(of_file));
    assert_eq!(found(stated()), Some(Normalization { mean: vec![0.5; 3], std: vec![0.5; 3] }));
    assert_eq!(checkpoint(file(shapes(&[])).path(), vec![]).normalization(), None);
}

#[test]
fn the_network_is_found_whatever_wraps_it() {
    let beside = |place, left_out: &[&str]| StateDictPlace {
        left_out: left_out.iter().map(|name| (*name).to_owned()).collect(),
        ..place
    };
    let cases = [
        ("lightning.ckpt", beside(place("state_dict", "net."), &["criterion.*"])),
        ("averaged.pth", beside(place("", "module.module."), &["n_averaged"])),
        ("whole.pth", place("net", "")),
        ("copies.pth", StateDictPlace { copies: vec!["best_state".into()], ..place("state_dict", "") }),
    ];
    for (name, expected) in cases {
        let checkpoint = checkpoint(&fixture(name), vec![]);
        assert_eq!(found(&checkpoint), expected, "{name}");
        assert_eq!(number(&checkpoint), 1.0, "{name}");
    }
    for prefix in ["module.", "_orig_mod.", "net.", "model.backbone.", "module._orig_mod.model."] {
        let file = renamed(|name| format!("{prefix}{name}"));
        assert_eq!(found(&checkpoint(file.path(), vec![])), place("", prefix));
    }
    let elsewhere = renamed(|name| format!("module.{}", name.replace("fc.", "head.").replace("blocks.", "stage.")));
    let expected = StateDictPlace { layout: Some("somebody/else".into()), ..place("", "module.") };
    let checkpoint = checkpoint(elsewhere.path(), vec![]);
    assert_eq!(found(&checkpoint), expected);
    let said = format!("`{}`, prefix `module.` taken off, names of somebody/else", elsewhere.path().display());
    assert_eq!(checkpoint.weights_source().unwrap().unwrap().to_string(), said);
}

#[test]
fn two_networks_that_fit_are_refused_with_both_names() {
    let cases = [
        ("kd.pth", "`model`, `teacher`", "choose one: `key: \"model\"`, or `key: \"teacher\"`"),
        (
            "teacher-student.ckpt",
            "`state_dict.teacher`, `state_dict.student`",
            "choose one: `key: \"state_dict.teacher\"`, or `key: \"state_dict.student\"`",
        ),
    ];
    for (name, places, help) in cases {
        let path = fixture(name);
        let message = format!("`{}` holds 2 networks that fit: {places}", path.display());
        assert_eq!(refused(&checkpoint(&path, vec![])), (message, help.to_owned()));
    }
    let chosen = |name, parameters| number(&checkpoint(&fixture(name), parameters));
    assert_eq!(chosen("kd.pth", vec![("key", text("model"))]), 1.0);
    assert_eq!(chosen("kd.pth", vec![("key", text("teacher"))]), 2.0);
    let both = "teacher-student.ckpt";
    assert_eq!(chosen(both, vec![("key", text("state_dict.student"))]), 2.0);
    assert_eq!(chosen(both, vec![("prefix", text("teacher."))]), 1.0);
    assert_eq!(chosen(both, vec![("prefix", text("student"))]), 2.0);
    assert_eq!(chosen(both, vec![("ignore", list([text("teacher.*")]))]), 2.0);

    // One around the other, as an average beside what it is the average of.
    let average = shapes(&[]).into_iter().map(|(name, shape)| (format!("ema.{name}"), shape));
    let around = file(shapes(&[]).into_iter().chain(average));
    let (message, help) = refused(&checkpoint(around.path(), vec![]));
    assert!(message.ends_with("holds 2 networks that fit: one that is not wrapped, `ema`"), "{message}");
    assert_eq!(help, "choose one: `ignore: [\"ema.*\"]`, or `key: \"ema\"`");
    for way in [("ignore", list([text("ema.*")])), ("key", text("ema"))] {
        checkpoint(around.path(), vec![way]).check().unwrap();
    }
}

#[test]
fn what_would_make_a_file_fit_is_tried_and_said() {
    let unused = [("module.sub_block1.weight".to_owned(), vec![4, 4]), ("module.sub_block1.bias".to_owned(), vec![4])];
    let wrapped = shapes(&[]).into_iter().map(|(name, shape)| (format!("module.{name}"), shape));
    let unused = file(wrapped.chain(unused));
    let (message, help) = refused(&checkpoint(unused.path(), vec![]));
    assert!(message.ends_with("do not fit the model: 2 differences to `module`"), "{message}");
    let expected = "it fits with `ignore: [\"sub_block1.*\"]`
this file holds `Net(classes: 4)` in `module`
  sub_block1.bias: not part of the network, has shape [4]
  sub_block1.weight: not part of the network, has shape [4, 4]";
    assert_eq!(help, expected);
    let ignoring = checkpoint(unused.path(), vec![("ignore", list([text("sub_block1.*")]))]);
    assert_eq!(found(&ignoring).left_out, ["module.sub_block1.*"]);
    checkpoint(unused.path(), vec![("ignore", list([text("module.sub_block1.*")]))]).check().unwrap();

    let suggested = |checkpoint: &Checkpoint| refused(checkpoint).1.lines().next().unwrap_or_default().to_owned();
    let caution = " (found by shapes and order: see whether the names mean the same)";
    let other = renamed(|name| format!("net.{}", name.replace("blocks.", "body.").replace("fc.", "classifier.")));
    let rename = [("^body[.]", "blocks."), ("^classifier[.]", "fc.")];
    let expected = format!(
        "it fits with `rename: [(\"{}\", \"{}\"), (\"{}\", \"{}\")]`{caution}",
        rename[0].0, rename[0].1, rename[1].0, rename[1].1
    );
    assert_eq!(suggested(&checkpoint(other.path(), vec![])), expected);
    checkpoint(other.path(), vec![("rename", pairs(&rename))]).check().unwrap();
    // A part of the way is gone already.
    let half = vec![("rename", pairs(&rename[..1]))];
    assert_eq!(suggested(&checkpoint(other.path(), half)), expected);

    // Layers by number, in the order of the network.
    let numbered = suggested(&checkpoint(&fixture("numbered.pth"), vec![]));
    let numbers = [
        ("0", "conv"),
        ("1", "blocks.0.conv"),
        ("2", "blocks.0.bn"),
        ("3", "blocks.1.conv"),
        ("4", "blocks.1.bn"),
        ("5", "fc"),
    ];
    let rename = numbers.map(|(number, layer)| (format!("^{number}[.]"), format!("{layer}.")));
    let rename: Vec<_> = rename.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let list: Vec<_> = rename.iter().map(|(from, to)| format!("({from:?}, {to:?})")).collect();
    assert_eq!(numbered, format!("it fits with `rename: [{}]`{caution}", list.join(", ")));
    assert_eq!(number(&checkpoint(&fixture("numbered.pth"), vec![("rename", pairs(&rename))])), 1.0);

    let hundred = read(&fixture("lightning.ckpt"), 100, vec![]).unwrap();
    assert_eq!(suggested(&hundred), "this file holds `Net(classes: 4)` in `state_dict.net`");
}

#[test]
fn what_batch_norms_add_to_the_variance_is_for_the_pipeline_to_say() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(file(shapes(&[])).path(), folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"model_args": {"bn_eps": 0.001}}"#).unwrap();
    let (message, help) = refused(&checkpoint(folder.path(), vec![]));
    assert!(message.contains("batch norms add 0.001 to the variance"), "{message}");
    assert_eq!(help, "write `batch_norm_eps: 0.001`");
    for epsilon in [1e-3, 1e-5] {
        let said = checkpoint(folder.path(), vec![("batch_norm_eps", value(ValueKind::Float(epsilon)))]);
        assert_eq!(said.check(), Ok(()));
        assert_eq!(said.batch_norm_epsilon(), epsilon);
    }
}

#[test]
fn a_key_or_prefix_that_leads_nowhere_says_what_does() {
    let both = fixture("teacher-student.ckpt");
    let (message, help) = refused(&checkpoint(&both, vec![("key", text("teacher"))]));
    assert!(message.ends_with("it has no state dict under the key `teacher`"), "{message}");
    let ways = ["it fits with `key: \"state_dict.teacher\"`", "it fits with `key: \"state_dict.student\"`"];
    assert!(ways.iter().all(|way| help.contains(way)), "{help}");
    let lightning = fixture("lightning.ckpt");
    let (message, help) = refused(&checkpoint(&lightning, vec![("prefix", text("model."))]));
    assert!(message.ends_with("has a name that begins with `model.`"), "{message}");
    assert!(help.starts_with("it fits without `prefix`"), "{help}");

    let fault = checkpoint(Path::new("/no/such/file"), vec![]).check().unwrap_err();
    let expected = CheckError::parameter("path", "cannot take weights from `/no/such/file`: there is no such file")
        .help("relative paths start at the working directory");
    assert_eq!(fault, expected);
}

#[test]
fn every_difference_is_in_one_error() {
    let odd = [("conv.weight", &[2, 3, 1, 1][..]), ("fc.bias", &[3]), ("fc\x1b[2J.weight", &[2])];
    let odd = file(odd.map(|(name, shape)| (name.to_owned(), shape.to_vec())));
    let checkpoint = checkpoint(odd.path(), vec![]);
    let (message, help) = refused(&checkpoint);
    assert_eq!(message, format!("the weights in `{}` do not fit the model: 13 differences", odd.path().display()));
    let begins = "give the model the parameters it was trained with
  blocks.0.conv.weight: missing, expected shape [2, 2, 1, 1]
  blocks.0.bn.weight: missing, expected shape [2]
";
    let ends = "
  fc.weight: missing, expected shape [4, 2]
  fc.bias: expected shape [4], found [3]
  fc\\u{1b}[2J.weight: not part of the network, has shape [2]";
    assert!(help.starts_with(begins) && help.ends_with(ends), "{help}");
    let error = checkpoint.load(&context()).err().unwrap();
    assert_eq!(error.to_string(), format!("{message}; {help}"));
}

#[test]
fn patterns_are_checked_where_they_are_written() {
    let problems = |field, value| read(Path::new("x.pth"), 4, vec![(field, value)]).err().unwrap();
    let messages = |field, value| problems(field, value).into_iter().map(|problem| problem.message).collect::<Vec<_>>();
    assert_eq!(
        messages("ignore", list([text("("), text("ok"), text("[")])),
        ["this is no pattern of names: unclosed group", "this is no pattern of names: unclosed character class",]
    );
    assert_eq!(
        messages("rename", pairs(&[("a(b)", "$1_c")])),
        [
            "this is no replacement of names: `$1_c` is no group of the pattern `a(b)`; write the first as `${1}`, and a dollar as `$$`",
        ]
    );
    assert_eq!(messages("rename", list([text("a")])), ["wrong type: expected (pattern, text), found the text \"a\""]);
}

#[test]
fn files_with_many_prefixes_are_compared_in_time() {
    // Each component is a wrapper: all of it is a group many times over, under a pattern that tries to take its time.
    let started = std::time::Instant::now();
    let deep = "a.".repeat(100);
    let many = (0..19_000).map(|number| (format!("{deep}{number}.weight"), vec![1]));
    let wrapped = shapes(&[("more.weight", &[1])]).into_iter().map(|(name, shape)| (format!("{deep}{name}"), shape));
    let slow = || vec![("rename", pairs(&[("(a*)*(a*)*b", "c"), ("([^.]*[.])*x", "y")]))];
    for file in [file(many.chain(shapes(&[]))), file(wrapped)] {
        let (message, _) = refused(&checkpoint(file.path(), slow()));
        assert!(message.contains("do not fit the model"), "{message}");
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
