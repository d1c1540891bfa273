use zskt_api::{Form, Value};

use super::reader::read;

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
    let mut seed = 1_u64;
    let mut below = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0) % limit
    };
    for _ in 0..100_000 {
        let text: String = (0..=below(6)).map(|_| parts[below(parts.len())]).collect();
        let by_ron = ron::from_str::<ron::Value>(&text);
        let by_us = read_well(&text);
        assert_eq!(by_us.is_some(), by_ron.is_ok(), "{text:?}: {by_us:?}, {by_ron:?}");
    }
}

#[test]
fn every_part_knows_its_place() {
    fn check(text: &str, value: &Value) {
        let written = &text[value.span.start..value.span.end];
        let again = read_well(written).unwrap_or_else(|| panic!("{written}"));
        assert_eq!(again.to_ron(), value.to_ron());
        match &value.form {
            Form::List(items) => items.iter().for_each(|item| check(text, item)),
            Form::Map(pairs) => pairs.iter().for_each(|(key, value)| {
                check(text, key);
                check(text, value);
            }),
            Form::Named { name, fields, items } => {
                for name in name.iter().chain(fields.iter().map(|(name, _)| name)) {
                    assert_eq!(&text[name.span.start..name.span.end], name.text);
                }
                fields.iter().map(|(_, value)| value).chain(items).for_each(|value| check(text, value));
            }
            Form::Bool(_) | Form::Integer(_) | Form::Float(_) | Form::Text(_) => {}
        }
    }
    let text = "/* ä */ ( a : 1 , b: { \"ü\" : [ -2.5 , 0x10 ] , } , c : Name ( d : Some ( true ) , ) , e : Bare , f: r\"x\" // end\n)";
    check(text, &read_well(text).expect("it is well written"));
}
