//! The texts that a pipeline is read from: its file and the `--set` arguments.

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The texts that spans point into, by the number in [`Span::source`](zskt_api::Span::source).
pub struct Sources {
    sources: Vec<(String, String)>,
}

impl Sources {
    /// A pipeline's text, called `path` in messages, and the `--set` arguments.
    pub fn new(path: impl Into<String>, text: impl Into<String>, sets: &[String]) -> Self {
        let sets = sets.iter().enumerate().map(|(index, set)| (format!("--set #{}", index + 1), set.clone()));
        let mut text = text.into();
        // Some editors begin a text with it; it is no part of the text.
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        Self { sources: std::iter::once((path.into(), text)).chain(sets).collect() }
    }

    /// What messages call a text: the pipeline's path, or `--set #1`.
    pub fn name(&self, source: usize) -> &str {
        self.sources.get(source).map_or("", |(name, _)| name)
    }

    /// A text as the user wrote it.
    pub fn text(&self, source: usize) -> &str {
        self.sources.get(source).map_or("", |(_, text)| text)
    }

    /// How many texts there are.
    pub fn count(&self) -> usize {
        self.sources.len()
    }
}
