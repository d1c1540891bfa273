//! What is wrong with choosing the best weights, and with ending early.

use super::{SOUND, changed, check, complaint};

const EVALUATED: &str = "transfer.evaluate_every=5";

fn keep(metric: &str) -> String {
    format!("transfer.keep=Best(\"{metric}\")")
}

/// What is said with these overrides, and that the way out which is said is one.
fn refused(sets: &[&str], reason: &str, help: &str, way_out: &[&str]) {
    let said = complaint(SOUND, sets);
    assert!(said.contains(reason) && said.contains(help), "{said}");
    assert!(said.ends_with("1 problem; nothing was run\n"), "{said}");
    assert_eq!(complaint(SOUND, way_out), "nothing is wrong");
}

#[test]
fn a_stage_chooses_by_a_metric_of_its_own() {
    let best = keep("accuracy");
    refused(
        &[EVALUATED, &keep("acuracy")],
        "`transfer`: there is no node `acuracy`",
        "did you mean `accuracy`? `transfer` can choose by: accuracy",
        &[EVALUATED, &best],
    );
    refused(
        &[EVALUATED, &keep("belief")],
        "`belief` is a loss, and not a metric",
        "`transfer` can choose by: accuracy",
        &[EVALUATED, &best],
    );
    refused(
        &["teaching.evaluate_every=5", "teaching.keep=Best(\"accuracy\")"],
        "`accuracy` does not measure what `teaching` trains: no edge leads there from it",
        "give `teaching` a metric to choose by, as \"accuracy\": Accuracy() with the edge \"teaching -> accuracy.classifier\"",
        &["teaching.evaluate_every=5"],
    );
    let other = |metric: &str, edges: &str| {
        changed("\"accuracy\": Accuracy(),", &format!("\"accuracy\": Accuracy(), \"other\": {metric},"))
            .replace("\"transfer -> accuracy.classifier\"", &format!("\"transfer -> accuracy.classifier\", {edges}"))
    };
    let transition = other(
        "MeanTransitionError(images: 5)",
        "\"teaching -> other.teacher\", \"transfer -> other.student\", \"test_digits -> other.dataset\"",
    );
    let said = complaint(&transition, &[EVALUATED, &keep("other")]);
    assert!(said.contains("`other` is measured at the end of a stage only, and not while it trains"), "{said}");
    // A metric that needs what comes after the stage only.
    let later = other(
        "Agreement()",
        "\"teaching -> other.teacher\", \"transfer -> other.student\", \"test_digits -> other.dataset\"",
    );
    let said = complaint(&later, &["teaching.evaluate_every=5", "teaching.keep=Best(\"other\")"]);
    assert!(said.contains("`other` also needs `transfer`, which is there only after `teaching`"), "{said}");
    // What it needs besides is there before, whatever the order of the file.
    assert_eq!(complaint(&later, &[EVALUATED, &keep("other")]), "nothing is wrong");
}

#[test]
fn a_wrong_edge_is_one_problem() {
    let text = changed("\"transfer -> accuracy.classifier\"", "\"transfer -> accuracy.clasifier\"");
    let said = complaint(&text, &[EVALUATED, &keep("accuracy")]);
    assert!(!said.contains("does not measure"), "{said}");
}

#[test]
fn parameters_that_mean_nothing_alone() {
    let best = keep("accuracy");
    refused(
        &[&best],
        "`Best` compares evaluations, and there is none before the stage's end",
        "add `evaluate_every: 100`",
        &[&best, "transfer.evaluate_every=100"],
    );
    refused(
        &[EVALUATED, "transfer.patience=3"],
        "no metric says what an improvement is",
        "add `keep: Best(\"METRIC\")`",
        &[EVALUATED, &best],
    );
    refused(
        &[EVALUATED, &best, "transfer.min_delta=0.1"],
        "it says what an improvement is for `patience`, which is not set",
        "add `patience: 5`",
        &[EVALUATED, &best, "transfer.min_delta=0.1", "transfer.patience=5", "data_free=false"],
    );
    let said = complaint(SOUND, &[EVALUATED, "transfer.keep=Best(accuracy)"]);
    assert!(said.contains("expected text"), "{said}");
    let said = complaint(SOUND, &[EVALUATED, "transfer.keep=\"accuracy\""]);
    assert!(said.contains("expected Last | Best(\"METRIC\")"), "{said}");
}

#[test]
fn images_that_end_a_stage_reach_its_networks() {
    let (best, patience) = (keep("accuracy"), "transfer.patience=3");
    insta::assert_snapshot!(complaint(SOUND, &[EVALUATED, &best, patience]));
    assert_eq!(complaint(SOUND, &[EVALUATED, &best, patience, "data_free=false"]), "nothing is wrong");
    // Chosen beside the last, they do not; and what ends the teacher's training is the teacher's knowledge.
    let plan = check(SOUND, &[EVALUATED, &best]).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(
        plan.selection_of("transfer").map(|chosen_by| chosen_by.chosen_on.clone()),
        Some(vec!["test_digits".to_owned()])
    );
    assert!(zskt_runtime::data_free(&plan).is_some_and(|said| said.contains("on \"test_digits\", the last are not")));
    let of_teacher = changed("\"transfer -> accuracy.classifier\"", "\"teaching -> accuracy.classifier\"");
    let sets = ["teaching.evaluate_every=5", "teaching.keep=Best(\"accuracy\")", "teaching.patience=2"];
    let plan = check(&of_teacher, &sets).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(plan.data_free[0].through_teacher, ["digits", "test_digits"]);
}
