//! The student's architecture: the one that was asked for, or a usual one that is smaller than the teacher.

use zskt_api::{Architecture, Diagnostic, ImageShape, OutputShape, PluginInstance, PluginKind, Registry};

use super::teacher::FoundTeacher;
use crate::pipeline::{parse_plugin, unambiguous};
use crate::{parameter_count, text_format};

/// Larger images than these are for networks that begin by making them smaller.
const SMALL_IMAGE: usize = 64;

/// The networks that the literature's students are, the largest first.
const FOR_SMALL_IMAGES: [&str; 2] =
    ["WideResNet(depth: 16, widen_factor: 1)", "WideResNet(depth: 10, widen_factor: 1)"];
const FOR_LARGE_IMAGES: [&str; 3] = [
    "ResNet(depth: 18, stem: ImageNet)",
    "ResNet(depth: 18, stem: ImageNet, width: 32)",
    "ResNet(depth: 18, stem: ImageNet, width: 16)",
];

/// The architecture of a student.
pub struct ChosenStudent {
    /// The plugin with its parameters, as a pipeline has it.
    pub ron: String,
    /// What it gives for the teacher's images.
    pub output: OutputShape,
    parameters: Option<usize>,
    asked_for: bool,
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
        let fitting: Vec<_> = usual
            .iter()
            .filter_map(|text| Self::fitted(&unambiguous(text, registry), teacher, registry).ok())
            .collect();
        let smaller = |student: &Self| match (student.parameters, teacher.parameters()) {
            (Some(own), Some(teachers)) => own < teachers,
            // The usual ones are small.
            _ => true,
        };
        let chosen = fitting.iter().position(smaller).or_else(|| fitting.len().checked_sub(1));
        chosen.and_then(|chosen| fitting.into_iter().nth(chosen)).ok_or_else(|| {
            let message = format!("no usual student takes images {}", teacher.image());
            Diagnostic::global(message).help("name one with --student: `zskt-run plugins` lists the architectures")
        })
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
        Ok(Self { parameters: parameter_count::of(parsed.instance()), ron, output, asked_for: false })
    }

    /// What was chosen, for a person.
    pub fn said(&self) -> String {
        let count =
            self.parameters.map_or_else(String::new, |count| format!(": {} parameters", text_format::count(count)));
        let other = if self.asked_for { "" } else { "; --student takes any other" };
        format!("student  {}{count}{other}", self.ron)
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
