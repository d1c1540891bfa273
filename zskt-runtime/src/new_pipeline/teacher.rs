//! The teacher: which network a file holds, and for which images.

use std::path::Path;

use onnx_model::Dimension;
use torch_checkpoint::{Configuration, printable};
use zskt_api::{
    ClassifierShape, Diagnostic, ImageShape, Normalization, OutputShape, PluginInstance, PluginKind, Registry,
    fetch_first,
};

use super::dataset::FoundDataset;
use super::nearest::Nearest;
use super::{Request, checkpoint, stem};
use crate::inspect_file::{is_graph, numbers};
use crate::pipeline::{parse_plugin, unambiguous};
use crate::shell_quoting::quoted;
use crate::weights_report::{FoundNetwork, RecognizedArchitecture, no_weights, weights_report};
use crate::{multiplications, parameter_count, text_format};

/// Sizes of images that networks are usually for, the likeliest first.
const SIZES: [usize; 9] = [32, 28, 224, 64, 16, 96, 128, 256, 384];

/// Images from this size on are likely to be ImageNet's.
const LARGE_IMAGE: usize = 64;

/// The size from which on a network is one for photographs.
const FOR_PHOTOGRAPHS: usize = 224;

/// The largest size that is tried where none of these is taken.
const LARGEST: usize = 640;

/// Networks that data-free distillation has been published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeacherFamily {
    /// Residual networks of 18 to 152 layers.
    ResNet,
    /// VGG.
    Vgg,
    /// Any other, wide residual networks among them.
    Other,
}

impl TeacherFamily {
    fn of(architecture: &str) -> Self {
        match architecture {
            "ResNet" => Self::ResNet,
            "Vgg" => Self::Vgg,
            _ => Self::Other,
        }
    }
}

/// A teacher's file, and the network in it.
pub struct FoundTeacher {
    ron: String,
    name: String,
    family: TeacherFamily,
    image: ImageShape,
    output: OutputShape,
    parameters: Option<usize>,
    multiplications: Option<u64>,
    /// What was found, a line each.
    found: Vec<String>,
    assumptions: Vec<String>,
    /// Options for what is usual, where nothing tells how its images were normalized.
    missing_normalization: Option<String>,
}

impl FoundTeacher {
    /// Looks into a file of weights, a folder with one, or an ONNX file. `data` are images at hand, which it takes if it can.
    ///
    /// # Errors
    /// When it cannot be read, no architecture has such weights, or there are several networks in it.
    pub fn read(request: &Request<'_>, data: Option<&FoundDataset>, registry: &Registry) -> Result<Self, Diagnostic> {
        let (path, key) = (request.teacher, request.key);
        if let Some(problem) = path.to_str().and_then(fetch_first) {
            return Err(problem);
        }
        if is_graph(path) {
            return match (key, request.ignore) {
                (None, []) => Self::of_graph(request, data, registry),
                (Some(_), _) => Err(Diagnostic::global("--key is for files of weights, and this is an ONNX model")),
                _ => Err(Diagnostic::global("--ignore is for files of weights, and this is an ONNX model")),
            };
        }
        if request.output.is_some() {
            return Err(Diagnostic::global("--output is for ONNX models, and this is not one"));
        }
        let report = weights_report(path, key, request.ignore, registry).map_err(|error| {
            let problem = Diagnostic::global(format!("cannot read `{}`: {}", error.path.display(), error.kind));
            problem.help(error.kind.help())
        })?;
        let network = match &report.networks[..] {
            [network] => network,
            [] => return Err(no_weights(path, key, registry)),
            several if are_copies(request, several, registry) => &several[0],
            several => return Err(several_networks(path, several)),
        };
        let ignore = checkpoint::ignore(request.ignore);
        let nearest;
        let (recognized, more) = match network.recognized.first() {
            Some(recognized) => (recognized, ignore.as_str()),
            None => {
                nearest = match Nearest::find(request, network, registry) {
                    Ok(Some(nearest)) => nearest,
                    _ if network.unusable.len() > network.tensors.len() => return Err(not_usable(path, network)),
                    Ok(None) => return Err(not_recognized(path, network, None)),
                    Err(problem) => return Err(not_recognized(path, network, Some(problem))),
                };
                (&nearest.architecture, nearest.parameters.as_str())
            }
        };
        let PluginInstance::Architecture(architecture) = recognized.parsed.instance() else {
            return Err(Diagnostic::global(format!("`{}` is not an architecture", recognized.ron)));
        };
        let configuration = report.configuration.as_ref();
        if request.normalization.is_none() {
            is_of_unit_pixels(path, configuration)?;
        }
        let said = configuration.and_then(|configuration| configuration.input_size);
        let said = said.map(|[channels, height, width]| ImageShape::new(channels, height, width));
        let usual = [3, 1].map(|channels| ImageShape::new(channels, recognized.image_size, recognized.image_size));
        // Photographs are usually larger than what a network for them takes.
        let of_photographs = recognized.image_size >= FOR_PHOTOGRAPHS;
        let is_taken = |image: &ImageShape| !of_photographs || image.height <= recognized.image_size;
        let shape = data.and_then(FoundDataset::image).filter(is_taken);
        let (image, output) = images(architecture.as_ref(), said.into_iter().chain(shape).chain(usual))
            .ok_or_else(|| takes_no_images(&recognized.ron))?;

        let mut assumptions = recognized.assumptions.clone();
        if said.is_none() && shape != Some(image) {
            assumptions.push(format!(
                "images of {}×{}: the weights do not tell the size, and this is usual for such a network; it is set by the generator's \
                 `image_size` and by the datasets",
                image.height, image.width
            ));
        }
        let told = configuration.is_some_and(|found| found.mean.is_some() && found.std.is_some());
        let missing_normalization =
            (!told && request.normalization.is_none()).then(|| usual_normalization(image, output.classes));
        assumptions.extend(missing_normalization.as_ref().map(|usual| normalization_unknown(data, usual)));
        checkpoint::fits(&checkpoint::ron(&recognized.ron, path, key, more), registry)?;
        let epsilon = configuration.and_then(|found| found.batch_norm_epsilon);
        let epsilon = epsilon.map_or_else(String::new, |epsilon| format!(", batch_norm_eps: {epsilon:?}"));
        let parameters = format!("{more}{}{epsilon}", stated(request.normalization.as_ref()));
        Ok(Self {
            ron: checkpoint::ron(&recognized.ron, path, key, &parameters),
            name: name(path),
            family: TeacherFamily::of(recognized.registration.name),
            image,
            output,
            parameters: parameter_count::of(recognized.parsed.instance()),
            multiplications: multiplications::of(recognized.parsed.instance(), image),
            found: found(path, &report.format.to_string(), &report.networks, recognized, more),
            assumptions,
            missing_normalization: missing_normalization.filter(|_| of_data(data).is_none()),
        })
    }

