//! Whole runs of small plans, with plugins made for the purpose.

mod damage;
mod described_events;
mod folders;
mod measurements;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::Tensor;
use serde_json::Value;
use zskt_api::nn::Dropout;
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, Classifier, ClassifierNetwork, ClassifierOutput, ClassifierShape,
    ClassifierSignature, Error, FeatureMap, ForwardMode, ImageShape, Init, LoggedScalar, Measurement, Metric,
    MetricContext, Network, NodeOutput, Objective, OutputShape, PluginInstance, PluginKind, PluginRegistration,
    PortType, Precision, Progress, Result, Score, Selection, Signature, Signatures, Stage, StageContext, StageState,
    TeacherSource, Trainee, params, ports, standard_normal,
};

use super::engine::run_until;
use super::interrupt::Interrupted;
use super::record::computed_by::Computer;
use super::record::{Console, OutputMode, manifest};
use super::{Options, RunDirectory, RunOutcome, seal, unseal};
use crate::checksum;
use crate::device_request::DeviceRequest;
use crate::plan::{DataFreeProof, Plan, PlanEdge, PlanNode, StageSelection};
use crate::plugin_calls::Inspector;
use crate::runs::{Run, RunState};
use crate::stage_figures::STAGE_FIGURES;

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
        /// The step that leads to infinity.
        pub infinite_at: usize = 0,
        /// Steps between two questions whether to stop.
        pub asks_every: usize = 1,
        /// The share of each step's directions in which it does not move, by a layer's own random numbers.
        pub dropout: f64 = 0.0,
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
        let dropout = Dropout::new(&Builder::zeros(Precision::F32, at.device()).at("dropout"), self.dropout)?;
        let mut momentum = tensors.get("momentum").cloned().unwrap_or(at.zeros_like()?);
        while batch < self.batches {
            if batch.is_multiple_of(self.asks_every) && context.observer.interrupted() {
                let tensors = [("momentum".to_owned(), momentum)].into();
                context.observer.checkpoint(&StageState { batch, tensors })?;
                return Err(Error::interrupted());
            }
            if context.observer.ends_early() {
                break;
            }
            let mut rng = context.build.streams.at(&context.build.node, batch as u64);
            let step = Tensor::from_vec(standard_normal(&mut rng, 3), 3, at.device())?.to_dtype(at.dtype())?;
            let step = dropout.forward_vectors(&step, ForwardMode::train())?;
            momentum = ((momentum * 0.9)? + step)?;
            at.set(&(at.as_tensor() + &momentum)?)?;
            steps.set(&(steps.as_tensor() + 1.0)?)?;
            batch += 1;
            assert!(batch != self.panic_at, "stepped on a mine");
            if batch == self.infinite_at {
                at.set(&(at.as_tensor() / 0.0)?)?;
            }
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

    fn evaluate(&self, inputs: &SumInputs, context: &MetricContext) -> Result<Measurement> {
        let mut sum = 0.0;
        for weight in inputs.classifier.weights.parameters() {
            if (context.interrupted)() {
                return Err(Error::interrupted());
            }
            sum += f64::from(weight.value().sum_all()?.to_scalar::<f32>()?);
        }
        // Not every text that is near a number is read back as that number.
        Ok(Measurement::new(format!("at {sum}")).figure("sum", sum).figure("third", sum / 3.0))
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
    let signature = ClassifierSignature {
        shape,
        network: "student".into(),
        images: None,
        observable: zskt_api::nn::Wanted::default(),
    };
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
        trains: (registration.kind == PluginKind::Stage).then(|| "student".into()).into_iter().collect(),
        normalization: None,
        selection: None,
    }
}

/// A point walks twice, and is measured before, between and after.
fn two_walks() -> Plan {
    walks(Walk { batches: 10, ..QUIET_WALK }, Walk { batches: 7, ..QUIET_WALK })
}

const QUIET_WALK: Walk = Walk { batches: 0, panic_at: 0, infinite_at: 0, asks_every: 1, dropout: 0.0 };

