//! A page as one file: what it shows, and all that it needs to show it. Nothing is loaded from elsewhere, which its policy forbids, too.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{self, Chart};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const PLOT_STYLE: &str = include_str!("uplot/uPlot.min.css");
const PLOT_SCRIPT: &str = include_str!("uplot/uPlot.iife.min.js");
const PLOT_LICENCE: &str = include_str!("uplot/LICENSE");
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// What a page says that it was made by.
pub const GENERATOR: &str = "zskt-run report";

/// A page that is being made.
pub struct Document {
    title: String,
    header: Markup,
    sections: Vec<Section>,
    charts: Vec<Chart>,
    /// Whether each chart has a legend of its own.
    legends: bool,
}

struct Section {
    id: &'static str,
    heading: &'static str,
    body: Markup,
}

impl Document {
    /// A page with this title, and what stands under it.
    pub fn new(title: String, header: Markup, legends: bool) -> Self {
        Self { title, header, sections: Vec::new(), charts: Vec::new(), legends }
    }

    /// Adds a section, if there is anything to show.
    pub fn section(&mut self, id: &'static str, heading: &'static str, body: Option<Markup>) {
        self.sections.extend(body.map(|body| Section { id, heading, body }));
    }

    /// Adds charts, and gives their places; nothing without any.
    pub fn charts(&mut self, charts: Vec<Chart>) -> Option<Markup> {
        let first = self.charts.len();
        self.charts.extend(charts);
        let new = self.charts.iter().enumerate().skip(first);
        (first < self.charts.len()).then(|| {
            html! { div.charts { @for (number, chart) in new { (chart.place(number, self.legends)) } } }
        })
    }

    /// The page as HTML.
    pub fn render(&self) -> String {
        let curves = serde_json::to_string(&chart::data(&self.charts)).unwrap_or_else(|_| "[]".into());
        // Within a script nothing is escaped, and `</script>` would end it.
        let curves = curves.replace('<', "\\u003c");
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="generator" content=(GENERATOR);
                    title { (self.title) }
                    link rel="icon" href="data:,";
                    style { (PreEscaped(PLOT_STYLE)) (PreEscaped(STYLE)) }
                }
                body {
                    header { h1 { (self.title) } (self.header) }
                    nav aria-label="Contents" { @for section in &self.sections { a href=(format!("#{}", section.id)) { (section.heading) } } }
                    main { @for section in &self.sections {
                        section id=(section.id) aria-labelledby=(format!("{}-heading", section.id)) {
                            h2 id=(format!("{}-heading", section.id)) { (section.heading) }
                            (section.body)
                        }
                    } }
                    footer { "Made by zskt " (env!("CARGO_PKG_VERSION")) " of nothing but the files in the folder of the run. Drag in a chart to zoom, double-click to see all of it." }
                    @if !self.charts.is_empty() {
                        script type="application/json" id="curve-data" { (PreEscaped(curves)) }
                        script { (PreEscaped(format!("/* uPlot\n{PLOT_LICENCE}*/\n"))) (PreEscaped(PLOT_SCRIPT)) }
                        script { (PreEscaped(SCRIPT)) }
                    }
                }
            }
        };
        page.into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{PLOT_SCRIPT, PLOT_STYLE, SCRIPT, STYLE};
    use crate::checksum;

    #[test]
    fn the_plot_library_is_the_release_that_its_readme_names() {
        let readme = include_str!("uplot/README.md");
        for text in [PLOT_SCRIPT, PLOT_STYLE] {
            let sum = checksum::of_bytes(text.as_bytes());
            assert!(readme.contains(&sum), "{sum}");
        }
    }

    #[test]
    fn every_colour_of_a_graph_has_one_for_the_dark() {
        let sources = include_str!("../draw/svg.rs");
        let colours: Vec<_> = sources.match_indices("\"#").map(|(at, _)| &sources[at + 1..]).collect();
        let colours = colours.iter().filter_map(|rest| rest.split_once(['"', '\\'])).map(|(colour, _)| colour);
        let colours: Vec<_> = colours.filter(|colour| *colour != "#111" && !colour.contains(')')).collect();
        assert!(colours.len() > 12, "{colours:?}");
        for colour in colours {
            assert!(STYLE.contains(&format!("[fill=\"{colour}\"]")), "{colour}");
        }
    }

    #[test]
    fn nothing_in_the_page_ends_it_early_or_loads_anything() {
        for text in [PLOT_SCRIPT, SCRIPT] {
            assert!(!text.contains("</script") && !text.contains("<!--"));
            assert!(["fetch(", "XMLHttpRequest", "import(", "WebSocket"].iter().all(|word| !text.contains(word)));
        }
        for text in [PLOT_STYLE, STYLE] {
            assert!(!text.contains("</style") && !text.contains("url(") && !text.contains("@import"));
        }
    }
}
