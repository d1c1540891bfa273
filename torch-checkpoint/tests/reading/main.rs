//! What is read from sound files, and what is said of bad ones.

mod folders;
mod formats;
mod hostile;
mod names;
mod written;