    fn of_graph(request: &Request<'_>, data: Option<&FoundDataset>, registry: &Registry) -> Result<Self, Diagnostic> {
        let path = request.teacher;
        let output = request.output.map(|output| format!(", output: {output:?}")).unwrap_or_default();
        let normalization = stated(request.normalization.as_ref());
        let ron = format!("Onnx(path: {:?}{output}{normalization})", path.to_string_lossy());
        let (_, parsed) = parse_plugin(&unambiguous(&ron, registry), PluginKind::Teacher, registry)?;
        let PluginInstance::Teacher(teacher) = parsed.instance() else {
            return Err(Diagnostic::global("`Onnx` is not a teacher source"));
        };
        teacher.check().map_err(|fault| {
            let problem = Diagnostic::global(format!("`{}`: {}", path.display(), fault.message));
            let of_output = |help: &String| help.contains("`output");
            let option = if fault.help.as_ref().is_some_and(of_output) { "; here: --output NAME" } else { "" };
            Diagnostic { help: fault.help.map(|help| help + option), ..problem }
        })?;
        let (image, output) =
            images(teacher.as_ref(), fixed_images(path).into_iter().chain(data.and_then(FoundDataset::image)))
                .ok_or_else(|| takes_no_images(&ron))?;
        if output.classes < 2 {
            let problem =
                Diagnostic::global(format!("`{ron}` has one output, and a teacher tells two classes or more apart"));
            return Err(problem.help(
                "where it is the logit of yes against no, export the network with a first logit that is always 0, which is the same: \
                 `torch.cat([torch.zeros_like(logit), logit], dim=1)`",
            ));
        }
        let missing_normalization =
            teacher.normalization().is_none().then(|| usual_normalization(image, output.classes));
        Ok(Self {
            found: vec![format!("{}: ONNX", path.display()), format!("teacher  {ron}")],
            ron,
            name: name(path),
            family: TeacherFamily::Other,
            image,
            output,
            parameters: onnx_model::read(path).ok().map(|model| numbers(&model.graph)),
            multiplications: multiplications::of(parsed.instance(), image),
            assumptions: missing_normalization.iter().map(|usual| normalization_unknown(data, usual)).collect(),
            missing_normalization: missing_normalization.filter(|_| of_data(data).is_none()),
        })
    }

    /// The plugin with its parameters, as a pipeline has it.
    pub fn ron(&self) -> &str {
        &self.ron
    }

    /// What its pipeline is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of network it is.
    pub fn family(&self) -> TeacherFamily {
        self.family
    }

    /// The images that it is for.
    pub fn image(&self) -> ImageShape {
        self.image
    }

