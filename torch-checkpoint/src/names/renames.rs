//! Regular expressions for names, and what takes the place of what they match.

use std::borrow::Cow;
use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::error::printable;
use crate::state_dict::LONGEST_NAME;

/// What a compiled pattern may take: patterns of names need a few kilobytes.
const LARGEST: usize = 1 << 20;

/// A name longer than this is none, whatever a replacement makes of it.
const LONGEST_RENAMED: usize = 4 * LONGEST_NAME;

/// A regular expression for names. It takes time in proportion to a name's length, whatever it is.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    whole: Regex,
}

/// Why a text is no pattern, or no replacement of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// When it is none, or far too large.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > LONGEST_NAME {
            return Err(PatternError(format!("it has {} bytes, where {LONGEST_NAME} are the most", pattern.len())));
        }
        let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(LARGEST).build();
        match (compile(pattern), compile(&format!("^(?:{pattern})$"))) {
            (Ok(regex), Ok(whole)) => Ok(Self { regex, whole }),
            (Err(error), _) | (_, Err(error)) => Err(PatternError(reason(&error))),
        }
    }

    /// The text that it was read from.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether it matches all of a name.
    pub fn matches(&self, name: &str) -> bool {
        self.whole.is_match(name)
    }

    /// Whether a text may take the place of what it matches: `$1` and `${1}` are its first group, `$$` is a dollar.
    ///
    /// # Errors
    /// When the text refers to a group that there is not: `$1_a` is the group called `1_a`.
    pub fn check_replacement(&self, replacement: &str) -> Result<(), PatternError> {
        let mut rest = replacement;
        while let Some((_, after)) = rest.split_once('$') {
            rest = after.strip_prefix('$').unwrap_or(after);
            if rest.len() < after.len() {
                continue;
            }
            let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let name = match after.strip_prefix('{') {
                Some(braced) => braced.split('}').next().unwrap_or_default(),
                None => &after[..after.find(|character| !is_of_name(character)).unwrap_or(after.len())],
            };
            let known = match name.parse::<usize>() {
                Ok(number) => number < self.regex.captures_len(),
                Err(_) => self.regex.capture_names().flatten().any(|known| known == name),
            };
            if !known {
                let name = printable(name);
                return Err(PatternError(format!(
                    "`${name}` is no group of the pattern `{}`; write the first as `${{1}}`, and a dollar as `$$`",
                    printable(self.as_str())
                )));
            }
        }
        Ok(())
    }

    fn replace(&self, name: &str, replacement: &str) -> Option<String> {
        let mut renamed = String::new();
        let mut end = 0;
        for captures in self.regex.captures_iter(name) {
            let whole = captures.get(0)?;
            renamed.push_str(&name[end..whole.start()]);
            captures.expand(replacement, &mut renamed);
            end = whole.end();
            if renamed.len() > LONGEST_RENAMED {
                return None;
            }
        }
        renamed.push_str(&name[end..]);
        (renamed.len() <= LONGEST_RENAMED).then_some(renamed)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes a network's names of a file's.
#[derive(Clone, Debug, Default)]
pub struct Renames(Vec<(Pattern, String)>);

impl Renames {
    /// Patterns, and what takes the place of each match, applied in this order.
    ///
    /// # Errors
    /// When one is no regular expression, or a replacement refers to a group that there is not.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, PatternError> {
        let mut renames = Vec::new();
        for (from, to) in pairs {
            let pattern = Pattern::new(from)?;
            pattern.check_replacement(to)?;
            renames.push((pattern, to.to_string()));
        }
        Ok(Self(renames))
    }

    /// The name that it makes of one; the name itself where that would be longer than any.
    pub fn apply<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let mut renamed = Cow::Borrowed(name);
        for (pattern, replacement) in &self.0 {
            if pattern.regex.is_match(&renamed) {
                match pattern.replace(&renamed, replacement) {
                    Some(new) => renamed = Cow::Owned(new),
                    None => return Cow::Borrowed(name),
                }
            }
        }
        renamed
    }
}

impl From<Vec<(Pattern, String)>> for Renames {
    fn from(renames: Vec<(Pattern, String)>) -> Self {
        Self(renames)
    }
}

/// What is wrong with a pattern, in one line.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it takes too much memory".to_string(),
        // The last line says what, those before show where.
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            printable(last.strip_prefix("error: ").unwrap_or(last))
        }
    }
}
