//! A value written in a pipeline, with the place of each of its parts.

use crate::Span;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where it is written.
    pub span: Span,
    /// What it is.
    pub kind: ValueKind,
}

/// A name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Where it is written.
    pub span: Span,
    /// The name.
    pub text: String,
}

/// The forms a RON value takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueKind {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a point or an exponent.
    Float(f64),
    /// `"text"`.
    Text(String),
    /// `[a, b]`, or a tuple without a name: `(a, b)`.
    List(Vec<Value>),
    /// `{key: value}`.
    Map(Vec<(Value, Value)>),
    /// `Name`, `Name()`, `Name(field: value)`, `(field: value)` or `Name(a, b)`.
    Named {
        /// The name in front; `None` for `(field: value)`.
        name: Option<Name>,
        /// `field: value` pairs.
        fields: Vec<(Name, Value)>,
        /// Values without a field name, as in `Some(3)`.
        items: Vec<Value>,
    },
}

impl Value {
    /// What kind of value this is, for messages: "a number", "text".
    pub fn describe(&self) -> String {
        match &self.kind {
            ValueKind::Bool(value) => format!("`{value}`"),
            ValueKind::Integer(value) => format!("`{value}`"),
            ValueKind::Float(value) => format!("`{value:?}`"),
            ValueKind::Text(text) => format!("the text {text:?}"),
            ValueKind::List(items) => format!("a list of {}", items.len()),
            ValueKind::Map(_) => "a map".into(),
            ValueKind::Named { name: Some(name), .. } => format!("`{}`", name.text),
            ValueKind::Named { name: None, .. } => "a group of fields".into(),
        }
    }

    /// The value as RON text, without comments.
    pub fn to_ron(&self) -> String {
        match &self.kind {
            ValueKind::Bool(value) => value.to_string(),
            ValueKind::Integer(value) => value.to_string(),
            ValueKind::Float(value) => float_to_ron(*value),
            ValueKind::Text(text) => format!("{text:?}"),
            ValueKind::List(items) => format!("[{}]", join(items)),
            ValueKind::Map(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{}: {}", k.to_ron(), v.to_ron())).collect();
                format!("{{{}}}", pairs.join(", "))
            }
            ValueKind::Named { name, fields, items } => {
                let name = name.as_ref().map_or("", |name| name.text.as_str());
                if !name.is_empty() && fields.is_empty() && items.is_empty() {
                    return name.to_owned();
                }
                let fields = fields.iter().map(|(name, value)| format!("{}: {}", name.text, value.to_ron()));
                let all: Vec<_> = fields.chain(items.iter().map(Self::to_ron)).collect();
                format!("{name}({})", all.join(", "))
            }
        }
    }
}

/// A float as RON text that reads back as the same float, never as an integer.
pub fn float_to_ron(value: f64) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else if value.is_nan() {
        "NaN".into()
    } else {
        if value > 0.0 { "inf" } else { "-inf" }.into()
    }
}

fn join(items: &[Value]) -> String {
    items.iter().map(Value::to_ron).collect::<Vec<_>>().join(", ")
}