    /// What it gives for them.
    pub fn output(&self) -> &OutputShape {
        &self.output
    }

    /// Classes it tells apart.
    pub fn classes(&self) -> usize {
        self.output.classes
    }

    /// Numbers that were learnt.
    pub fn parameters(&self) -> Option<usize> {
        self.parameters
    }

    /// What it multiplies for an image.
    pub fn multiplications(&self) -> Option<u64> {
        self.multiplications
    }

    /// What its file does not tell, a sentence each.
    pub fn assumptions(&self) -> &[String] {
        &self.assumptions
    }

    /// Options that say how its images were normalized, as is usual for such images, where nothing tells it.
    pub fn missing_normalization(&self) -> Option<&str> {
        self.missing_normalization.as_deref()
    }

    /// What was found, for a person.
    pub fn said(&self) -> Vec<String> {
        let mut said = self.found.clone();
        if !self.assumptions.is_empty() {
            said.push("not told by the file:".into());
            said.extend(self.assumptions.iter().map(|assumption| format!("  - {assumption}")));
        }
        said.push(String::new());
        said
    }
}

/// The pipeline is called as the file is.
fn name(path: &Path) -> String {
    let name: String = stem(path)
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    if name.trim_matches(['-', '.']).is_empty() { "transfer".into() } else { name }
}

/// The images that a network takes: the first of these that it takes, or else some of a usual size, or of any.
fn images(
    network: &(impl ClassifierShape + ?Sized),
    first: impl Iterator<Item = ImageShape>,
) -> Option<(ImageShape, OutputShape)> {
    let sizes = || SIZES.into_iter().chain(8..=LARGEST);
    let any = [3, 1].into_iter().flat_map(|channels| sizes().map(move |size| ImageShape::new(channels, size, size)));
    first.chain(any).find_map(|image| Some((image, network.output_shape(image).ok()?)))
}

/// The images that an ONNX model is fixed to, channels first or last.
fn fixed_images(path: &Path) -> Vec<ImageShape> {
    let Ok(model) = onnx_model::read(path) else { return Vec::new() };
    let sizes = model.graph.inputs.first().and_then(|input| input.shape.clone()).unwrap_or_default();
    let fixed: Vec<usize> = sizes
        .iter()
        .skip(1)
        .filter_map(|size| match size {
            Dimension::Fixed(size) => Some(*size),
            Dimension::Free(_) => None,
        })
        .collect();
    match fixed[..] {
        [a, b, c] => vec![ImageShape::new(a, b, c), ImageShape::new(c, a, b)],
        _ => Vec::new(),
    }
}

/// A normalization as parameters after others.
fn stated(normalization: Option<&Normalization>) -> String {
    normalization.map_or_else(String::new, |Normalization { mean, std }| format!(", mean: {mean:?}, std: {std:?}"))
}

/// What the images of --data are normalized by.
fn of_data(data: Option<&FoundDataset>) -> Option<Normalization> {
    data.and_then(FoundDataset::normalization)
}

fn normalization_unknown(data: Option<&FoundDataset>, usual: &str) -> String {
    let assumed = of_data(data)
        .map_or_else(String::new, |assumed| format!(" taken to be by {assumed}, as the images of --data are;"));
    format!(
        "how its images were normalized:{assumed} say it with --mean and --std, as in `{usual}`, zeros and ones where it takes pixels \
         from 0 to 1 as they are"
    )
}

/// The normalization of the data set that a network is likely to be trained on, as options: MNIST's, ImageNet's or CIFAR-10's.
fn usual_normalization(image: ImageShape, classes: usize) -> String {
    let is_imagenet = image.height.max(image.width) >= LARGE_IMAGE || classes == 1000;
    match image.channels {
        1 => "--mean 0.1307 --std 0.3081".into(),
        3 if is_imagenet => "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225".into(),
        3 => "--mean 0.4914,0.4822,0.4465 --std 0.247,0.2435,0.2616".into(),
        // There is no usual one, and there has to be a number for each channel.
        channels => format!("--mean {} --std {}", vec!["0.5"; channels].join(","), vec!["0.5"; channels].join(",")),
    }
}

