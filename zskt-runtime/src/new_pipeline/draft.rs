//! A pipeline as it is written for a person: nodes in groups with a comment each, edges in lines.

/// A pipeline that is being written.
#[derive(Default)]
pub struct Draft {
    /// What stands before it, a line each.
    pub head: Vec<String>,
    /// The pipeline's name.
    pub name: String,
    /// Changes that make its schedule short, a key and its value each.
    pub short: Vec<(&'static str, &'static str)>,
    /// Nodes in groups, in their order.
    pub groups: Vec<Group>,
    /// Edges that stand on one line.
    pub edges: Vec<Vec<String>>,
}

/// Nodes that belong together.
pub struct Group {
    /// What they are, a line each.
    pub comment: Vec<String>,
    /// The name of each, and its plugin with its parameters.
    pub nodes: Vec<(&'static str, String)>,
}

impl Group {
    fn taken_apart(text: &'static str) -> Self {
        let (mut comment, mut nodes) = (Vec::new(), Vec::<(&str, String)>::new());
        for line in text.lines() {
            let node = line.strip_prefix("        \"").and_then(|node| node.split_once("\":"));
            if let Some((name, plugin)) = node {
                nodes.push((name, plugin.trim_start().to_owned()));
            } else if let Some(line) = line.strip_prefix("        // ") {
                comment.push(line.to_owned());
            } else if let Some((_, plugin)) = nodes.last_mut() {
                *plugin += &format!("\n{line}");
            }
        }
        for (_, plugin) in &mut nodes {
            plugin.truncate(plugin.trim_end_matches(',').len());
        }
        Self { comment, nodes }
    }
}

impl Draft {
    /// A pipeline of zskt's own, as its file lays it out: groups of nodes with a comment each and an empty line between, each node and each
    /// edge at the beginning of a line or behind another edge. What stands before the nodes is left out, but for the variant `short`.
    pub fn taken_apart(text: &'static str) -> Self {
        let (before, body) = text.split_once("    nodes: {\n").unwrap_or_default();
        let (nodes, edges) = body.split_once("    },\n\n    edges: [\n").unwrap_or_default();
        let short = before.split_once("        \"short\": {\n").and_then(|(_, rest)| rest.split_once("        },\n"));
        let short = short.into_iter().flat_map(|(changes, _)| changes.lines());
        let short = short.filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
        let edges = edges.lines().map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
        Self {
            short: short.map(|(key, value)| (key.trim_matches('"'), value)).filter(|(key, _)| *key != "name").collect(),
            groups: nodes.split("\n\n").map(Group::taken_apart).collect(),
            edges: edges.filter(|line| !line.is_empty()).collect(),
            ..Self::default()
        }
    }

    /// The plugin of a node, with its parameters.
    pub fn node(&mut self, name: &str) -> Option<&mut String> {
        let mut nodes = self.groups.iter_mut().flat_map(|group| &mut group.nodes);
        nodes.find(|(other, _)| *other == name).map(|(_, plugin)| plugin)
    }

    /// The pipeline as RON text.
    pub fn to_text(&self) -> String {
        let width =
            self.groups.iter().flat_map(|group| &group.nodes).map(|(name, _)| name.len()).max().unwrap_or(0) + 3;
        let mut out: String = self.head.iter().flat_map(|text| commented(text)).collect();
        out += &format!("(\n    name: {:?},\n    seed: 0,\n    data_free: true,\n\n", self.name);
        if !self.short.is_empty() {
            let changes: String =
                self.short.iter().map(|(key, value)| format!("            {key:?}: {value},\n")).collect();
            out += &format!("    variants: {{\n        \"short\": {{\n{changes}        }},\n    }},\n\n");
        }
        out += "    nodes: {\n";
        let groups = self.groups.iter().map(|group| {
            let comments = group.comment.iter().map(|line| format!("        // {line}\n"));
            let node = |(name, plugin): &(&str, String)| format!("        {:width$} {plugin},\n", format!("{name:?}:"));
            comments.chain(group.nodes.iter().map(node)).collect::<String>()
        });
        out += &groups.collect::<Vec<_>>().join("\n");
        out += "    },\n\n    edges: [\n";
        for line in &self.edges {
            let edges: Vec<_> = line.iter().map(|edge| format!("{edge:?},")).collect();
            out += &format!("        {}\n", edges.join(" "));
        }
        out + "    ],\n)\n"
    }
}

/// A text as lines of comments that are not too long to read; what belongs to an item of a list is indented like it.
fn commented(text: &str) -> Vec<String> {
    const WIDTH: usize = 116;
    let indent = if text.starts_with("- ") { "  " } else { "" };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > WIDTH {
            lines.push(indent.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            if !line.trim_start().is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.into_iter().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect()
}
