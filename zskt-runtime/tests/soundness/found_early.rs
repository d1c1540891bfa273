//! What would end a run hours after its start is found before it.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{CheckError, Error, Loss, LossBatch, LossInputs, Optimizer, Result, TeacherOutput, params};

use super::{SOUND, changed, complaint};

params! {
    /// The entropy of what the teacher believes, which the student cannot change.
    pub struct TeacherEntropy {
        /// Whether it forgets to take the mean.
        pub of_each_image: bool = false,
    }
}

impl Loss for TeacherEntropy {
    fn needs(&self) -> LossInputs {
        LossInputs { teacher: true, ..LossInputs::default() }
    }

    fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
        let beliefs = log_softmax(&teacher.logits)?;
        Ok(vec![(beliefs.exp()? * beliefs)?.sum(D::Minus1)?.neg()?])
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let [entropy] = batch.target else { return Err(Error::new("the teacher is missing")) };
        Ok(if self.of_each_image { entropy.clone() } else { entropy.mean_all()? })
    }
}

params! {
    /// An optimizer whose parameters do not go together.
    pub struct Contradiction {
        /// A learning rate.
        pub lr: f64 = 1.0,
    }
}

impl Optimizer for Contradiction {
    fn check(&self) -> Result<(), CheckError> {
        Err(CheckError::parameter("lr", "it goes with nothing"))
    }
    fn learning_rate(&self) -> f64 {
        self.lr
    }
    fn start(&self, _: Vec<zskt_api::Parameter>) -> Result<Box<dyn zskt_api::OptimizerState>> {
        Err(Error::new("nothing is run"))
    }
}

zskt_api::export! { reads: none; loss: TeacherEntropy; optimizer: Contradiction }

#[test]
fn a_loss_that_cannot_reach_its_player() {
    let entropy = "\"labels\": CrossEntropy(), \"entropy\": TeacherEntropy()";
    let with = |edge: &str| {
        changed("\"labels\": CrossEntropy()", entropy).replace("edges: [", &format!("edges: [\"{edge}\", "))
    };
    let alone = |turn: &str, losses: &[&str]| {
        losses.iter().fold(with(&format!("entropy -> {turn}.loss")), |text, loss| {
            text.replace(&format!("\"{loss} -> {turn}.loss\", "), "")
                .replace(&format!("\"{loss} -> {turn}.loss\","), "")
        })
    };
    // The generator moves the teacher's beliefs by its images; the student cannot.
    assert_eq!(complaint(&alone("seek", &["belief"]), &[]), "nothing is wrong");
    let student = complaint(&alone("imitate", &["belief", "attention"]), &[]);
    assert!(
        student.contains("do not depend on the student's output, so that no gradient reaches its player"),
        "{student}"
    );
    // Beside others it is a constant.
    assert_eq!(complaint(&with("entropy -> imitate.loss"), &[]), "nothing is wrong");
    let vector = complaint(&with("entropy -> seek.loss"), &["entropy.of_each_image=true"]);
    assert!(vector.contains("the plugin `TeacherEntropy`") && vector.contains("a tensor of shape [2]"), "{vector}");
}

#[test]
fn plugins_among_parameters_are_checked_as_nodes_are() {
    let missing = "\"belief\": CarrierLoss(inner: KlDivergence(), loss: CarrierLoss(inner: KlDivergence(), teacher: \
                   Checkpoint(model: LeNet(), path: \"no.pth\")))";
    let missing = complaint(&changed("\"belief\": KlDivergence()", missing), &[]);
    assert!(missing.contains("cannot take weights from `no.pth`"), "{missing}");
    insta::assert_snapshot!(complaint(SOUND, &["seek.optimizer=Contradiction(lr: 3)"]));
}

#[test]
fn a_turn_that_cannot_be_read_is_one_mistake() {
    let found = complaint(SOUND, &["imitate.optimizer.lr=-1"]);
    assert!(found.ends_with("1 problem; nothing was run\n"), "{found}");
}

/// A student that learns from a teacher's file alone.
const FROM_A_FILE: &str = r#"(
    name: "from-a-file",
    nodes: {
        "teacher": Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: "no-such-file.pth"),
        "student": WideResNet(depth: 10, widen_factor: 1),
        "generator": ConvGenerator(channels: 4, output: Sigmoid),
        "belief": KlDivergence(),
        "seek": Maximize(optimizer: Adam(lr: 1e-3)),
        "imitate": Minimize(optimizer: Adam(lr: 2e-3)),
        "transfer": Transfer(batches: 10),
    },
    edges: [
        "generator -> seek.player", "belief -> seek.loss", "student -> imitate.player", "belief -> imitate.loss",
        "teacher -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
    ],
)"#;

#[test]
fn pixels_that_nobody_can_normalize() {
    let found = |set: &[&str]| complaint(FROM_A_FILE, set);
    let unknown = "`generator` makes pixels from 0 to 1, and how its teacher wants them normalized is not known";
    assert!(found(&[]).contains(unknown), "{}", found(&[]));
    assert!(!found(&["generator.output=Tanh"]).contains("normalized is"), "{}", found(&["generator.output=Tanh"]));
    assert!(found(&["generator=Pixels(images: 8, clip: true)"]).contains("`generator` makes pixels"));
    assert!(!found(&["generator=Pixels(images: 8)"]).contains("`generator` makes pixels"));
    let grey = ["teacher.mean=[0.5]", "teacher.std=[0.5]"];
    let other = "makes images of 3 channels, but those that its teacher was trained on have a normalization of 1";
    assert!(found(&grey).contains(other), "{}", found(&grey));
    // The way out.
    let known = ["teacher.mean=[0.5, 0.5, 0.5]", "teacher.std=[0.5, 0.5, 0.5]"];
    assert!(!found(&known).contains("generator"), "{}", found(&known));
}

#[test]
fn a_normalization_of_other_channels_than_the_images_have() {
    let found = |set: &[&str]| complaint(FROM_A_FILE, &[set, &["generator.output=BatchNorm"]].concat());
    let two = ["teacher.mean=[0.5, 0.5]", "teacher.std=[0.2, 0.2]"];
    let message = "`teacher` has a normalization of 2 channels, but the images of `generator` have 3";
    assert_eq!(found(&two).matches(message).count(), 1, "{}", found(&two));
    let three = ["teacher.mean=[0.5, 0.5, 0.5]", "teacher.std=[0.2, 0.2, 0.2]"];
    assert!(!found(&three).contains("a normalization of"), "{}", found(&three));

    // Of every teacher, though another is the one that datasets follow.
    let member = "Checkpoint(model: WideResNet(depth: 10, widen_factor: 1), path: \"no-such-file.pth\"";
    let members = format!(
        "teacher=Ensemble(members: [{member}, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]), {member}, mean: [0.5], std: [0.2])])"
    );
    let message = "`teacher.members[1]` has a normalization of 1 channel, but the images of `generator` have 3";
    assert!(found(&[&members]).contains(message), "{}", found(&[&members]));
}
