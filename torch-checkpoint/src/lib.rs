//! Reads the weights in a file that PyTorch saved: safetensors, and whatever `torch.save` wrote, before PyTorch 1.6 or
//! since.
//!
//! [`read`] gives the tensors of a state dict by name, wherever in a checkpoint it lies; [`read_header`] gives their
//! types and shapes without reading their elements. The format is known by a file's content, whatever the file is called.
//!
//! A weights file is data from somewhere else, and it is read as data: nothing in a pickle is run, no declared length is
//! believed before there are bytes to bear it out, and whatever is wrong ends in one [`ReadError`] that says what, where,
//! and what to do about it. Tensors take at most 16 times the size of the file, the values of a pickle 80 times its own; what is
//! not a file, as a pipe or a device, is not opened.
//!
//! The tensors are candle's. A buffer of bytes with a type and a shape would spare others that dependency, but every
//! user known so far hands them to candle, which reads only archives without these checks.
//!
//! ```no_run
//! let weights = torch_checkpoint::read("resnet18.pth".as_ref(), None)?;
//! for (name, tensor) in &weights.tensors {
//!     println!("{} {:?} {:?}", torch_checkpoint::printable(name), tensor.dtype(), tensor.dims());
//! }
//! # Ok::<(), torch_checkpoint::ReadError>(())
//! ```

mod allocation_budget;
mod byte_reader;
mod dtype;
mod error;
mod format;
mod pickle;
mod read;
mod rebuild;
mod safetensors_file;
mod state_dict;
mod tensor_archive;
mod torch_legacy;
mod torch_zip;
mod view;
mod zip_entry;

pub use error::{ErrorKind, Location, ReadError, printable};
pub use format::Format;
pub use read::{Header, StateDict, TensorInfo, read, read_header};
