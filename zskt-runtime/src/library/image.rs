//! The shared image that this program runs with: its file, and what it says of itself.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::run::fingerprint;
use crate::wording;

/// What a library must have been compiled against, in lines of `what: value`.
///
/// # Errors
/// When the file of the image cannot be read, or there is none: the program is one static file.
pub fn description() -> Result<String, String> {
    Ok(format!("{}image: {}\n", zskt_api::image::DESCRIPTION, sum()?))
}

/// The SHA-256 sum of the image's file.
///
/// # Errors
/// When the file cannot be read, or there is none.
pub fn sum() -> Result<&'static str, String> {
    static SUM: OnceLock<Result<String, String>> = OnceLock::new();
    let sum = SUM.get_or_init(|| {
        let path = file()?;
        let bytes = std::fs::read(&path).map_err(|error| {
            let (path, reason) = (path.display(), wording::reason(&error));
            format!("this program's own library `{path}` cannot be read: {reason}")
        })?;
        Ok(fingerprint::of_bytes(&bytes))
    });
    sum.as_deref().map_err(Clone::clone)
}

/// The file of the image.
#[cfg(all(feature = "dynamic", unix))]
#[expect(unsafe_code, reason = "only the loader knows where the image lies")]
pub fn file() -> Result<PathBuf, String> {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;
    let unknown = || "the file of this program's own library is not known to the system".to_owned();
    let place = (&raw const zskt_api::image::OF_IMAGE).cast();
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
pub fn file() -> Result<PathBuf, String> {
    Err("this zskt-run is one static file and cannot load any\nhelp: use the zskt-run of a release, which has `lib/` beside \
         it, or link the plugin's crate into a program of its own (docs/plugins.md)"
        .into())
}
