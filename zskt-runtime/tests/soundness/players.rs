//! Who may change which network, and when.

use super::{SOUND, changed, check, complaint};

#[test]
fn a_teacher_is_not_trained() {
    insta::assert_snapshot!(complaint(
        &changed("\"teaching -> transfer.teacher\"", "\"student -> transfer.teacher\""),
        &[]
    ));
}

#[test]
fn a_turn_updates_a_network_of_its_stage() {
    insta::assert_snapshot!(complaint(&changed("\"student -> imitate.player\"", "\"teacher -> imitate.player\""), &[]));
}

#[test]
fn two_stages_do_not_train_one_network_from_its_beginning() {
    let text = changed("\"teacher -> teaching.student\"", "\"student -> teaching.student\"")
        .replace("\"teacher -> learn.player\"", "\"student -> learn.player\"")
        .replace(
            "\"teaching -> transfer.teacher\"",
            "\"teacher -> transfer.teacher\", \"teaching -> before.classifier\", \"test_digits -> before.dataset\"",
        )
        .replace("\"accuracy\":", "\"before\": Accuracy(), \"accuracy\":")
        .replace("data_free: [\"student\", \"generator\"],", "");
    insta::assert_snapshot!(complaint(&text, &[]));
    // Continuing from the first stage is right.
    let text = text.replace("\"student -> transfer.student\"", "\"teaching -> transfer.student\"");
    assert_eq!(complaint(&text, &[]), "nothing is wrong");
}

#[test]
fn who_reads_a_network_does_so_before_it_changes() {
    let text = changed("\"accuracy\":", "\"untrained\": Accuracy(), \"accuracy\":")
        .replace("edges: [", "edges: [\"teacher -> untrained.classifier\", \"test_digits -> untrained.dataset\",");
    let plan = check(&text, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    let place = |name: &str| plan.nodes.iter().position(|node| node.name == name);
    assert!(place("untrained") < place("teaching"));
    // What stands first in the file and does not depend on the others stays first.
    assert_eq!(place("teacher"), Some(0));
}

#[test]
fn nobody_reads_what_has_changed_by_then() {
    let text = changed("\"accuracy\":", "\"agreement\": Agreement(), \"accuracy\":").replace(
        "edges: [",
        "edges: [\"student -> agreement.teacher\", \"transfer -> agreement.student\", \"test_digits -> agreement.dataset\",",
    );
    insta::assert_snapshot!(complaint(&text, &[]));
}

#[test]
fn files_can_be_skipped() {
    let text = SOUND.replace(
        "WideResNet(depth: 10, widen_factor: 1),\n        \"student\"",
        "Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: \"no/such/file\"),\n        \"student\"",
    );
    assert!(complaint(&text, &[]).contains("no/such/file"));
    let sources = zskt_runtime::Sources::new("pipeline.ron", text, &[]);
    let registry = zskt_api::Registry::get().expect("names are unique");
    assert!(zskt_runtime::prove(&sources, registry, true).is_ok());
}
