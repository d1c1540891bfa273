//! Whole runs of small plans, with plugins made for the purpose.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::Tensor;
use serde_json::Value;
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, Classifier, ClassifierNetwork, ClassifierOutput, ClassifierShape,
    ClassifierSignature, Error, FeatureMap, ForwardMode, ImageShape, Init, LoggedScalar, Measurement, Metric,
    MetricContext, Network, NodeOutput, OutputShape, PluginInstance, PluginRegistration, PortType, Precision, Progress,
    Result, Signature, Signatures, Stage, StageContext, StageState, TeacherSource, Trainee, params, ports,
    standard_normal,
};

use super::engine::run_until;
use super::record::{Console, OutputMode};
use super::{Options, RunOutcome};
use crate::device_request::DeviceRequest;
use crate::plan::{DataFreeProof, Plan, PlanEdge, PlanNode};

params! {
    /// A classifier with one weight.
    pub struct Point {}
}

impl ClassifierShape for Point {
    fn output_shape(&self, _image: ImageShape) -> Result<OutputShape, CheckError> {
        Ok(OutputShape { classes: 2, activations: Vec::new() })
    }
    fn classes(&self) -> usize {
        2
    }
}

impl Architecture for Point {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        builder.parameter("at", &[3], Init::Normal { std: 1.0 })?;
        builder.counter("steps")?;
        Ok(Box::new(Self {}))
    }
}

impl Classifier for Point {
    fn forward(&self, images: &FeatureMap, _mode: ForwardMode) -> Result<ClassifierOutput> {
        Ok(ClassifierOutput { logits: images.flatten()?, activations: Vec::new() })
    }
}

params! {
    /// A point that was brought from elsewhere.
    pub struct Found {}
}

impl ClassifierShape for Found {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        Point {}.output_shape(image)
    }
    fn classes(&self) -> usize {
        2
    }
}

impl TeacherSource for Found {
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }
    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let builder = Builder::zeros(context.precision, &context.device);
        let forward = Point {}.build(&builder)?;
        Ok(Network { name: context.node.clone(), weights: builder.weights(), forward })
    }
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

params! {
    /// Moves a point at random, with momentum: what is lost of weights, momentum or randomness shows at the end.
    pub struct Walk {
        /// Steps.
        pub batches: usize,
        /// The step that panics.
        pub panic_at: usize = 0,
    }
}

ports! {
    /// What walks.
    pub struct WalkInputs {
        /// The point.
        pub student: Trainee,
    }
}

impl Stage for Walk {
    type Inputs = WalkInputs;
    const OUTPUT: PortType = PortType::Classifier;

    fn output(&self, inputs: &Signatures) -> Option<Signature> {
        inputs.one("student").cloned()
    }

    fn run(&self, inputs: WalkInputs, context: &mut StageContext<'_>) -> Result<NodeOutput> {
        let network = inputs.student.0;
        let weights: Vec<_> = network.weights.iter().collect();
        let (at, steps) = (weights[0].var(), weights[1].var());
        let StageState { mut batch, tensors } = context.resume.take().unwrap_or_default();
        let mut momentum = tensors.get("momentum").cloned().unwrap_or(at.zeros_like()?);
        while batch < self.batches {
            if context.observer.interrupted() {
                let tensors = [("momentum".to_owned(), momentum)].into();
                context.observer.checkpoint(&StageState { batch, tensors })?;
                return Err(Error::interrupted());
            }
            let mut rng = context.build.streams.at(&context.build.node, batch as u64);
            let step = Tensor::from_vec(standard_normal(&mut rng, 3), 3, at.device())?.to_dtype(at.dtype())?;
            momentum = ((momentum * 0.9)? + step)?;
            at.set(&(at.as_tensor() + &momentum)?)?;
            steps.set(&(steps.as_tensor() + 1.0)?)?;
            batch += 1;
            assert!(batch != self.panic_at, "stepped on a mine");
            let figures = [LoggedScalar::on_progress_line("walk.loss", 1.0 / batch as f64)];
            let progress = Progress { batch, batches: self.batches, images: 4, seconds: 0.5, figures: &figures };
            context.observer.batch(&progress)?;
            if batch.is_multiple_of(3) {
                context.observer.evaluate(batch)?;
            }
            if batch.is_multiple_of(4) {
                let tensors = [("momentum".to_owned(), momentum.clone())].into();
                context.observer.checkpoint(&StageState { batch, tensors })?;
            }
        }
        Ok(NodeOutput::Classifier(network))
    }
}

