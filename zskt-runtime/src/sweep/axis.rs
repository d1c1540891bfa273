//! Axes: a key of `--set`, and the values that it takes in a sweep.

use std::ops::Range;

use zskt_api::{Diagnostic, Span};

use crate::pipeline::{Override, Sources, parse_seeds, read};

/// The key of the axis over which figures are averaged.
pub const SEED: &str = "seed";

/// A key, and the values that it takes.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The key, as `--set` has it.
    pub key: String,
    /// Where it is written.
    pub place: Span,
    /// Its values, in their order.
    pub values: Vec<AxisValue>,
}

/// One value of an axis.
#[derive(Clone, Debug)]
pub struct AxisValue {
    /// It, as it is written; on one line.
    pub text: String,
    /// Where, as a change to the pipeline.
    pub change: Override,
}

impl Axis {
    /// What the text numbered `source` says: `KEY=VALUE,VALUE`. Values are parted by commas that are in no bracket and no quotes.
    pub fn read(sources: &Sources, source: usize, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        let text = sources.text(source);
        let Override { key, value: Some(values), .. } = Override::of(source, text) else {
            let span = Span { source, start: 0, end: text.len() };
            problems.push(Diagnostic::at(span, "an override needs a value").label("expected `node.parameter=VALUE`"));
            return None;
        };
        let places =
            split(&text[values.clone()]).into_iter().map(|part| values.start + part.start..values.start + part.end);
        let places: Vec<_> = places.collect();
        if places.len() > 1
            && let Some(empty) = places.iter().find(|place| text[(*place).clone()].trim().is_empty())
        {
            let span = Span { source, start: empty.start, end: empty.end };
            let problem =
                Diagnostic::at(span, "a value is missing").label("expected a value before or after the comma");
            problems.push(problem.help("an empty text is written in quotes: \"\""));
            return None;
        }
        Some(Self::of_places(sources, source, key, places))
    }

    /// The seeds that `--seeds` or a pipeline names.
    pub fn of_seeds(sources: &mut Sources, seeds: &[u64], place: Span) -> Self {
        let seeds: Vec<_> = seeds.iter().map(u64::to_string).collect();
        let text = format!("{SEED}={}", seeds.join(","));
        let name = sources.name(place.source).to_owned();
        let source = sources.add(name, text);
        let (mut values, mut start) = (Vec::new(), SEED.len() + 1);
        for seed in seeds {
            let end = start + seed.len();
            values.push(start..end);
            start = end + 1;
        }
        Self { place, ..Self::of_places(sources, source, 0..SEED.len(), values) }
    }

    /// Reads `--seeds`, which is the text numbered `source`.
    pub fn read_seeds(sources: &mut Sources, source: usize, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match parse_seeds(sources.text(source)) {
            Ok(seeds) => {
                let place = Span { source, start: 0, end: sources.text(source).len() };
                Some(Self::of_seeds(sources, &seeds, place))
            }
            Err(error) => {
                let span = Span { source, start: error.place.start, end: error.place.end };
                problems.push(Diagnostic::at(span, error.message).label("expected `0..3`, `0..=2` or `0,1,2`"));
                None
            }
        }
    }

    /// The axis whose key and values are written in these places of a text.
    pub fn of_places(sources: &Sources, source: usize, key: Range<usize>, values: Vec<Range<usize>>) -> Self {
        let text = sources.text(source);
        let value = |place: Range<usize>| AxisValue {
            text: on_one_line(text[place.clone()].trim()),
            change: Override { source, key: key.clone(), value: Some(place) },
        };
        Self {
            key: text[key.clone()].split('.').map(str::trim).collect::<Vec<_>>().join("."),
            place: Span { source, start: key.start, end: key.end },
            values: values.into_iter().map(value).collect(),
        }
    }
}

/// A value as one line of a list of commands can hold it. What is not RON is a text, which quotes leave as it is.
fn on_one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    canonical(text).unwrap_or_else(|| format!("{text:?}"))
}

