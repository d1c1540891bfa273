//! What this build is: a library of plugins can only be loaded by the build that it was compiled against.

/// Lines of `what: value`: the compiler, the target, the features, the profile, the flags, the sources and all
/// dependencies.
pub const DESCRIPTION: &str = include_str!(concat!(env!("OUT_DIR"), "/image"));

/// The version of the plugin API.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The same, but not as the user of this crate was compiled with: as the image has it that it runs with. It lies in the
/// image's file.
pub static OF_IMAGE: &str = DESCRIPTION;

/// What a library is recognized by that has a copy of this crate of its own: it was compiled against these sources, not against an
/// SDK. It lies in a section of its own, with the version.
#[cfg(unix)]
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__zskt_api"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".zskt_api"))]
#[expect(unsafe_code, reason = "a section is named, which nothing else uses")]
static OF_SOURCES: [u8; API_VERSION.len()] = joined(&[API_VERSION]);

/// The length of some texts together, in bytes.
pub const fn length(texts: &[&str]) -> usize {
    let (mut length, mut index) = (0, 0);
    while index < texts.len() {
        length += texts[index].len();
        index += 1;
    }
    length
}

/// Some texts as bytes, for a section of a library.
///
/// # Panics
/// When they are not `N` bytes long.
pub const fn joined<const N: usize>(texts: &[&str]) -> [u8; N] {
    let (mut bytes, mut filled, mut index) = ([0; N], 0, 0);
    while index < texts.len() {
        let (text, mut at) = (texts[index].as_bytes(), 0);
        while at < text.len() {
            bytes[filled] = text[at];
            (filled, at) = (filled + 1, at + 1);
        }
        index += 1;
    }
    assert!(filled == N, "the texts have their length");
    bytes
}