params! {
    /// Where a point is.
    pub struct Sum {}
}

ports! {
    /// What is measured.
    pub struct SumInputs {
        /// The point.
        pub classifier: Arc<ClassifierNetwork>,
    }
}

impl Metric for Sum {
    type Inputs = SumInputs;

    fn evaluate(&self, inputs: &SumInputs, _context: &MetricContext) -> Result<Measurement> {
        let mut sum = 0.0;
        for weight in inputs.classifier.weights.parameters() {
            sum += f64::from(weight.value().sum_all()?.to_scalar::<f32>()?);
        }
        Ok(Measurement::new(format!("at {sum}")).figure("sum", sum))
    }
}

static POINT: PluginRegistration = PluginRegistration::architecture::<Point>("zskt-test", "1.2.3");
static FOUND: PluginRegistration = PluginRegistration::teacher::<Found>("zskt-test", "1.2.3");
static WALK: PluginRegistration = PluginRegistration::stage::<Walk>("zskt-test", "1.2.3");
static SUM: PluginRegistration = PluginRegistration::metric::<Sum>("zskt-test", "1.2.3");

fn node(
    name: &str,
    registration: &'static PluginRegistration,
    instance: PluginInstance,
    inputs: &[(&str, usize)],
) -> PlanNode {
    let shape = Arc::new(Point {});
    let signature = ClassifierSignature { shape, network: "student".into(), images: None };
    PlanNode {
        name: name.into(),
        registration,
        plugins: vec![registration],
        instance,
        nested: Vec::new(),
        paths: Vec::new(),
        ron: format!("{}()", registration.name),
        inputs: inputs.iter().map(|(port, from)| PlanEdge { port: (*port).into(), from: *from }).collect(),
        signature: registration.output.map(|_| Signature::Classifier(signature)),
    }
}

/// A point walks twice, and is measured before, between and after.
fn two_walks(panic_at: usize) -> Plan {
    let walk = |batches, panic_at| PluginInstance::Stage(Arc::new(Walk { batches, panic_at }));
    let sum = || PluginInstance::Metric(Arc::new(Sum {}));
    Plan {
        name: "two walks".into(),
        seed: 7,
        device: DeviceRequest::Cpu,
        precision: Precision::F32,
        nodes: vec![
            node("student", &POINT, PluginInstance::Architecture(Arc::new(Point {})), &[]),
            node("before", &SUM, sum(), &[("classifier", 0)]),
            node("first", &WALK, walk(10, 0), &[("student", 0)]),
            node("between", &SUM, sum(), &[("classifier", 2)]),
            node("second", &WALK, walk(7, panic_at), &[("student", 2)]),
            node("after", &SUM, sum(), &[("classifier", 4)]),
        ],
        data_free: vec![DataFreeProof {
            network: "student".into(),
            through_teacher: vec!["digits".into()],
            unknown: Vec::new(),
            on_its_word: Vec::new(),
        }],
        resolved: "(\n    name: \"two walks\",\n    seed: 7,\n)\n".into(),
    }
}

/// The same with a point that comes from elsewhere: trained, it must not come from there again.
fn two_walks_from_elsewhere() -> Plan {
    let mut plan = two_walks(0);
    plan.nodes[0] = node("student", &FOUND, PluginInstance::Teacher(Arc::new(Found {})), &[]);
    plan
}

