//! The parser: RON text → values that know their places. Where it is plain what was meant, reading goes on after a mistake, so that
//! one look shows every mistake.

use zskt_api::{Diagnostic, Name, Span, Value, ValueKind};

use super::lexer::{LexError, Lexer, begins_name, explain};

/// Deeper nesting than any pipeline has; beyond it the parser would overflow the stack.
const MAX_DEPTH: usize = 100;

/// More mistakes than anyone reads about; what follows is not read.
const MAX_MISTAKES: usize = 1000;

/// What stands between the crate and the plugin in a full name.
const SEPARATOR: &str = "::";

/// How to write a path of Windows.
pub const WRITE_PATHS: &str = "write a path with `/`, with `\\\\`, or as r\"…\"";

/// What a text was parsed into.
pub struct Reading {
    /// The value; `None` when the mistakes left none.
    pub value: Option<Value>,
    /// Whether something was skipped, so that what else looks wrong may be a consequence.
    pub recovered_from_error: bool,
}

/// Reads one value that fills the text numbered `source` from byte `at` to its end.
pub fn read(text: &str, source: usize, at: usize, problems: &mut Vec<Diagnostic>) -> Reading {
    let mut parser = Parser { lexer: Lexer::new(text, source, at), problems, depth: 0, recovered_from_error: false };
    let value = parser.whole().ok();
    let recovered_from_error = parser.recovered_from_error || value.is_none();
    Reading { value, recovered_from_error }
}

/// Parsing cannot go on; why is among the problems.
struct Unrecoverable;

type Parse<T> = Result<T, Unrecoverable>;

/// A bracket that is open.
#[derive(Clone, Copy)]
struct Bracket<'n> {
    opening: Span,
    closing: char,
    /// The name right before it, as a plugin has one.
    of: Option<&'n Name>,
}

struct Parser<'t, 'p> {
    lexer: Lexer<'t>,
    problems: &'p mut Vec<Diagnostic>,
    depth: usize,
    recovered_from_error: bool,
}

impl Parser<'_, '_> {
    fn whole(&mut self) -> Parse<Value> {
        self.blanks()?;
        if self.lexer.peek().is_none() {
            return self.stop(
                Diagnostic::at(self.lexer.here(), "expected a value, found the end of the text")
                    .label("expected a value"),
            );
        }
        let value = self.value()?;
        self.blanks()?;
        if self.lexer.peek().is_some() {
            let mut problem = Diagnostic::at(self.lexer.here(), "unexpected text after the end")
                .label("expected nothing more")
                .related(value.span, "the value ends here");
            if is_bare(&value) {
                problem = problem.help("text is written in quotes");
            }
            return self.stop(problem);
        }
        Ok(value)
    }

    fn stop<T>(&mut self, problem: Diagnostic) -> Parse<T> {
        self.problems.push(problem);
        self.recovered_from_error = true;
        Err(Unrecoverable)
    }

    fn blanks(&mut self) -> Parse<()> {
        while self.problems.len() <= MAX_MISTAKES {
            let Err(error) = self.lexer.skip_blanks() else {
                let Some(blank) = self.lexer.peek().filter(|next| looks_blank(*next)) else { return Ok(()) };
                // Web pages and word processors put them where a space was typed: it is skipped as one.
                let problem = Diagnostic::at(self.lexer.here(), format!("{} is not a blank", named(blank)));
                self.problems.push(problem.label("expected a space"));
                self.lexer.go(self.lexer.here().end);
                continue;
            };
            let mark = Span { start: error.span.end.saturating_sub(1).max(error.span.start), ..error.span };
            if matches!(error.code, ron::Error::UnclosedBlockComment) {
                let start = self.lexer.rest().find("/*").map_or(mark.start, |at| self.lexer.at() + at);
                let opening = Span { start, end: start + 2, ..mark };
                return self
                    .stop(Diagnostic::at(opening, "this comment is not closed").label("expected `*/` after it"));
            }
            // Elsewhere `#` begins a comment: it is skipped as one.
            let Some(at) = comment_sign(self.lexer.rest()) else {
                return self.stop(Diagnostic::at(mark, explain(&error.code)));
            };
            let start = self.lexer.at() + at;
            let line = &self.lexer.rest()[at..];
            self.lexer.go(start + line.find('\n').unwrap_or(line.len()));
            let sign = Span { start, end: start + 1, ..error.span };
            self.problems.push(if line.starts_with("#!") {
                Diagnostic::at(self.lexer.since(start), explain(&error.code)).label("expected `#![enable(…)]`")
            } else {
                Diagnostic::at(sign, "a comment begins with `//`, not with `#`").label("expected `//`")
            });
        }
        Err(Unrecoverable)
    }

