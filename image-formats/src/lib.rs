//! Reads the labelled images of well-known datasets as they are downloaded, into bytes: [CIFAR-10 and CIFAR-100](cifar),
//! [SVHN](svhn), [MNIST and its kin](mnist), [image datasets from Hugging Face](hugging_face), and [folders of images](image_folder).
//!
//! Those whose files hold images of any size make them one size, as torchvision does ([`Resizing`]).
//!
//! Each module has three functions of a path and a split: `read` gives all images as [`RawImages`]; `header` tells their
//! number, size and classes, as far as possible without reading them; `files` says which files they are in. [`hugging_face`] also
//! writes. Nothing is downloaded, nothing is normalized, no size that a file declares is believed before there are bytes to bear it out, and
//! whatever is wrong ends in a [`ReadError`] that names the file, the place in it, the reason, and what to do about it.
//!
//! Memory is bounded by the size of the files: what an archive, a page or an array unpacks to by 100 times that, decoded images by 1,100
//! times that (a PNG cannot do better), and 16 MB in either case. What is not a file, as a pipe or a device, is not opened.
//!
//! ```no_run
//! use image_formats::cifar::{self, Split, Variant};
//!
//! let images = cifar::read("cifar-10-binary.tar.gz".as_ref(), Variant::Cifar10, Split::Train)?;
//! assert_eq!((images.len(), images.channels, images.height, images.width), (50_000, 3, 32, 32));
//! # Ok::<(), image_formats::ReadError>(())
//! ```

pub mod cifar;
mod encoded_image;
mod error;
pub mod hugging_face;
pub mod image_folder;
mod input_file;
pub mod mnist;
#[cfg(test)]
mod mutation;
mod raw_images;
mod resizing;
mod size_limits;
pub mod svhn;

pub use error::ReadError;
pub use raw_images::{ImageHeader, OutOfMemory, RawImages, pixel_buffer};
pub use resizing::{ResizeError, Resizing};
