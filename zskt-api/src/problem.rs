//! What is wrong with a pipeline, and where: collected, never thrown, so that a user sees everything in one go.

use std::fmt;

/// A range of bytes in one of the texts a pipeline was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Which text: 0 is the pipeline file, 1 and up are the `--set` arguments in their order.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Whether a problem stands in the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot be meant: nothing is run.
    #[default]
    Error,
    /// It is probably not meant: it is shown, and what was asked for is done.
    Warning,
}

/// One thing that is wrong with a pipeline, or with what else a user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stands in the way.
    pub severity: Severity,
    /// Where; `None` when no place in a text shows it.
    pub span: Option<Span>,
    /// What is wrong, in one line.
    pub message: String,
    /// What is written under the caret: expected and found. Boxed, for results carry problems about.
    pub label: Box<str>,
    /// The way out.
    pub help: Option<String>,
    /// Other places that explain this one. Boxed, as the label.
    pub related: Box<[(Span, String)]>,
}

impl Diagnostic {
    /// A problem at a place.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::global(message) }
    }

    /// A problem that no place in a text shows: of the pipeline as a whole, of a library, of the machine.
    pub fn global(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span: None,
            message: message.into(),
            label: "".into(),
            help: None,
            related: Box::default(),
        }
    }

    /// Makes a warning of it.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether it stands in the way.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Says what could not be done because of it.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Says under the caret what was expected and what was found.
    #[must_use]
    pub fn label(mut self, label: impl Into<Box<str>>) -> Self {
        self.label = label.into();
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at another place that explains this problem.
    #[must_use]
    pub fn related(self, span: Span, label: impl Into<String>) -> Self {
        let mut related = self.related.into_vec();
        related.push((span, label.into()));
        Self { related: related.into(), ..self }
    }
}

/// What a plugin finds wrong with its own parameters or inputs. It knows no place in a file: it names the parameter or
/// the port, and whoever holds the pipeline's text finds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckError {
    /// Whether it stands in the way. Where a check returns one fault, it does.
    pub severity: Severity,
    /// The parameter at fault.
    pub parameter: Option<String>,
    /// The input port at fault.
    pub port: Option<String>,
    /// Of the edges into that port, which one (0 is the first).
    pub index: usize,
    /// What is wrong: expected and found, in one line.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl CheckError {
    /// A fault of the node as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, parameter: None, port: None, index: 0, message: message.into(), help: None }
    }

    /// A fault of one parameter.
    pub fn parameter(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { parameter: Some(name.into()), ..Self::new(message) }
    }

    /// A fault of what arrives at one input port.
    pub fn port(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { port: Some(name.into()), ..Self::new(message) }
    }

    /// Makes a warning of it: what stages and metrics find may be one.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Which of the edges into the port.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.index = index;
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The name nearest to `found` among `names`, if any is near enough to be what was meant.
pub fn nearest_name<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Nobody misspells longer names, and comparing them takes the product of their lengths.
    const LONGEST: usize = 200;
    let lower = found.chars().take(LONGEST + 1).collect::<String>().to_lowercase();
    let length = lower.chars().count();
    if length > LONGEST {
        return None;
    }
    let mut nearest: Option<(usize, &str)> = None;
    for name in names {
        let other = name.chars().take(LONGEST + 1).count();
        // Names that differ more in length than they may in letters need no comparison.
        let most = nearest.map_or(usize::MAX, |(distance, _)| distance).min(length.max(other).div_ceil(3));
        if other <= LONGEST && length.abs_diff(other) <= most {
            let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
            if distance <= most && nearest.is_none_or(|nearest| (distance, name) < nearest) {
                nearest = Some((distance, name));
            }
        }
    }
    nearest.map(|(_, name)| name)
}

/// A noun after `a` or `an`, for messages.
#[doc(hidden)]
pub fn with_article(noun: impl fmt::Display) -> String {
    let noun = noun.to_string();
    let article = if noun.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {noun}")
}

impl From<CheckError> for crate::Error {
    fn from(fault: CheckError) -> Self {
        Self::new(fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::nearest_name;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["temperature", "weight", "beta"];
        assert_eq!(nearest_name("temprature", names), Some("temperature"));
        assert_eq!(nearest_name("Weight", names), Some("weight"));
        assert_eq!(nearest_name("momentum", names), None);
        assert_eq!(nearest_name(&"t".repeat(1_000_000), ["t", &"t".repeat(1_000_000)]), None);
    }
}
