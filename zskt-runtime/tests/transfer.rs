//! Whole runs of the real program: what a student learns, and that no interruption, thread or detour changes it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A teacher learns from digits, a student from the teacher alone.
const ZERO_SHOT: &str = r#"(
    name: "zero-shot",
    data_free: ["student", "generator"],
    nodes: {
        "train_digits": SyntheticDigits(count: 640, size: 16, split: Train),
        "teacher": WideResNet(depth: 10, widen_factor: 1),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Sgd(lr: 0.1, momentum: 0.9, nesterov: true), schedule: OneCycle),
        "teaching": Train(epochs: 1, batch_size: 32),
        "student": WideResNet(depth: 10, widen_factor: 1),
        "generator": ConvGenerator(latent_dim: 16, channels: 8, first_map: 4, image_size: 16),
        "belief": KlDivergence(),
        "attention": AttentionTransfer(beta: 25.0),
        "seek": Maximize(optimizer: Adam(lr: 1e-3), schedule: Cosine, clip_norm: 5.0),
        "imitate": Minimize(steps: 4, optimizer: Adam(lr: 5e-3), schedule: Cosine, clip_norm: 5.0),
        "transfer": Transfer(
            batches: 60, batch_size: 16, checkpoint_every: 7, evaluate_every: 9, keep: Best("of_student"), monitor_every: 5,
        ),
        "test_digits": SyntheticDigits(count: 200, size: 16, split: Test),
        "of_teacher": Accuracy(),
        "of_student": Accuracy(),
    },
    edges: [
        "train_digits -> teaching.images", "teacher -> teaching.student",
        "teacher -> learn.player", "labels -> learn.loss", "learn -> teaching.turns",
        "generator -> seek.player", "belief -> seek.loss",
        "student -> imitate.player", "belief -> imitate.loss", "attention -> imitate.loss",
        "teaching -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
        "teaching -> of_teacher.classifier", "test_digits -> of_teacher.dataset",
        "transfer -> of_student.classifier", "test_digits -> of_student.dataset",
    ],
)
"#;

/// A student learns from a teacher on a few images per class.
const FEW_SHOT: &str = r#"(
    name: "few-shot",
    nodes: {
        "teacher": Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: "teacher.safetensors"),
        "student": WideResNet(depth: 10, widen_factor: 1),
        "few_digits": SyntheticDigits(count: 640, size: 16, split: Train, per_class: 20, crop: 1),
        "labels": CrossEntropy(weight: 0.1),
        "belief": KlDivergence(temperature: 4.0, weight: 28.8),
        "attention": AttentionTransfer(beta: 100.0),
        "imitate": Minimize(optimizer: Sgd(lr: 0.1, momentum: 0.9), schedule: MultiStep(milestones: [0.6], gamma: 0.2)),
        "distill": Transfer(epochs: 40.0, batch_size: 32),
        "test_digits": SyntheticDigits(count: 200, size: 16, split: Test),
        "of_teacher": Accuracy(),
        "of_student": Accuracy(),
        "alike": Agreement(),
    },
    edges: [
        "student -> imitate.player",
        "labels -> imitate.loss", "belief -> imitate.loss", "attention -> imitate.loss",
        "teacher -> distill.teacher", "student -> distill.student", "few_digits -> distill.images",
        "imitate -> distill.turns",
        "teacher -> of_teacher.classifier", "test_digits -> of_teacher.dataset",
        "distill -> of_student.classifier", "test_digits -> of_student.dataset",
        "teacher -> alike.teacher", "distill -> alike.student", "test_digits -> alike.dataset",
    ],
)
"#;

