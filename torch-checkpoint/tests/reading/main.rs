//! What is read from sound files, and what is said of bad ones.

mod formats;
mod hostile;
mod written;
