//! Images that come in by other ways than edges: as parameters, and out of files. No network that they may reach is called proven
//! to be data-free.

use std::path::PathBuf;
use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zskt_api::candle_core::Tensor;
use zskt_api::{
    Architecture, BuildContext, Builder, CheckError, Classifier, ClassifierNetwork, ClassifierShape, Dataset,
    DatasetSource, Error, Generator, GeneratorArchitecture, ImageShape, Loss, LossBatch, LossInputs, Nested,
    NodeOutput, Normalization, Optimizer, OptimizerState, OutputShape, Parameter, PortType, Result, Schedule,
    Signature, Signatures, Stage, StageContext, TeacherOutput, TeacherSource, Turn, TurnPlugin, TurnSignature, params,
    ports,
};
use zskt_stages::{TransferInputs, TurnInputs};

use super::{SOUND, changed, check, complaint};

/// A plugin that does what another does, and may bring images by its parameters.
macro_rules! carrier {
    ($name:ident, $($inner:ident: $type:ty)?) => {
        params! {
            /// Brings images.
            pub struct $name {
                $(
                    /// What it does.
                    pub $inner: $type,
                )?
                /// Images that it brings.
                pub data: Option<Nested<dyn DatasetSource>> = None,
                /// More of them.
                pub more: Vec<Nested<dyn DatasetSource>> = Vec::new(),
                /// A file with images.
                pub path: Option<PathBuf> = None,
                /// What it does besides.
                pub loss: Option<Nested<dyn Loss>> = None,
                /// A network that it begins with.
                pub teacher: Option<Nested<dyn TeacherSource>> = None,
            }
        }
    };
}

macro_rules! loss {
    ($name:ident) => {
        carrier!($name, inner: Nested<dyn Loss>);
        impl Loss for $name {
            fn needs(&self) -> LossInputs {
                self.inner.needs()
            }
            fn target(&self, teacher: &TeacherOutput) -> Result<Vec<Tensor>> {
                self.inner.target(teacher)
            }
            fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
                self.inner.value(batch)
            }
        }
    };
}
loss!(CarrierLoss);
loss!(SilentLoss);

macro_rules! stage {
    ($name:ident) => {
        carrier!($name,);
        impl Stage for $name {
            type Inputs = TransferInputs;
            const OUTPUT: PortType = PortType::Classifier;
            fn output(&self, inputs: &Signatures) -> Option<Signature> {
                inputs.one("student").cloned()
            }
            fn run(&self, _: TransferInputs, _: &mut StageContext<'_>) -> Result<NodeOutput> {
                Err(Error::new("nothing is run"))
            }
        }
    };
}
stage!(CarrierStage);
stage!(SilentStage);
stage!(ReadingStage);

ports! {
    /// What a loss is learnt from.
    pub struct LearntLossInputs {
        /// Images.
        pub images: Arc<dyn Dataset>,
    }
}

params! {
    /// Learns a loss.
    pub struct LearntLoss {}
}

impl Stage for LearntLoss {
    type Inputs = LearntLossInputs;
    const OUTPUT: PortType = PortType::Loss;
    fn output(&self, _: &Signatures) -> Option<Signature> {
        None
    }
    fn run(&self, _: LearntLossInputs, _: &mut StageContext<'_>) -> Result<NodeOutput> {
        Err(Error::new("nothing is run"))
    }
}

carrier!(CarrierArchitecture, inner: Nested<dyn Architecture>);
impl ClassifierShape for CarrierArchitecture {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.inner.output_shape(image)
    }
    fn classes(&self) -> usize {
        self.inner.classes()
    }
}
impl Architecture for CarrierArchitecture {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        self.inner.build(builder)
    }
}

carrier!(CarrierTeacher, inner: Nested<dyn Architecture>);
impl ClassifierShape for CarrierTeacher {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        self.inner.output_shape(image)
    }
    fn classes(&self) -> usize {
        self.inner.classes()
    }
}
impl TeacherSource for CarrierTeacher {
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }
    fn load(&self, _: &BuildContext) -> Result<ClassifierNetwork> {
        Err(Error::new("nothing is run"))
    }
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

