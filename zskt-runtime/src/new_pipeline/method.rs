//! The methods that a pipeline can begin with: those of `pipelines/methods`, with another teacher.

use clap::ValueEnum;
use zskt_api::ImageShape;

use super::dataset::FoundDataset;
use super::draft::{Draft, Group};
use super::student::ChosenStudent;
use super::teacher::{FoundTeacher, TeacherFamily};

/// How the student learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Fast-Datafree: Fang et al., AAAI 2022. For teachers with batch norms whose normalization is known
    Fast,
    /// NAYER: Tran et al., CVPR 2024. For teachers with batch norms whose normalization is known
    Nayer,
    /// DFQ: Choi et al., CVPRW 2020. For teachers with batch norms whose normalization is known
    Dfq,
    /// DeepInversion: Yin et al., CVPR 2020. For teachers with batch norms whose normalization is known
    DeepInversion,
    /// DAFL: Chen et al., ICCV 2019. For teachers whose normalization is known
    Dafl,
    /// DFAD: Fang et al. 2019. For any teacher
    Dfad,
    /// Adversarial belief matching: Micaelli & Storkey, NeurIPS 2019. For any teacher
    Abm,
}

impl Method {
    /// What the methods' notes recommend to begin with.
    pub const RECOMMENDED: Self = Self::Fast;
    /// What takes any teacher.
    pub const FOR_ANY_TEACHER: Self = Self::Abm;

    /// What it is called, and whose it is.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fast => "Fast-Datafree (Fang et al., AAAI 2022)",
            Self::Nayer => "NAYER (Tran et al., CVPR 2024)",
            Self::Dfq => "DFQ (Choi et al., CVPRW 2020)",
            Self::DeepInversion => "DeepInversion (Yin et al., CVPR 2020)",
            Self::Dafl => "DAFL (Chen et al., ICCV 2019)",
            Self::Dfad => "DFAD (Fang et al. 2019)",
            Self::Abm => "Adversarial belief matching (Micaelli & Storkey, NeurIPS 2019)",
        }
    }

    /// Whether its images are pixels, which a teacher takes normalized.
    pub fn needs_normalization(self) -> bool {
        !matches!(self, Self::Dfad | Self::Abm)
    }

    fn about(self) -> &'static str {
        match self {
            Self::Fast => {
                "a few steps of a copy of a generator make images of given classes, which look to the teacher's batch norms as its \
                 training images did; a bank keeps them, and the student learns from it"
            }
            Self::Nayer => {
                "a generator makes images from vectors of the classes and from noisy layers that are drawn anew for each synthesis; a \
                 bank keeps them, and the student learns from it. Without `vectors` those of the classes are drawn at random"
            }
            Self::Dfq => {
                "a generator makes images on which student and teacher differ, which look to the teacher's batch norms as its training \
                 images did, of which it is sure, and whose classes are equally frequent"
            }
            Self::DeepInversion => {
                "the images themselves are learnt, from noise to images of given classes that look to the teacher's batch norms as its \
                 training images did; a bank keeps them, and the student learns from it"
            }
            Self::Dafl => {
                "a generator makes images of which the teacher is sure, whose features are large, and whose classes are equally frequent"
            }
            Self::Dfad => {
                "a generator makes images on which the logits of student and teacher differ, and the student learns from them"
            }
            Self::Abm => {
                "the student learns from its teacher on images that a generator makes up, on which the two disagree most"
            }
        }
    }

    /// Its pipeline for CIFAR-10.
    fn published(self) -> &'static str {
        match self {
            Self::Fast => include_str!("methods/fast.ron"),
            Self::Nayer => include_str!("methods/nayer.ron"),
            Self::Dfq => include_str!("methods/dfq.ron"),
            Self::DeepInversion => include_str!("methods/deep-inversion.ron"),
            Self::Dafl => include_str!("methods/dafl.ron"),
            Self::Dfad => include_str!("methods/dfad.ron"),
            Self::Abm => include_str!("methods/abm.ron"),
        }
    }

    /// The method with its published parameters, for this teacher and student.
    pub fn pipeline(self, teacher: &FoundTeacher, student: &ChosenStudent, data: Option<&FoundDataset>) -> Draft {
        let mut draft = Draft::taken_apart(self.published());
        teacher.name().clone_into(&mut draft.name);
        let settings = PublishedSettings::of(self, teacher.family(), teacher.classes());
        let about = format!(
            "{}: {}. No data is needed; the parameters are those that are published for {}.",
            self.title(),
            self.about(),
            settings.experiment
        );
        draft.head = head(&about, teacher, student);
        // Its last nodes measure on CIFAR-10.
        let measured = draft.groups.pop().map(|group| group.nodes).unwrap_or_default();
        let measures = |edge: &String| measured.iter().any(|(name, _)| edge.contains(&format!("-> {name}.")));
        draft.edges.retain(|line| !line.iter().any(measures));
        for (node, for_wide_resnets, instead) in settings.changes {
            if let Some(node) = draft.node(node) {
                *node = node.replace(for_wide_resnets, instead);
            }
        }
        if let Some(node) = draft.node("teacher") {
            teacher.ron().clone_into(node);
        }
        if let Some(node) = draft.node("student") {
            student.ron.clone_into(node);
        }
        if let Some(node) = draft.node("generator") {
            *node = generator(node, teacher.image(), teacher.classes());
        }
        compare_attention(&mut draft, teacher, student);
        evaluate(&mut draft, data);
        draft
    }
}

