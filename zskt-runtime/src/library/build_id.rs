//! Which build this program is of: the file of the shared library that it runs with, and what that says of itself.

use std::path::PathBuf;
use std::sync::OnceLock;

use zskt_api::Diagnostic;

use super::RELEASE;
use crate::{checksum, text_format};

/// What a library must have been compiled against, in lines of `what: value`.
///
/// # Errors
/// When the file of the image cannot be read, or there is none: the program is one static file.
pub fn description() -> Result<String, Diagnostic> {
    Ok(format!("{}release: {RELEASE}\nimage: {}\n", zskt_api::build_id::DESCRIPTION, sum()?))
}

/// The SHA-256 sum of the image's file.
///
/// # Errors
/// When the file cannot be read, or there is none.
pub fn sum() -> Result<&'static str, Diagnostic> {
    static SUM: OnceLock<Result<String, Diagnostic>> = OnceLock::new();
    let sum = SUM.get_or_init(|| {
        let path = file()?;
        checksum::of_file(&path).map_err(|error| {
            let (path, reason) = (path.display(), text_format::reason(&error));
            Diagnostic::global(format!("this program's own library `{path}` cannot be read: {reason}"))
        })
    });
    sum.as_deref().map_err(Clone::clone)
}

/// The SHA-256 sum of the program's own file, which has the plugins that are linked in, and all of zskt where there is no image; nothing where it
/// cannot be read any more.
pub fn program_sum() -> Option<&'static str> {
    static SUM: OnceLock<Option<String>> = OnceLock::new();
    let sum = SUM.get_or_init(|| {
        // The file that runs, also where another was put in its place since.
        let path = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe().ok()? };
        checksum::of_file(&path).ok()
    });
    sum.as_deref()
}

/// The file of the image.
#[cfg(all(feature = "dynamic", unix))]
#[expect(unsafe_code, reason = "only the loader knows where the image lies")]
pub fn file() -> Result<PathBuf, Diagnostic> {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;
    let unknown = || Diagnostic::global("the file of this program's own library is not known to the system");
    let place = (&raw const zskt_api::build_id::OF_IMAGE).cast();
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is that of a static, and there is room for the answer.
    if unsafe { libc::dladdr(place, found.as_mut_ptr()) } == 0 {
        return Err(unknown());
    }
    // SAFETY: zeros are valid for it, and the call has filled it.
    let name = unsafe { found.assume_init() }.dli_fname;
    if name.is_null() {
        return Err(unknown());
    }
    // SAFETY: the loader's own name of a library that stays loaded.
    let name = unsafe { CStr::from_ptr(name) };
    Ok(OsStr::from_bytes(name.to_bytes()).into())
}

/// There is none.
#[cfg(not(all(feature = "dynamic", unix)))]
pub fn file() -> Result<PathBuf, Diagnostic> {
    Err(Diagnostic::global("this zskt-run is one static file and cannot load any").help(
        "use the zskt-run of a release, which has `lib/` beside it, or link the plugin's crate into a program of its own \
         (docs/plugins.md)",
    ))
}
