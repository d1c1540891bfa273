//! Normalization belongs to the teacher: what makes images, and what brings them, follows what the teacher was trained on.

use petgraph::unionfind::UnionFind;
use zskt_api::{Diagnostic, Normalization, ParsedPlugin, PluginInstance, PortType, Signature, Span};

use super::graph::PipelineGraph;
use super::signatures::{head, parameter_value};
use crate::text_format;

/// The way out where no normalization is known.
const STATE_NORMALIZATION: &str = "give the teacher `mean` and `std`, a number for each channel of the images that it was trained on; \
                                   zeros and ones where it takes pixels as they are";

/// A normalization that a teacher has or a dataset states.
struct Statement {
    node: usize,
    /// The node, or the parameter of a node: `train`, or `mix.data`.
    place: String,
    /// Where the pipeline says so.
    span: Span,
    of_teacher: bool,
    normalization: Normalization,
}

/// How the images are normalized that each node makes or sees: one way for all that share images, the first teacher's, or else the first
/// that a dataset states, or else what is usual for the first dataset. Warns of others, and refuses generators that need one and have none.
pub fn resolve(
    graph: &PipelineGraph<'_>,
    skip_files: bool,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Option<Normalization>> {
    let together = sharing_images(graph);
    let mut statements: Vec<_> = (0..graph.nodes.len()).flat_map(|node| stated(graph, node)).collect();
    statements.sort_by_key(|statement| !statement.of_teacher);
    let mut first: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    for (index, statement) in statements.iter().enumerate() {
        match first[together[statement.node]] {
            Some(first) => problems.extend(contradiction(&statements[first], statement)),
            None => first[together[statement.node]] = Some(index),
        }
    }
    for (index, statement) in statements.iter().enumerate() {
        let group = together[statement.node];
        if statement.of_teacher || first[group] == Some(index) {
            let nodes = (0..graph.nodes.len()).filter(|node| together[*node] == group);
            problems.extend(nodes.filter_map(|node| other_channels(graph, node, statement)));
        }
    }
    let mut usual: Vec<Option<Normalization>> = vec![None; graph.nodes.len()];
    for (node, together) in together.iter().enumerate() {
        usual[*together] = usual[*together].take().or_else(|| usual_of(graph, node));
    }
    let of_group = |group: usize| match first[group] {
        Some(first) => Some(statements[first].normalization.clone()),
        None => usual[group].clone(),
    };
    let fits = |node: usize, normalization: &Normalization| match &graph.nodes[node].signature {
        Some(Signature::Dataset(dataset)) => dataset.image.channels == normalization.mean.len(),
        _ => true,
    };
    // What a faulty one would have said is not known: its own fault is to be mended first.
    let mut may_follow = vec![skip_files; graph.nodes.len()];
    for (node, together) in together.iter().enumerate() {
        may_follow[*together] |= graph.nodes[node].signature.is_none()
            && matches!(
                graph.nodes[node].instance(),
                None | Some(PluginInstance::Dataset(_) | PluginInstance::Teacher(_))
            );
    }
    for (node, together) in together.iter().enumerate() {
        problems.extend(unusable(graph, node, of_group(*together).as_ref(), may_follow[*together]));
    }
    let of_node = |(node, group): (usize, &usize)| of_group(*group).filter(|normalization| fits(node, normalization));
    together.iter().enumerate().map(of_node).collect()
}

/// Refuses a node, or a plugin among its parameters, that makes pixels and cannot normalize them; unless files that are not read may
/// say how.
fn unusable(
    graph: &PipelineGraph<'_>,
    node: usize,
    normalization: Option<&Normalization>,
    may_follow: bool,
) -> Option<Diagnostic> {
    let value = graph.nodes[node].value;
    if let Some(Signature::Turn(turn)) = &graph.nodes[node].signature
        && turn.synthesis.is_some()
        && normalization.is_none()
        && !may_follow
    {
        let name = graph.name(node);
        let message =
            format!("`{name}` keeps images as pixels, and how its teacher wants them normalized is not known");
        return Some(Diagnostic::at(head(value), message).label("needs a normalization").help(STATE_NORMALIZATION));
    }
    let parsed = graph.nodes[node].parsed.as_ref()?;
    let nested = parsed.all_nested();
    let mut plugins =
        std::iter::once(("", parsed)).chain(nested.iter().map(|nested| (&*nested.parameter, &nested.parsed)));
    let (way, image) = plugins.find_map(|(way, plugin)| match plugin.instance() {
        PluginInstance::Generator(generator) if generator.needs_normalization() => Some((way, generator.image().ok()?)),
        _ => None,
    })?;
    let own = if way.is_empty() { Some(value) } else { parameter_value(value, way) }.unwrap_or(value);
    let name = if way.is_empty() { graph.name(node).to_owned() } else { format!("{}.{way}", graph.name(node)) };
    match normalization {
        Some(normalization) if normalization.mean.len() == image.channels => None,
        Some(normalization) => {
            let (channels, found) = (text_format::counted(image.channels, "channel"), normalization.mean.len());
            let message = format!(
                "`{name}` makes images of {channels}, but those that its teacher was trained on have a normalization of {found}"
            );
            let help = "let it make images of as many channels as its teacher takes, or give the teacher's `mean` and `std` a number for each";
            Some(Diagnostic::at(head(own), message).label(channels).help(help))
        }
        None if may_follow => None,
        None => {
            let message =
                format!("`{name}` makes pixels from 0 to 1, and how its teacher wants them normalized is not known");
            Some(Diagnostic::at(head(own), message).label("needs a normalization").help(STATE_NORMALIZATION))
        }
    }
}

/// What is usual for a dataset.
fn usual_of(graph: &PipelineGraph<'_>, node: usize) -> Option<Normalization> {
    let PluginInstance::Dataset(dataset) = graph.nodes[node].instance()? else { return None };
    let Some(Signature::Dataset(signature)) = &graph.nodes[node].signature else { return None };
    dataset.usual_normalization(signature.image.channels)
}

/// For each node, one that stands for all that see the same images: whatever is connected, but by a loss, which sees none.
fn sharing_images(graph: &PipelineGraph<'_>) -> Vec<usize> {
    let mut together = UnionFind::new(graph.nodes.len());
    for link in &graph.links {
        if let Some(from) = link.from
            && graph.nodes[from].output() != Some(PortType::Loss)
        {
            together.union(from, link.to);
        }
    }
    together.into_labeling()
}

fn stated(graph: &PipelineGraph<'_>, node: usize) -> Vec<Statement> {
    let value = graph.nodes[node].value;
    let Some(parsed) = &graph.nodes[node].parsed else { return Vec::new() };
    let nested = parsed.all_nested();
    let plugins = std::iter::once(("", parsed)).chain(nested.iter().map(|nested| (&*nested.parameter, &nested.parsed)));
    let statement = |(way, plugin): (&str, &ParsedPlugin)| {
        let (of_teacher, normalization) = match plugin.instance() {
            PluginInstance::Teacher(teacher) => (true, teacher.normalization()?),
            PluginInstance::Dataset(dataset) => (false, dataset.normalization()?),
            _ => return None,
        };
        let own = if way.is_empty() { Some(value) } else { parameter_value(value, way) }.unwrap_or(value);
        let span = parameter_value(own, "mean").map_or(head(own), |mean| mean.span);
        let name = graph.name(node);
        let place = if way.is_empty() { name.to_owned() } else { format!("{name}.{way}") };
        Some(Statement { node, place, span, of_teacher, normalization })
    };
    plugins.filter_map(statement).collect()
}

fn contradiction(first: &Statement, other: &Statement) -> Option<Diagnostic> {
    if first.normalization.is_close_to(&other.normalization) {
        return None;
    }
    let (one, two) = (&first.place, &other.place);
    let has = if first.of_teacher { "was trained on images of" } else { "has" };
    let states = if other.of_teacher { "was trained on images of" } else { "states" };
    let message = format!(
        "`{two}` {states} {}, but `{one}`, which the same networks see, {has} {}",
        other.normalization, first.normalization
    );
    let help = if other.of_teacher {
        format!("one of the two sees images as it has never seen them; `{one}` is what datasets follow")
    } else if first.of_teacher {
        format!("leave `mean` and `std` of `{two}` out, and it takes those of `{one}`")
    } else {
        "a network that learns from one and is measured on the other sees other images: state one for both".to_owned()
    };
    Some(
        Diagnostic::at(other.span, message)
            .label(format!("of `{two}`"))
            .related(first.span, format!("of `{one}`"))
            .help(help)
            .warning(),
    )
}

/// Says that a normalization is for images of other channels than a node brings or makes.
fn other_channels(graph: &PipelineGraph<'_>, node: usize, statement: &Statement) -> Option<Diagnostic> {
    let channels = match &graph.nodes[node].signature {
        Some(Signature::Dataset(dataset)) => dataset.image.channels,
        // One that makes pixels is refused by itself.
        Some(Signature::Generator(generator)) if !generator.architecture.needs_normalization() => {
            generator.image.channels
        }
        _ => return None,
    };
    let found = statement.normalization.mean.len();
    if channels == found || statement.node == node {
        return None;
    }
    let message = format!(
        "`{}` has a normalization of {}, but the images of `{}` have {channels}",
        statement.place,
        text_format::counted(found, "channel"),
        graph.name(node)
    );
    Some(
        Diagnostic::at(statement.span, message)
            .label("one mean and one standard deviation for each channel")
            .related(head(graph.nodes[node].value), format!("`{}`", graph.name(node))),
    )
}