/// A student learns from an ONNX model alone, and looks where it looks.
const OF_ONNX: &str = r#"(
    name: "of-onnx",
    data_free: ["student", "generator"],
    nodes: {
        "teacher": Onnx(path: "vgg.18.onnx", activations: ["relu", "relu_1", "node_relu_3"]),
        "student": WideResNet(depth: 10, widen_factor: 1, classes: 5),
        "generator": ConvGenerator(latent_dim: 16, channels: 8, first_map: 4, image_size: 16),
        "belief": KlDivergence(),
        "attention": AttentionTransfer(beta: 25.0),
        "seek": Maximize(optimizer: Adam(lr: 1e-3), schedule: Cosine),
        "imitate": Minimize(steps: 2, optimizer: Adam(lr: 5e-3), schedule: Cosine),
        "transfer": Transfer(batches: 2, batch_size: 8),
    },
    edges: [
        "generator -> seek.player", "belief -> seek.loss",
        "student -> imitate.player", "belief -> imitate.loss", "attention -> imitate.loss",
        "teacher -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
    ],
)
"#;

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = if cfg!(target_os = "linux") {
        // Whoever tests may have had signals ignored, as `nohup` and background jobs have.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_zskt-run")]);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_zskt-run"))
    };
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zero-shot.ron"), ZERO_SHOT).unwrap();
    std::fs::write(folder.path().join("few-shot.ron"), FEW_SHOT).unwrap();
    folder
}

fn report(folder: &Path, run: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(run).join("report.json")).unwrap()).unwrap()
}

/// Waits until a run has logged so many batches of its transfer.
fn wait_for_batches(child: &mut Child, log: &Path, batches: usize) {
    wait_for_batches_of(child, log, "transfer", batches);
}

/// Waits until a run has logged so many batches of a stage.
fn wait_for_batches_of(child: &mut Child, log: &Path, stage: &str, batches: usize) {
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.matches(&format!("\"stage\":\"{stage}\"")).count() >= batches {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_with_the_same_weights() {
    let folder = folder();
    let path = folder.path();
    run(path, &["zero-shot.ron", "--out", "whole", "--quiet"]);

    let mut child = command(path, &["zero-shot.ron", "--out", "parts"]).spawn().unwrap();
    wait_for_batches(&mut child, &path.join("parts/metrics.jsonl"), 10);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let interrupted = child.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(130));
    let said = String::from_utf8_lossy(&interrupted.stderr).into_owned();
    assert!(said.contains("--resume parts"), "{said}");
    assert!(!path.join("parts/report.json").exists(), "an interrupted run has no report");

    // A kill without warning loses what came after the last checkpoint, and nothing else.
    let mut child = command(path, &["--resume", "parts"]).spawn().unwrap();
    wait_for_batches(&mut child, &path.join("parts/metrics.jsonl"), 30);
    child.kill().unwrap();
    child.wait().unwrap();

    run(path, &["parts/pipeline.ron", "--resume", "parts"]);
    for file in ["student.safetensors", "student.best.safetensors", "teaching.safetensors"] {
        let bytes = |run: &str| std::fs::read(path.join(run).join(file)).unwrap();
        assert!(bytes("whole") == bytes("parts"), "{file} differs");
    }
    let [whole, parts] = ["whole", "parts"].map(|run| report(path, run));
    assert_eq!(whole["metrics"], parts["metrics"]);
    assert_eq!(whole["stages"]["transfer"]["selection"], parts["stages"]["transfer"]["selection"]);
    assert_eq!(looks(path, "whole"), looks(path, "parts"));
}

#[cfg(unix)]
#[test]
fn a_run_that_is_stopped_within_syntheses_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let quickstart = include_str!("../../pipelines/quickstart.ron")
        .replace("count: 12000", "count: 640")
        .replace(
            "every: 75, images: 128, steps: 5, warm_up: 10, student_after: 9",
            "every: 8, images: 32, steps: 60, warm_up: 1",
        )
        .replace("batches: 1500, batch_size: 64", "batches: 20, batch_size: 16, checkpoint_every: 5");
    std::fs::write(path.join("fast.ron"), quickstart).unwrap();
    run(path, &["fast.ron", "--out", "whole", "--quiet"]);

    let pause = || std::thread::sleep(Duration::from_millis(200));
    let log = path.join("parts/metrics.jsonl");
    let mut child = command(path, &["fast.ron", "--out", "parts"]).spawn().unwrap();
    wait_for_batches_of(&mut child, &log, "teaching", 40);
    // In the warm-up: the student has learnt nothing yet.
    pause();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let interrupted = child.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(130), "{}", String::from_utf8_lossy(&interrupted.stderr));
    assert!(!std::fs::read_to_string(&log).unwrap().contains("\"stage\":\"distill\""), "it came too late");

    let mut child = command(path, &["--resume", "parts"]).spawn().unwrap();
    wait_for_batches_of(&mut child, &log, "distill", 8);
    pause();
    child.kill().unwrap();
    child.wait().unwrap();

    // Images that cannot be written are no reason to lose the student, and no secret.
    assert!(Command::new("cp").args(["-r", "parts", "blocked"]).current_dir(path).status().unwrap().success());
    std::fs::create_dir(path.join("blocked/distill.synthesize.parquet")).unwrap();
    run(path, &["--resume", "blocked"]);
    let blocked = report(path, "blocked");
    assert!(blocked["warnings"].to_string().contains("distill.synthesize.parquet"), "{blocked:#}");

    run(path, &["--resume", "parts"]);
    let bytes = |file: &str| std::fs::read(path.join(file)).unwrap();
    assert!(bytes("whole/distill.synthesize.parquet") == bytes("parts/distill.synthesize.parquet"), "the bank differs");
    let warnings = report(path, "whole")["warnings"].to_string();
    assert!(!warnings.contains("gradient"), "all that learns is reached: {warnings}");
    for run in ["parts", "blocked"] {
        assert!(bytes("whole/student.safetensors") == bytes(&format!("{run}/student.safetensors")), "{run} differs");
    }
}

