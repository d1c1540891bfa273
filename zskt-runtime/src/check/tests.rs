//! What is proven with plugins that no crate of ours has.

use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, Diagnostic, Error, FeatureMap,
    ForwardMode, ImageShape, Nested, OutputShape, PluginRegistration, Registry, inventory, params,
};

use super::{prove, resolved_now};
use crate::pipeline::Sources;
use crate::plan::Plan;

params! {
    /// A classifier of images of one size; of any other, it says that its parameter is at fault.
    pub struct SmallNet {
        /// Rows of the images.
        pub size: usize = 16,
        /// A parameter that must be even.
        pub width: usize = 2,
    }
}

impl ClassifierShape for SmallNet {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        if image.height != self.size {
            let message = format!("takes {} rows, the images have {}", self.size, image.height);
            return Err(CheckError::parameter("size", message));
        }
        Ok(OutputShape { classes: 10, activations: Vec::new() })
    }
    fn classes(&self) -> usize {
        10
    }
}

impl Architecture for SmallNet {
    fn check(&self) -> Result<(), CheckError> {
        if self.width.is_multiple_of(2) {
            Ok(())
        } else {
            Err(CheckError::parameter("width", "expected an even number"))
        }
    }
    fn build(&self, builder: &Builder) -> zskt_api::Result<Box<dyn Classifier>> {
        builder.counter("batches")?;
        if self.width == 0 {
            builder.counter("batches")?;
        }
        Ok(Box::new(Idle))
    }
}

/// A network that nobody runs.
pub struct Idle;

impl Classifier for Idle {
    fn forward(&self, _: &FeatureMap, _: ForwardMode) -> zskt_api::Result<ClassifierOutput> {
        Err(Error::new("nothing is computed while a pipeline is checked"))
    }
}

params! {
    /// Several classifiers as one.
    pub struct Committee {
        /// The classifiers.
        pub members: Vec<Nested<dyn Architecture>>,
        /// One more, if given.
        pub last: Option<Nested<dyn Architecture>> = None,
        /// A text that may name a plugin without using it.
        pub note: String = String::new(),
    }
}

impl ClassifierShape for Committee {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.members[0].output_shape(image)
    }
    fn classes(&self) -> usize {
        10
    }
}

impl Architecture for Committee {
    fn build(&self, builder: &Builder) -> zskt_api::Result<Box<dyn Classifier>> {
        self.members[0].build(builder)
    }
}

inventory::submit! { PluginRegistration::architecture::<SmallNet>("zskt-test", "1.2.3") }
inventory::submit! { PluginRegistration::architecture::<Committee>("zskt-test", "1.2.3") }

/// A pipeline whose student this is.
pub fn pipeline(student: &str) -> String {
    format!(
        r#"(
    name: "small",
    nodes: {{
        "student": {student},
        "digits": SyntheticDigits(split: Train, count: 40),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(batches: 1, batch_size: 4),
        "again": Accuracy(),
    }},
    edges: [
        "student -> learn.player", "labels -> learn.loss",
        "student -> teaching.student", "digits -> teaching.images", "learn -> teaching.turns",
        "teaching -> again.classifier", "digits -> again.dataset",
    ],
)"#
    )
}

fn proof(pipeline: String) -> Result<Plan, Vec<Diagnostic>> {
    prove(&Sources::new("small.ron", pipeline, &[]), Registry::get().expect("names are unique"), false)
}

/// Proves a pipeline whose student this is, or gives the messages of its problems.
fn proven(student: &str) -> Result<Plan, Vec<String>> {
    proof(pipeline(student)).map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
}

#[test]
fn an_architecture_that_refuses_other_images_takes_its_own() {
    assert_eq!(proven("SmallNet()").err(), None);
    // What depends on the images is said where they arrive, …
    let refused = proven("SmallNet(size: 32)").err().unwrap_or_default();
    assert!(refused[0].contains("takes 32 rows, the images have 16"), "{refused:?}");
    // … and what does not is said once, where it is written.
    assert_eq!(proven("SmallNet(width: 3)").err(), Some(vec!["`student`: expected an even number".to_owned()]));
}

