//! Reads one plugin as pipelines write it; strictly, for who writes a test needs no recovery from mistakes.

use crate::{Error, Name, Result, Span, Value, ValueKind};

/// The value that is written so.
pub fn read(text: &str) -> Result<Value> {
    let mut rest = text;
    let value = value(&mut rest);
    rest = rest.trim();
    value
        .filter(|_| rest.is_empty())
        .ok_or_else(|| Error::new(format!("`{text}` is not written as in a pipeline: cannot read on at `{rest}`")))
}

/// There is one text only, so that places say nothing.
const NOWHERE: Span = Span { source: 0, start: 0, end: 0 };

fn value(rest: &mut &str) -> Option<Value> {
    *rest = rest.trim_start();
    let form = if eat(rest, '[') {
        ValueKind::List(entries(rest, ']')?.1)
    } else if eat(rest, '(') {
        match entries(rest, ')')? {
            (fields, items) if fields.is_empty() => ValueKind::List(items),
            (fields, items) => ValueKind::Named { name: None, fields, items },
        }
    } else if rest.starts_with('"') {
        let mut texts = serde_json::Deserializer::from_str(rest).into_iter();
        let text = texts.next()?.ok()?;
        *rest = &rest[texts.byte_offset()..];
        ValueKind::Text(text)
    } else {
        word(rest)?
    };
    Some(Value { span: NOWHERE, kind: form })
}

fn eat(rest: &mut &str, mark: char) -> bool {
    *rest = rest.trim_start();
    let after = rest.strip_prefix(mark);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

/// A number, or a name with what stands in its parentheses.
fn word(rest: &mut &str) -> Option<ValueKind> {
    let end = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || "_+-.".contains(c))).unwrap_or(text.len());
    let mut length = end(rest);
    // The full name of a plugin: `tiny_net::TinyNet`.
    if let Some(name) = rest[length..].strip_prefix("::") {
        length += "::".len() + end(name);
    }
    let (word, after) = rest.split_at(length);
    let form = match word {
        "true" | "false" => ValueKind::Bool(word == "true"),
        _ if word.starts_with(char::is_alphabetic) => {
            *rest = after;
            let (fields, items) = if eat(rest, '(') { entries(rest, ')')? } else { Default::default() };
            return Some(ValueKind::Named { name: Some(Name { text: word.into(), span: NOWHERE }), fields, items });
        }
        _ => word.parse().map(ValueKind::Integer).or_else(|_| word.parse().map(ValueKind::Float)).ok()?,
    };
    *rest = after;
    Some(form)
}

type Entries = (Vec<(Name, Value)>, Vec<Value>);

/// Values and `name: value` pairs, up to the end.
fn entries(rest: &mut &str, end: char) -> Option<Entries> {
    let (mut fields, mut items) = (Vec::new(), Vec::new());
    while !eat(rest, end) {
        let entry = value(rest)?;
        match entry.kind {
            ValueKind::Named { name: Some(name), .. } if eat(rest, ':') => fields.push((name, value(rest)?)),
            _ => items.push(entry),
        }
        if !eat(rest, ',') && !rest.starts_with(end) {
            return None;
        }
    }
    Some((fields, items))
}
