//! The student's architecture: the one that was asked for, or a usual one that is smaller than the teacher.

use zskt_api::{Architecture, Diagnostic, ImageShape, OutputShape, PluginInstance, PluginKind, Registry};

use super::teacher::FoundTeacher;
use crate::pipeline::{parse_plugin, unambiguous};
use crate::shell_quoting::quoted;
use crate::{multiplications, parameter_count, text_format};

/// Larger images than these are for networks that begin by making them smaller.
const SMALL_IMAGE: usize = 64;

/// The networks that the literature's students are, the largest first, and narrower ones for teachers that are smaller than these.
const FOR_SMALL_IMAGES: [&str; 5] = [
    "WideResNet(depth: 16, widen_factor: 1)",
    "WideResNet(depth: 10, widen_factor: 1)",
    "CifarResNet(depth: 8, widths: [8, 8, 16, 32])",
    "CifarResNet(depth: 8, widths: [4, 4, 8, 16])",
    "CifarResNet(depth: 8, widths: [2, 2, 4, 8])",
];
const FOR_LARGE_IMAGES: [&str; 4] = [
    "ResNet(depth: 18, stem: ImageNet)",
    "ResNet(depth: 18, stem: ImageNet, width: 32)",
    "ResNet(depth: 18, stem: ImageNet, width: 16)",
    "ResNet(depth: 18, stem: ImageNet, width: 8)",
];

/// What is smaller than any convolutional network, and no network that one would choose for images without being asked.
const SMALLEST: [&str; 3] = ["Mlp(hidden: [100])", "Mlp(hidden: [30])", "Mlp(hidden: [8])"];

/// The architecture of a student.
pub struct ChosenStudent {
    /// The plugin with its parameters, as a pipeline has it.
    pub ron: String,
    /// What it gives for the teacher's images.
    pub output: OutputShape,
    parameters: Option<usize>,
    multiplications: Option<u64>,
    asked_for: bool,
    caution: Option<String>,
}

impl ChosenStudent {
    /// Takes the plugin that was asked for, with the teacher's classes and images among its parameters where it has such, or else chooses.
    ///
    /// # Errors
    /// When there is no such plugin, or it does not take the teacher's images.
    pub fn choose(asked: Option<&str>, teacher: &FoundTeacher, registry: &Registry) -> Result<Self, Diagnostic> {
        if let Some(asked) = asked {
            let student = Self::fitted(asked, teacher, registry)?;
            return Ok(Self { asked_for: true, ..student });
        }
        let ImageShape { height, width, .. } = teacher.image();
        let usual = if height.max(width) <= SMALL_IMAGE { &FOR_SMALL_IMAGES[..] } else { &FOR_LARGE_IMAGES };
        let fitting = |text: &&str| Self::fitted(&unambiguous(text, registry), teacher, registry).ok();
        let mut usual: Vec<_> = usual.iter().filter_map(fitting).collect();
        let is_smaller = |student: &Self| student.has_fewer_parameters(teacher) && student.multiplies_less(teacher);
        let chosen = usual.iter().position(is_smaller);
        // Weights are what a student is kept small for, if it cannot be both.
        let nearest = || usual.iter().position(|student| student.has_fewer_parameters(teacher));
        let place = chosen.or_else(nearest).or_else(|| usual.len().checked_sub(1)).ok_or_else(|| {
            let message = format!("no usual student takes images {}", teacher.image());
            Diagnostic::global(message).help("name one with --student: `zskt-run plugins` lists the architectures")
        })?;
        let student = usual.swap_remove(place);
        if chosen.is_some() {
            return Ok(student);
        }
        let smaller = SMALLEST.iter().filter_map(fitting).find(is_smaller);
        let caution = student.not_smaller(teacher, smaller.as_ref());
        Ok(Self { caution: Some(caution), ..student })
    }

    /// What is not known of the teacher is taken to be large, for the usual students are small.
    fn has_fewer_parameters(&self, teacher: &FoundTeacher) -> bool {
        self.parameters.zip(teacher.parameters()).is_none_or(|(own, teachers)| own < teachers)
    }