#[test]
fn a_network_that_cannot_be_built_is_told_where_it_is_written() {
    let why = "the plugin `SmallNet` of zskt-test 1.2.3: two weights are called `batches`";
    let message = format!("`student`: its network cannot be built: {why}");
    assert_eq!(proven("SmallNet(width: 0)").err(), Some(vec![message]));
    let text = pipeline("Committee(members: [SmallNet(), SmallNet(width: 0)])");
    let problems = proof(text.clone()).err().unwrap_or_default();
    let nested = format!("`student`: its network cannot be built: parameter `members[1]`: {why}");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.message, nested);
    assert_eq!(problem.span.map(|span| &text[span.start..span.end]), Some("SmallNet(width: 0)"));
    // It may read files, and where these are skipped nobody knows whether it is they that are missing.
    let sources = Sources::new("small.ron", pipeline("SmallNet(width: 0)"), &[]);
    assert!(prove(&sources, Registry::get().expect("names are unique"), true).is_ok());
}

#[test]
fn a_pipeline_that_was_resolved_before_a_parameter_was_there_is_what_it_would_be_now() {
    let plan = proof(pipeline("SmallNet()")).unwrap_or_else(|problems| panic!("{problems:?}"));
    let before = plan.resolved.replace("resize: None,", "");
    assert_ne!(before, plan.resolved);
    let registry = Registry::get().expect("names are unique");
    assert_eq!(resolved_now(&before, registry), plan.resolved);
    let other = before.replace("count: 40", "count: 50");
    assert_ne!(resolved_now(&other, registry), plan.resolved);
    let unsound = before.replace("SmallNet", "GoneNet");
    assert_eq!(resolved_now(&unsound, registry), unsound);
}

#[test]
fn the_plugins_of_a_node_are_its_own_and_those_of_its_parameters() {
    let names = |student: &str| -> Vec<_> {
        let plan = proven(student).unwrap_or_else(|problems| panic!("{problems:?}"));
        let node = plan.nodes.iter().find(|node| node.name == "student").expect("it is there");
        node.plugins.iter().map(|plugin| plugin.name).collect()
    };
    assert_eq!(
        names(
            "Committee(members: [SmallNet(), WideResNet(depth: 10, widen_factor: 1)], last: Some(LeNet()), note: \"not Accuracy()\")"
        ),
        ["Committee", "SmallNet", "WideResNet", "LeNet"]
    );
    assert_eq!(names("Committee(members: [SmallNet()], last: SmallNet())"), ["Committee", "SmallNet"]);
}

#[test]
fn a_fault_in_a_list_of_plugins_is_shown_at_its_place() {
    let text = pipeline(
        "Committee(members: [SmallNet(width: 4), SmallNet(width: 2), SmallNet(width: 7)], last: SmallNet(width: 9))",
    );
    let problems = proof(text.clone()).err().unwrap_or_default();
    let shown: Vec<_> = problems.iter().filter_map(|it| it.span).map(|span| &text[span.start..span.end]).collect();
    assert_eq!(shown, ["7", "9"]);
}

#[test]
fn images_whose_labels_nobody_looks_at_may_show_anything() {
    let problems = |loss: &str| {
        let text = format!(
            r#"(
    name: "unlabelled",
    nodes: {{
        "teacher": WideResNet(depth: 10, widen_factor: 1, classes: 5), "student": LeNet(classes: 5, size: 16),
        "digits": SyntheticDigits(split: Train, count: 40),
        "loss": {loss}, "learn": Minimize(optimizer: Adam(lr: 1e-3)), "distill": Transfer(batches: 1, batch_size: 4),
    }},
    edges: [
        "student -> learn.player", "loss -> learn.loss", "learn -> distill.turns",
        "teacher -> distill.teacher", "student -> distill.student", "digits -> distill.images",
    ],
)"#
        );
        proof(text).err().unwrap_or_default().into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    assert_eq!(problems("LearningWithLess()"), [""; 0]);
    let refused = problems("CrossEntropy()");
    assert!(refused.iter().any(|it| it.contains("has 10 classes, but")), "{refused:?}");
}

