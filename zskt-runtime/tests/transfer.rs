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
        "transfer": Transfer(batches: 60, batch_size: 16, checkpoint_every: 7),
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
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.matches("\"stage\":\"transfer\"").count() >= batches {
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
    for file in ["student.safetensors", "teaching.safetensors"] {
        let bytes = |run: &str| std::fs::read(path.join(run).join(file)).unwrap();
        assert!(bytes("whole") == bytes("parts"), "{file} differs");
    }
    assert_eq!(report(path, "whole")["metrics"], report(path, "parts")["metrics"]);
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