/// Parameters that a method's authors published for other teachers or other classes than WRN-40-2 and CIFAR-10's.
struct PublishedSettings {
    /// Data set and teacher that they are for.
    experiment: &'static str,
    /// A node, a parameter as the pipeline for WRN-40-2 and CIFAR-10 has it, and the same for this experiment.
    changes: &'static [(&'static str, &'static str, &'static str)],
}

impl PublishedSettings {
    fn of(method: Method, family: TeacherFamily, classes: usize) -> Self {
        let (experiment, changes): (_, &[_]) = match (method, family, classes) {
            // zju-vipa/Fast-Datafree: scripts/fast_cifar.sh, whose settings are for both.
            (Method::Fast, TeacherFamily::ResNet, _) => (
                "CIFAR-10 and CIFAR-100 and a ResNet-34 as teacher",
                &[("shows", "weight: 0.4", "weight: 0.5"), ("differ", "weight: -1.1", "weight: -1.33")],
            ),
            (Method::Fast, TeacherFamily::Vgg, _) => (
                "CIFAR-10 and CIFAR-100 and a VGG-11 as teacher",
                &[("shows", "weight: 0.4", "weight: 0.5"), ("differ", "weight: -1.1", "weight: -1.0")],
            ),
            (Method::Fast, ..) => ("CIFAR-10 and CIFAR-100 and a WRN-40-2 as teacher", &[]),
            // tmtuan1307/NAYER: scripts/nayer_100.sh, for teachers of all families.
            (Method::Nayer, _, 100) => ("CIFAR-100", &[("synthesize", "steps: 30", "steps: 40")]),
            (Method::Nayer, ..) => ("CIFAR-10", &[]),
            // zju-vipa/CMI
            (Method::Dfq, TeacherFamily::ResNet, 100) => {
                ("CIFAR-100 and a ResNet-34 as teacher", &[("imitate", "lr: 0.1", "lr: 0.05")])
            }
            _ => ("CIFAR-10 and a WRN-40-2 as teacher", &[]),
        };
        Self { experiment, changes }
    }
}

/// Has attention compared where both networks have maps of the same size.
fn compare_attention(draft: &mut Draft, teacher: &FoundTeacher, student: &ChosenStudent) {
    let Some(attention) = draft.node("attention") else { return };
    let pairs = student.output.pairs_of_equal_size(teacher.output());
    let in_order = pairs.iter().enumerate().all(|(index, pair)| *pair == [index, index])
        && [&student.output, teacher.output()].iter().all(|output| output.activations.len() == pairs.len());
    if !pairs.is_empty() {
        if !in_order {
            *attention = with_parameters(attention, &[format!("pairs: {pairs:?}")]);
        }
        return;
    }
    for group in &mut draft.groups {
        let before = group.nodes.len();
        group.nodes.retain(|(name, _)| *name != "attention");
        if group.nodes.len() < before {
            let unequal = "(no activations of both networks are equally large, so that attention cannot be compared)";
            group.comment.push(unequal.into());
        }
    }
    for line in &mut draft.edges {
        line.retain(|edge| !edge.starts_with("attention -> "));
    }
}

/// What stands before a pipeline: what it is, what the teacher's file does not tell, and what its student is not.
fn head(about: &str, teacher: &FoundTeacher, student: &ChosenStudent) -> Vec<String> {
    let mut head = vec![about.to_owned()];
    let assumptions = teacher.assumptions();
    if !assumptions.is_empty() {
        head.extend(["".into(), "The teacher's file does not tell:".into()]);
        head.extend(assumptions.iter().map(|assumption| format!("- {assumption}")));
    }
    head.extend(student.caution().into_iter().flat_map(|caution| [String::new(), caution.to_owned()]));
    head
}