    fn value(&mut self) -> Parse<Value> {
        let start = self.lexer.at();
        if self.problems.len() > MAX_MISTAKES {
            return Err(Unrecoverable);
        }
        if self.depth == MAX_DEPTH {
            return self.stop(Diagnostic::at(self.lexer.here(), format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let kind = self.value_kind(start);
        self.depth -= 1;
        Ok(Value { kind: kind?, span: self.lexer.since(start) })
    }

    fn value_kind(&mut self, start: usize) -> Parse<ValueKind> {
        let rest = self.lexer.rest();
        match self.lexer.peek() {
            None => self.stop(Diagnostic::at(self.lexer.here(), "expected a value, found the end of the text")),
            Some('(') => self.group(None),
            Some('[') => self.list(),
            Some('{') => self.map(),
            Some('\'') => self.single_quoted(start),
            Some('"') => self.text(start),
            Some('r') if is_raw_text(rest) => self.text(start),
            Some('b')
                if rest.starts_with("b\"")
                    || rest.starts_with("b'")
                    || rest.starts_with("br") && is_raw_text(&rest[1..]) =>
            {
                self.stop(
                    Diagnostic::at(self.lexer.here(), "a pipeline cannot hold bytes")
                        .label("expected text without the `b`"),
                )
            }
            Some('0'..='9' | '+' | '-' | '.') => self.number(start),
            Some(first) if begins_name(first) => self.word(start),
            Some('“' | '”' | '„' | '‘' | '’') => self
                .stop(Diagnostic::at(self.lexer.here(), "text is written in straight quotes").label("expected `\"`")),
            Some(other) => self.stop(
                Diagnostic::at(self.lexer.here(), format!("a value cannot begin with {}", named(other)))
                    .label("expected a value"),
            ),
        }
    }

    fn text(&mut self, start: usize) -> Parse<ValueKind> {
        match self.lexer.text() {
            Ok(text) => Ok(ValueKind::Text(text)),
            Err(LexError { code: ron::Error::ExpectedStringEnd | ron::Error::Eof, span }) => {
                let opening = Span { start, end: start + 1, ..span };
                self.stop(Diagnostic::at(opening, "this text is not closed").label("expected a second `\"` after it"))
            }
            Err(LexError { code, span }) => {
                let mut problem = Diagnostic::at(span, explain(&code)).label("in this text");
                if matches!(code, ron::Error::InvalidEscape(_)) {
                    problem = problem.help(format!("in text `\\` begins an escape: {WRITE_PATHS}"));
                }
                self.stop(problem)
            }
        }
    }

    fn single_quoted(&mut self, start: usize) -> Parse<ValueKind> {
        let inside = &self.lexer.rest()[1..];
        let end = inside.find(['\'', '\n']).filter(|end| inside[*end..].starts_with('\''));
        let Some(end) = end else {
            let problem = Diagnostic::at(self.lexer.here(), "text is written in double quotes").label("expected `\"`");
            return self.stop(problem);
        };
        self.lexer.go(start + end + 2);
        self.problems.push(
            Diagnostic::at(self.lexer.since(start), "text is written in double quotes")
                .label(format!("expected {:?}", &inside[..end])),
        );
        Ok(ValueKind::Text(inside[..end].to_owned()))
    }

    fn number(&mut self, start: usize) -> Parse<ValueKind> {
        match self.lexer.number() {
            Ok(form) => Ok(form),
            Err(LexError { code, .. }) => {
                let rest = self.lexer.rest();
                let length = rest.find(|c: char| c.is_whitespace() || ",()[]{}:".contains(c)).unwrap_or(rest.len());
                let written = &rest[..length];
                self.lexer.go(start + length.max(1).min(rest.len()));
                let problem =
                    Diagnostic::at(self.lexer.since(start), format!("this is not a number: {}", explain(&code)));
                let range = written.contains("..").then(|| format!("a range is written in quotes: {written:?}"));
                self.stop(Diagnostic { help: range, ..problem })
            }
        }
    }

    fn word(&mut self, start: usize) -> Parse<ValueKind> {
        // `inf` and `NaN` are numbers to `ron`, and any other word is not a number.
        if ["inf", "NaN"].iter().any(|word| self.lexer.rest().starts_with(word)) {
            if let Ok(number) = self.lexer.number() {
                return Ok(number);
            }
            self.lexer.go(start);
        }
        let name = self.name()?;
        match name.text.as_str() {
            "true" => return Ok(ValueKind::Bool(true)),
            "false" => return Ok(ValueKind::Bool(false)),
            _ => {}
        }
        let name = self.full_name(name)?;
        let end = self.lexer.at();
        self.blanks()?;
        if self.lexer.peek() == Some('(') {
            return self.group(Some(name));
        }
        self.lexer.go(end);
        Ok(ValueKind::Named { name: Some(name), fields: Vec::new(), items: Vec::new() })
    }

    /// Takes `::Plugin` after the crate's name. RON has no such names.
    fn full_name(&mut self, name: Name) -> Parse<Name> {
        let Some(after) = self.lexer.rest().strip_prefix(SEPARATOR) else { return Ok(name) };
        let start = self.lexer.at();
        self.lexer.go(start + SEPARATOR.len());
        if !after.starts_with(begins_name) {
            return self.stop(
                Diagnostic::at(self.lexer.here(), format!("expected the name of a plugin after `{}::`", name.text))
                    .label("expected `crate_name::Plugin`"),
            );
        }
        let plugin = self.name()?;
        let span = Span { end: plugin.span.end, ..name.span };
        Ok(Name { text: format!("{}{SEPARATOR}{}", name.text, plugin.text), span })
    }

    fn name(&mut self) -> Parse<Name> {
        let start = self.lexer.at();
        match self.lexer.name() {
            Ok(text) => Ok(Name { text, span: self.lexer.since(start) }),
            Err(LexError { code: ron::Error::SuggestRawIdentifier(text), span }) => {
                let span = Span { end: start + text.len(), ..span };
                let problem = Diagnostic::at(span, format!("`{text}` is not a name"));
                let is_crate = self.lexer.rest().strip_prefix(&*text).is_some_and(|rest| rest.starts_with(SEPARATOR));
                self.stop(if is_crate {
                    let written = text.replace('-', "_");
                    problem.label(format!("expected `{written}`")).help("in the name of a crate `-` is written as `_`")
                } else {
                    problem.label("text is written in quotes").help(format!("write {text:?}"))
                })
            }
            Err(LexError { code, .. }) => {
                self.stop(Diagnostic::at(self.lexer.here(), explain(&code)).label("expected a name"))
            }
        }
    }

    fn group(&mut self, name: Option<Name>) -> Parse<ValueKind> {
        let (mut fields, mut items) = (Vec::new(), Vec::new());
        self.bracketed(')', name.as_ref(), |parser| {
            match parser.field_name()? {
                Some(name) => {
                    let value = parser.value()?;
                    fields.push((name, value));
                }
                None => items.push(parser.value()?),
            }
            Ok(())
        })?;
        // A tuple is a list: `(0.9, 0.999)`.
        if name.is_none() && fields.is_empty() && !items.is_empty() {
            return Ok(ValueKind::List(items));
        }
        Ok(ValueKind::Named { name, fields, items })
    }

    /// Takes `name:` if it is what comes next.
    fn field_name(&mut self) -> Parse<Option<Name>> {
        let start = self.lexer.at();
        let rest = self.lexer.rest();
        if !self.lexer.peek().is_some_and(begins_name)
            || is_raw_text(rest)
            || rest.starts_with("b\"")
            || rest.starts_with("b'")
        {
            return Ok(None);
        }
        let Ok(text) = self.lexer.name() else { return Ok(None) };
        let name = Name { text, span: self.lexer.since(start) };
        if !self.lexer.rest().starts_with(SEPARATOR) {
            self.blanks()?;
            if self.colon(false)? {
                return Ok(Some(name));
            }
        }
        self.lexer.go(start);
        Ok(None)
    }

    /// Takes the colon after a name or key, or whatever was written for it.
    fn colon(&mut self, required: bool) -> Parse<bool> {
        let here = self.lexer.at();
        if self.lexer.take(':') {
            self.blanks()?;
            return Ok(true);
        }
        for wrong in ["=>", "="] {
            if self.lexer.rest().starts_with(wrong) {
                self.lexer.go(here + wrong.len());
                let problem = Diagnostic::at(self.lexer.since(here), format!("expected `:`, found `{wrong}`"));
                self.problems.push(problem.label("expected `:`"));
                self.blanks()?;
                return Ok(true);
            }
        }
        if required {
            let problem = Diagnostic::at(self.lexer.here(), "expected `:` after the key").label("expected `:`");
            if !self.lexer.peek().is_some_and(|next| next == '"' || begins_name(next)) {
                return self.stop(problem);
            }
            self.problems.push(problem);
        }
        Ok(required)
    }

    fn list(&mut self) -> Parse<ValueKind> {
        let mut items = Vec::new();
        self.bracketed(']', None, |parser| {
            items.push(parser.value()?);
            Ok(())
        })?;
        Ok(ValueKind::List(items))
    }

    fn map(&mut self) -> Parse<ValueKind> {
        let mut pairs = Vec::new();
        self.bracketed('}', None, |parser| {
            let key = parser.value()?;
            parser.blanks()?;
            parser.colon(true)?;
            let value = parser.value()?;
            pairs.push((key, value));
            Ok(())
        })?;
        Ok(ValueKind::Map(pairs))
    }

    /// Reads what is between two brackets, comma by comma.
    fn bracketed(
        &mut self,
        closing: char,
        of: Option<&Name>,
        mut element: impl FnMut(&mut Self) -> Parse<()>,
    ) -> Parse<()> {
        let bracket = Bracket { opening: self.lexer.here(), closing, of };
        self.lexer.go(bracket.opening.end);
        self.blanks()?;
        while !self.lexer.take(closing) {
            self.not_the_end(bracket)?;
            let start = self.lexer.at();
            element(self)?;
            let end = self.lexer.at();
            self.blanks()?;
            if self.lexer.take(',') {
                self.blanks()?;
            } else if self.lexer.peek() != Some(closing) {
                self.not_the_end(bracket)?;
                self.no_comma(start, end, bracket)?;
            }
        }
        Ok(())
    }

    fn not_the_end(&mut self, Bracket { opening, closing, .. }: Bracket<'_>) -> Parse<()> {
        let problem = match self.lexer.peek() {
            None => {
                Diagnostic::at(opening, "this bracket is not closed").label(format!("expected a `{closing}` after it"))
            }
            Some(other @ (')' | ']' | '}')) => {
                Diagnostic::at(self.lexer.here(), format!("expected `{closing}`, found `{other}`"))
                    .label(format!("expected `{closing}`"))
                    .related(opening, "the bracket that is open")
            }
            Some(_) => return Ok(()),
        };
        self.stop(problem)
    }

    /// After an element there is neither a comma nor the closing bracket.
    fn no_comma(&mut self, start: usize, end: usize, bracket: Bracket<'_>) -> Parse<()> {
        let closing = bracket.closing;
        let found = self.lexer.peek().unwrap_or(' ');
        if found == ';' {
            self.problems.push(Diagnostic::at(self.lexer.here(), "expected `,`, found `;`").label("expected `,`"));
            self.lexer.go(self.lexer.at() + 1);
            return self.blanks();
        }
        let element = self.lexer.between(start, end);
        if found == ':'
            && let Some((of_crate, plugin)) = words_around_colon(element, self.lexer.rest())
        {
            return self.stop(
                Diagnostic::at(self.lexer.here(), format!("a single `:` after `{of_crate}`"))
                    .label(format!("expected `,`, `{closing}` or `::`"))
                    .help(format!("the full name of a plugin is `{of_crate}::{plugin}`, without blanks")),
            );
        }
        if found == ':'
            && let Some(plugin) = bracket.of.filter(|_| is_text(element) && !element.contains('\n'))
        {
            let key = Span { start, end, ..self.lexer.here() };
            let is_first = self.lexer.between(bracket.opening.end, start).trim().is_empty();
            return self.stop(key_within_plugin(key, element, plugin, bracket.opening, is_first));
        }
        if found == ':' || found == '=' {
            return self.stop(
                Diagnostic::at(self.lexer.here(), format!("`{found}` after a value that is not a name"))
                    .label(format!("expected `,` or `{closing}`"))
                    .help("a map is written in braces: `{\"name\": value}`; the names of fields are written without quotes: `(name: value)`"),
            );
        }
        let same_line = !self.lexer.between(end, self.lexer.at()).contains('\n');
        let bare = element.chars().next_back().is_some_and(char::is_alphanumeric);
        let begins = found == '"' || found.is_alphanumeric() || "_([{+-.'".contains(found);
        let gap = Span { start: end, end, ..self.lexer.here() };
        let mut problem =
            Diagnostic::at(gap, format!("expected `,` or `{closing}`, found `{found}`")).label("a comma is missing");
        if element.contains('\n') && element.ends_with('"') {
            problem = problem.help("the text before it spans lines: is a quote missing?");
            return self.stop(problem);
        }
        if !begins || (same_line && bare) {
            problem.span = Some(self.lexer.here());
            problem = problem.label(format!("expected `,` or `{closing}`"));
            if bare {
                problem = problem.help("text is written in quotes");
            }
            return self.stop(problem);
        }
        self.problems.push(problem);
        Ok(())
    }
}

/// Text before a `:` among the parameters of a plugin, as if a map went on there: most often the plugin's bracket was forgotten, but not before
/// the first of them.
fn key_within_plugin(key: Span, written: &str, plugin: &Name, opening: Span, is_first: bool) -> Diagnostic {
    let plugin = &plugin.text;
    if is_first {
        return Diagnostic::at(
            key,
            format!("{written} is in quotes, and the parameters of `{plugin}` have names without"),
        )
        .label("written without quotes")
        .help("parameters are written `name: value`; where none are meant, close the bracket: `)`");
    }
    Diagnostic::at(key, format!("{written} is text, not the name of a parameter of `{plugin}`, whose bracket is still open"))
        .label("is a `)` missing before it?")
        .related(opening, "the bracket that is open")
        .help(format!(
            "close `{plugin}(…` with `)` before {written}; if that is meant as a parameter, its name is written without quotes"
        ))
}

/// Whether a character looks like a space, or like nothing.
fn looks_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// A character as messages show it: by its number where it cannot be seen.
fn named(character: char) -> String {
    match character {
        '\u{a0}' => "U+00A0 (no-break space)".into(),
        '\u{feff}' => "U+FEFF (byte order mark)".into(),
        _ if looks_blank(character) || character.is_control() => format!("U+{:04X}", u32::from(character)),
        _ => format!("`{character}`"),
    }
}

/// Where the first `#` is that comes before anything but blanks and comments.
fn comment_sign(rest: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let text = &rest[at..];
        let blank = text.len() - text.trim_start().len();
        at += blank;
        let text = &rest[at..];
        if text.starts_with('#') {
            return Some(at);
        } else if text.starts_with("//") {
            at += text.find('\n')?;
        } else if text.starts_with("/*") {
            at += text.find("*/")? + 2;
        } else {
            return None;
        }
    }
}

/// Whether text in quotes begins here.
pub fn is_text(rest: &str) -> bool {
    rest.starts_with('"') || is_raw_text(rest)
}

fn is_raw_text(rest: &str) -> bool {
    rest.strip_prefix('r').is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
}

/// The words before and after a colon that stands where a comma should.
fn words_around_colon<'t>(before: &'t str, from_colon: &'t str) -> Option<(&'t str, &'t str)> {
    let is_other = |c: char| c != '_' && !c.is_alphanumeric();
    let before = before.rsplit(is_other).next()?;
    let after = from_colon.trim_start_matches(':').trim_start().split(is_other).next()?;
    [before, after].iter().all(|word| word.starts_with(begins_name)).then_some((before, after))
}

fn is_bare(value: &Value) -> bool {
    matches!(&value.kind, ValueKind::Named { name: Some(_), fields, items } if fields.is_empty() && items.is_empty())
}
