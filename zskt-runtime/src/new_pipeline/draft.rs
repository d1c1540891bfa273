//! A pipeline as it is written for a person: nodes in groups with a comment each, edges in lines.

/// A pipeline that is being written.
#[derive(Default)]
pub struct Draft {
    /// What stands before it, a line each.
    pub head: Vec<String>,
    /// The pipeline's name.
    pub name: String,
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

impl Draft {
    /// The pipeline as RON text.
    pub fn to_text(&self) -> String {
        let width =
            self.groups.iter().flat_map(|group| &group.nodes).map(|(name, _)| name.len()).max().unwrap_or(0) + 3;
        let mut out: String = self.head.iter().flat_map(|text| commented(text)).collect();
        out += &format!("(\n    name: {:?},\n    seed: 0,\n    data_free: true,\n\n    nodes: {{\n", self.name);
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
