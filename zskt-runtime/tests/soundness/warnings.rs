//! What is shown and does not stop a run.

use zskt_api::Registry;
use zskt_runtime::{Sources, prove, render};

use crate::{SOUND, changed, check};

fn warnings(text: &str) -> Vec<String> {
    let plan = check(text, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    plan.warnings.into_iter().map(|warning| warning.message).collect()
}

#[test]
fn datasets_that_share_a_network_and_not_their_normalization() {
    assert_eq!(warnings(SOUND), [""; 0]);
    let stated = |train: &str, test: &str| {
        let text = changed("Train, count: 200", &format!("Train, count: 200{train}"));
        text.replacen("Test, count: 100", &format!("Test, count: 100{test}"), 1)
    };
    let (cifar, svhn) = (
        ", mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616]",
        ", mean: [0.4377, 0.4438, 0.4728], std: [0.198, 0.201, 0.197]",
    );
    let rounded = ", mean: [0.491, 0.482, 0.447], std: [0.247, 0.243, 0.262]";
    assert_eq!(warnings(&stated(cifar, rounded)), [""; 0]);
    // Where nobody states one, it is what is usual for the first dataset.
    let plan = check(SOUND, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert!(plan.nodes.iter().all(|node| {
        let found = node.normalization.as_ref();
        found.is_some_and(|found| found.std == [0.25; 3]) || node.registration.kind == zskt_api::PluginKind::Loss
    }));
    // Who states none follows.
    let plan = check(&stated(cifar, ""), &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(plan.warnings, []);
    for node in ["digits", "test_digits", "generator", "transfer"] {
        let node = plan.nodes.iter().find(|other| other.name == node).expect("it is there");
        assert_eq!(node.normalization.as_ref().map(|found| found.std[2]), Some(0.2616), "{}", node.name);
    }
    let text = stated(cifar, svhn);
    let sources = Sources::new("pipeline.ron", text, &[]);
    let plan = prove(&sources, Registry::get().expect("names are unique"), false).expect("it can be run");
    insta::assert_snapshot!(render(&plan.warnings, &sources, false));
}

#[test]
fn a_student_that_is_larger_than_its_teacher() {
    let larger = changed(
        r#""student": WideResNet(depth: 10, widen_factor: 1)"#,
        r#""student": WideResNet(depth: 16, widen_factor: 1)"#,
    );
    assert_eq!(
        warnings(&larger),
        ["the student `student` has 175,066 parameters, more than its teacher `teacher` with 77,850"]
    );
}

#[test]
fn a_student_that_learns_nothing_from_its_teacher() {
    // What the student is to show of its labels: a stage with a teacher in name.
    let labelled = |losses: &str| {
        let text = changed(r#""belief -> imitate.loss", "attention -> imitate.loss","#, losses);
        text.replacen("\"attention\": AttentionTransfer(beta: 250.0),", "", 1).replacen(
            "Transfer(batches: 10)",
            "Transfer(batches: 10, targets: Uniform())",
            1,
        )
    };
    assert_eq!(
        warnings(&labelled(r#""labels -> imitate.loss","#)),
        ["nothing in `transfer` makes `student` learn from `teacher`: no loss of `imitate` compares the two"]
    );
    assert_eq!(warnings(&labelled(r#""labels -> imitate.loss", "belief -> imitate.loss","#)), [""; 0]);
    let attentive = changed(r#""belief -> imitate.loss", "attention"#, r#""attention"#);
    assert_eq!(warnings(&attentive), [""; 0], "attention is learnt from the teacher, too");
    // Images that the teacher takes for given classes teach by their labels; those that it does not look at so, do not.
    let quickstart = include_str!("../../../pipelines/quickstart.ron");
    let by_labels = |losses: &str| {
        let text = quickstart.replacen(r#""belief -> imitate.loss","#, losses, 1);
        text.lines().filter(|line| !line.contains(r#""belief":"#)).map(|line| format!("{line}\n")).collect::<String>()
    };
    let labelled = by_labels(r#""labels -> imitate.loss","#);
    assert_eq!(warnings(&labelled), [""; 0]);
    let unseen = labelled.replacen("OneHot(class: Label, weight: 0.4)", "OneHot(weight: 0.4)", 1);
    assert_eq!(warnings(&unseen).len(), 1);
}

#[test]
fn a_network_that_is_measured_before_it_is_trained_and_never_after() {
    let text = changed(r#""transfer -> accuracy.classifier""#, r#""student -> accuracy.classifier""#);
    assert_eq!(warnings(&text), ["`accuracy` measures `student` before `transfer` trains it"]);
}

#[test]
fn a_network_that_is_measured_and_never_trained() {
    let text = changed(r#""transfer -> accuracy.classifier""#, r#""other -> accuracy.classifier""#);
    let text = text.replacen(r#""belief":"#, r#""other": LeNet(size: 16), "belief":"#, 1);
    assert_eq!(warnings(&text), ["`accuracy` measures `other`, which is never trained"]);
    // What is wrong is not hidden by what is only strange.
    let complaint = check(&text.replacen("beta: 250.0", "beta: -1.0", 1), &[]).err().expect("it is refused");
    assert!(complaint.ends_with("1 problem; nothing was run\n"), "{complaint}");
}
