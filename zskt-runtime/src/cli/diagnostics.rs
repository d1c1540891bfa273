//! Problems as a person reads them: the place, the line, a caret under it, and how to mend it.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use zskt_api::{Diagnostic, Span};

use crate::pipeline::Sources;
use crate::text_format;

/// How many problems are shown; the others are counted.
const MOST_SHOWN: usize = 100;

/// How much of a text the renderer is given around a place, in bytes: it reads all that it is given, for every problem.
const EXCERPT: usize = 1 << 16;

/// How much is shown of a line that is longer than an excerpt, before a place and after it, in characters.
const LONG_LINE: usize = 60;

/// Longer messages are cut off: they quote what is longer.
const LONGEST_MESSAGE: usize = 1 << 14;

/// A problem without a place in a pipeline: `error: …` or `warning: …`, and below it how to mend it.
pub fn render_global(problem: &Diagnostic) -> String {
    let severity = if problem.is_error() { "error" } else { "warning" };
    let mut out = format!("{severity}: {}\n", problem.message);
    if let Some(help) = &problem.help {
        out += &format!("help: {help}\n");
    }
    out
}

/// Shows all problems of a pipeline, and their number.
pub fn render(problems: &[Diagnostic], sources: &Sources, colours: bool) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let shown = &problems[..problems.len().min(MOST_SHOWN)];
    let mut out: String = shown.iter().map(|problem| renderer.render(&[report(problem, sources)]) + "\n\n").collect();
    let counted =
        |count: usize, noun: &str| format!("{} {noun}{}", text_format::count(count), if count == 1 { "" } else { "s" });
    if problems.len() > shown.len() {
        out += &format!("… and {} more problems\n\n", text_format::count(problems.len() - shown.len()));
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let mut counts = Vec::new();
    if errors > 0 {
        counts.push(counted(errors, "problem"));
    }
    if warnings > 0 {
        counts.push(counted(warnings, "warning"));
    }
    out += &counts.join(", ");
    out + if errors > 0 { "; nothing was run\n" } else { "\n" }
}

/// Whether standard error is for eyes that see colours.
pub fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn report<'a>(problem: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = if problem.is_error() { Level::ERROR } else { Level::WARNING };
    let mut group = Group::with_title(level.primary_title(cut_off(&problem.message)));
    match problem.span {
        Some(span) => {
            let (near, far): (Vec<_>, Vec<_>) = problem.related.iter().partition(|(other, _)| is_near(span, *other));
            let primary = (span, AnnotationKind::Primary, &*problem.label);
            let near = near.into_iter().map(|(place, label)| (*place, AnnotationKind::Context, label.as_str()));
            group = group.elements(excerpt(&std::iter::once(primary).chain(near).collect::<Vec<_>>(), sources));
            for (place, label) in far {
                group = group.elements(excerpt(&[(*place, AnnotationKind::Context, label.as_str())], sources));
            }
        }
        None => group = group.element(Origin::path(sources.name(0))),
    }
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(cut_off(help))),
        None => group,
    }
}

fn cut_off(message: &str) -> Cow<'_, str> {
    if message.len() <= LONGEST_MESSAGE {
        return message.into();
    }
    format!("{}…", &message[..message.floor_char_boundary(LONGEST_MESSAGE)]).into()
}

/// Whether one excerpt can show both places.
fn is_near(one: Span, other: Span) -> bool {
    one.source == other.source && one.start.max(other.start) - one.start.min(other.start) < EXCERPT
}

/// The lines of places that are near each other, with marks on the places.
fn excerpt<'a>(places: &[(Span, AnnotationKind, &'a str)], sources: &'a Sources) -> Vec<Element<'a>> {
    let source = places[0].0.source;
    let (text, name) = (sources.text(source), sources.name(source));
    let ranges: Vec<_> = places.iter().map(|(span, ..)| range(*span, text)).collect();
    let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let last = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let start = text[..first].rfind('\n').map_or(0, |end| end + 1);
    let end = text[last..].find('\n').map_or(text.len(), |length| last + length + 1);
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    let annotation = |kind: AnnotationKind, range: Range<usize>, label: &'a str| -> Annotation<'a> {
        let annotation = kind.span(range);
        if label.is_empty() { annotation } else { annotation.label(cut_off(label)) }
    };
    if end - start <= 4 * EXCERPT {
        let snippet = Snippet::source(&text[start..end]).path(name).line_start(line);
        let marks = places.iter().zip(&ranges);
        let marks =
            marks.map(|((_, kind, label), range)| annotation(*kind, range.start - start..range.end - start, label));
        return vec![snippet.annotations(marks).into()];
    }
    // A line that is longer than any screen: what is around the first place.
    let (_, kind, label) = places[0];
    let place = ranges[0].clone();
    let start = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
    let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    let begin = text[start..place.start].char_indices().rev().nth(LONG_LINE).map_or(start, |(at, _)| start + at);
    let place_end =
        place.end.min(text[place.start..].char_indices().nth(LONG_LINE).map_or(text.len(), |(at, _)| place.start + at));
    let rest = text[place_end..].find('\n').map_or(text.len(), |length| place_end + length);
    let end = text[place_end..rest].char_indices().nth(LONG_LINE).map_or(rest, |(at, _)| place_end + at);
    let column = text[start..place.start].chars().count() + 1;
    let mark = annotation(kind, place.start - begin..place_end - begin, label);
    vec![
        Origin::path(name).line(line).char_column(column).into(),
        Snippet::source(&text[begin..end]).line_start(line).annotation(mark).into(),
    ]
}

/// The bytes of a span, within the text, and one character wide at least; empty at the end of a line. Of a long one, its beginning.
fn range(span: Span, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let mut end = text.ceil_char_boundary(span.end.min(text.len()).max(start));
    if end - start > EXCERPT {
        end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    }
    let next = text[start..].chars().next().filter(|next| !matches!(next, '\n' | '\r')).map_or(0, char::len_utf8);
    start..end.max(start + next)
}
