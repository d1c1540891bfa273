//! Problems as a person reads them: the place, the line, a caret under it, and how to mend it.

use std::io::IsTerminal;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use zskt_api::{Diagnostic, Span};

use crate::pipeline::Sources;

/// A problem without a place in a pipeline: `error: …`, and below it how to mend it.
pub fn render_global(problem: &Diagnostic) -> String {
    let mut out = format!("error: {}\n", problem.message);
    if let Some(help) = &problem.help {
        out += &format!("help: {help}\n");
    }
    out
}

/// Shows all problems of a pipeline, and their number.
pub fn render(problems: &[Diagnostic], sources: &Sources, colours: bool) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let mut out: String =
        problems.iter().map(|problem| renderer.render(&[report(problem, sources)]) + "\n\n").collect();
    out += &match problems.len() {
        1 => "1 problem; nothing was run\n".to_owned(),
        count => format!("{count} problems; nothing was run\n"),
    };
    out
}

/// Whether standard error is for eyes that see colours.
pub fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn report<'a>(problem: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let mut group = Group::with_title(Level::ERROR.primary_title(&problem.message));
    match problem.span {
        Some(span) => {
            let mut snippet = snippet(span.source, sources);
            let primary = AnnotationKind::Primary.span(range(span, sources));
            snippet =
                snippet.annotation(if problem.label.is_empty() { primary } else { primary.label(&*problem.label) });
            let (same, others): (Vec<_>, Vec<_>) =
                problem.related.iter().partition(|(other, _)| other.source == span.source);
            for (place, label) in same {
                snippet = snippet.annotation(AnnotationKind::Context.span(range(*place, sources)).label(label));
            }
            group = group.element(snippet);
            for (place, label) in others {
                let annotation = AnnotationKind::Context.span(range(*place, sources)).label(label);
                group = group.element(self::snippet(place.source, sources).annotation(annotation));
            }
        }
        None => group = group.element(annotate_snippets::Origin::path(sources.name(0))),
    }
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    }
}

fn snippet<'a>(source: usize, sources: &'a Sources) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    Snippet::source(sources.text(source)).path(sources.name(source))
}

/// The bytes of a span, within the text, and one character wide at least; empty at the end of a line.
fn range(span: Span, sources: &Sources) -> Range<usize> {
    let text = sources.text(span.source);
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.min(text.len()).max(start));
    let next = text[start..].chars().next().filter(|next| !matches!(next, '\n' | '\r')).map_or(0, char::len_utf8);
    start..end.max(start + next)
}
