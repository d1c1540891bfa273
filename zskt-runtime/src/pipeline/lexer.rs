//! Words of a RON text, one at a time. What a word is, and what it means, is decided by the crate `ron`: its deserializer
//! reads each one from the place where the last ended.

use std::fmt;

use ron::Number;
use ron::de::Deserializer;
use ron::error::Position;
use serde::Deserialize;
use serde::de::{Deserializer as _, Visitor};
use zskt_api::{Span, ValueKind};

/// A place in a text.
pub struct Lexer<'t> {
    text: &'t str,
    source: usize,
    at: usize,
}

/// A word that cannot be read, and where it is.
pub struct LexError {
    /// What the crate `ron` says.
    pub code: ron::Error,
    /// From where reading began to where it failed.
    pub span: Span,
}

impl<'t> Lexer<'t> {
    /// The text numbered `source`, from byte `at`.
    pub fn new(text: &'t str, source: usize, at: usize) -> Self {
        Self { text, source, at }
    }

    /// How many bytes are read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes back, or on, to a place.
    pub fn go(&mut self, at: usize) {
        self.at = at;
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The next character.
    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The text between two places.
    pub fn between(&self, start: usize, end: usize) -> &'t str {
        &self.text[start..end]
    }

    /// From `start` to here.
    pub fn since(&self, start: usize) -> Span {
        Span { source: self.source, start, end: self.at.max(start) }
    }

    /// The next character, as a place; empty at the end of the text.
    pub fn here(&self) -> Span {
        Span { source: self.source, start: self.at, end: self.at + self.peek().map_or(0, char::len_utf8) }
    }

    /// Takes a character if it is the next one.
    pub fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.at += expected.len_utf8();
        }
        found
    }

    /// Skips blanks and comments.
    pub fn skip_blanks(&mut self) -> Result<(), LexError> {
        self.read(|_| Ok(()))
    }

    /// Reads a name.
    pub fn name(&mut self) -> Result<String, LexError> {
        self.read(|deserializer| deserializer.deserialize_identifier(NameVisitor))
    }

    /// Reads text in quotes.
    pub fn text(&mut self) -> Result<String, LexError> {
        self.read(|deserializer| String::deserialize(deserializer))
    }

    /// Reads a number.
    pub fn number(&mut self) -> Result<ValueKind, LexError> {
        self.read(|deserializer| match ron::Value::deserialize(deserializer)? {
            ron::Value::Number(number) => Ok(number_kind(number)),
            _ => Err(ron::Error::ExpectedFloat),
        })
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Deserializer<'t>) -> ron::Result<T>) -> Result<T, LexError> {
        let (start, rest) = (self.at, self.rest());
        let outcome = Deserializer::from_str(rest).and_then(|mut deserializer| {
            let value = read(&mut deserializer).map_err(|code| deserializer.span_error(code))?;
            Ok((value, deserializer.remainder().len()))
        });
        match outcome {
            Ok((value, remaining)) => {
                self.at = self.text.len() - remaining;
                Ok(value)
            }
            Err(error) => {
                let end = start + offset(rest, error.span.end);
                Err(LexError { code: error.code, span: Span { source: self.source, start, end: end.max(start) } })
            }
        }
    }
}

fn number_kind(number: Number) -> ValueKind {
    match number {
        Number::I8(number) => ValueKind::Integer(number.into()),
        Number::I16(number) => ValueKind::Integer(number.into()),
        Number::I32(number) => ValueKind::Integer(number.into()),
        Number::I64(number) => ValueKind::Integer(number.into()),
        Number::U8(number) => ValueKind::Integer(number.into()),
        Number::U16(number) => ValueKind::Integer(number.into()),
        Number::U32(number) => ValueKind::Integer(number.into()),
        Number::U64(number) => ValueKind::Integer(number.into()),
        // Read as 64 bits; `ron` keeps 32 where they hold the same number.
        other => ValueKind::Float(other.into_f64()),
    }
}

/// The byte at a line and column, both counted from 1.
fn offset(text: &str, position: Position) -> usize {
    let line: usize = text.split_inclusive('\n').take(position.line.saturating_sub(1)).map(str::len).sum();
    let column = text[line..].char_indices().nth(position.col.saturating_sub(1));
    column.map_or(text.len(), |(byte, _)| line + byte)
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
        if name.is_empty() { Err(E::custom("a name is empty")) } else { Ok(name.to_owned()) }
    }
}

/// Whether a name may begin with this character.
pub fn begins_name(character: char) -> bool {
    character == '_' || character.is_alphabetic()
}

/// What the crate `ron` says of a number or a text, in the words of this program.
pub fn explain(code: &ron::Error) -> String {
    match code {
        ron::Error::Eof | ron::Error::ExpectedStringEnd => "the text ends too early".into(),
        ron::Error::SuggestRawIdentifier(name) => format!("`{name}` is not a name"),
        other => {
            let message = other.to_string();
            let mut letters = message.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    }
}
