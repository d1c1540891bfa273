//! What was to be an edge and could not be read: what it names was not forgotten.

use std::collections::HashMap;

/// The texts that were to be edges.
#[derive(Default)]
pub struct MalformedEdges {
    texts: Vec<String>,
    by_word: HashMap<String, Vec<usize>>,
}

impl MalformedEdges {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        for word in words(text) {
            let texts = self.by_word.entry(word.to_owned()).or_default();
            if texts.last() != Some(&self.texts.len()) {
                texts.push(self.texts.len());
            }
        }
        self.texts.push(text.to_owned());
    }

    /// Whether a node, or an input `node.port`, appears in any of them.
    pub fn mention(&self, name: &str) -> bool {
        let stands_alone = |text: &str, at: usize| {
            !text[..at].ends_with(is_part_of_word) && !text[at + name.len()..].starts_with(is_part_of_word)
        };
        // Whatever holds the name holds the rarest of its words.
        let texts = words(name).map(|word| self.by_word.get(word).map_or(&[][..], Vec::as_slice));
        texts.min_by_key(|texts| texts.len()).into_iter().flatten().any(|text| {
            let text = &self.texts[*text];
            text.match_indices(name).any(|(at, _)| stands_alone(text, at))
        })
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_part_of_word(c)).filter(|word| !word.is_empty())
}

fn is_part_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
