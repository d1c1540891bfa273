//! What would end a run hours after its start is found before it.

use zskt_api::candle_core::{D, Tensor};
use zskt_api::ops::log_softmax;
use zskt_api::{CheckError, ClassifierOutput, Error, Loss, LossInputs, LossTarget, Optimizer, Result, params};

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
        LossInputs { teacher: true, labels: false }
    }

    fn target(&self, teacher: &ClassifierOutput) -> Result<Vec<Tensor>> {
        let beliefs = log_softmax(&teacher.logits)?;
        Ok(vec![(beliefs.exp()? * beliefs)?.sum(D::Minus1)?.neg()?])
    }

    fn value(&self, _: &ClassifierOutput, target: &LossTarget) -> Result<Tensor> {
        let [entropy] = &target.teacher[..] else { return Err(Error::new("the teacher is missing")) };
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
