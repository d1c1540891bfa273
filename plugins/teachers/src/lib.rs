//! Teacher sources: where the knowledge to be transferred comes from.
//!
//! A weights file is data from somewhere else. It is read as data: nothing in a pickle is run, no length is believed
//! before there are bytes to bear it out, and whatever is wrong ends in one message that says what, where, and the way
//! out.

mod byte_reader;
mod checkpoint;
mod contents;
mod defect;
mod element;
mod pickle;
mod rebuild;
mod safetensors_file;
mod state_dict;
mod torch_legacy;
mod torch_zip;
mod view;
mod weights_file;

pub use checkpoint::Checkpoint;
pub use defect::{Defect, Place, WeightsError};
pub use weights_file::{Format, Outline, WeightsFile, outline, read};

zskt_api::export! { teacher: Checkpoint }