carrier!(CarrierGenerator, inner: Nested<dyn GeneratorArchitecture>);
impl GeneratorArchitecture for CarrierGenerator {
    fn image(&self) -> Result<ImageShape, CheckError> {
        self.inner.image()
    }
    fn build(&self, builder: &Builder, normalization: Option<&Normalization>) -> Result<Box<dyn Generator>> {
        self.inner.build(builder, normalization)
    }
}

carrier!(CarrierOptimizer, inner: Nested<dyn Optimizer>);
impl Optimizer for CarrierOptimizer {
    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }
    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        self.inner.start(parameters)
    }
}

carrier!(CarrierSchedule, inner: Nested<dyn Schedule>);
impl Schedule for CarrierSchedule {
    fn factor(&self, batch: usize, batches: usize) -> f64 {
        self.inner.factor(batch, batches)
    }
}

carrier!(CarrierTurn, optimizer: Nested<dyn Optimizer>);
impl TurnPlugin for CarrierTurn {
    type Inputs = TurnInputs;
    fn signature(&self, inputs: &Signatures) -> Option<TurnSignature> {
        let losses = inputs.all("loss").filter_map(|(_, signature)| match signature {
            Signature::Loss(loss) => Some(Arc::clone(loss)),
            _ => None,
        });
        Some(TurnSignature {
            network: inputs.one("player")?.network()?.to_owned(),
            losses: losses.collect(),
            synthesis: None,
        })
    }
    fn build(&self, _: &str, _: TurnInputs) -> Result<Turn> {
        Err(Error::new("nothing is run"))
    }
}

zskt_api::export! {
    reads: none;
    architecture: CarrierArchitecture;
    generator: CarrierGenerator;
    loss: CarrierLoss;
    turn: CarrierTurn;
    stage: CarrierStage, LearntLoss;
    optimizer: CarrierOptimizer;
    schedule: CarrierSchedule
}
zskt_api::export! { reads: files; stage: ReadingStage; teacher: CarrierTeacher }
zskt_api::export! { stage: SilentStage; loss: SilentLoss }

/// What is said of the student.
fn statement(text: &str) -> String {
    let plan = check(text, &["data_free=[\"student\"]"]).unwrap_or_else(|complaint| panic!("{complaint}"));
    zskt_runtime::data_free(&plan).unwrap_or_default()
}

#[test]
fn what_cannot_be_known_is_not_called_proven() {
    let transfer = "\"transfer\": Transfer(batches: 10)";
    let known = "; \"digits\" reached it only as the teacher's knowledge";
    assert_eq!(statement(SOUND), format!("proven: no image of any dataset reaches \"student\"{known}"));
    assert_eq!(
        statement(&changed(transfer, "\"transfer\": CarrierStage()")),
        format!(
            "proven, if `transfer` (`CarrierStage` of zskt-runtime {}) reads nothing from outside, as it declares: no image of any \
             dataset reaches \"student\"{known}",
            env!("CARGO_PKG_VERSION")
        )
    );
    let not_proven = "not proven: the pipeline brings no image of a dataset to \"student\", but `transfer` ";
    for (stage, reads) in [
        ("ReadingStage()", "reads files"),
        ("SilentStage()", "does not say what it reads"),
        // What is given a path reads it.
        ("CarrierStage(path: \"digits.png\")", "reads files"),
    ] {
        let found = statement(&changed(transfer, &format!("\"transfer\": {stage}")));
        assert!(found.starts_with(not_proven) && found.ends_with(reads), "{found}");
    }
}

#[test]
fn a_network_that_is_made_of_a_trained_one_is_not_called_proven() {
    let wide = "WideResNet(depth: 10, widen_factor: 1)";
    let carrier = |name: &str| format!("{name}(inner: {wide}, teacher: CarrierTeacher(inner: {wide}))");
    let made_of = statement(&changed(
        &format!("\"student\": {wide}"),
        &format!("\"student\": {}", carrier("CarrierArchitecture")),
    ));
    assert!(made_of.starts_with("not proven") && made_of.contains("`student.teacher`"), "{made_of}");
    // A loss learns of it what a student learns of any teacher.
    let loss = format!("\"belief\": CarrierLoss(inner: KlDivergence(), teacher: CarrierTeacher(inner: {wide}))");
    let taught = statement(&changed("\"belief\": KlDivergence()", &loss));
    assert!(taught.starts_with("proven, if `belief`"), "{taught}");
}