/// What the monitors of a run logged, but for the times of day.
fn looks(folder: &Path, run: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let looks = lines.filter(|line| line["event"] == "monitor" && line["stage"] == "transfer");
    looks.map(|line| serde_json::json!([line["batch"], line["figures"]])).collect()
}

#[test]
fn the_best_is_chosen_and_exported_and_nothing_else_changes() {
    let folder = folder();
    let path = folder.path();
    let short = ["zero-shot.ron", "--quiet", "--set", "transfer.batches=20", "--set", "transfer.evaluate_every=5"];
    run(path, &[&short[..], &["--out", "best"]].concat());
    let unwatched = ["--set", "transfer.keep=Last", "--set", "transfer.monitor_every=None", "--out", "last"];
    run(path, &[&short[..], &unwatched].concat());
    let bytes = |file: &str| std::fs::read(path.join(file)).unwrap();
    assert!(bytes("best/student.safetensors") == bytes("last/student.safetensors"), "looking changes a weight");
    assert!(!path.join("last/student.best.safetensors").exists());
    let found = looks(path, "best");
    assert_eq!(found.iter().map(|look| look[0].as_u64().unwrap()).collect::<Vec<_>>(), [5, 10, 15, 20]);
    let sane = |look: &Value| {
        let figure = |name: &str| look[1][name].as_f64();
        figure("weight_change") > Some(1e-6) && (Some(0.0)..=Some(10f64.ln())).contains(&figure("class_entropy"))
    };
    assert!(found.iter().all(sane), "{found:?}");

    let report = report(path, "best");
    let selection = &report["stages"]["transfer"]["selection"];
    assert_eq!(selection["chosen_on"], serde_json::json!(["test_digits"]));
    let value = |which: &str| selection[which]["value"].as_f64().unwrap();
    assert!(value("best") >= value("last"));
    assert_eq!(selection["last"]["value"], report["metrics"]["of_student"]["top1"]);
    let statement = report["data_free"]["statement"].as_str().unwrap();
    assert!(statement.ends_with(
        "the best weights of \"transfer\" are chosen by \"of_student\" on \"test_digits\", the last are not"
    ));
    let manifest: Value = serde_json::from_slice(&bytes("best/manifest.json")).unwrap();
    assert_eq!(manifest["selections"]["transfer"]["chosen_on"], serde_json::json!(["test_digits"]));

    // The exported file holds these weights, and says what they are.
    run(path, &["export", "best", "--format", "safetensors", "--best"]);
    let exported = bytes("student.best.safetensors");
    let tensors = |bytes: &[u8]| candle_core::safetensors::load_buffer(bytes, &candle_core::Device::Cpu).unwrap();
    let (exported_tensors, kept) = (tensors(&exported), tensors(&bytes("best/student.best.safetensors")));
    for (name, tensor) in &kept {
        let numbers = |tensor: &candle_core::Tensor| {
            tensor.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(numbers(tensor), numbers(&exported_tensors[name]), "{name}");
    }
    assert!(String::from_utf8_lossy(&exported).contains("chosen by `of_student` on \\\"test_digits\\\""));
    let none = command(path, &["export", "last", "--format", "safetensors", "--best"]).output().unwrap();
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && said.contains("the run last has no best weights of `student`"), "{said}");
}