#[test]
fn a_figure_that_nothing_reports_is_told_where_it_is_expected() {
    let problems = |field: &str| -> Vec<_> {
        let text = pipeline("SmallNet()").replacen("nodes:", &format!("{field},\n    nodes:"), 1);
        proof(text)
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|problem| (problem.message, problem.label.to_string()))
            .collect()
    };
    let known = ["again.top1", "teaching.images_per_second", "teaching.learn.loss", "teaching.learn.gradient_norm"];
    for figure in known {
        assert_eq!(problems(&format!("expect: {{\"{figure}\": \"0..\"}}")), [], "{figure}");
    }
    let told = |node: &str, figure: &str, meant: &str| {
        [(format!("`{node}` has no figure `{figure}`"), format!("did you mean `{node}.{meant}`?"))]
    };
    assert_eq!(problems("expect: {\"again.topp1\": \"0.9..\"}"), told("again", "topp1", "top1"));
    // Of ten classes nobody counts the first five.
    assert_eq!(problems("expect: {\"again.top5\": \"0.9..\"}"), told("again", "top5", "top1"));
    assert_eq!(problems("published: {\"again.topp1\": \"90 %\"}"), told("again", "topp1", "top1"));
    // A list is no figure.
    assert_eq!(problems("expect: {\"again.per_class.3\": \"0.9..\"}").len(), 1);
    assert_eq!(problems("expect: {\"again.top1.of\": \"0.9..\"}").len(), 1);
    assert_eq!(problems("expect: {\"teaching.learn.los\": \"0..\"}"), told("teaching", "learn.los", "learn.loss"));
    assert_eq!(
        problems("expect: {\"teaching.imags_per_second\": \"1..\"}"),
        told("teaching", "imags_per_second", "images_per_second")
    );
}

#[test]
fn no_node_writes_over_the_files_of_another() {
    let problems = |changes: &[(&str, &str)]| -> Vec<String> {
        let text = changes.iter().fold(pipeline("SmallNet()"), |text, (from, to)| text.replace(from, to));
        proof(text).err().unwrap_or_default().into_iter().map(|problem| problem.message).collect()
    };
    let with_metric = |name: &str| {
        let node = format!("\"again\": Accuracy(), \"{name}\": Accuracy(),");
        let edges = format!("\"teaching -> {name}.classifier\", \"digits -> {name}.dataset\", \"teaching -> again");
        problems(&[("\"again\": Accuracy(),", &node), ("\"teaching -> again", &edges)])
    };
    assert_eq!(with_metric("again_"), [""; 0]);
    let message = |first: &str, second: &str, file: &str| {
        [format!("`{first}` and `{second}` would both leave `{file}` in the run's folder")]
    };
    assert_eq!(with_metric("Again"), message("again", "Again", "measurements/Again"));
    // Three stages, of which the last one's weights are the student's.
    let with_stages = |first: &str, second: &str| {
        let stages = format!("\"{first}\": Train(batches: 1), \"{second}\": Train(batches: 1), \"teaching\": Train");
        let stage = |name: &str, next: &str| {
            format!("\"digits -> {name}.images\", \"learn -> {name}.turns\", \"{name} -> {next}.student\", ")
        };
        let edges = format!("\"net -> {first}.student\", {}{}", stage(first, second), stage(second, "teaching"));
        let changes = [
            ("\"student -> teaching.student\",", edges.as_str()),
            ("\"student\": ", "\"net\": "),
            ("\"student -> learn", "\"net -> learn"),
            ("\"teaching\": Train", &stages),
        ];
        problems(&changes)
    };
    assert_eq!(with_stages("student", "other"), [""; 0]);
    assert_eq!(
        with_stages("student", "student-stage"),
        message("student", "student-stage", "student-stage.safetensors")
    );
    let refused = with_metric(&"x".repeat(300));
    assert!(matches!(&refused[..], [one] if one.contains("xxx…` is too long a name")), "{refused:?}");
}