#[test]
fn a_dataset_among_parameters_is_followed_as_one_along_an_edge() {
    insta::assert_snapshot!(complaint(
        &changed(
            "\"belief\": KlDivergence()",
            "\"belief\": CarrierLoss(inner: KlDivergence(), loss: CarrierLoss(inner: KlDivergence(), more: \
             [SyntheticDigits(split: Train, count: 9)]))"
        ),
        &["data_free=[\"student\"]"]
    ));
}

#[test]
fn a_loss_that_a_stage_has_learnt_from_images_brings_them() {
    let text = changed("\"belief\":", "\"learnt\": LearntLoss(), \"belief\":")
        .replace("edges: [", "edges: [\"digits -> learnt.images\", \"learnt -> imitate.loss\", ");
    let found = complaint(&text, &["data_free=[\"student\"]"]);
    let way = "`student` is not data-free: digits -> learnt.images -> learnt -> imitate.loss -> student";
    assert!(found.contains(way), "{found}");
}

#[test]
fn the_dataset_of_a_teacher_is_its_knowledge() {
    let teacher =
        "CarrierTeacher(inner: WideResNet(depth: 10, widen_factor: 1), data: SyntheticDigits(split: Train, count: 9))";
    let text = changed("\"teaching -> transfer.teacher\"", "\"other -> transfer.teacher\"")
        .replace("\"student\": WideResNet", &format!("\"other\": {teacher}, \"student\": WideResNet"));
    let expected = "proven: no image of any dataset reaches \"student\"; \"other.data\" reached it only as the teacher's knowledge";
    assert_eq!(statement(&text), expected);
}

/// The pipeline, with any of its plugins in carriers, more stages, and images hidden in one place.
struct Hidden<'r> {
    rng: &'r mut ChaCha8Rng,
    place: &'static str,
    mode: Mode,
}

/// How images are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Data,
    List,
    Path,
    Deep,
    Undeclared,
    Nothing,
}

