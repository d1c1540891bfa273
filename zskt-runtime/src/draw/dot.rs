//! A picture for Graphviz.

use zskt_api::PluginKind;

use super::picture::Picture;

/// Draws a picture for Graphviz.
pub fn dot(picture: &Picture) -> String {
    let mut out = format!("digraph {} {{\n    rankdir=LR;\n", quoted(&picture.title));
    out += "    node [shape=box, style=filled, fontname=\"sans-serif\"];\n    edge [fontname=\"sans-serif\", fontsize=10];\n";
    for (index, node) in picture.boxes.iter().enumerate() {
        let (shape, fill, line) = match node.kind {
            PluginKind::Stage => ("component", "#dcfce7", "#15803d"),
            PluginKind::Metric => ("ellipse", "#ffe4e6", "#be123c"),
            PluginKind::Dataset => ("cylinder", "#e5e7eb", "#4b5563"),
            PluginKind::Turn => ("hexagon", "#ede9fe", "#6d28d9"),
            PluginKind::Loss => ("note", "#fef3c7", "#b45309"),
            _ => ("box", "#dbeafe", "#1d4ed8"),
        };
        let lines: Vec<_> =
            [node.name.as_str(), node.plugin].into_iter().chain(node.notes.iter().map(String::as_str)).collect();
        out += &format!(
            "    n{index} [label={}, shape={shape}, fillcolor=\"{fill}\", color=\"{line}\"];\n",
            quoted(&lines.join("\n"))
        );
    }
    for arrow in &picture.arrows {
        let style = if arrow.gradient { "penwidth=2.5" } else { "style=dashed" };
        out += &format!("    n{} -> n{} [label={}, {style}];\n", arrow.from, arrow.to, quoted(&arrow.port));
    }
    out + "}\n"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
