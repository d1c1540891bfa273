//! Patterns of names, and what takes their place, as parameters.

use torch_checkpoint::{Pattern, PatternError};
use zskt_api::{Diagnostic, ParameterKind, ParameterType, Span, Value, ValueKind};

/// A regular expression for names.
#[derive(Clone, Debug)]
pub struct NamePattern(pub(super) Pattern);

/// A regular expression for names, and what takes the place of each match.
#[derive(Clone, Debug)]
pub struct Rename {
    pub(super) from: Pattern,
    pub(super) to: String,
}

impl ParameterType for NamePattern {
    fn kind() -> ParameterKind {
        ParameterKind::Custom("pattern".to_owned())
    }

    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        read_pattern(value, problems).map(Self)
    }

    fn to_ron(&self) -> String {
        format!("{:?}", self.0.as_str())
    }

    zskt_api::__neither_plugins_nor_paths!();
}

impl ParameterType for Rename {
    fn kind() -> ParameterKind {
        ParameterKind::Custom("(pattern, text)".to_owned())
    }

    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        let ValueKind::List(items) = &value.kind else { return wrong_type::<Self>(value, problems) };
        let [from, to] = items.as_slice() else { return wrong_type::<Self>(value, problems) };
        let pattern = read_pattern(from, problems);
        let replacement = String::read(to, problems);
        let (from, replacement) = (pattern?, replacement?);
        match from.check_replacement(&replacement) {
            Ok(()) => Some(Self { from, to: replacement }),
            Err(error) => refuse(to.span, "replacement", &error, problems),
        }
    }

    fn to_ron(&self) -> String {
        format!("({:?}, {:?})", self.from.as_str(), self.to)
    }

    zskt_api::__neither_plugins_nor_paths!();
}

fn read_pattern(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Pattern> {
    let ValueKind::Text(text) = &value.kind else { return wrong_type::<NamePattern>(value, problems).map(|it| it.0) };
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => refuse(value.span, "pattern", &error, problems),
    }
}

fn wrong_type<T: ParameterType>(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<T> {
    let (expected, found) = (T::kind(), value.describe());
    let problem = Diagnostic::at(value.span, format!("wrong type: expected {expected}, found {found}"));
    problems.push(problem.label(format!("expected {expected}")));
    None
}

fn refuse<T>(span: Span, what: &str, error: &PatternError, problems: &mut Vec<Diagnostic>) -> Option<T> {
    problems.push(Diagnostic::at(span, format!("this is no {what} of names: {error}")).label(format!("not a {what}")));
    None
}
