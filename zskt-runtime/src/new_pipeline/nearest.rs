//! The architecture that comes nearest to weights that none has: under other names it may be the one.

use std::collections::{BTreeMap, BTreeSet};

use zskt_api::{Builder, Diagnostic, PluginInstance, PluginKind, Registry};

use super::{Request, checkpoint};
use crate::pipeline::{parse_plugin, unambiguous};
use crate::shell_quoting::quoted;
use crate::weights_report::{FoundNetwork, RecognizedArchitecture};

/// Architectures whose weights are published, and rows and columns of the images that they are for; some with what stands for the others
/// of their kind.
const PUBLISHED: [(&str, usize); 13] = [
    ("CifarResNet(depth: {8,14,20,32,44,56,110})", 32),
    ("CifarResNet(depth: {8,14,20,32,44,56,110}, shortcut: Padding)", 32),
    ("CifarResNet(depth: {8,32}, widths: [32, 64, 128, 256])", 32),
    ("ResNet(depth: {18,34,50,101,152}, stem: Cifar)", 32),
    ("ResNet(depth: {18,34,50,101,152}, stem: ImageNet)", 224),
    ("WideResNet(depth: {10,16,22,28,40}, widen_factor: 1)", 32),
    ("WideResNet(depth: {10,16,22,28,40}, widen_factor: 2)", 32),
    ("WideResNet(depth: {16,28,40}, widen_factor: 10)", 32),
    ("Vgg(depth: {11,13,16,19})", 32),
    ("Vgg(depth: {11,13,16,19}, head: [512, 512])", 32),
    ("Vgg(depth: {11,13,16,19}, head: [4096, 4096], pooled: 7)", 224),
    ("MobileNetV2(width: 1.0)", 32),
    ("LeNet(size: 32)", 32),
];

/// Differences that are shown.
const MOST_DIFFERENCES: usize = 12;

/// An architecture that has the weights of a file under other names.
pub struct Nearest {
    /// It, and what is assumed.
    pub architecture: RecognizedArchitecture,
    /// What `Checkpoint` needs for it: parameters that follow others; empty where nothing.
    pub parameters: String,
}

impl Nearest {
    /// The nearest architecture, where what `Checkpoint` proposes makes it fit; nothing where none is near.
    ///
    /// # Errors
    /// What `Checkpoint` says of the file and the nearest architecture, where that does not fit.
    pub fn find(
        request: &Request<'_>,
        network: &FoundNetwork,
        registry: &Registry,
    ) -> Result<Option<Self>, Diagnostic> {
        let Some((ron, image_size)) = nearest(network, registry) else { return Ok(None) };
        let ron = unambiguous(&ron, registry);
        let ignore = checkpoint::ignore(request.ignore);
        let fits = |renames: &str| {
            let more = format!("{ignore}{renames}");
            checkpoint::fits(&checkpoint::ron(&ron, request.teacher, request.key, &more), registry)
                .map(|()| renames.to_owned())
        };
        let renames = fits("").or_else(|problem| {
            // A network without some of the file's weights is another: who wants it has to say so.
            let proposed = problem.help.as_deref().and_then(proposal);
            match proposed.and_then(ignored) {
                Some(patterns) => Err(misfit(&ron, problem, &leave_out(&patterns))),
                None => {
                    proposed.and_then(|more| fits(&format!(", {more}")).ok()).ok_or_else(|| misfit(&ron, problem, ""))
                }
            }
        })?;
        let (registration, parsed) = parse_plugin(&ron, PluginKind::Architecture, registry)?;
        let assumptions = match renames.strip_prefix(", ") {
            Some(parameters) => vec![format!(
                "`{parameters}`: found by shapes and order, for no architecture has its names; see whether the names mean the same"
            )],
            None => Vec::new(),
        };
        let architecture = RecognizedArchitecture { registration, parsed, ron, layout: None, image_size, assumptions };
        Ok(Some(Self { architecture, parameters: format!("{ignore}{renames}") }))
    }
}

/// What `Checkpoint` says would make a file fit.
fn proposal(help: &str) -> Option<&str> {
    help.lines().find_map(|line| line.strip_prefix("it fits with `")?.split('`').next())
}

