//! The graph under check: the pipeline's nodes with their plugins, and its edges with both their ends.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;
use zskt_api::{
    Arity, Diagnostic, Name, ParsedPlugin, PluginInstance, PluginKind, PluginRegistration, PortInfo, PortType,
    Registry, Signature, Value, ValueKind, nearest_name, with_article,
};

use crate::pipeline::{Edge, PipelineSyntax};
use crate::plugin_calls::{Inspector, PluginOfNode, put_behind_boundaries};
use crate::text_format;

/// How many names are compared in search of misspelt ones: enough for every mistake that is shown of a pipeline that a person
/// wrote, and a moment's work.
const MAX_COMPARISONS: usize = 200_000;

/// What can be a node; an optimizer or a schedule is a parameter of one.
const NODE_KINDS: [PluginKind; 8] = [
    PluginKind::Architecture,
    PluginKind::Generator,
    PluginKind::Teacher,
    PluginKind::Dataset,
    PluginKind::Loss,
    PluginKind::Turn,
    PluginKind::Stage,
    PluginKind::Metric,
];

/// A node, as far as it could be read.
pub struct GraphNode<'d> {
    /// Its name, where the pipeline gives it.
    pub name: &'d Name,
    /// Its plugin as written.
    pub value: &'d Value,
    /// Its plugin; `None` when there is no such.
    pub registration: Option<&'static PluginRegistration>,
    /// Its plugin with its parameters, where they could be read.
    pub parsed: Option<ParsedPlugin>,
    /// Its inputs.
    pub ports: Vec<PortInfo>,
    /// What is known of its output.
    pub signature: Option<Signature>,
}

impl GraphNode<'_> {
    /// What its plugin is.
    pub fn kind(&self) -> Option<PluginKind> {
        self.registration.map(|plugin| plugin.kind)
    }

    /// The type of its output.
    pub fn output(&self) -> Option<PortType> {
        self.registration.and_then(|plugin| plugin.output)
    }

    /// Its plugin, and those among its parameters at any depth, each once.
    pub fn plugins(&self) -> Vec<&'static PluginRegistration> {
        let mut plugins: Vec<_> = self.registration.into_iter().collect();
        for nested in self.parsed.iter().flat_map(ParsedPlugin::all_nested) {
            if !plugins.iter().any(|plugin| std::ptr::eq(*plugin, nested.registration)) {
                plugins.push(nested.registration);
            }
        }
        plugins
    }

    /// Its plugin with its parameters, when they could be read.
    pub fn instance(&self) -> Option<&PluginInstance> {
        self.parsed.as_ref().map(ParsedPlugin::instance)
    }
}

/// An edge that leads to an input that exists.
pub struct Link<'d> {
    /// The edge.
    pub edge: &'d Edge,
    /// The node it comes from; `None` when there is no such, or when the input does not take what it gives.
    pub from: Option<usize>,
    /// The node it leads to.
    pub to: usize,
    /// The input it leads to, as an index into that node's ports.
    pub port: usize,
    /// Whether the plugin that it leads to has said what is wrong with what it brings.
    pub is_refused: bool,
}

/// The nodes and edges of a pipeline, as far as they could be read.
pub struct PipelineGraph<'d> {
    /// The nodes, in the order of the file.
    pub nodes: Vec<GraphNode<'d>>,
    /// The edges that lead somewhere, in the order of the file.
    pub links: Vec<Link<'d>>,
    /// Which node leads to which, by edges of any kind, each pair once.
    pub shape: DiGraph<(), ()>,
    by_name: HashMap<&'d str, usize>,
    /// The links into each node, in the order of the file.
    incoming: Vec<Vec<usize>>,
    joined: HashSet<(usize, usize)>,
    misspelt: RefCell<Misspelt>,
    listed: OnceCell<String>,
    /// What the boundaries of all plugins have in common.
    pub inspector: Inspector,
}

/// What was found of names that no node has.
#[derive(Default)]
struct Misspelt {
    meant: HashMap<String, Option<usize>>,
    comparisons: usize,
}

