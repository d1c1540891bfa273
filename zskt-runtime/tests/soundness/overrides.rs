//! `--set`, and the pipeline as resolved.

use super::{SOUND, changed, check, complaint};

fn resolved(text: &str, sets: &[&str]) -> String {
    check(text, sets).unwrap_or_else(|complaint| panic!("{complaint}")).resolved
}

#[test]
fn a_resolved_pipeline_resolves_to_itself() {
    for sets in [&[][..], &["transfer.batches=7", "imitate.optimizer=Sgd(lr: 0.1)", "seed=5", "device=cpu", "name=a b"]]
    {
        let once = resolved(SOUND, sets);
        assert_eq!(resolved(&once, &[]), once);
    }
}

#[test]
fn the_resolved_pipeline_shows_every_default() {
    insta::assert_snapshot!(resolved(SOUND, &[]));
}

#[test]
fn an_override_changes_a_parameter_a_node_and_a_setting() {
    let sets = [
        "seek.steps=3",
        "imitate.optimizer.lr=1e-4",
        "learn.schedule=Cosine",
        "learn.schedule.floor=0.1",
        "student=WideResNet(depth: 16, widen_factor: 1)",
        "seed=7",
        "device=cpu",
        "precision=f64",
        "name=renamed",
    ];
    let text = resolved(
        &SOUND
            .replace("\"attention -> imitate.loss\",", "")
            .replace("\"attention\": AttentionTransfer(beta: 250.0),", ""),
        &sets,
    );
    for part in [
        "seed: 7",
        "device: \"cpu\"",
        "precision: \"f64\"",
        "name: \"renamed\"",
        "\"student\": WideResNet(depth: 16",
        "steps: 3",
        "lr: 0.0001",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_plugin_can_be_changed_from_within_where_it_is_written() {
    assert!(resolved(SOUND, &["learn.optimizer.lr=0.25"]).contains("Adam(lr: 0.25"));
    let complaint = complaint(SOUND, &["learn.schedule.floor=0.1"]);
    assert!(complaint.contains("`learn.schedule` is not set in the pipeline"), "{complaint}");
}

#[test]
fn wrong_overrides_are_shown_in_the_argument() {
    insta::assert_snapshot!(complaint(
        SOUND,
        &[
            "seek.step=3",
            "seak.steps=3",
            "seek.optimizer.learning_rate=1",
            "seek.steps.x=1",
            "seek.clip_norm=-1",
            "name",
            "test_digits.split=test set",
            "seed=-1",
            "seed.x=1",
            "learn=Minimise(steps: 1)",
            "learn.schedule.x=1",
            "device=tpu",
        ]
    ));
}

#[test]
fn a_path_needs_no_quotes() {
    let text = changed(
        "\"teacher\": WideResNet(depth: 10, widen_factor: 1)",
        "\"teacher\": Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: \"a.pth\")",
    );
    for written in ["my-wrn-10-1.pth", "weights/my wrn.safetensors", "weights", "\"in quotes.pth\"", "10"] {
        let complaint = complaint(&text, &[&format!("teacher.path={written}")]);
        let expected = written.trim_matches('"');
        assert!(complaint.contains(&format!("`{expected}`")), "{written}: {complaint}");
        assert!(!complaint.contains("wrong type"), "{written}: {complaint}");
    }
    // Elsewhere, what is not a value stays an error.
    assert!(complaint(SOUND, &["seek.steps=a/b"]).contains("--set #1"));
}

#[test]
fn numbers_are_finite() {
    for infinite in ["inf", "1e400", "NaN"] {
        let complaint = complaint(SOUND, &[&format!("seek.optimizer.lr={infinite}")]);
        assert!(complaint.contains("expected a finite number"), "{infinite}: {complaint}");
    }
}
