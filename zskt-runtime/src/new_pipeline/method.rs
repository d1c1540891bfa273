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
    /// Fast-Datafree: Fang et al., AAAI 2022. Less work, for teachers with batch norms whose normalization is known
    Fast,
}

impl Method {
    /// The method with its published parameters, for this teacher and student.
    pub fn pipeline(self, teacher: &FoundTeacher, student: &ChosenStudent, data: Option<&FoundDataset>) -> Draft {
        match self {
            Self::Abm => adversarial_belief_matching(teacher, student, data),
            Self::Fast => fast_datafree(teacher, student, data),
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

    let head = head(
        "Zero-shot transfer by adversarial belief matching (Micaelli & Storkey, NeurIPS 2019): the student learns from its teacher on \
         images that a generator makes up. No data is needed; the parameters are the paper's, for images of 32×32.",
        teacher,
    );

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

    let groups = vec![
        Group {
            comment: vec!["Networks".into()],
            nodes: vec![
                ("teacher", teacher.ron().to_owned()),
                ("student", student.ron.clone()),
                ("generator", generator(teacher.image(), &["latent_dim: 100"])),
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
    let edges = vec![
        vec!["generator -> seek.player".into(), "belief -> seek.loss".into()],
        imitate,
        vec![
            "teacher -> transfer.teacher".into(),
            "student -> transfer.student".into(),
            "generator -> transfer.images".into(),
        ],
        vec!["seek -> transfer.turns".into(), "imitate -> transfer.turns".into()],
    ];
    let mut draft = Draft { head, name: teacher.name().to_owned(), groups, edges };
    evaluate(&mut draft, data);
    draft
}

fn fast_datafree(teacher: &FoundTeacher, student: &ChosenStudent, data: Option<&FoundDataset>) -> Draft {
    let head = head(
        "Fast-Datafree (Fang et al., AAAI 2022): a few steps of a copy of a generator make images of given classes, which look to the \
         teacher's batch norms as its training images did; a bank keeps them, and the student learns from it. No data is needed; the \
         parameters are the paper's, for images of 32×32.",
        teacher,
    );
    let node = |name, plugin: &str| (name, plugin.to_owned());
    let evaluated = if data.is_some() { ", evaluate_every: 2000" } else { "" };
    let groups = vec![
        Group {
            comment: vec!["Networks".into()],
            nodes: vec![
                ("teacher", teacher.ron().to_owned()),
                ("student", student.ron.clone()),
                ("generator", generator(teacher.image(), &["latent_dim: 256", "output: Sigmoid", "bias: false"])),
            ],
        },
        Group {
            comment: vec!["What images are to be, and what the student is compared by".into()],
            nodes: vec![
                node("statistics", "BatchNormMatching(weight: 10.0)"),
                node("shows", "OneHot(class: Label, weight: 0.4)"),
                node("differ", "KlDivergence(weight: -1.1, reduction: BatchMean, agreeing_only: true)"),
                node("belief", "KlDivergence(temperature: 20.0, reduction: BatchMean, temperature_squared: true)"),
            ],
        },
        Group {
            comment: vec!["Every 400 batches new images; in each batch one step of the student".into()],
            nodes: vec![
                node(
                    "synthesize",
                    "Synthesize(every: 400, images: 256, steps: 5, warm_up: 20, student_after: 19, optimizer: Adam(lr: 3e-3, \
                     betas: [0.5, 0.999]), latents_lr: 0.01, outer: Adam(lr: 0.015, betas: [0.5, 0.999]), crop: 4, flip: true, \
                     statistics_momentum: 0.9, reset_at: 140)",
                ),
                node(
                    "imitate",
                    "Minimize(optimizer: Sgd(lr: 0.2, momentum: 0.9, weight_decay: 1e-4), schedule: Cosine(floor: 1e-3))",
                ),
                ("transfer", format!("Transfer(batches: 80000, batch_size: 256, targets: Uniform(){evaluated})")),
            ],
        },
    ];
    let line = |edges: &[&str]| edges.iter().map(|edge| (*edge).to_owned()).collect::<Vec<_>>();
    let edges = vec![
        line(&["generator -> synthesize.player", "statistics -> synthesize.loss", "shows -> synthesize.loss"]),
        line(&["differ -> synthesize.loss", "student -> imitate.player", "belief -> imitate.loss"]),
        line(&["teacher -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images"]),
        line(&["synthesize -> transfer.turns", "imitate -> transfer.turns"]),
    ];
    let mut draft = Draft { head, name: teacher.name().to_owned(), groups, edges };
    evaluate(&mut draft, data);
    draft
}

/// What stands before a pipeline: what it is, and what the teacher's file does not tell.
fn head(about: &str, teacher: &FoundTeacher) -> Vec<String> {
    let mut head = vec![about.to_owned()];
    let assumptions = teacher.assumptions();
    if !assumptions.is_empty() {
        head.extend(["".into(), "The teacher's file does not tell:".into()]);
        head.extend(assumptions.iter().map(|assumption| format!("- {assumption}")));
    }
    head
}

/// Adds metrics on a dataset, or says that there is none.
fn evaluate(draft: &mut Draft, data: Option<&FoundDataset>) {
    let Draft { head, groups, edges, .. } = draft;
    match data {
        Some(data) => {
            groups.push(Group {
                comment: ["Evaluation: the only place where real images appear".into()]
                    .into_iter()
                    .chain(data.caution().map(|caution| format!("Mind: {caution}")))
                    .collect(),
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
}

/// A generator with these parameters, for images of this shape.
fn generator(image: ImageShape, parameters: &[&str]) -> String {
    let mut parameters: Vec<_> = parameters.iter().map(|parameter| (*parameter).to_owned()).collect();
    if image.height != 32 {
        parameters.push(format!("first_map: {}, image_size: {}", image.height / 4, image.height));
    }
    if image.channels != 3 {
        parameters.push(format!("image_channels: {}", image.channels));
    }
    format!("ConvGenerator({})", parameters.join(", "))
}
