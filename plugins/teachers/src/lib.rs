//! Teacher sources: where the knowledge to be transferred comes from.

mod checkpoint;

pub use checkpoint::Checkpoint;

zskt_api::export! { reads: files; teacher: Checkpoint }
