//! Pipelines as text: read, changed by `--set`, and written as resolved.

mod document;
mod edges;
mod lexer;
mod overrides;
mod reader;
mod resolved;
#[cfg(test)]
mod tests;
mod texts;

pub use document::{DataFree, Document};
pub use edges::Edge;
pub use reader::read;
pub use resolved::{Resolved, without_libraries, write};
pub use texts::Texts;

use std::path::PathBuf;

use zskt_api::{Problem, Registry, Span};

/// Reads a pipeline and applies the `--set` arguments; `None` when too little can be read to say more about it.
pub fn document(texts: &Texts, registry: &Registry, problems: &mut Vec<Problem>) -> Option<Document> {
    let reading = read(texts.text(0), 0, 0, problems);
    let mut value = reading.value?;
    if reading.doubtful {
        return None;
    }
    overrides::apply(&mut value, texts, registry, problems);
    document::read_document(&value, texts, problems)
}

/// The plugin libraries that a pipeline names, each with its place. What is wrong with the pipeline is found later, with
/// their plugins: here it names none.
pub fn libraries(texts: &Texts) -> Vec<(PathBuf, Span)> {
    let Some(mut value) = read(texts.text(0), 0, 0, &mut Vec::new()).value else { return Vec::new() };
    overrides::apply_setting(&mut value, texts, document::LIBRARIES);
    document::libraries_named(&value)
}
