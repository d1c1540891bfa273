//! One image of zskt-api, candle and std, for the program and for what it loads: two copies of candle would count tensors
//! separately, and gradients would be silently wrong.

pub use zskt_api;

/// Puts into a library what a program reads before it loads it. It is here, not in zskt-api, for a library that carries
/// its own copy of zskt-api not to compile.
#[macro_export]
macro_rules! describe_library {
    () => {
        #[used]
        #[cfg_attr(target_os = "linux", unsafe(link_section = ".zskt.plugin"))]
        #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__zskt_plugin"))]
        static ZSKT_PLUGIN: [u8; { $crate::zskt_api::image::DESCRIPTION.len() }] =
            *$crate::zskt_api::image::DESCRIPTION.as_bytes().first_chunk().unwrap();
        #[used]
        #[cfg_attr(target_os = "linux", unsafe(link_section = ".zskt.crate"))]
        #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__zskt_crate"))]
        static ZSKT_CRATE: [u8; { concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").len() }] =
            *concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").as_bytes().first_chunk().unwrap();
    };
}