impl Hidden<'_> {
    /// The parameters of a carrier in this place.
    fn parameters(&self, place: &str) -> String {
        let digits = "SyntheticDigits(split: Train, count: 9)";
        if place != self.place {
            return String::new();
        }
        match self.mode {
            Mode::Data => format!("data: {digits}"),
            Mode::List => format!("more: [{digits}, {digits}]"),
            Mode::Path => "path: Some(\"images.bin\")".into(),
            Mode::Deep => format!("loss: CarrierLoss(inner: CarrierLoss(inner: KlDivergence(), data: Some({digits})))"),
            Mode::Undeclared => "loss: SilentLoss(inner: KlDivergence())".into(),
            Mode::Nothing => String::new(),
        }
    }

    /// A plugin in some carriers; at least in one where images are hidden.
    fn carried(&mut self, carrier: &str, place: &'static str, plugin: &str) -> String {
        let depth = self.rng.random_range(usize::from(place == self.place)..=2);
        let hidden = self.rng.random_range(0..depth.max(1));
        (0..depth).fold(plugin.to_owned(), |inner, level| {
            let parameters = if level == hidden { self.parameters(place) } else { String::new() };
            format!("{carrier}(inner: {inner}, {parameters})")
        })
    }

    fn pipeline(&mut self) -> String {
        let wide = "WideResNet(depth: 10, widen_factor: 1)";
        let mut nodes = vec![
            ("teacher".to_owned(), self.carried("CarrierArchitecture", "teacher", wide)),
            ("student".into(), self.carried("CarrierArchitecture", "student", wide)),
            (
                "generator".into(),
                self.carried(
                    "CarrierGenerator",
                    "generator",
                    "ConvGenerator(latent_dim: 4, channels: 4, first_map: 4, image_size: 16)",
                ),
            ),
            ("digits".into(), "SyntheticDigits(split: Train, count: 20)".into()),
            ("labels".into(), self.carried("CarrierLoss", "labels", "CrossEntropy()")),
            ("belief".into(), self.carried("CarrierLoss", "belief", "KlDivergence()")),
            ("teaching".into(), "Train(batches: 1)".into()),
        ];
        let adam = "Adam(lr: 1e-3)";
        let learn = self.carried("CarrierOptimizer", "learn.optimizer", adam);
        nodes.push(("learn".into(), format!("Minimize(optimizer: {learn})")));
        let imitate = self.carried("CarrierOptimizer", "imitate.optimizer", adam);
        let schedule = self.carried("CarrierSchedule", "imitate.schedule", "Cosine()");
        nodes.push(("imitate".into(), format!("Minimize(optimizer: {imitate}, schedule: {schedule})")));
        let seek = self.parameters("seek");
        nodes.push(("seek".into(), format!("CarrierTurn(optimizer: {adam}, {seek})")));
        let mut edges: Vec<String> = [
            "teacher -> learn.player",
            "labels -> learn.loss",
            "teacher -> teaching.student",
            "digits -> teaching.images",
            "learn -> teaching.turns",
            "generator -> seek.player",
            "belief -> seek.loss",
            "student -> imitate.player",
            "belief -> imitate.loss",
        ]
        .map(str::to_owned)
        .to_vec();
        let stages = self.rng.random_range(1..=3);
        let mut student = "student".to_owned();
        for number in 0..stages {
            let name = format!("transfer{number}");
            let parameters = if number == 0 { self.parameters("first stage") } else { String::new() };
            let parameters =
                if number + 1 == stages { parameters + &self.parameters("last stage") } else { parameters };
            nodes.push((name.clone(), format!("CarrierStage({parameters})")));
            for edge in [
                format!("teaching -> {name}.teacher"),
                format!("{student} -> {name}.student"),
                format!("generator -> {name}.images"),
                format!("seek -> {name}.turns"),
                format!("imitate -> {name}.turns"),
            ] {
                edges.push(edge);
            }
            student = name;
        }
        let nodes: Vec<_> = nodes.into_iter().map(|(name, plugin)| format!("{name:?}: {plugin}")).collect();
        let edges: Vec<_> = edges.iter().map(|edge| format!("{edge:?}")).collect();
        format!(
            "(name: \"hidden\", data_free: [\"student\", \"generator\"], nodes: {{{}}}, edges: [{}])",
            nodes.join(", "),
            edges.join(", ")
        )
    }
}

#[test]
fn wherever_images_are_hidden_nothing_is_called_proven() {
    const OF_TEACHER: [&str; 3] = ["teacher", "labels", "learn.optimizer"];
    const OF_STUDENT: [&str; 8] = [
        "student",
        "generator",
        "belief",
        "imitate.optimizer",
        "imitate.schedule",
        "seek",
        "first stage",
        "last stage",
    ];
    const HIDDEN: [Mode; 5] = [Mode::Data, Mode::List, Mode::Path, Mode::Deep, Mode::Undeclared];
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut proven = 0;
    for trial in 0..600 {
        let of_student = trial % 6 != 0;
        let place = *if of_student { &OF_STUDENT[..] } else { &OF_TEACHER[..] }.choose(&mut rng).unwrap();
        let mode = if trial % 12 == 1 { Mode::Nothing } else { *HIDDEN.choose(&mut rng).unwrap() };
        let text = Hidden { rng: &mut rng, place, mode }.pipeline();
        match check(&text, &[]) {
            Err(complaint) => {
                assert!(of_student && complaint.contains("is not data-free"), "{place} {mode:?}\n{text}\n{complaint}");
                assert!(matches!(mode, Mode::Data | Mode::List | Mode::Deep), "{place} {mode:?}\n{text}\n{complaint}");
            }
            Ok(plan) => {
                assert_eq!(plan.data_free.len(), 2);
                for proof in &plan.data_free {
                    let expected = !of_student || mode == Mode::Nothing;
                    assert_eq!(proof.is_proven(), expected, "{} {place} {mode:?}\n{text}", proof.network);
                    proven += usize::from(proof.is_proven());
                }
            }
        }
    }
    assert_eq!(proven, 300, "what hides nothing from the student is proven");
}
