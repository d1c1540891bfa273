//! Reverse-mode differentiation of feature maps, the same for every backend.
//!
//! candle's tape copies and adds a tensor for every use of every map, which costs as much as the layers do. So operations
//! on maps have a tape of their own: a backward pass runs its [`Node`]s in the reverse order of their making, and each leaves
//! gradients where its backend keeps them. candle's tape knows only where maps become tensors ([`to_tensor`]) and where tensors
//! become maps ([`from_tensor`], [`TensorInput`]): between these lies an *anchor*, a tensor of one number, which candle visits
//! after all that the maps became and before all that they were made of.
//!
//! Gradients of variables do not go through candle's tape either: [`backward`] gathers them. So what was made of variables and
//! constants alone needs no anchor to be visited: its nodes run once candle is done, and where candle's tape ends there is a
//! variable that gets no gradient, a *root*.
//!
//! A tensor that was made on this tape gets its gradient without candle from those that read it by [`function_of`], such as a classifier's
//! head and the losses behind it.
//!
//! Each gradient that candle adds to another is a kernel on a GPU, and zeros that it makes first are one more. Anchors get one only for
//! candle to visit them.

mod anchor;
mod entry;
mod function;
mod made_tensor;
mod pass;
mod tape;
mod tensor_input;

pub use entry::{Node, TapeEntry};
pub use function::{function_of, function_of_inputs, inputs_on_tape};
pub use pass::{Later, backward};
pub use tape::{from_tensor, record, to_tensor};
pub use tensor_input::{TensorInput, gathered};