    fn multiplies_less(&self, teacher: &FoundTeacher) -> bool {
        self.multiplications.zip(teacher.multiplications()).is_none_or(|(own, teachers)| own < teachers)
    }

    /// Says what a student has more of than its teacher, and what to write for one that has not.
    fn not_smaller(&self, teacher: &FoundTeacher, smaller: Option<&Self>) -> String {
        let more = |what: &str, own: Option<u64>, teachers: Option<u64>| {
            let [own, teachers] = [own, teachers].map(|count| text_format::count(count.unwrap_or_default() as usize));
            format!("{own} {what}, the teacher {teachers}")
        };
        let counts = |count: Option<usize>| count.map(|count| count as u64);
        let parameters = || more("parameters", counts(self.parameters), counts(teacher.parameters()));
        let multiplications = || more("multiplications for an image", self.multiplications, teacher.multiplications());
        let found = match (self.has_fewer_parameters(teacher), self.multiplies_less(teacher)) {
            (true, _) => multiplications(),
            (false, true) => parameters(),
            (false, false) => format!("{}, and {}", parameters(), multiplications()),
        };
        let other = match smaller {
            Some(smaller) => format!("one that is: `--student {}`", quoted(&smaller.ron)),
            None => "`--student ARCH` takes another".into(),
        };
        format!("No usual student is smaller than this teacher: this one has {found}; {other}")
    }

    fn fitted(text: &str, teacher: &FoundTeacher, registry: &Registry) -> Result<Self, Diagnostic> {
        let context =
            |problem: Diagnostic| Diagnostic { span: None, ..problem }.context(format_args!("--student {text}"));
        let image = teacher.image();
        // Only what it has of these, and what is not said already.
        let numbers = [("classes", teacher.classes()), ("channels", image.channels), ("size", image.height)];
        let (name, given) = text.split_once('(').unwrap_or((text, ""));
        let mut parameters =
            given.trim_end().strip_suffix(')').unwrap_or(given).trim().trim_end_matches(',').to_owned();
        let known = registry.find(name.trim()).map(|plugin| (plugin.parameters)()).unwrap_or_default();
        for (parameter, number) in numbers {
            let default = known.iter().find(|known| known.name == parameter).map(|known| known.default.clone());
            let is_default = default.as_ref().is_some_and(|default| default.as_deref() == Some(&*number.to_string()));
            if default.is_some() && !is_default && !parameters.contains(&format!("{parameter}:")) {
                let comma = if parameters.is_empty() { "" } else { ", " };
                parameters += &format!("{comma}{parameter}: {number}");
            }
        }
        let ron = format!("{}({parameters})", name.trim());
        let (_, parsed) = parse_plugin(&ron, PluginKind::Architecture, registry).map_err(context)?;
        let PluginInstance::Architecture(architecture) = parsed.instance() else {
            return Err(context(Diagnostic::global("it is not an architecture")));
        };
        let output = shape(&**architecture, image).map_err(context)?;
        if output.classes != teacher.classes() {
            let message = format!("it has {} classes, the teacher {}", output.classes, teacher.classes());
            return Err(context(Diagnostic::global(message)));
        }
        Ok(Self {
            parameters: parameter_count::of(parsed.instance()),
            multiplications: multiplications::of(parsed.instance(), image),
            ron,
            output,
            asked_for: false,
            caution: None,
        })
    }

    /// What was chosen, for a person.
    pub fn said(&self) -> String {
        let count =
            self.parameters.map_or_else(String::new, |count| format!(": {} parameters", text_format::count(count)));
        let other = if self.asked_for { "" } else { "; --student takes any other" };
        let caution = self.caution.as_ref().map_or_else(String::new, |caution| format!("\n         {caution}"));
        format!("student  {}{count}{other}{caution}", self.ron)
    }

    /// What a user should know who expects a student that is smaller than its teacher.
    pub fn caution(&self) -> Option<&str> {
        self.caution.as_deref()
    }
}

fn shape(architecture: &dyn Architecture, image: ImageShape) -> Result<OutputShape, Diagnostic> {
    let checked = architecture.check().and_then(|()| architecture.output_shape(image));
    checked.map_err(|fault| {
        let problem = Diagnostic::global(fault.message);
        match fault.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    })
}