/// The names that a proposal leaves out, where it does.
fn ignored(proposal: &str) -> Option<Vec<String>> {
    let (_, patterns) = proposal.split_once("ignore: ")?;
    ron::from_str(patterns).ok()
}

/// How to leave names out.
fn leave_out(patterns: &[String]) -> String {
    let options: Vec<_> = patterns.iter().map(|pattern| format!("--ignore {}", quoted(pattern))).collect();
    format!("\nto leave these out: {}", options.join(" "))
}

/// What `Checkpoint` says of the nearest architecture, not all of it where that is long.
fn misfit(ron: &str, problem: Diagnostic, way_out: &str) -> Diagnostic {
    let help = problem.help.unwrap_or_default();
    let (differences, said): (Vec<&str>, Vec<&str>) = help.lines().partition(|line| line.starts_with(' '));
    let mut lines: Vec<_> =
        said.iter().chain(differences.iter().take(MOST_DIFFERENCES)).map(|line| (*line).to_owned()).collect();
    if differences.len() > MOST_DIFFERENCES {
        lines.push(format!("  and {} more", differences.len() - MOST_DIFFERENCES));
    }
    Diagnostic::global(format!("the nearest is `{ron}`, and {}", problem.message)).help(lines.join("\n") + way_out)
}

/// The published architecture whose tensors have the most shapes in common with the file's, and the size of its images; nothing where
/// more than a third of them are others.
fn nearest(network: &FoundNetwork, registry: &Registry) -> Option<(String, usize)> {
    let theirs: Vec<&[usize]> = network.tensors.iter().map(|(_, info)| info.shape.as_slice()).collect();
    let model = |ron: &str, channels: usize, classes: usize| {
        let parameter = |name, usual, value| if value == usual { String::new() } else { format!(", {name}: {value}") };
        let more = [parameter("classes", 10, classes), parameter("channels", 3, channels)].concat();
        format!("{}{more})", ron.trim_end_matches(')'))
    };
    let far = |ron: &str| differing(ron, &theirs, registry);
    // Files need not have the network's order: the first convolution may be any, and any matrix the last layer.
    let published = PUBLISHED.iter().flat_map(|(ron, size)| depths(ron).into_iter().map(|ron| (ron, *size)));
    let published = published.flat_map(|(ron, size)| [3, 1].map(|channels| (ron.clone(), channels, size)));
    let nearest =
        published.filter_map(|(ron, channels, size)| Some((far(&model(&ron, channels, 10))?, ron, channels, size)));
    let (_, ron, channels, size) = nearest.min_by_key(|(differing, ..)| *differing)?;
    let classes: BTreeSet<_> = theirs.iter().filter(|shape| shape.len() == 2).map(|shape| shape[0]).collect();
    let models = std::iter::once(10).chain(classes).map(|classes| model(&ron, channels, classes));
    let (differing, ron) = models.filter_map(|ron| Some((far(&ron)?, ron))).min_by_key(|(differing, _)| *differing)?;
    (differing * 3 <= theirs.len()).then_some((ron, size))
}

/// `Net(depth: {8,14})` as one for each depth.
fn depths(ron: &str) -> Vec<String> {
    let parts = ron.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (depths, after))) = parts else { return vec![ron.to_owned()] };
    depths.split(',').map(|depth| format!("{before}{depth}{after}")).collect()
}

/// How many tensors of a file and of an architecture have no counterpart of the same shape; numbers on their own are no weights.
fn differing(ron: &str, theirs: &[&[usize]], registry: &Registry) -> Option<usize> {
    let (_, parsed) = parse_plugin(&unambiguous(ron, registry), PluginKind::Architecture, registry).ok()?;
    let PluginInstance::Architecture(architecture) = parsed.instance() else { return None };
    let ours = Builder::shapes_of(|builder| architecture.build(builder).map(drop)).ok()?;
    let mut surplus = BTreeMap::<&[usize], isize>::new();
    theirs.iter().for_each(|shape| *surplus.entry(shape).or_default() += 1);
    ours.values().for_each(|shape| *surplus.entry(shape).or_default() -= 1);
    Some(surplus.iter().filter(|(shape, _)| !shape.is_empty()).map(|(_, count)| count.unsigned_abs()).sum())
}