fn walks(first: Walk, second: Walk) -> Plan {
    let walk = |walk| PluginInstance::Stage(Arc::new(walk));
    let sum = || PluginInstance::Metric(Arc::new(Sum {}));
    Plan {
        name: "two walks".into(),
        seed: 7,
        device: DeviceRequest::Cpu,
        precision: Precision::F32,
        nodes: vec![
            node("student", &POINT, PluginInstance::Architecture(Arc::new(Point {})), &[]),
            node("before", &SUM, sum(), &[("classifier", 0)]),
            node("first", &WALK, walk(first), &[("student", 0)]),
            node("between", &SUM, sum(), &[("classifier", 2)]),
            node("also", &SUM, sum(), &[("classifier", 2)]),
            node("second", &WALK, walk(second), &[("student", 2)]),
            node("after", &SUM, sum(), &[("classifier", 5)]),
        ],
        data_free: vec![DataFreeProof {
            network: "student".into(),
            through_teacher: vec!["digits".into()],
            metadata: Vec::new(),
            unknown: Vec::new(),
            on_its_word: Vec::new(),
        }],
        published: Vec::new(),
        expect: Vec::new(),
        inspector: Inspector::default(),
        warnings: Vec::new(),
        resolved: "(\n    name: \"two walks\",\n    seed: 7,\n)\n".into(),
    }
}

/// The same, where the first walk keeps the place with the largest sum, and ends when it did not get larger for so long.
fn choosing_walks(patience: Option<usize>) -> Plan {
    let mut plan = walks(Walk { batches: 22, ..QUIET_WALK }, Walk { batches: 7, ..QUIET_WALK });
    let selection = Selection { metric: "between".into(), patience, min_delta: 0.0 };
    let score = Score { figure: "sum", objective: Objective::Maximize };
    plan.nodes[2].selection = Some(StageSelection { selection, score, chosen_on: vec!["digits".into()] });
    plan
}

/// The same with a point that comes from elsewhere: trained, it must not come from there again.
fn two_walks_from_elsewhere() -> Plan {
    let mut plan = two_walks();
    plan.nodes[0] = node("student", &FOUND, PluginInstance::Teacher(Arc::new(Found {})), &[]);
    plan
}

/// A folder for many runs, in memory where the system offers that: they need not wait for the disk.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn into(out: &Path) -> Options {
    Options { out: Some(out.to_owned()), ..Options::default() }
}

/// Runs until the run has asked `calls` times whether it should stop, or to the end.
fn run(plan: &Plan, options: &Options, calls: usize) -> RunOutcome {
    let asked = AtomicUsize::new(0);
    run_asking(plan, options, Arc::new(move || asked.fetch_add(1, Ordering::SeqCst) >= calls))
}

fn run_asking(plan: &Plan, options: &Options, interrupted: Interrupted) -> RunOutcome {
    run_until(plan, options, Console::writing_to(Box::new(io::sink()), OutputMode::Quiet), interrupted)
}

fn resume(out: &Path) -> Options {
    Options { resume: Some(out.to_owned()), ..Options::default() }
}

/// Runs to the end; gives how often the run asks whether it should stop.
fn run_whole(plan: &Plan, out: &Path) -> usize {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let ask = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        false
    };
    let outcome = run_asking(plan, &into(out), Arc::new(ask));
    assert!(matches!(outcome, RunOutcome::Done), "{outcome:?}");
    asked.load(Ordering::SeqCst)
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
    let plan = two_walks();
    run_whole(&plan, &out);

    assert_eq!(fs::read_to_string(out.join("pipeline.ron")).unwrap(), plan.resolved);
    let manifest = json(&out.join("manifest.json"));
    let standard = ["architectures", "datasets", "generators", "losses", "metrics"];
    let standard = standard.into_iter().chain(["optimizers", "schedules", "stages", "targets", "teachers"]);
    let mut plugins: serde_json::Map<_, _> =
        standard.map(|family| (format!("zskt-{family}"), env!("CARGO_PKG_VERSION").into())).collect();
    plugins.insert("zskt-test".into(), "1.2.3".into());
    // Of the tests of names.
    plugins.extend(["first-nets", "second-nets"].map(|name| (name.to_owned(), "1.0.0".into())));
    assert_eq!(manifest["plugins"], Value::Object(plugins));
    let start = &manifest["starts"][0];
    assert_eq!(start["program"], checksum::of_file(&std::env::current_exe().unwrap()).unwrap().as_str());
    assert_eq!(start["instruction_set"], zskt_api::tensor::describe_instructions(plan.precision).as_str());
    let of_nodes = manifest["nodes"].as_object().unwrap().values();
    assert!(
        of_nodes.clone().count() > 0 && of_nodes.clone().all(|plugins| plugins[0].as_str().unwrap().contains("::"))
    );
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
        "report.html",
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
        "flop",
        "images_per_second",
        "metrics",
        "name",
        "peak_memory_bytes",
        "seconds",
        "seed",
        "stages",
        "weights",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        report["data_free"]["statement"],
        "proven: no image of any dataset reaches \"student\"; \"digits\" reached it only as the teacher's knowledge"
    );
    assert_eq!(report["images_per_second"], 8.0);
    assert_eq!(report["metrics"]["after"]["sum"], lines.last().unwrap()["figures"]["sum"]);
    assert_eq!(
        report["stages"]["first"],
        serde_json::json!({
            "batches": 10, "flop": 0, "images": 40, "median_batch_seconds": 0.5, "images_per_second": 8.0, "walk.loss": 0.1,
        })
    );
    let of_run = report["stages"]["first"].as_object().unwrap().keys().filter(|key| *key != "walk.loss");
    assert_eq!(of_run.map(String::as_str).collect::<Vec<_>>(), STAGE_FIGURES);
}