/// Where the network is, with those that are copies of it, and what it is; `more` is what `Checkpoint` needs for its names.
fn found(
    path: &Path,
    format: &str,
    networks: &[FoundNetwork],
    recognized: &RecognizedArchitecture,
    more: &str,
) -> Vec<String> {
    let network = &networks[0];
    let mut place = format!("{}: {format}", path.display());
    if !network.key.is_empty() {
        place += &format!(", `{}`", printable(&network.key));
    }
    if !network.prefix.is_empty() {
        place += &format!(", names after `{}`", printable(&network.prefix));
    }
    let copies: Vec<_> = networks[1..].iter().map(|copy| format!("`{}`", printable(&copy.choice()))).collect();
    if !copies.is_empty() {
        place += &format!(", the same weights as in {}", text_format::join(&copies, "and"));
    }
    let names = match (recognized.layout, more.strip_prefix(", ")) {
        (Some(layout), _) => format!("the names of {layout}"),
        (None, Some(parameters)) => format!("`{parameters}`"),
        (None, None) => "its own names".into(),
    };
    let mut lines = vec![place, format!("teacher  {}: every name and shape fits, by {names}", recognized.ron)];
    let others: Vec<_> = network.recognized.iter().skip(1).map(|other| other.ron.clone()).collect();
    if !others.is_empty() {
        lines.push(format!("         {} would fit too", text_format::join(&others, "and")));
    }
    lines
}

/// Whether several networks of a file are one with its copies, which `Checkpoint` takes.
fn are_copies(request: &Request<'_>, networks: &[FoundNetwork], registry: &Registry) -> bool {
    let ron = |network: &FoundNetwork| network.recognized.first().map(|recognized| recognized.ron.clone());
    let Some(first) = ron(&networks[0]) else { return false };
    networks.iter().all(|network| ron(network).as_ref() == Some(&first))
        && checkpoint::fits(
            &checkpoint::ron(&first, request.teacher, request.key, &checkpoint::ignore(request.ignore)),
            registry,
        )
        .is_ok()
}

fn several_networks(path: &Path, networks: &[FoundNetwork]) -> Diagnostic {
    let described = |network: &FoundNetwork| {
        let what = network.recognized.first().map_or_else(|| "not recognized".to_owned(), |one| one.ron.clone());
        format!("\n  --key {}    {what}", quoted(&printable(&network.choice())))
    };
    let problem = Diagnostic::global(format!("`{}` holds {} networks", path.display(), networks.len()));
    problem.help(format!("choose one:{}", networks.iter().map(described).collect::<String>()))
}

/// What is written beside the weights has to be what --mean and --std may be.
fn is_of_unit_pixels(path: &Path, configuration: Option<&Configuration>) -> Result<(), Diagnostic> {
    let stated = configuration.and_then(|found| Normalization::of(found.mean.as_ref(), found.std.as_ref()));
    let Some(stated) = stated.filter(|stated| !stated.is_of_unit_pixels()) else { return Ok(()) };
    let message = format!(
        "what lies beside the weights in `{}` states {stated}, which is not of pixels from 0 to 1",
        path.display()
    );
    let option = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    Err(Diagnostic::global(message).help(match stated.of_bytes() {
        Some(of_bytes) => {
            format!("divided by 255 it is: --mean {} --std {}", option(&of_bytes.mean), option(&of_bytes.std))
        }
        None => "say with --mean and --std how its images were normalized".into(),
    }))
}

/// Says what is in a file whose tensors cannot be used: integers of a quantized network, for example.
fn not_usable(path: &Path, network: &FoundNetwork) -> Diagnostic {
    let (first, count) = (&network.unusable[0], text_format::counted(network.unusable.len(), "tensor"));
    Diagnostic::global(format!("`{}` holds {count} that cannot be used: {first}", path.display()))
        .help("save the network's weights as float32; those of a quantized one are what it had before it was quantized")
}

/// Says what is in a file that no architecture is recognized in, and how the nearest differs, where one is near.
fn not_recognized(path: &Path, network: &FoundNetwork, nearest: Option<Diagnostic>) -> Diagnostic {
    let message = format!("no architecture has the weights of `{}`", path.display());
    let inspect = format!("`zskt-run inspect {}`", quoted(&path.to_string_lossy()));
    let unusable = network.unusable.first().map_or_else(String::new, |reason| format!("\n{reason}"));
    let ways_out = "`zskt-run plugin new NAME --kind architecture` begins a plugin for them, and an ONNX export of the network needs none, if its \
                    operations are among those of docs/teachers.md";
    if let Some(nearest) = nearest {
        let help = nearest.help.unwrap_or_default();
        return Diagnostic::global(format!("{message}; {}", nearest.message))
            .help(format!("{help}{unusable}\n{inspect} lists what it has, {ways_out}"));
    }
    let tensors =
        network.tensors.iter().take(6).map(|(name, info)| format!("\n  {} {:?}", printable(name), info.shape));
    Diagnostic::global(message).help(format!(
        "it has {} tensors:{}{unusable}\n{inspect} lists them all, {ways_out}",
        network.tensors.len(),
        tensors.collect::<String>()
    ))
}

fn takes_no_images(ron: &str) -> Diagnostic {
    let message = format!("`{ron}` takes no square images of one or three channels and up to {LARGEST} pixels");
    Diagnostic::global(message)
        .help("give images that it takes with --data; or write the pipeline by hand, with a generator of such images: `image_channels`, `image_size`")
}