fn into(out: &Path) -> Options {
    Options { out: Some(out.to_owned()), ..Options::default() }
}

/// Runs until the run has asked `calls` times whether it should stop, or to the end.
fn run(plan: &Plan, options: &Options, calls: usize) -> RunOutcome {
    let asked = AtomicUsize::new(0);
    let console = Console::writing_to(Box::new(io::sink()), OutputMode::Quiet);
    run_until(plan, options, console, Arc::new(move || asked.fetch_add(1, Ordering::SeqCst) >= calls))
}

fn run_whole(plan: &Plan, out: &Path) {
    let outcome = run(plan, &into(out), usize::MAX);
    assert!(matches!(outcome, RunOutcome::Done), "{outcome:?}");
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The lines of `metrics.jsonl` without the times of day.
fn log(out: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let parse = |line| {
        let mut object: Value = serde_json::from_str(line).unwrap();
        object.as_object_mut().unwrap().remove("time").unwrap();
        object
    };
    lines.lines().map(parse).collect()
}

#[test]
fn a_run_leaves_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let plan = two_walks(0);
    run_whole(&plan, &out);

    assert_eq!(fs::read_to_string(out.join("pipeline.ron")).unwrap(), plan.resolved);
    let manifest = json(&out.join("manifest.json"));
    let standard = ["architectures", "datasets", "generators", "losses", "metrics"];
    let standard = standard.into_iter().chain(["optimizers", "schedules", "stages", "teachers"]);
    let mut plugins: serde_json::Map<_, _> =
        standard.map(|family| (format!("zskt-{family}"), env!("CARGO_PKG_VERSION").into())).collect();
    plugins.insert("zskt-test".into(), "1.2.3".into());
    assert_eq!(manifest["plugins"], Value::Object(plugins));
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = [
        "checkpoint",
        "events.out.tfevents.zskt",
        "first.safetensors",
        "manifest.json",
        "metrics.jsonl",
        "pipeline.ron",
        "report.json",
        "student.safetensors",
    ];
    assert_eq!(names, expected);

    let lines = log(&out);
    assert_eq!(lines.iter().filter(|line| line["stage"] == "first" && line.get("metric").is_none()).count(), 10);
    assert_eq!(lines[0]["metric"], "before");
    assert_eq!(lines[0]["after"], Value::Null);
    let during: Vec<_> = lines.iter().filter(|line| line["metric"] == "between" && line["stage"] == "first").collect();
    assert_eq!(during.iter().map(|line| line["batch"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 6, 9]);

    let report = json(&out.join("report.json"));
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "data_free",
        "device",
        "images_per_second",
        "metrics",
        "name",
        "peak_memory_bytes",
        "seconds",
        "seed",
        "stages",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        report["data_free"]["statement"],
        "proven: no image of any dataset reaches \"student\"; \"digits\" reached it only as the teacher's knowledge"
    );
    assert_eq!(report["images_per_second"], 8.0);
    assert_eq!(report["metrics"]["after"]["sum"], lines.last().unwrap()["sum"]);
    assert_eq!(
        report["stages"]["first"],
        serde_json::json!({ "batches": 10, "median_batch_seconds": 0.5, "images_per_second": 8.0, "walk.loss": 0.1 })
    );
}

#[test]
fn a_run_interrupted_at_any_moment_ends_as_if_it_had_not_been() {
    for plan in [two_walks(0), two_walks_from_elsewhere()] {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        run_whole(&plan, &whole);
        // The run asks six times while it builds, once per node, and once per batch: each interval ends in another place.
        for calls in 14..40 {
            let out = folder.path().join(calls.to_string());
            let mut options = into(&out);
            let mut starts = 1;
            while let RunOutcome::Interrupted = run(&plan, &options, calls) {
                options = Options { resume: Some(out.clone()), ..Options::default() };
                starts += 1;
                assert!(starts < 20, "no progress");
            }
            assert!(starts > 1 || calls > 28, "{calls}");
            assert_same_run(&out, &whole);
            assert_eq!(json(&out.join("manifest.json"))["starts"].as_array().unwrap().len(), starts);
        }
    }
}