#[test]
fn a_run_interrupted_at_any_moment_ends_as_if_it_had_not_been() {
    let asks_late = walks(Walk { batches: 10, asks_every: 2, ..QUIET_WALK }, Walk { batches: 7, ..QUIET_WALK });
    let draws =
        walks(Walk { batches: 10, dropout: 0.3, ..QUIET_WALK }, Walk { batches: 7, dropout: 0.6, ..QUIET_WALK });
    for plan in
        [two_walks(), two_walks_from_elsewhere(), asks_late, draws, choosing_walks(None), choosing_walks(Some(2))]
    {
        let folder = scratch();
        let whole = folder.path().join("whole");
        let asks = run_whole(&plan, &whole);
        // The run asks once per node while it builds, once per node while it runs, per batch and per metric.
        for calls in plan.nodes.len()..asks {
            let out = folder.path().join(calls.to_string());
            let mut options = into(&out);
            let mut starts = 0;
            // Later sittings are stopped too, in other places, and the last one is not.
            let sittings = [calls, 20 + calls % 23, usize::MAX];
            while let RunOutcome::Interrupted = run(&plan, &options, sittings[starts]) {
                options = resume(&out);
                starts += 1;
            }
            assert!(starts > 0, "{calls}");
            assert_same_run(&out, &whole);
            assert_eq!(json(&out.join("manifest.json"))["starts"].as_array().unwrap().len(), starts + 1);
        }
    }
}

#[test]
fn the_best_of_a_stage_is_kept_beside_the_last() {
    let folder = scratch();
    let [whole, short] = ["whole", "short"].map(|name| folder.path().join(name));
    run_whole(&choosing_walks(None), &whole);
    run_whole(&choosing_walks(Some(2)), &short);
    let course = |out: &Path| {
        let evaluations = log(out).into_iter().filter(|line| line["metric"] == "between" && line["stage"] == "first");
        evaluations
            .map(|line| (line["batch"].clone(), line["figures"]["sum"].as_f64().unwrap(), line["best"].clone()))
            .collect()
    };
    let sums: Vec<(Value, f64, Value)> = course(&whole);
    assert_eq!(
        sums.iter().map(|(batch, ..)| batch.as_u64().unwrap()).collect::<Vec<_>>(),
        [3, 6, 9, 12, 15, 18, 21, 22]
    );
    let (batch, most, _) = sums.iter().max_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
    let (_, last, _) = sums.last().unwrap();
    let selection = json(&whole.join("report.json"))["stages"]["first"]["selection"].take();
    let kept = |batch: &Value, value: f64, weights: &str| serde_json::json!({ "batch": batch, "value": value, "weights": weights });
    assert_eq!(selection["best"], kept(batch, *most, "first.best.safetensors"));
    assert_eq!(selection["last"], kept(&22.into(), *last, "first.safetensors"));
    assert_eq!([&selection["chosen_on"], &selection["ended_early"]], [&Value::from(vec!["digits"]), &false.into()]);
    let sum = |name: &str| {
        let tensors = candle_core::safetensors::load(whole.join(name), &candle_core::Device::Cpu).unwrap();
        f64::from(tensors["at"].sum_all().unwrap().to_scalar::<f32>().unwrap())
    };
    assert_eq!([sum("first.best.safetensors"), sum("first.safetensors")], [*most, *last]);
    // Nodes after the stage take the last.
    assert_eq!(json(&whole.join("report.json"))["metrics"]["between"]["sum"], *last);

    // With patience it is the same walk up to two evaluations in a row without a larger sum, and no further.
    let (mut most, mut waited) = (f64::NEG_INFINITY, 0);
    let ends = sums.iter().position(|(_, sum, _)| {
        waited = if *sum > most { 0 } else { waited + 1 };
        most = most.max(*sum);
        waited == 2
    });
    let ends = ends.unwrap();
    assert!(ends < sums.len() - 1, "it ends early: {sums:?}");
    assert_eq!(course(&short), sums[..=ends]);
    let stage = json(&short.join("report.json"))["stages"]["first"].take();
    assert_eq!([&stage["batches"], &stage["selection"]["ended_early"]], [&sums[ends].0, &true.into()]);
}