/// A value in the one form of all ways to write it: `1e-1` is `0.1`. Nothing where it is not RON.
pub fn canonical(text: &str) -> Option<String> {
    let mut problems = Vec::new();
    let value = read(text, 0, 0, &mut problems).value.filter(|_| problems.is_empty());
    value.map(|value| value.to_ron())
}

/// The parts of a text between the commas that are in no bracket and no quotes.
fn split(text: &str) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(start..at);
                start = at + 1;
            }
            '"' => {
                at += quoted(&text[..at], &text[at..]);
                continue;
            }
            _ => {}
        }
        at += next.len_utf8();
    }
    parts.push(start..text.len());
    parts
}

/// How long the quoted text is that `rest` begins with: `"…"`, or what follows the `r#` of a raw text.
fn quoted(before: &str, rest: &str) -> usize {
    let hashes = before.len() - before.trim_end_matches('#').len();
    if before[..before.len() - hashes].ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return rest[1..].find(&end).map_or(rest.len(), |at| 1 + at + end.len());
    }
    let mut escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use zskt_api::Diagnostic;

    use super::{Axis, split};
    use crate::pipeline::Sources;

    fn values(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|part| &text[part]).collect()
    }

    #[test]
    fn values_are_parted_at_the_outermost_commas() {
        assert_eq!(values("1,2"), ["1", "2"]);
        assert_eq!(values("Sgd(lr: 0.1, momentum: 0.9)"), ["Sgd(lr: 0.1, momentum: 0.9)"]);
        assert_eq!(values("Sgd(lr: 0.1, x: [1,2]),Adam"), ["Sgd(lr: 0.1, x: [1,2])", "Adam"]);
        assert_eq!(values("[1,2],[3]"), ["[1,2]", "[3]"]);
        assert_eq!(values(r#""a,b","c\",d",e"#), [r#""a,b""#, r#""c\",d""#, "e"]);
        assert_eq!(values(r##"r"a\",r#"b",c"#,1"##), [r#"r"a\""#, r##"r#"b",c"#"##, "1"]);
        assert_eq!(
            values("{\"accuracy.top1\": \"83.69 ± 0.58, ü\"},{}"),
            ["{\"accuracy.top1\": \"83.69 ± 0.58, ü\"}", "{}"]
        );
        assert_eq!(values("\"never closed, a"), ["\"never closed, a"]);
        assert_eq!(values("a)),b"), ["a))", "b"]);
    }

    fn axis(text: &str) -> (Option<Axis>, Vec<Diagnostic>) {
        let (mut sources, mut problems) = (Sources::new("p", "", &[]), Vec::new());
        let source = sources.add("--set #1".into(), text.into());
        (Axis::read(&sources, source, &mut problems), problems)
    }

    #[test]
    fn an_axis_knows_where_each_of_its_values_is_written() {
        let axis = axis("student . depth = 10, 16").0.unwrap();
        assert_eq!(axis.key, "student.depth");
        let values: Vec<_> =
            axis.values.iter().map(|value| (&*value.text, value.change.value.clone().unwrap())).collect();
        assert_eq!(values, [("10", 17..20), ("16", 21..24)]);
    }

    #[test]
    fn a_value_is_one_line() {
        let text = |text: &str| axis(text).0.unwrap().values.remove(0).text;
        assert_eq!(text("a=Sgd(lr: 1e-1,\n// why\n\tm: 2)"), "Sgd(lr: 0.1, m: 2)");
        assert_eq!(text("name=two\nlines"), r#""two\nlines""#);
        assert_eq!(text("name=two words"), "two words");
    }

    #[test]
    fn a_missing_value_is_told_at_its_place() {
        for (text, start) in [("a=1,", 4), ("a=,1", 2), ("a=1,,2", 4), ("a", 0)] {
            let (axis, problems) = axis(text);
            assert!(axis.is_none() && problems[0].span.unwrap().start == start, "{text}: {problems:?}");
        }
    }
}
