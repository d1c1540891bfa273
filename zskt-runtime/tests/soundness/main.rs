//! What is proven of a pipeline before it runs, and how what is wrong with it is shown.

mod data_free;
mod diagnostics;
mod found_early;
mod fuzz;
mod hidden_data;
mod large;
mod overrides;
mod pictures;
mod players;
mod selection;
mod syntheses;
mod warnings;

use zskt_api::Registry;
use zskt_runtime::{Plan, Sources, prove, render};

/// A teacher learns from drawn digits; its student learns from it without any.
const SOUND: &str = r#"// Two stages, and no file.
(
    name: "two-stages",
    data_free: ["student", "generator"],
    nodes: {
        "teacher": WideResNet(depth: 10, widen_factor: 1),
        "student": WideResNet(depth: 10, widen_factor: 1),
        "generator": ConvGenerator(latent_dim: 16, channels: 16, first_map: 4, image_size: 16),
        "digits": SyntheticDigits(split: Train, count: 200),
        "test_digits": SyntheticDigits(split: Test, count: 100),
        "labels": CrossEntropy(),
        "belief": KlDivergence(),
        "attention": AttentionTransfer(beta: 250.0),
        "learn": Minimize(steps: 1, optimizer: Adam(lr: 1e-3)),
        "seek": Maximize(steps: 1, optimizer: Adam(lr: 1e-3), schedule: Cosine, clip_norm: 5.0),
        "imitate": Minimize(steps: 10, optimizer: Adam(lr: 2e-3), schedule: Cosine, clip_norm: 5.0),
        "teaching": Train(batches: 10),
        "transfer": Transfer(batches: 10),
        "accuracy": Accuracy(),
    },
    edges: [
        "teacher -> learn.player", "labels -> learn.loss",
        "teacher -> teaching.student", "digits -> teaching.images", "learn -> teaching.turns",
        "generator -> seek.player", "belief -> seek.loss",
        "student -> imitate.player", "belief -> imitate.loss", "attention -> imitate.loss",
        "teaching -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
        "transfer -> accuracy.classifier", "test_digits -> accuracy.dataset",
    ],
)
"#;

/// The sound pipeline with one text put in place of another.
fn changed(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "{from}");
    SOUND.replacen(from, to, 1)
}

/// Checks a text with overrides.
fn check(text: &str, sets: &[&str]) -> Result<Plan, String> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let sources = Sources::new("pipeline.ron", text, &sets);
    let registry = Registry::get().expect("names are unique");
    prove(&sources, registry, false).map_err(|problems| render(&problems, &sources, false))
}

/// What a user sees who runs this text.
fn complaint(text: &str, sets: &[&str]) -> String {
    match check(text, sets) {
        Ok(_) => "nothing is wrong".into(),
        Err(complaint) => complaint,
    }
}

#[test]
fn the_sound_pipeline_is_sound() {
    let plan = check(SOUND, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(plan.nodes.len(), 14);
    for (index, node) in plan.nodes.iter().enumerate() {
        assert!(node.inputs.iter().all(|edge| edge.from < index), "{} comes before what it needs", node.name);
    }
}