fn assert_same_run(out: &Path, expected: &Path) {
    if let Some(difference) = difference(out, expected) {
        panic!("{}: {difference}", out.display());
    }
}

/// In what two runs differ, but for times.
fn difference(out: &Path, expected: &Path) -> Option<String> {
    for name in ["pipeline.ron", "first.safetensors", "first.best.safetensors", "student.safetensors"] {
        if fs::read(out.join(name)).ok() != fs::read(expected.join(name)).ok() {
            return Some(name.into());
        }
    }
    let report = |folder: &Path| {
        let mut report = json(&folder.join("report.json"));
        for measured in ["seconds", "peak_memory_bytes"] {
            report[measured] = Value::Null;
        }
        report
    };
    if report(out) != report(expected) {
        return Some(format!("report.json: {} and not {}", report(out), report(expected)));
    }
    if log(out) != log(expected) {
        return Some(format!("metrics.jsonl: {:?} and not {:?}", log(out), log(expected)));
    }
    (events(out) != events(expected)).then(|| "the events file".into())
}

/// The events without their times, and without those that tell them: sessions, and the figures of the report.
fn events(out: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(out.join("events.out.tfevents.zskt")).unwrap();
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    while let Some((length, _)) = rest.split_first_chunk() {
        let end = 12 + u64::from_le_bytes(*length) as usize;
        // A time begins each event: a byte for the field, and eight for the number.
        let event = &rest[12 + 9..end];
        let has = |word: &[u8]| event.windows(word.len()).any(|found| found == word);
        if !has(b"_hparams_/") && !has(b"final/") {
            events.push(event.to_vec());
        }
        rest = &rest[end + 4..];
    }
    events
}

#[test]
fn a_run_whose_weights_are_not_finite_fails_and_keeps_its_last_checkpoint() {
    // Seen at the next checkpoint, or at the end of the stage at the latest.
    for (infinite_at, last) in [(6, "after batch 4 of `first`"), (10, "after batch 8 of `first`")] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let plan = walks(Walk { batches: 10, infinite_at, ..QUIET_WALK }, Walk { batches: 7, ..QUIET_WALK });
        let RunOutcome::Failed(error) = run(&plan, &into(&out), usize::MAX) else { panic!("it must fail") };
        let error = error.to_string();
        assert!(error.contains("`at` of network `student` has values that are NaN or infinite"), "{error}");
        assert!(error.starts_with("node `first`: "), "{error}");
        assert!(error.contains(&format!("the last checkpoint is kept, {last};")), "{error}");
        assert!(!out.join("first.safetensors").exists() && !out.join("report.json").exists());
        // The pipeline's text is the same: the checkpoint that was kept is as good as it was.
        let whole = folder.path().join("whole");
        run_whole(&two_walks(), &whole);
        assert!(matches!(run(&two_walks(), &resume(&out), usize::MAX), RunOutcome::Done));
        assert_same_run(&out, &whole);
    }
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run_whole(&two_walks(), &out);
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    let again = Options { resume: Some(out.clone()), ..Options::default() };
    assert!(matches!(run(&two_walks(), &again, usize::MAX), RunOutcome::Done));
    assert_eq!(fs::read(out.join("manifest.json")).unwrap(), manifest);
    assert!(
        matches!(run(&two_walks(), &into(&out), usize::MAX), RunOutcome::Refused(problem) if problem.help.as_ref().is_some_and(|help| help.contains("--resume")))
    );
}

#[test]
fn a_folder_tells_how_far_its_run_is() {
    let folder = scratch();
    let out = folder.path().join("run");
    let state = || Run::read(&out).unwrap().state;
    assert!(matches!(run(&two_walks(), &into(&out), 20), RunOutcome::Interrupted));
    assert_eq!(state(), RunState::Interrupted);
    let lock = fs::File::open(&out).unwrap();
    lock.lock().unwrap();
    assert_eq!(state(), RunState::Running);
    drop(lock);
    // Killed, it could not say so.
    let metrics = out.join("metrics.jsonl");
    let lines = fs::read_to_string(&metrics).unwrap();
    let (kept, _) = lines.trim_end().rsplit_once('\n').unwrap();
    fs::write(&metrics, format!("{kept}\n")).unwrap();
    assert_eq!(state(), RunState::Killed);
    #[cfg(target_os = "linux")]
    assert!(Run::read(&out).unwrap().last_known_memory().is_some_and(|bytes| bytes > 1 << 20));
    assert!(matches!(run(&two_walks(), &resume(&out), usize::MAX), RunOutcome::Done));
    assert_eq!(state(), RunState::Finished);
    let figures = Run::read(&out).unwrap().figures().unwrap();
    assert_eq!(figures.0["second.batches"], 7.0);
    assert_eq!(figures.0["after.sum"], json(&out.join("report.json"))["metrics"]["after"]["sum"].as_f64().unwrap());

    let failing = folder.path().join("failing");
    let plan = walks(Walk { batches: 10, panic_at: 4, ..QUIET_WALK }, QUIET_WALK);
    assert!(matches!(run(&plan, &into(&failing), usize::MAX), RunOutcome::Failed(_)));
    let (runs, damaged) = Run::find(folder.path()).unwrap();
    assert!(damaged.is_empty() && runs.len() == 2);
    let RunState::Failed(why) = &runs[1].state else { panic!("{:?}", runs[1].state) };
    assert!(why.contains("`first`"), "{why}");
}

