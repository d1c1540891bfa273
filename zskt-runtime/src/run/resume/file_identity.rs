//! Whether two handles lead to one file.

use std::fs::Metadata;

/// Whether both are of one file. Where a system gives files no numbers, it keeps those that are open from being replaced.
pub fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        one.file_type() == other.file_type()
    }
}