/// Adds metrics on a dataset, or says that there is none.
fn evaluate(draft: &mut Draft, data: Option<&FoundDataset>) {
    let Some(data) = data else {
        draft.head.extend([
            "".into(),
            "Nothing is measured. With images of the teacher's classes at hand, if only a few, `zskt-run new --data FOLDER` adds \
             accuracy and agreement; no image of them reaches the student."
                .into(),
        ]);
        // There is nothing to evaluate.
        if let Some(stage) = draft.node("distill")
            && let Some(start) = stage.find(", evaluate_every: ")
        {
            let end = stage[start + 1..].find([',', ')']).map_or(stage.len(), |end| start + 1 + end);
            stage.replace_range(start..end, "");
            draft.short.retain(|(key, _)| *key != "distill.evaluate_every");
        }
        return;
    };
    let mut comment = vec![
        "Evaluation: the only place where real images appear. `keep: Best(\"student_accuracy\")` in `distill` keeps the best student beside".into(),
        "the last: which one that is, these images have then chosen".into(),
    ];
    comment.extend(data.caution().map(|caution| format!("Mind: {caution}")));
    draft.groups.push(Group {
        comment,
        nodes: vec![
            ("test_set", data.ron().to_owned()),
            ("teacher_accuracy", "Accuracy()".into()),
            ("student_accuracy", "Accuracy()".into()),
            ("agreement", "Agreement()".into()),
        ],
    });
    draft.edges.extend([
        vec!["teacher -> teacher_accuracy.classifier".into(), "test_set -> teacher_accuracy.dataset".into()],
        vec!["distill -> student_accuracy.classifier".into(), "test_set -> student_accuracy.dataset".into()],
        vec![
            "teacher -> agreement.teacher".into(),
            "distill -> agreement.student".into(),
            "test_set -> agreement.dataset".into(),
        ],
    ]);
}

/// A generator of images of 32×32 in three channels, for images of this shape and of so many classes.
fn generator(plugin: &str, image: ImageShape, classes: usize) -> String {
    let mut parameters = Vec::new();
    if image.height != 32 {
        if !plugin.starts_with("Pixels") {
            // The papers' two doublings up to their largest images; then more, for a first map of rarely more than theirs, as
            // Fast-Datafree's generators of larger images have.
            let (mut first_map, mut doublings) = (image.height / 4, 2);
            while first_map > 16 && first_map.is_multiple_of(2) {
                (first_map, doublings) = (first_map / 2, doublings + 1);
            }
            parameters.push(format!("first_map: {first_map}"));
            if doublings > 2 {
                parameters.push(format!("doublings: {doublings}"));
            }
        }
        parameters.push(format!("image_size: {}", image.height));
    }
    if image.channels != 3 {
        parameters.push(format!("image_channels: {}", image.channels));
    }
    with_parameters(&plugin.replace("classes: 10", &format!("classes: {classes}")), &parameters)
}

/// A plugin with more parameters than it has.
fn with_parameters(plugin: &str, more: &[String]) -> String {
    let given = plugin.strip_suffix(')').unwrap_or(plugin);
    let more: String = more.iter().map(|parameter| format!(", {parameter}")).collect();
    format!("{given}{more})")
}

#[cfg(test)]
mod tests {
    use super::{Draft, Method, PublishedSettings, TeacherFamily};
    use clap::ValueEnum;

    #[test]
    fn a_hundred_classes_have_the_settings_of_the_variant_for_cifar100() {
        for method in Method::value_variants() {
            let (_, rest) = method.published().split_once("\"cifar100\": {").expect("it has the variant");
            let (variant, _) = rest.split_once("        },\n").expect("it ends");
            for (node, _, instead) in PublishedSettings::of(*method, TeacherFamily::Other, 100).changes {
                assert!(
                    variant.contains(&format!("\"{node}.{}", instead.replace(':', "\":"))),
                    "{method:?}: {instead}"
                );
            }
            let settings = variant.matches("\"synthesize.").count();
            assert_eq!(settings, PublishedSettings::of(*method, TeacherFamily::Other, 100).changes.len(), "{method:?}");
        }
    }

    #[test]
    fn what_is_published_for_other_teachers_stands_in_the_pipelines_once() {
        for method in Method::value_variants() {
            for family in [TeacherFamily::ResNet, TeacherFamily::Vgg, TeacherFamily::Other] {
                for classes in [10, 100] {
                    let mut draft = Draft::taken_apart(method.published());
                    for (node, parameter, _) in PublishedSettings::of(*method, family, classes).changes {
                        let found = draft.node(node).map_or(0, |plugin| plugin.matches(parameter).count());
                        assert_eq!(found, 1, "{method:?}: {parameter} of {node}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_published_pipelines_can_be_taken_apart() {
        for method in Method::value_variants() {
            let text = method.published();
            let Draft { groups, edges, .. } = Draft::taken_apart(text);
            // Nothing but comments, commas and space is lost.
            let bare = |text: &str| {
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                lines.flat_map(str::chars).filter(|c| !c.is_whitespace() && *c != ',').collect::<String>()
            };
            let (_, body) = text.split_once("    nodes: {\n").expect("it has nodes");
            let nodes = groups.iter().flat_map(|group| &group.nodes);
            let nodes: String = nodes.map(|(name, plugin)| format!("{name:?}: {plugin}")).collect();
            let edges: String = edges.iter().flatten().map(|edge| format!("{edge:?}")).collect();
            assert_eq!(bare(body), bare(&format!("{nodes}}}edges:[{edges}])")), "{method:?}");
            let first: Vec<_> = groups[0].nodes.iter().map(|(name, _)| *name).collect();
            assert_eq!(first, ["teacher", "student", "generator"], "{method:?}");
            let last = groups.last().map(|group| &group.comment[..]);
            assert_eq!(
                last,
                Some(&["Evaluation: the only place where real images appear".to_owned()][..]),
                "{method:?}"
            );
        }
    }
}
