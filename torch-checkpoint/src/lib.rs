//! Reads the weights in what PyTorch and those around it save: safetensors, whatever `torch.save` wrote, before PyTorch 1.6 or since,
//! sharded files, and folders as Hugging Face and timm publish them; writes a state dict as `torch.save` does.
//!
//! [`WeightsFile::open`] gives every dict of tensors in a file, wherever in a checkpoint it lies, from the header alone; elements are
//! read when they are asked for. Which of the tensors are a network, and what makes its names of the file's, is found by names and
//! shapes: [`groups`] are what may be one, [`Match`] compares one with what is looked for, [`Renames`] and [`infer`] are about other
//! names. [`read`] is for a file that holds one state dict. The format is known by a file's content, whatever the file is called.
//!
//! A weights file is data from somewhere else, and it is read as data: nothing in a pickle is run, no declared length is
//! believed before there are bytes to bear it out, and whatever is wrong ends in one [`ReadError`] that says what, where,
//! and what to do about it. The tensors of one state dict take at most 16 times the size of the file, the values of a pickle 80 times its
//! own; what is not a file, as a pipe or a device, is not opened, nor is what lies outside the folder of an index that names it.
//!
//! The tensors are candle's. A buffer of bytes with a type and a shape would spare others that dependency, but every
//! user known so far hands them to candle, which reads only archives without these checks.
//!
//! ```no_run
//! let weights = torch_checkpoint::read("resnet18.pth".as_ref(), None)?;
//! for (name, tensor) in &weights {
//!     println!("{} {:?} {:?}", torch_checkpoint::printable(name), tensor.dtype(), tensor.dims());
//! }
//! # Ok::<(), torch_checkpoint::ReadError>(())
//! ```

mod allocation_budget;
mod byte_reader;
mod configuration;
mod dtype;
mod error;
mod folder;
mod format;
mod names;
mod numpy_array;
mod pickle;
mod rebuild;
mod safetensors_file;
mod shards;
mod state_dict;
mod tensor_archive;
mod torch_legacy;
mod torch_zip;
mod view;
mod weights_file;
mod write;
mod zip_entry;

pub use configuration::Configuration;
pub use error::{ErrorKind, Location, ReadError, printable};
pub use format::Format;
pub use names::{
    Group, Inference, Match, Pattern, PatternError, Renames, Shapes, groups, ignore_patterns, infer, networks,
};
pub use view::TensorInfo;
pub use weights_file::{NamedTensor, StateDict, WeightsFile, read};
pub use write::write_state_dict;
