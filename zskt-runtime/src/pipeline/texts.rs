//! The texts that a pipeline is read from: its file and the `--set` arguments.

/// The texts that spans point into.
pub struct Texts {
    texts: Vec<(String, String)>,
}

impl Texts {
    /// A pipeline's text, called `path` in messages, and the `--set` arguments.
    pub fn new(path: impl Into<String>, text: impl Into<String>, sets: &[String]) -> Self {
        let sets = sets.iter().enumerate().map(|(index, set)| (format!("--set #{}", index + 1), set.clone()));
        Self { texts: std::iter::once((path.into(), text.into())).chain(sets).collect() }
    }

    /// How messages call a text.
    pub fn name(&self, source: usize) -> &str {
        self.texts.get(source).map_or("", |(name, _)| name)
    }

    /// A text.
    pub fn text(&self, source: usize) -> &str {
        self.texts.get(source).map_or("", |(_, text)| text)
    }

    /// How many texts there are.
    pub fn count(&self) -> usize {
        self.texts.len()
    }
}
