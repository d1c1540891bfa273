//! The data-free proof.

use zskt_api::candle_core::{DType, Device, Tensor};

use super::{SOUND, changed, check, complaint};

#[test]
fn knowledge_through_a_teacher_is_no_data_but_is_told() {
    let plan = check(SOUND, &[]).unwrap_or_else(|complaint| panic!("{complaint}"));
    let proofs: Vec<_> =
        plan.data_free.iter().map(|proof| (proof.network.as_str(), proof.through_teacher.as_slice())).collect();
    assert_eq!(proofs, [("student", &["digits".to_owned()][..]), ("generator", &["digits".to_owned()][..])]);
}

#[test]
fn without_a_claim_there_is_no_proof() {
    assert!(check(SOUND, &["data_free=false"]).is_ok_and(|plan| plan.data_free.is_empty()));
}

#[test]
fn images_that_reach_a_network_are_followed_to_it() {
    insta::assert_snapshot!(complaint(SOUND, &["data_free=true"]));
}

#[test]
fn a_network_carries_images_on_to_those_it_learns_with() {
    // The student learns from digits first, and from the teacher and the generator afterwards.
    let text = changed("\"student -> transfer.student\"", "\"pretraining -> transfer.student\"")
        .replace("\"learn\": ", "\"pretraining\": Train(batches: 1), \"first\": Minimize(optimizer: Adam(lr: 1e-3)), \"learn\": ")
        .replace(
            "edges: [",
            "edges: [\"student -> pretraining.student\", \"digits -> pretraining.images\", \"student -> first.player\", \
             \"labels -> first.loss\", \"first -> pretraining.turns\", ",
        );
    insta::assert_snapshot!(complaint(&text, &[]));
    assert_eq!(complaint(&text, &["data_free=false"]), "nothing is wrong");
}

#[test]
fn a_claim_names_networks() {
    insta::assert_snapshot!(complaint(SOUND, &["data_free=[\"studnt\", \"transfer\", \"student\", 3]"]));
}

#[test]
fn a_metric_may_see_every_image() {
    let text = changed("\"test_digits -> accuracy.dataset\"", "\"digits -> accuracy.dataset\"")
        .replace("\"test_digits\": SyntheticDigits(split: Test, count: 100),", "");
    assert_eq!(complaint(&text, &[]), "nothing is wrong");
}

#[test]
fn a_network_from_a_file_is_not_claimed() {
    let student = "student=Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: no-such-file.pth)";
    let student = student.replace("no-such-file.pth", "\"no-such-file.pth\"");
    assert!(complaint(SOUND, &[&student]).contains("`student` begins with weights from a file"));
}

#[test]
fn vectors_of_class_names_are_told_as_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.safetensors");
    let vectors = Tensor::zeros((10, 4), DType::F32, &Device::Cpu).unwrap();
    vectors.save_safetensors("table", &file).unwrap();
    let generator = |vectors: &str| {
        format!(
            "generator=LabelGenerator(classes: 10, batch_size: 128, channels: 4, first_map: 4, image_size: 16{vectors})"
        )
    };
    let given = format!(", vectors: {:?}", file.display().to_string());
    let told = |generator: String| {
        let plan = check(SOUND, &[&generator, "transfer.targets=Balanced()"])
            .unwrap_or_else(|complaint| panic!("{complaint}"));
        assert!(plan.data_free.iter().all(zskt_runtime::DataFreeProof::is_proven));
        plan.data_free[0].metadata.iter().map(|read| (read.place.clone(), read.what.clone())).collect::<Vec<_>>()
    };
    let what = format!("the label vectors of `{}`, f32 [10, 4]", file.display());
    assert_eq!(told(generator(&given)), [("generator".to_owned(), what)]);
    assert_eq!(told(generator("")), []);
}
