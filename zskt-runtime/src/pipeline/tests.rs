//! The parser beside the crate `ron`, and the places it gives.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use zskt_api::{Value, ValueKind};

use super::parser::read;
use super::{computed_part, resumed_part, with_libraries};

/// Reads a text; `None` when there was anything to object to.
fn read_well(text: &str) -> Option<Value> {
    let mut problems = Vec::new();
    read(text, 0, 0, &mut problems).value.filter(|_| problems.is_empty())
}

#[test]
fn what_is_read_is_ron_and_what_is_ron_is_read() {
    let parts = [
        "3",
        "-1_0",
        "0x1F",
        "7u8",
        "1.5e-3",
        ".5",
        "inf",
        "\"a\\n\\u{e9}\"",
        "r#\"raw \"quoted\"\"#",
        "true",
        "[1, 2,]",
        "(1, 2)",
        "{1: 2}",
        "Name",
        "name: ",
        " ",
        "/* /* c */ */",
        "// c\n",
        ",",
        ":",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
    ];
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100_000);
    let config =
        ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() };
    proptest!(config, |(pieces in vec(select(parts.to_vec()), 1..=6))| {
        let text = pieces.concat();
        // All that is more than RON: the full name of a plugin.
        let is_word = |c: char| c == '_' || c.is_alphanumeric();
        if text.match_indices("::").any(|(at, _)| text[..at].ends_with(is_word) && text[at + 2..].starts_with(is_word)) {
            return Ok(());
        }
        let by_ron = ron::from_str::<ron::Value>(&text);
        let by_us = read_well(&text);
        prop_assert_eq!(by_us.is_some(), by_ron.is_ok(), "{:?}: {:?}, {:?}", text, by_us, by_ron);
    });
}

#[test]
fn what_computes_nothing_is_left_out_of_the_computed_part() {
    let with = "(\n    name: \"plugins: [\",\n    seed: 0,\n    device: \"cuda:0\",\n    plugins: [\"a.so\", \"b, c.so\"],\n    published: {\n        \"a.b\": \"expect: {\",\n    },\n    expect: {\n        \"a.b\": \"0..1\",\n    },\n    nodes: {},\n)\n";
    let elsewhere = "(\n    name: \"plugins: [\",\n    seed: 0,\n    nodes: {},\n)\n";
    let without = elsewhere.replace("seed: 0,\n", "seed: 0,\n    device: \"cuda:0\",\n");
    assert_eq!(computed_part(with), without);
    assert_eq!(computed_part(&without), without);
    assert_eq!(resumed_part(with), elsewhere);
}

#[test]
fn a_range_without_quotes_is_told_to_have_them() {
    let mut problems = Vec::new();
    read("(expect: {\"accuracy.top1\": 0.9..})", 0, 0, &mut problems);
    assert_eq!(problems[0].help.as_deref(), Some("a range is written in quotes: \"0.9..\""));
}

#[test]
fn a_bracket_that_was_not_closed_is_told_where_it_is() {
    let first = |text: &str| {
        let mut problems = Vec::new();
        read(text, 0, 0, &mut problems);
        problems.swap_remove(0)
    };
    let text = "(nodes: {\n  \"a\": Minimize(steps: 2, schedule: Cosine(),\n  \"b\": Accuracy(),\n})";
    let problem = first(text);
    assert_eq!(
        problem.message,
        "\"b\" is text, not the name of a parameter of `Minimize`, whose bracket is still open"
    );
    let (place, _) = &problem.related[0];
    assert_eq!(place.start, text.find("(steps").expect("it is there"));
    assert!(problem.help.is_some_and(|help| help.starts_with("close `Minimize(…` with `)` before \"b\"")));
    let quoted = first("(nodes: {\"a\": Sgd(\"lr\": 0.1)})");
    assert_eq!(quoted.message, "\"lr\" is in quotes, and the parameters of `Sgd` have names without");
    // A map that is written in such brackets has none to close.
    for text in ["(nodes: (\"a\": LeNet()))", "(variants: (\"a\": {}))"] {
        assert!(first(text).help.is_some_and(|help| help.starts_with("a map is written in braces")), "{text}");
    }
}

#[test]
fn every_part_knows_its_place() {
    fn check(text: &str, value: &Value) {
        let written = &text[value.span.start..value.span.end];
        let again = read_well(written).unwrap_or_else(|| panic!("{written}"));
        assert_eq!(again.to_ron(), value.to_ron());
        match &value.kind {
            ValueKind::List(items) => items.iter().for_each(|item| check(text, item)),
            ValueKind::Map(pairs) => pairs.iter().for_each(|(key, value)| {
                check(text, key);
                check(text, value);
            }),
            ValueKind::Named { name, fields, items } => {
                for name in name.iter().chain(fields.iter().map(|(name, _)| name)) {
                    assert_eq!(&text[name.span.start..name.span.end], name.text);
                }
                fields.iter().map(|(_, value)| value).chain(items).for_each(|value| check(text, value));
            }
            ValueKind::Bool(_) | ValueKind::Integer(_) | ValueKind::Float(_) | ValueKind::Text(_) => {}
        }
    }
    let text = "/* ä */ ( a : 1 , b: { \"ü\" : [ -2.5 , 0x10 ] , } , c : Name ( d : Some ( true ) , ) , e : Bare , g : [ a_b::Bare , c::Name ( d : 1 ) ] , f: r\"x\" // end\n)";
    check(text, &read_well(text).expect("it is well written"));
}

#[test]
fn a_library_gets_another_name_and_what_else_is_named_stays() {
    let text = r#"(name: "a", plugins: ["target/release/libmine.so", /* kept */ "other@1.2.3",], nodes: {})"#;
    let renamed = with_libraries(text, |path| path.ends_with("libmine.so").then(|| "mine".to_owned()));
    assert_eq!(renamed, text.replace("target/release/libmine.so", "mine"));
    assert_eq!(with_libraries("(name: ", |_| Some("x".into())), "(name: ");
}