#[test]
fn a_panic_names_node_and_plugin_and_the_run_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
    run_whole(&two_walks(), &whole);
    let RunOutcome::Failed(error) = run(
        &walks(Walk { batches: 10, ..QUIET_WALK }, Walk { batches: 7, panic_at: 6, ..QUIET_WALK }),
        &into(&out),
        usize::MAX,
    ) else {
        panic!("it must fail")
    };
    let error = error.to_string();
    assert!(error.starts_with("node `second`: the plugin `Walk` of zskt-test 1.2.3 panicked at "), "{error}");
    assert!(error.contains(": stepped on a mine\n"), "{error}");
    assert!(error.contains(&format!("zskt-run --resume {}", out.display())), "{error}");

    let resume = Options { resume: Some(out.clone()), ..Options::default() };
    assert!(matches!(run(&two_walks(), &resume, usize::MAX), RunOutcome::Done));
    let student = |out: &Path| fs::read(out.join("student.safetensors")).unwrap();
    assert!(student(&out) == student(&whole));
}

#[test]
fn another_pipeline_cannot_continue_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(matches!(run(&two_walks(), &into(&out), 20), RunOutcome::Interrupted));
    let other = Plan { resolved: two_walks().resolved.replace("seed: 7", "seed: 8"), ..two_walks() };
    let resume = Options { resume: Some(out), ..Options::default() };
    let RunOutcome::Refused(problem) = run(&other, &resume, usize::MAX) else { panic!("it must be refused") };
    assert!(problem.message.ends_with("changed in\n  seed: 7 → 8"), "{problem:?}");
}

#[test]
fn a_run_that_goes_on_with_another_build_says_so() {
    let folder = scratch();
    let out = folder.path().join("run");
    assert!(matches!(run(&two_walks(), &into(&out), 20), RunOutcome::Interrupted));
    let path = out.join("manifest.json");
    let mut kept = unseal(&fs::read_to_string(&path).unwrap()).unwrap();
    kept["starts"][0]["program"] = "another".into();
    fs::write(&path, seal(kept.clone()).to_string()).unwrap();
    kept.as_object_mut().unwrap().remove("starts");
    let directory = RunDirectory::open(out).unwrap();
    let computer = Computer { device_name: "cpu", device: &candle_core::Device::Cpu, precision: Precision::F32 };
    let mut told = Vec::new();
    for _ in 0..2 {
        let tell = |change: &str| told.push(change.to_owned());
        manifest::add_start(&directory, [&kept, &kept], &Options::default(), computer, tell).unwrap();
    }
    // The second time it is the same as the last.
    let [change] = &told[..] else { panic!("{told:?}") };
    assert!(change.contains("another build of zskt-run") && change.contains("before: program another"), "{change}");
}

#[test]
fn a_device_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let plan = Plan { device: DeviceRequest::Cuda(0), ..two_walks() };
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
    assert!(matches!(run_until(&two_walks(), &into(&out), console, Arc::new(|| false)), RunOutcome::Done));
    assert!(out.join("report.json").exists());
}

#[test]
fn a_program_reads_the_lines_of_the_log_and_at_last_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let shown = Shown::default();
    let console = Console::writing_to(Box::new(shown.clone()), OutputMode::Json);
    assert!(matches!(run_until(&two_walks(), &into(&out), console, Arc::new(|| false)), RunOutcome::Done));
    let shown = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
    let told: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let log = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let of_log: Vec<_> = shown.lines().filter(|line| log.lines().any(|logged| logged == *line)).collect();
    assert_eq!(format!("{}\n", of_log.join("\n")), log);
    assert_eq!(told.last().unwrap()["report"], json(&out.join("report.json")));
}