#[test]
fn the_number_of_threads_changes_no_weight_and_the_seed_does() {
    let folder = folder();
    let path = folder.path();
    for precision in ["precision=f32", "precision=bf16"] {
        let weights = |run: &str, threads: &str, seed: &str| {
            let run = format!("{run}-{precision}");
            let short = ["zero-shot.ron", "--out", &run, "--quiet", "--set", "transfer.batches=5"];
            let short = [&short[..], &["--set", seed, "--set", precision]].concat();
            assert!(command(path, &short).env("RAYON_NUM_THREADS", threads).status().unwrap().success());
            std::fs::read(path.join(run).join("student.safetensors")).unwrap()
        };
        let one = weights("one", "1", "seed=0");
        assert!(one == weights("three", "3", "seed=0"), "{precision}: weights depend on the number of threads");
        assert!(one != weights("other", "1", "seed=1"), "{precision}: weights do not depend on the seed");
    }
}

#[test]
fn a_student_becomes_a_teacher_and_few_images_are_enough() {
    let folder = folder();
    let path = folder.path();
    let longer = ["--set", "train_digits.count=2000", "--set", "teaching.epochs=5", "--set", "transfer.batches=1"];
    run(path, &[&["zero-shot.ron", "--out", "zero", "--quiet"][..], &longer].concat());
    // The trained teacher, read back from its file with PyTorch's names, is the same network.
    std::fs::copy(path.join("zero/teaching.safetensors"), path.join("teacher.safetensors")).unwrap();
    let zero = report(path, "zero");
    for precision in ["f32", "bf16"] {
        run(path, &["few-shot.ron", "--out", precision, "--quiet", "--set", &format!("precision={precision}")]);
        let few = report(path, precision);
        let figure = |node: &str, name: &str| few["metrics"][node][name].as_f64().unwrap();
        let (teacher, student, alike) =
            (figure("of_teacher", "top1"), figure("of_student", "top1"), figure("alike", "share"));
        // One in ten would be a guess.
        assert!(teacher > 0.5 && student > 0.3 && alike > 0.3, "teacher {teacher}, student {student}, alike {alike}");
        assert_eq!(few["metrics"]["of_student"]["images"], 200);
        if precision == "f32" {
            assert_eq!(zero["metrics"]["of_teacher"], few["metrics"]["of_teacher"]);
        }
    }
}

#[test]
fn an_onnx_model_is_a_teacher_for_two_pseudo_batches() {
    let folder = folder();
    let path = folder.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/teachers/tests/onnx/fixtures");
    std::fs::copy(fixtures.join("vgg.18.onnx"), path.join("vgg.18.onnx")).unwrap();
    std::fs::write(path.join("onnx.ron"), OF_ONNX).unwrap();
    run(path, &["onnx.ron", "--out", "onnx", "--quiet"]);
    assert!(path.join("onnx/student.safetensors").exists());
    // Its shapes are known from the file alone: without it, nothing is said of them.
    std::fs::remove_file(path.join("vgg.18.onnx")).unwrap();
    run(path, &["validate", "onnx.ron", "--skip-files"]);
    let missing = command(path, &["validate", "onnx.ron"]).output().unwrap();
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("there is no such file"), "{said}");
    assert!(!said.contains("classes"), "one fault, and not what follows from it: {said}");
}
