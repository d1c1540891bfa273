//! Pictures of a plan, as Mermaid, Graphviz and SVG.

mod dot;
mod layout;
mod mermaid;
mod picture;
mod svg;

pub use dot::dot;
pub use mermaid::mermaid;
pub use picture::Picture;
pub use svg::svg;
