//! Plugins that are passed on: packages of a library with all that belongs to it, an index of packages, and those that are installed.
//! Nothing is looked up, fetched or loaded that was not named, and nothing of a package is trusted before it is checked.

mod archive;
#[cfg(test)]
mod archive_tests;
mod build;
mod example;
mod form;
mod index;
mod index_place;
mod installed;
mod limits;
mod listing;
mod lock;
mod manifest;
mod names;
mod package;

pub use installed::{add, find, find_file, remove};
pub use listing::{list, search};
pub use names::{Reference, packages_among};
pub use package::{PackageRequest, package};
