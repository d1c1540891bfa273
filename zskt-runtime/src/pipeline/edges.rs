//! Edges as written: `"belief -> seek.loss"`.

use zskt_api::{Diagnostic, Name, Span};

use super::sources::Sources;

/// One edge as written.
pub struct Edge {
    /// Where it is written.
    pub span: Span,
    /// The node it comes from.
    pub from: Name,
    /// The node it leads to.
    pub to: Name,
    /// The input it leads to; `None` when only a node is named.
    pub port: Option<Name>,
}

/// Reads `from -> to.port`, or reports what is wrong with it.
pub fn read_edge(text: &str, span: Span, sources: &Sources, problems: &mut Vec<Diagnostic>) -> Option<Edge> {
    let places = Places::new(text, span, sources);
    let malformed = |start: usize, end: usize, found: &str| {
        Diagnostic::at(places.span(start, end), format!("{found}: {text:?}"))
            .label("expected `from -> to.input`")
            .help("an edge leads from one node to an input of another, as in \"teacher -> transfer.teacher\"")
    };
    let Some(arrow) = text.find("->") else {
        let wrong = ["<-", "=>", "→", "-", ">", "="].into_iter().find_map(|wrong| Some((text.find(wrong)?, wrong)));
        problems.push(match wrong {
            Some((at, wrong)) => {
                malformed(at, at + wrong.len(), &format!("the arrow of an edge is `->`, not `{wrong}`"))
            }
            None => malformed(0, text.len(), "this is not an edge"),
        });
        return None;
    };
    let after = arrow + 2;
    if let Some(second) = text[after..].find("->") {
        let at = after + second;
        let help = "write one edge for each arrow";
        problems.push(malformed(at, at + 2, "an edge has one arrow").help(help));
        return None;
    }
    let target = &text[after..];
    let (to_end, port) = match target.find('.') {
        Some(dot) => (after + dot, Some(after + dot + 1)),
        None => (text.len(), None),
    };
    let mut name = |start: usize, end: usize, what: &str| {
        let inside = &text[start..end];
        let trimmed = inside.trim();
        let begin = start + (inside.len() - inside.trim_start().len());
        let name = Name { text: trimmed.to_owned(), span: places.span(begin, begin + trimmed.len()) };
        if is_node_name(trimmed) {
            return Some(name);
        }
        problems.push(if trimmed.is_empty() {
            malformed(0, text.len(), &format!("an edge without {what}"))
        } else {
            malformed(begin, begin + trimmed.len(), &format!("`{trimmed}` is not a name of {what}"))
        });
        None
    };
    let from = name(0, arrow, "a node to come from");
    let to = name(after, to_end, "a node to lead to");
    let port = match port {
        Some(start) => Some(name(start, text.len(), "an input")?),
        None => None,
    };
    Some(Edge { span, from: from?, to: to?, port })
}

/// Whether edges and `--set` can name a node so.
pub fn is_node_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// Where the bytes of a text in quotes are in the file.
struct Places {
    whole: Span,
    start: Option<usize>,
}

impl Places {
    fn new(text: &str, whole: Span, sources: &Sources) -> Self {
        // With escapes in it, a text is not written as it reads: then its parts have no place of their own.
        let written = sources.text(whole.source).get(whole.start..whole.end).unwrap_or_default();
        let start = written.find(text).map(|at| whole.start + at);
        Self { whole, start }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        match self.start {
            Some(offset) if end > start => Span { source: self.whole.source, start: offset + start, end: offset + end },
            _ => self.whole,
        }
    }
}
