//! Makes what is released: the program, its libraries, the SDK for plugins, and what is read.

mod archive;
mod book;
mod builder_paths;
mod cargo;
mod dist;
mod layout;
mod licences;
mod links;
mod replaceable;
mod sdk;
mod workspace;

use std::error::Error;

pub use book::{book, check_book};
pub use builder_paths::flags;
pub use cargo::{Build, program};
pub use dist::{dist, release};
pub use layout::layout;
pub use workspace::Workspace;

/// A result, or whatever went wrong on the way.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;