fn assert_same_run(out: &Path, expected: &Path) {
    for name in ["first.safetensors", "student.safetensors"] {
        let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert!(read(out) == read(expected), "{name} of {} differs", out.display());
    }
    assert_eq!(log(out), log(expected));
    let report = |folder: &Path| {
        let mut report = json(&folder.join("report.json"));
        for measured in ["seconds", "peak_memory_bytes"] {
            report[measured] = Value::Null;
        }
        report
    };
    assert_eq!(report(out), report(expected));
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run_whole(&two_walks(0), &out);
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    let again = Options { resume: Some(out.clone()), ..Options::default() };
    assert!(matches!(run(&two_walks(0), &again, usize::MAX), RunOutcome::Done));
    assert_eq!(fs::read(out.join("manifest.json")).unwrap(), manifest);
    assert!(
        matches!(run(&two_walks(0), &into(&out), usize::MAX), RunOutcome::Refused(problem) if problem.help.as_ref().is_some_and(|help| help.contains("--resume")))
    );
}

#[test]
fn a_panic_names_node_and_plugin_and_the_run_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
    run_whole(&two_walks(0), &whole);
    let RunOutcome::Failed(error) = run(&two_walks(6), &into(&out), usize::MAX) else { panic!("it must fail") };
    let error = error.to_string();
    assert!(error.starts_with("node `second`: the plugin `Walk` of zskt-test 1.2.3 panicked at "), "{error}");
    assert!(error.contains(": stepped on a mine\n"), "{error}");
    assert!(error.contains(&format!("zskt-run {0}/pipeline.ron --resume {0}", out.display())), "{error}");

    let resume = Options { resume: Some(out.clone()), ..Options::default() };
    assert!(matches!(run(&two_walks(0), &resume, usize::MAX), RunOutcome::Done));
    let student = |out: &Path| fs::read(out.join("student.safetensors")).unwrap();
    assert!(student(&out) == student(&whole));
}

#[test]
fn another_pipeline_cannot_continue_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(matches!(run(&two_walks(0), &into(&out), 20), RunOutcome::Interrupted));
    let other = Plan { resolved: two_walks(0).resolved.replace("seed: 7", "seed: 8"), ..two_walks(0) };
    let resume = Options { resume: Some(out), ..Options::default() };
    let RunOutcome::Refused(problem) = run(&other, &resume, usize::MAX) else { panic!("it must be refused") };
    assert!(problem.message.ends_with("line 3:\n  of the run: seed: 7,\n  now:        seed: 8,"), "{problem:?}");
}

#[test]
fn a_device_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let plan = Plan { device: DeviceRequest::Cuda(0), ..two_walks(0) };
    assert!(
        matches!(run(&plan, &into(&out), usize::MAX), RunOutcome::Refused(problem) if problem.message.contains("no CUDA"))
    );
    assert!(!out.exists());
}

/// A pipe whose other end is closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// What a run shows is kept for the test to look at.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_run_goes_on_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let console = Console::writing_to(Box::new(Closed), OutputMode::Json);
    assert!(matches!(run_until(&two_walks(0), &into(&out), console, Arc::new(|| false)), RunOutcome::Done));
    assert!(out.join("report.json").exists());
}

#[test]
fn a_program_reads_the_lines_of_the_log_and_then_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let shown = Shown::default();
    let console = Console::writing_to(Box::new(shown.clone()), OutputMode::Json);
    assert!(matches!(run_until(&two_walks(0), &into(&out), console, Arc::new(|| false)), RunOutcome::Done));
    let shown = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
    let log = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let report = json(&out.join("report.json"));
    assert_eq!(shown, format!("{log}{report}\n"));
}
