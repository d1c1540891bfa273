//! The texts that a pipeline is read from: its file and the `--set` arguments.

use std::ops::Range;
use std::sync::Arc;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The texts that spans point into, by the number in [`Span::source`](zskt_api::Span::source), and what of them changes the pipeline.
#[derive(Clone)]
pub struct Sources {
    texts: Arc<Vec<(String, String)>>,
    overrides: Vec<Override>,
}

/// One change to a pipeline: where its key and its value are written, as bytes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The number of the text.
    pub source: usize,
    /// The key: `node.parameter`.
    pub key: Range<usize>,
    /// The value; nothing where there is no `=`.
    pub value: Option<Range<usize>>,
}

impl Override {
    /// What the text numbered `source` says, `KEY=VALUE`.
    pub fn of(source: usize, text: &str) -> Self {
        match text.find('=') {
            Some(equals) => Self { source, key: 0..equals, value: Some(equals + 1..text.len()) },
            None => Self { source, key: 0..text.len(), value: None },
        }
    }
}

impl Sources {
    /// A pipeline's text, called `path` in messages, and the `--set` arguments.
    pub fn new(path: impl Into<String>, text: impl Into<String>, sets: &[String]) -> Self {
        let mut text = text.into();
        // Some editors begin a text with it; it is no part of the text.
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        let mut sources = Self { texts: Arc::new(vec![(path.into(), text)]), overrides: Vec::new() };
        for (index, set) in sets.iter().enumerate() {
            let source = sources.add(format!("--set #{}", index + 1), set.clone());
            sources.overrides.push(Override::of(source, set));
        }
        sources
    }

    /// Adds a text that changes nothing by itself, and gives its number.
    pub fn add(&mut self, name: String, text: String) -> usize {
        let texts = Arc::make_mut(&mut self.texts);
        texts.push((name, text));
        texts.len() - 1
    }

    /// The same texts, with these changes to the pipeline and no others.
    pub fn with(&self, overrides: Vec<Override>) -> Self {
        Self { texts: Arc::clone(&self.texts), overrides }
    }

    /// The changes to the pipeline, in their order.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// What messages call a text: the pipeline's path, or `--set #1`.
    pub fn name(&self, source: usize) -> &str {
        self.texts.get(source).map_or("", |(name, _)| name)
    }

    /// A text as the user wrote it.
    pub fn text(&self, source: usize) -> &str {
        self.texts.get(source).map_or("", |(_, text)| text)
    }
}
