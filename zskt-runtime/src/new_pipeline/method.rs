//! The methods that a pipeline can begin with.

use clap::ValueEnum;
use zskt_api::ImageShape;

use super::dataset::FoundDataset;
use super::draft::{Draft, Group};
use super::student::ChosenStudent;
use super::teacher::FoundTeacher;

/// How the student learns.
#[derive(Clone, Copy, ValueEnum)]
pub enum Method {
    /// Adversarial belief matching: Micaelli & Storkey, NeurIPS 2019
    Abm,
}

impl Method {
    /// The method with its published parameters, for this teacher and student.
    pub fn pipeline(self, teacher: &FoundTeacher, student: &ChosenStudent, data: Option<&FoundDataset>) -> Draft {
        match self {
            Self::Abm => adversarial_belief_matching(teacher, student, data),
        }
    }
}

fn adversarial_belief_matching(teacher: &FoundTeacher, student: &ChosenStudent, data: Option<&FoundDataset>) -> Draft {
    let pairs = student.output.pairs_of_equal_size(teacher.output());
    let in_order = pairs.iter().enumerate().all(|(index, pair)| *pair == [index, index])
        && [&student.output, teacher.output()].iter().all(|output| output.activations.len() == pairs.len());
    let attention = match (pairs.is_empty(), in_order) {
        (true, _) => None,
        (_, true) => Some("AttentionTransfer(beta: 250.0)".to_owned()),
        _ => Some(format!("AttentionTransfer(beta: 250.0, pairs: {pairs:?})")),
    };

    let mut head = vec![
        "Zero-shot transfer by adversarial belief matching (Micaelli & Storkey, NeurIPS 2019): the student learns from its teacher on \
         images that a generator makes up. No data is needed; the parameters are the paper's, for images of 32×32."
            .to_owned(),
    ];
    let assumptions = teacher.assumptions();
    if !assumptions.is_empty() {
        head.extend(["".into(), "The teacher's file does not tell:".into()]);
        head.extend(assumptions.iter().map(|assumption| format!("- {assumption}")));
    }

    let mut losses = vec![("belief", "KlDivergence(temperature: 1.0)".to_owned())];
    let mut about_losses = vec!["What the student is compared by".to_owned()];
    let mut imitate = vec!["student -> imitate.player".to_owned(), "belief -> imitate.loss".into()];
    match attention {
        Some(attention) => {
            losses.push(("attention", attention));
            imitate.push("attention -> imitate.loss".into());
        }
        None => about_losses
            .push("(no activations of both networks are equally large, so that attention cannot be compared)".into()),
    }

    let mut groups = vec![
        Group {
            comment: vec!["Networks".into()],
            nodes: vec![
                ("teacher", teacher.ron().to_owned()),
                ("student", student.ron.clone()),
                ("generator", generator(teacher.image())),
            ],
        },
        Group { comment: about_losses, nodes: losses },
        Group {
            comment: vec![
                "Each batch: the generator maximizes the divergence of teacher and student, then the student minimizes it".into(),
            ],
            nodes: vec![
                ("seek", "Maximize(steps: 1, optimizer: Adam(lr: 1e-3), schedule: Cosine, clip_norm: 5.0)".into()),
                ("imitate", "Minimize(steps: 10, optimizer: Adam(lr: 2e-3), schedule: Cosine, clip_norm: 5.0)".into()),
                ("transfer", format!("Transfer(batches: 80000, batch_size: 128{})", if data.is_some() { ", evaluate_every: 800" } else { "" })),
            ],
        },
    ];
    let mut edges = vec![
        vec!["generator -> seek.player".into(), "belief -> seek.loss".into()],
        imitate,
        vec![
            "teacher -> transfer.teacher".into(),
            "student -> transfer.student".into(),
            "generator -> transfer.images".into(),
        ],
        vec!["seek -> transfer.turns".into(), "imitate -> transfer.turns".into()],
    ];
    match data {
        Some(data) => {
            groups.push(Group {
                comment: vec!["Evaluation: the only place where real images appear".into()],
                nodes: vec![
                    ("test_set", data.ron().to_owned()),
                    ("teacher_accuracy", "Accuracy()".into()),
                    ("student_accuracy", "Accuracy()".into()),
                    ("agreement", "Agreement()".into()),
                ],
            });
            edges.extend([
                vec!["teacher -> teacher_accuracy.classifier".into(), "test_set -> teacher_accuracy.dataset".into()],
                vec!["transfer -> student_accuracy.classifier".into(), "test_set -> student_accuracy.dataset".into()],
                vec![
                    "teacher -> agreement.teacher".into(),
                    "transfer -> agreement.student".into(),
                    "test_set -> agreement.dataset".into(),
                ],
            ]);
        }
        None => head.extend([
            "".into(),
            "Nothing is measured. With images of the teacher's classes at hand, if only a few, `zskt-run new --data FOLDER` adds \
             accuracy and agreement; no image of them reaches the student."
                .into(),
        ]),
    }
    Draft { head, name: teacher.name().to_owned(), groups, edges }
}

/// The paper's generator, for images of this shape.
fn generator(image: ImageShape) -> String {
    let mut parameters = vec!["latent_dim: 100".to_owned()];
    if image.height != 32 {
        parameters.push(format!("first_map: {}, image_size: {}", image.height / 4, image.height));
    }
    if image.channels != 3 {
        parameters.push(format!("image_channels: {}", image.channels));
    }
    format!("ConvGenerator({})", parameters.join(", "))
}
