//! One image of zskt-api, candle and std, for the program and for what it loads: two copies of candle would count tensors
//! separately, and gradients would be silently wrong.

pub use zskt_api;

/// Puts into a library what a program reads of it before it loads it: the image it was compiled against, with its
/// release and SHA-256 sum, and its plugins. It is here, not in zskt-api: only what was compiled against an SDK can say so.
#[macro_export]
macro_rules! describe_library {
    ($release:expr, $sum:expr; reads: $reads:ident; $($plugins:tt)+) => {
        $crate::describe_library! { $release, $sum; $($plugins)+ }
    };
    ($release:expr, $sum:expr; $($kind:ident: $($plugin:ty),+ $(,)?);+ $(;)?) => {
        $crate::library_section!(
            $crate::zskt_api::build_id::DESCRIPTION, "release: ", $release, "\nimage: ", $sum, "\n"
        );
        $($($crate::library_section!(
            "plugin: ", stringify!($kind), " ", <$plugin as $crate::zskt_api::Params>::NAME,
            " of ", env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n"
        );)+)+
    };
}

/// Puts texts into the section of a library that is read before it is loaded.
#[doc(hidden)]
#[macro_export]
macro_rules! library_section {
    ($($text:expr),+) => {
        const _: () = {
            const TEXTS: &[&str] = &[$($text),+];
            #[used]
            #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__zskt"))]
            #[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".zskt"))]
            static SECTION: [u8; $crate::zskt_api::build_id::length(TEXTS)] = $crate::zskt_api::build_id::joined(TEXTS);
        };
    };
}
