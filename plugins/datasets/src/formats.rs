//! The file formats, as plain functions: a path in, images or a [`DataError`](crate::DataError) out.

pub mod cifar;
pub mod encoded_image;
pub mod hugging_face;
pub mod mat5;
pub mod shards;
pub mod svhn;
