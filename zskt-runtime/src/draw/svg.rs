//! A picture as SVG that needs nothing else: no fonts, no styles, no scripts.

use zskt_api::PluginKind;

use super::layout::{Size, lay_out};
use super::picture::{NodeBox, Picture};

/// The width of a character, as a share of the font's size: that of fixed-width fonts and some more, so that labels fit
/// their boxes in another font too.
const ADVANCE: f64 = 0.64;
const NAME_SIZE: f64 = 14.0;
const NOTE_SIZE: f64 = 11.0;
const LINE: f64 = 15.0;
/// Arrows that enter the same box are this far apart, so that their labels are too.
const ARROW_GAP: f64 = 15.0;
const FONTS: &str = "'DejaVu Sans Mono', Menlo, Consolas, monospace";

/// Draws a picture as SVG.
pub fn svg(picture: &Picture) -> String {
    let sizes: Vec<Size> = picture.boxes.iter().enumerate().map(|(index, node)| size(picture, index, node)).collect();
    let ends: Vec<(usize, usize)> = picture.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect();
    let label = picture.arrows.iter().map(|arrow| width(&arrow.port, NOTE_SIZE)).fold(0.0, f64::max);
    let layout = lay_out(&sizes, &ends, label + 84.0);
    let (total_width, total_height) = (layout.size.0.max(560.0), layout.size.1 + 56.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total_width:.0} {total_height:.0}\" width=\"{total_width:.0}\" \
         height=\"{total_height:.0}\" font-family=\"{FONTS}\" font-size=\"{NOTE_SIZE}\" fill=\"#111\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<defs>{}{}</defs>\n",
        escape(&picture.title),
        arrow_head("solid", "#1d4ed8"),
        arrow_head("dashed", "#6b7280"),
    );
    out += &text(24.0, 26.0, 16.0, "font-weight=\"bold\"", &picture.title);
    out += "<g transform=\"translate(0 20)\">\n";
    for (arrow, points) in picture.arrows.iter().zip(&layout.arrows) {
        // Arrows come in straight under their labels, all that enter the same box from the same distance.
        let entering = picture.arrows.iter().filter(|other| other.to == arrow.to);
        let lead = entering.map(|other| width(&other.port, NOTE_SIZE)).fold(0.0, f64::max) + 18.0;
        out += &format!("<path d=\"{}\" fill=\"none\" {}/>\n", curve(points, lead), stroke(arrow.gradient));
    }
    for (arrow, points) in picture.arrows.iter().zip(&layout.arrows) {
        let Some((x, y)) = points.last() else { continue };
        // White around the letters keeps them legible where another arrow passes.
        for style in
            ["text-anchor=\"end\" stroke=\"#fff\" stroke-width=\"3\" stroke-linejoin=\"round\"", "text-anchor=\"end\""]
        {
            out += &text(x - 14.0, y - 3.0, NOTE_SIZE, style, &arrow.port);
        }
    }
    for (index, node) in picture.boxes.iter().enumerate() {
        out += &draw_box(node, layout.boxes[index], layout.widths[index], sizes[index].height);
    }
    out += "</g>\n";
    out + &legend(total_height - 18.0) + "</svg>\n"
}

fn size(picture: &Picture, index: usize, node: &NodeBox) -> Size {
    let notes = node.notes.iter().map(|note| width(note, NOTE_SIZE)).fold(width(node.plugin, NOTE_SIZE), f64::max);
    let entering = picture.arrows.iter().filter(|arrow| arrow.to == index).count();
    let leaving = picture.arrows.iter().filter(|arrow| arrow.from == index).count();
    let lines = 2.0 + node.notes.len() as f64;
    let height = (lines * LINE + 16.0).max((entering + 1) as f64 * ARROW_GAP).max((leaving + 1) as f64 * 8.0);
    // Bold letters are wider in fonts whose width is not fixed.
    Size { width: notes.max(width(&node.name, NAME_SIZE) * 1.1) + 28.0, height }
}

fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * ADVANCE
}

fn draw_box(node: &NodeBox, (x, y): (f64, f64), width: f64, height: f64) -> String {
    let (fill, line, thickness, round) = match node.kind {
        PluginKind::Stage => ("#dcfce7", "#15803d", 3.0, 4.0),
        PluginKind::Metric => ("#ffe4e6", "#be123c", 1.2, 22.0),
        PluginKind::Dataset => ("#e5e7eb", "#4b5563", 1.2, 0.0),
        PluginKind::Turn => ("#ede9fe", "#6d28d9", 1.2, 10.0),
        PluginKind::Loss => ("#fef3c7", "#b45309", 1.2, 10.0),
        _ => ("#dbeafe", "#1d4ed8", 1.2, 4.0),
    };
    let mut out = format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round}\" fill=\"{fill}\" stroke=\"{line}\" \
         stroke-width=\"{thickness}\"/>\n"
    );
    if node.kind == PluginKind::Dataset {
        // A second line at the top, as of a stack of images.
        out += &format!("<path d=\"M {x:.1} {0:.1} h {width:.1}\" stroke=\"{line}\"/>\n", y + 4.0);
    }
    let lines = 2.0 + node.notes.len() as f64;
    let mut baseline = y + (height - lines * LINE) / 2.0 + 12.0;
    out += &text(x + 14.0, baseline, NAME_SIZE, "font-weight=\"bold\"", &node.name);
    for note in std::iter::once(node.plugin).chain(node.notes.iter().map(String::as_str)) {
        baseline += LINE;
        let style = if note == node.plugin { format!("fill=\"{line}\"") } else { "fill=\"#374151\"".into() };
        out += &text(x + 14.0, baseline, NOTE_SIZE, &style, note);
    }
    out
}

fn curve(points: &[(f64, f64)], lead: f64) -> String {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        if index == 0 {
            path += &format!("M {x:.1} {y:.1}");
            continue;
        }
        let (from_x, from_y) = points[index - 1];
        let last = index + 1 == points.len();
        let x = if last { x - lead } else { *x };
        let middle = f64::midpoint(from_x, x);
        path += &format!(" C {middle:.1} {from_y:.1} {middle:.1} {y:.1} {x:.1} {y:.1}");
        if last {
            // The head of the arrow takes the last few points of the way.
            path += &format!(" h {:.1}", lead - 8.0);
        }
    }
    path
}

fn stroke(gradient: bool) -> &'static str {
    if gradient {
        "stroke=\"#1d4ed8\" stroke-width=\"2.4\" marker-end=\"url(#solid)\""
    } else {
        "stroke=\"#6b7280\" stroke-width=\"1.2\" stroke-dasharray=\"5 4\" marker-end=\"url(#dashed)\""
    }
}

fn arrow_head(id: &str, colour: &str) -> String {
    format!(
        "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"0\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" \
         orient=\"auto\"><path d=\"M 0 0 L 8 4 L 0 8 z\" fill=\"{colour}\"/></marker>"
    )
}

fn legend(y: f64) -> String {
    let line = |x: f64, gradient: bool| {
        format!("<path d=\"M {x:.1} {0:.1} h 34\" fill=\"none\" {1}/>\n", y - 4.0, stroke(gradient))
    };
    line(24.0, true)
        + &text(72.0, y, NOTE_SIZE, "", "is trained by gradients")
        + &line(260.0, false)
        + &text(308.0, y, NOTE_SIZE, "", "is read only")
}

fn text(x: f64, y: f64, size: f64, style: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" {style}>{}</text>\n", escape(text))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
