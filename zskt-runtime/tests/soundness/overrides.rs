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
        "\"student\": zskt_architectures::WideResNet(\n            depth: 16",
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

/// With a variant of two changes, and one with mistakes.
fn with_variants(of_other: &str) -> String {
    let variants = format!(
        r#"variants: {{ "short": {{ "transfer.batches": 3, "name": "short" }}, "cifar-10": {{ {of_other} }} }}, nodes: {{"#
    );
    changed("nodes: {", &variants)
}

#[test]
fn a_variant_is_chosen_by_its_name() {
    let text = with_variants(r#""student": WideResNet(depth: 16, widen_factor: 1)"#);
    assert_eq!(resolved(&text, &[]), resolved(SOUND, &[]), "none is chosen");
    assert_eq!(resolved(&text, &["variant=short"]), resolved(SOUND, &["transfer.batches=3", "name=short"]));
    // Other overrides come after it, wherever they stand.
    let later = resolved(&text, &["transfer.batches=4", "variant=short"]);
    assert_eq!(later, resolved(SOUND, &["transfer.batches=4", "name=short"]));
    assert!(resolved(&text, &["variant=cifar-10"]).contains("depth: 16"));
    assert!(resolved(&text.replace("variants:", r#"variant: "cifar-10", variants:"#), &[]).contains("depth: 16"));
}

#[test]
fn mistakes_in_variants_are_shown_where_they_are() {
    let unknown = complaint(&with_variants(""), &["variant=shot"]);
    assert!(unknown.contains("the pipeline has no variant `shot`"), "{unknown}");
    assert!(unknown.contains("did you mean `short`?") && unknown.contains("variants: short, cifar-10"), "{unknown}");
    let none = complaint(SOUND, &["variant=short"]);
    assert!(none.contains("no variant `short`") && none.contains("it has no field `variants`"), "{none}");
    // Also in one that is not chosen.
    let names = complaint(&with_variants(r#""studant.classes": 100"#), &["variant=short"]);
    assert!(names.contains("the pipeline has no node `studant`") && names.contains("pipeline.ron:"), "{names}");
    let value = complaint(&with_variants(r#""student.classes": 0"#), &["variant=cifar-10"]);
    assert!(value.contains("`classes` of `student`") || value.contains("classes"), "{value}");
    let list = complaint(&with_variants("").replace(r#"{ "transfer.batches": 3, "name": "short" }"#, "[]"), &[]);
    assert!(list.contains("variants are maps"), "{list}");
}
