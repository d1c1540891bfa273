//! The pipelines of the paper, in small, on synthetic data: that each runs from its first node to its last figure.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A pipeline of `pipelines/paper` with some of it replaced.
fn run(folder: &Path, pipeline: &str, sets: &[&str]) -> Value {
    let file = format!("{}/../pipelines/paper/{pipeline}.ron", env!("CARGO_MANIFEST_DIR"));
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_zskt-run"));
    command.arg(file).args(sets).args(["--quiet", "--out", pipeline]).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{pipeline}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.join(pipeline).join("report.json")).unwrap()).unwrap();
    let warnings = report["warnings"].to_string();
    assert!(!warnings.contains("gradient"), "all that learns is reached: {warnings}");
    report
}

const TEST_SET: &str = "test_set=SyntheticDigits(count: 60, size: 16, split: Test)";
const TRAIN_SET: &str = "train_set=SyntheticDigits(count: 120, size: 16, split: Train, per_class: 4, crop: 2)";
const TEACHER: &str =
    r#"teacher=Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: "teacher/student.safetensors")"#;
const STUDENT: &str = "student=WideResNet(depth: 10, widen_factor: 1)";
const GENERATOR: &str = "generator=ConvGenerator(latent_dim: 8, channels: 8, first_map: 4, image_size: 16)";
const TRANSITION: &str = "transition=MeanTransitionError(images: 2, steps: 3)";

#[test]
fn every_pipeline_of_the_paper_runs_in_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let teacher = [
        "teacher=WideResNet(depth: 10, widen_factor: 1)",
        "train_set=SyntheticDigits(count: 640, size: 16, split: Train)",
        TEST_SET,
        "training=Train(epochs: 1, batch_size: 32)",
    ];
    run(path, "teacher", &teacher);
    let short = |stage: &'static str| [TEACHER, STUDENT, TEST_SET, TRANSITION, stage];
    let transfer = "transfer=Transfer(batches: 4, batch_size: 8, monitor_every: 2)";

    let zero_shot = run(path, "zero-shot", &[&short(transfer)[..], &[GENERATOR]].concat());
    assert!(zero_shot["metrics"]["transition"]["mean_transition_error"].is_number(), "{zero_shot}");
    let few_shot =
        run(path, "few-shot", &[&short("distill=Transfer(batches: 4, batch_size: 8)")[..], &[TRAIN_SET]].concat());
    assert!(few_shot["metrics"]["transition"]["mean_transition_error"].is_number(), "{few_shot}");
    run(path, "no-teacher", &[STUDENT, TEST_SET, TRAIN_SET, "training=Train(batches: 4, batch_size: 8)"]);

    let fine_tune = "fine_tune=Transfer(batches: 2, batch_size: 8)";
    let fine_tuned = run(path, "fine-tuned", &[&short(transfer)[..], &[GENERATOR, TRAIN_SET, fine_tune]].concat());
    assert!(fine_tuned["metrics"]["zero_shot"]["top1"].is_number(), "{fine_tuned}");
    assert_eq!(fine_tuned["stages"].as_object().map(serde_json::Map::len), Some(2), "{fine_tuned}");

    let student =
        r#"student=Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: "few-shot/student.safetensors")"#;
    let transition = run(path, "transition", &[TEACHER, student, TEST_SET, TRANSITION]);
    assert_eq!(transition["metrics"]["transition"], few_shot["metrics"]["transition"]);

    let toy =
        ["train_set.count=1200", "test_set.count=600", "teaching.epochs=10", "transfer.batches=6", "seek.steps=5"];
    let toy = run(path, "toy", &toy);
    assert!(toy["metrics"]["teacher_accuracy"]["top1"].as_f64() > Some(0.7), "{toy}");

    let synthesize = "synthesize=Synthesize(every: 2, images: 8, steps: 2, optimizer: Adam(lr: 3e-3), latents_lr: 0.01, outer: Adam(lr: 0.015))";
    let distill = "distill=Transfer(batches: 4, batch_size: 8, targets: Uniform())";
    let generator = "generator=ConvGenerator(latent_dim: 8, channels: 8, first_map: 4, image_size: 16, output: Sigmoid, bias: false)";
    run(path, "scaled-zero-shot", &[&short(distill)[..], &[generator, synthesize]].concat());
}
