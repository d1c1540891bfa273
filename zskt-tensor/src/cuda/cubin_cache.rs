//! Compiled kernels on disk, for compiling takes some tenths of a second each. What is wrong with the disk costs time and nothing else.

use std::fs;
use std::path::Path;
#[cfg(feature = "cuda")]
use std::path::PathBuf;

use candle_core::Result;
use sha2::{Digest, Sha256};

const HASH: usize = 32;

/// What was compiled of a source with these options by this version of the compiler; else it is compiled, and kept.
///
/// # Errors
/// When it cannot be compiled.
#[cfg(feature = "cuda")]
pub fn cubin(
    source: &str,
    options: &[String],
    version: &str,
    compile: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let key = [&[version.to_string()], options, &[source.to_string()]].concat().join("\0");
    let path = folder().map(|folder| folder.join(format!("{:x}.cubin", Sha256::digest(key))));
    cubin_at(path.as_deref(), compile)
}

fn cubin_at(path: Option<&Path>, compile: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let path = path.filter(|path| path.parent().is_some_and(is_ours_alone));
    if let Some(cubin) = path.and_then(read) {
        return Ok(cubin);
    }
    let cubin = compile()?;
    if let Some(path) = path {
        // Nobody needs it to be there.
        let _ = write(path, &cubin);
    }
    Ok(cubin)
}

/// Where the user's programs keep what they can make again.
#[cfg(feature = "cuda")]
fn folder() -> Option<PathBuf> {
    let absolute = |name, under: &str| {
        let path = PathBuf::from(std::env::var_os(name)?).join(under);
        path.is_absolute().then_some(path)
    };
    Some(absolute("XDG_CACHE_HOME", "").or_else(|| absolute("HOME", ".cache"))?.join("zskt").join("kernels"))
}

/// Whether a folder, which is made if it is not there, is this user's and nobody else may write to it: what is in it is run.
fn is_ours_alone(folder: &Path) -> bool {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if builder.create(folder).is_err() {
        return false;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // A process's own folder there is its user's.
        let user = fs::metadata("/proc/self").map(|process| process.uid());
        let is_private =
            |folder: fs::Metadata| folder.mode() & 0o022 == 0 && user.is_ok_and(|user| user == folder.uid());
        fs::symlink_metadata(folder).is_ok_and(is_private)
    }
    #[cfg(not(unix))]
    true
}

/// What was written in full.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let hash = bytes.split_off(bytes.len().checked_sub(HASH)?);
    (Sha256::digest(&bytes).as_slice() == hash).then_some(bytes)
}

fn write(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    // Others may write the same, or read it.
    let unfinished = path.with_extension(format!("{}.{:?}", std::process::id(), std::thread::current().id()));
    let written = fs::write(&unfinished, [cubin, &Sha256::digest(cubin)].concat());
    let written = written.and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_kept_unless_it_is_damaged() {
        let folder = std::env::temp_dir().join(format!("zskt-cubins-{}", std::process::id()));
        let path = folder.join("deeper").join("kernel.cubin");
        let cubin = |made: &str| String::from_utf8(cubin_at(Some(&path), || Ok(made.into())).unwrap()).unwrap();
        assert_eq!(cubin("first"), "first");
        assert_eq!(cubin("second"), "first");
        for damage in [&b"sec"[..], &[0; HASH + 1]] {
            fs::write(&path, damage).unwrap();
            assert_eq!(cubin("second"), "second");
        }
        assert_eq!(cubin("third"), "second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "no folder").unwrap();
        assert_eq!(cubin("fourth"), "fourth");
        fs::remove_file(&folder).unwrap();
    }
}