impl<'d> PipelineGraph<'d> {
    /// Reads every node's plugin.
    pub fn read(pipeline: &'d PipelineSyntax, registry: &Registry, problems: &mut Vec<Diagnostic>) -> Self {
        let inspector = Inspector::default();
        let read = |(name, value)| {
            let node = read_node(name, value, registry, problems);
            if let (Some(plugin), Some(parsed)) = (node.registration, &node.parsed) {
                put_behind_boundaries(PluginOfNode::new(plugin, &name.text), parsed, &inspector);
            }
            node
        };
        let nodes: Vec<_> = pipeline.nodes.iter().map(|(name, value)| (name, value)).map(read).collect();
        let mut shape = DiGraph::new();
        nodes.iter().for_each(|_| {
            shape.add_node(());
        });
        let by_name = nodes.iter().enumerate().map(|(index, node)| (node.name.text.as_str(), index)).collect();
        let incoming = vec![Vec::new(); nodes.len()];
        let (joined, misspelt, listed) = Default::default();
        Self { nodes, links: Vec::new(), shape, by_name, incoming, joined, misspelt, listed, inspector }
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The node that was meant by a name that no node has; none where very many names would have to be compared.
    pub fn near(&self, name: &str) -> Option<usize> {
        let mut misspelt = self.misspelt.borrow_mut();
        if let Some(meant) = misspelt.meant.get(name) {
            return *meant;
        }
        if misspelt.comparisons + self.nodes.len() > MAX_COMPARISONS {
            return None;
        }
        misspelt.comparisons += self.nodes.len();
        let near = nearest_name(name, self.nodes.iter().map(|node| node.name.text.as_str()));
        let meant = near.and_then(|near| self.find(near));
        misspelt.meant.insert(name.to_owned(), meant);
        meant
    }

    /// The names of the nodes, for messages.
    pub fn listed(&self) -> &str {
        self.listed.get_or_init(|| text_format::some_of(self.nodes.iter().map(|node| node.name.text.as_str())))
    }

    /// Adds an edge that leads to an input that exists.
    pub fn add_link(&mut self, link: Link<'d>) {
        self.incoming[link.to].push(self.links.len());
        self.links.push(link);
    }

    /// Says that one node leads to another.
    pub fn join(&mut self, from: usize, to: usize) {
        if self.joined.insert((from, to)) {
            self.shape.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        }
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name.text
    }

    /// The input that an edge leads to.
    pub fn port(&self, link: &Link<'_>) -> &PortInfo {
        &self.nodes[link.to].ports[link.port]
    }

    /// The edges into a node, in the order of the file.
    pub fn into(&self, node: usize) -> impl Iterator<Item = &Link<'d>> {
        self.incoming[node].iter().map(|link| &self.links[*link])
    }

    /// The same as indices into [`PipelineGraph::links`].
    pub fn incoming(&self, node: usize) -> &[usize] {
        &self.incoming[node]
    }

    /// Whether no edge leads from a node to any other.
    pub fn leads_nowhere(&self, node: usize) -> bool {
        self.shape.neighbors(NodeIndex::new(node)).next().is_none()
    }

    /// The nodes that a node leads to; every node leads to itself.
    pub fn after(&self, node: usize) -> HashSet<usize> {
        let mut search = Dfs::new(&self.shape, NodeIndex::new(node));
        std::iter::from_fn(|| search.next(&self.shape)).map(NodeIndex::index).collect()
    }

    /// Which of up to 64 nodes lead to each node: bit 0 stands for the first of them. `order` is that of
    /// [`sorted`](super::order::sorted).
    pub fn reached_from(&self, sources: impl IntoIterator<Item = usize>, order: &[usize]) -> Vec<u64> {
        let mut reached = vec![0; self.nodes.len()];
        for (bit, source) in sources.into_iter().enumerate() {
            reached[source] |= 1 << bit;
        }
        for node in order {
            let bits: u64 = reached[*node];
            if bits != 0 {
                self.shape.neighbors(NodeIndex::new(*node)).for_each(|next| reached[next.index()] |= bits);
            }
        }
        reached
    }

    /// The network that arrives along an edge.
    pub fn network(&self, link: &Link<'_>) -> Option<&str> {
        self.nodes[link.from?].signature.as_ref()?.network()
    }

    /// Whether an edge brings a network itself, rather than a turn on one.
    pub fn brings_network(&self, link: &Link<'_>) -> bool {
        let given = link.from.and_then(|from| self.nodes[from].output());
        matches!(given, Some(PortType::Classifier | PortType::Generator | PortType::Player))
    }

    /// Whether an edge brings a classifier that is read and not changed.
    pub fn brings_knowledge(&self, link: &Link<'_>) -> bool {
        let port = self.port(link);
        port.accepts == PortType::Classifier && !port.trains
    }
}

fn read_node<'d>(
    name: &'d Name,
    value: &'d Value,
    registry: &Registry,
    problems: &mut Vec<Diagnostic>,
) -> GraphNode<'d> {
    let mut node = GraphNode { name, value, registration: None, parsed: None, ports: Vec::new(), signature: None };
    let ValueKind::Named { name: Some(plugin), .. } = &value.kind else {
        problems.push(
            Diagnostic::at(value.span, format!("expected a plugin, found {}", value.describe()))
                .label("expected `Name(…)`"),
        );
        return node;
    };
    node.registration = registry.find(&plugin.text);
    if let Some(plugin) = node.registration {
        if !NODE_KINDS.contains(&plugin.kind) {
            problems.push(
                Diagnostic::at(
                    value.span,
                    format!("`{}` is {}, and cannot be a node", plugin.name, with_article(plugin.kind)),
                )
                .label("expected a node")
                .help(format!("it is written as a parameter: `{}: {}(…)`", plugin.kind, plugin.name)),
            );
            node.registration = None;
            return node;
        }
        node.ports = (plugin.ports)();
    }
    node.parsed = registry.read(value, &NODE_KINDS, problems).map(|(_, parsed)| parsed);
    node
}

/// An input as messages and documentation show it: `loss (one or more losses)`.
pub fn describe_port(port: &PortInfo) -> String {
    let what = match port.arity {
        Arity::One => port.accepts.to_string(),
        Arity::Optional => format!("{}, optional", port.accepts),
        Arity::Many => format!("{}, one or more", port.accepts),
    };
    format!("{} ({what})", port.name)
}
