//! zskt-api as zskt-run has it. There is no code in here: it lies in the program's own library.

// Found by its path, not by a dependency.
#[doc(hidden)]
pub extern crate zskt_dylib;

pub use zskt_dylib::zskt_api::*;

/// The SHA-256 sum of the program's library.
#[doc(hidden)]
pub const IMAGE_SUM: &str = include_str!("../image.sha256");

/// The release that the program is of.
#[doc(hidden)]
pub const RELEASE: &str = include_str!("../release");

/// With another image, this is another crate, and all that depend on it are compiled anew.
const _: Option<&str> = option_env!("CARGO_PKG_DESCRIPTION");

/// Registers plugins, as zskt-api's does, and says in the library what it was compiled against and what it contains.
#[macro_export]
macro_rules! export {
    ($($plugins:tt)*) => {
        $crate::zskt_dylib::zskt_api::export! { $($plugins)* }
        $crate::zskt_dylib::describe_library! { $crate::RELEASE, $crate::IMAGE_SUM; $($plugins)* }
    };
}
