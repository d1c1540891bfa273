//! A picture as a Mermaid flowchart.

use zskt_api::PluginKind;

use super::picture::Picture;

/// Draws a picture as a Mermaid flowchart.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = format!("---\ntitle: {:?}\n---\nflowchart LR\n", picture.title);
    for (index, node) in picture.boxes.iter().enumerate() {
        let (open, close, class) = match node.kind {
            PluginKind::Stage => ("[[", "]]", "stage"),
            PluginKind::Metric => ("([", "])", "metric"),
            PluginKind::Dataset => ("[(", ")]", "dataset"),
            PluginKind::Turn => ("{{", "}}", "turn"),
            PluginKind::Loss => (">", "]", "loss"),
            _ => ("[", "]", "network"),
        };
        let lines = [format!("<b>{}</b>", escape(&node.name)), escape(node.plugin)];
        let text: Vec<_> = lines.into_iter().chain(node.notes.iter().map(|note| escape(note))).collect();
        out += &format!("    n{index}{open}\"{}\"{close}:::{class}\n", text.join("<br>"));
    }
    for arrow in &picture.arrows {
        let line = if arrow.gradient { "==>" } else { "-.->" };
        out += &format!("    n{} {line}|{}| n{}\n", arrow.from, escape(&arrow.port), arrow.to);
    }
    out + "    classDef network fill:#dbeafe,stroke:#1d4ed8,color:#111\n    \
           classDef loss fill:#fef3c7,stroke:#b45309,color:#111\n    \
           classDef turn fill:#ede9fe,stroke:#6d28d9,color:#111\n    \
           classDef stage fill:#dcfce7,stroke:#15803d,stroke-width:3px,color:#111\n    \
           classDef dataset fill:#e5e7eb,stroke:#4b5563,color:#111\n    \
           classDef metric fill:#ffe4e6,stroke:#be123c,color:#111\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
