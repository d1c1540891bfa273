//! What a library says of itself, read from its file: loading it would run its code before anyone could object.

use cargo_metadata::semver::Version;
use object::{Architecture, Object, ObjectSection, ReadRef};
use zskt_api::{Diagnostic, full_plugin_name};

use crate::text_format;

/// The section of the file, by the names that ELF and Mach-O give it.
const SECTION: [&str; 2] = [".zskt", "__zskt"];

/// Where a library that was compiled against the sources of zskt-api says so.
const OF_SOURCES: [&str; 2] = [".zskt_api", "__zskt_api"];

/// More than the descriptions of all plugins there are.
const MAX_SECTION: u64 = 1 << 20;

/// What a library was compiled against, and what it contains.
#[derive(Debug)]
pub struct Description {
    /// Its plugins.
    pub plugins: Vec<Described>,
    /// The build that it was compiled against: what, and its value.
    image: Vec<(String, String)>,
}

/// A plugin as its library describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    /// What it is, in the words of `export!`.
    pub kind: String,
    /// Its name in a pipeline.
    pub name: String,
    /// Its crate and that crate's version.
    pub origin: String,
}

impl Described {
    /// The name that no other plugin has.
    pub fn full_name(&self) -> String {
        full_plugin_name(self.origin.split(' ').next().unwrap_or_default(), &self.name)
    }
}

/// Something that differs between two builds.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// The library's.
    pub theirs: String,
    /// This program's.
    pub ours: String,
}

impl Description {
    /// Reads the description in a library's bytes, of which only those are read that are needed to find it: the headers, and
    /// the tables of symbols, which together are no larger than a few times the file, whatever it claims.
    ///
    /// # Errors
    /// When they are not a library, one for another machine, or have no plugins in them.
    pub fn read<'data>(bytes: impl ReadRef<'data>) -> Result<Self, Diagnostic> {
        let damaged =
            |error: object::Error| Diagnostic::global(format!("it is damaged, or was not copied to its end ({error})"));
        if bytes.len() == Ok(0) {
            return Err(Diagnostic::global("it is empty"));
        }
        let file = match object::File::parse(bytes) {
            Ok(file) => file,
            Err(error) if object::FileKind::parse(bytes).is_ok() || bytes.read_bytes_at(0, 4) == Ok(b"\x7fELF") => {
                return Err(damaged(error));
            }
            Err(_) => return Err(Diagnostic::global("it is not a shared library")),
        };
        let ours = std::env::consts::ARCH;
        let theirs = match file.architecture() {
            Architecture::X86_64 | Architecture::X86_64_X32 => "x86_64".to_owned(),
            Architecture::I386 => "x86".to_owned(),
            Architecture::Aarch64 | Architecture::Aarch64_Ilp32 => "aarch64".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        if theirs != ours {
            let message = format!("it is for another processor: {theirs}, and this program runs on {ours}");
            return Err(Diagnostic::global(message).help("build it on this machine"));
        }
        if file.kind() != object::ObjectKind::Dynamic {
            return Err(Diagnostic::global("it is not a shared library, but a program or a part of one")
                .help("`crate-type = [\"cdylib\"]`"));
        }
        if OF_SOURCES.iter().any(|name| file.section_by_name(name).is_some()) {
            return Err(Diagnostic::global(
                "it was compiled against the sources of zskt-api and has a copy of them in it, so it would share nothing with this \
                 program",
            )
            .help(
                "build it with the SDK of this zskt-run: `zskt-run plugin build` in the folder of its crate, whose Cargo.toml takes \
                 zskt-api by a version alone",
            ));
        }
        let Some(section) = SECTION.iter().find_map(|name| file.section_by_name(name)) else {
            return Err(Diagnostic::global(
                "it has no plugins of zskt in it: it exports none (`zskt_api::export! { … }`), or was not compiled against \
                 an SDK",
            )
            .help("`zskt-run plugin new` makes a crate that is"));
        };
        if section.size() > MAX_SECTION {
            return Err(Diagnostic::global(format!("it is damaged: it describes itself in {} bytes", section.size())));
        }
        // Between the texts the linker may leave zeros.
        let text = String::from_utf8_lossy(section.data().map_err(damaged)?).replace('\0', "");
        // They are shown, and anybody can have written them.
        let line = |text: &str| text_format::one_line(text);
        let mut description = Self { plugins: Vec::new(), image: Vec::new() };
        for (what, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            if what != "plugin" {
                let entry = (line(what), line(value));
                // Each crate of a library says it once.
                if !description.image.contains(&entry) {
                    description.image.push(entry);
                }
            } else if let Some((plugin, origin)) = value.split_once(" of ")
                && let Some((kind, name)) = plugin.split_once(' ')
            {
                let [kind, name, origin] = [kind, name, origin].map(line);
                description.plugins.push(Described { kind, name, origin });
            }
        }
        description.plugins.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(description)
    }

    /// The release that it was built for, if it says so.
    pub fn release(&self) -> Option<&str> {
        self.of_image("release")
    }

    /// The version of the plugin API that it was compiled against.
    pub fn api_version(&self) -> Option<Version> {
        self.of_image("zskt-api")?.split(',').next()?.parse().ok()
    }

    fn of_image(&self, what: &str) -> Option<&str> {
        self.image.iter().find(|(other, _)| other == what).map(|(_, value)| value.as_str())
    }

    /// What differs between the library's build and this program's, given in lines of `what: value`.
    pub fn differences(&self, ours: &str) -> Vec<Difference> {
        let ours: Vec<(&str, &str)> = ours.lines().filter_map(|line| line.split_once(": ")).collect();
        let mut differences = Vec::new();
        for (what, ours) in &ours {
            let theirs: Vec<_> =
                self.image.iter().filter(|(other, _)| other == what).map(|(_, value)| value.as_str()).collect();
            if theirs != [*ours] {
                let theirs = if theirs.is_empty() { "not said".into() } else { theirs.join(" and ") };
                differences.push(Difference { what: (*what).to_owned(), theirs, ours: (*ours).to_owned() });
            }
        }
        for (what, theirs) in &self.image {
            if !ours.iter().any(|(other, _)| other == what) {
                let (what, theirs) = (what.clone(), theirs.clone());
                differences.push(Difference { what, theirs, ours: "not said".into() });
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use object::read::ReadCache;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Description;

    /// The smallest library that describes itself: ELF's header, three sections (none, the description, names), what is in them.
    fn library(description: &[u8], claimed: u64) -> Vec<u8> {
        let names = b"\0.zskt\0.shstrtab\0";
        let (start, headers) = (64_u64, 64 + (description.len() + names.len()) as u64);
        let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        bytes.extend(machine.to_le_bytes());
        bytes.extend([1, 0, 0, 0]);
        bytes.extend([0, 0, headers].map(u64::to_le_bytes).concat());
        bytes.extend([0, 0, 64, 0, 0, 64, 3, 2].map(u16::to_le_bytes).concat());
        bytes.extend(description);
        bytes.extend(names);
        let section = |name: u32, kind: u32, at: u64, size: u64| {
            let head = [name.to_le_bytes(), kind.to_le_bytes()].concat();
            [head, [0, 0, at, size, 0, 1, 0].map(u64::to_le_bytes).concat()].concat()
        };
        bytes.extend(section(0, 0, 0, 0));
        bytes.extend(section(1, 1, start, claimed));
        bytes.extend(section(7, 3, start + description.len() as u64, names.len() as u64));
        bytes
    }

    const TEXT: &[u8] = b"zskt-api: 0.1.0\nplugin: loss Sum of sums 1.0.0\nplugin: metric Mean of sums 1.0.0\n";

    fn read_file(bytes: &[u8], length: u64) -> Result<Description, String> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("there is room");
        file.set_len(length.max(bytes.len() as u64)).expect("there is room");
        Description::read(&ReadCache::new(file)).map_err(|problem| problem.message)
    }

    #[test]
    fn only_what_is_needed_of_a_library_is_read() {
        // All but its beginning is a hole: no memory could hold it.
        let description = read_file(&library(TEXT, TEXT.len() as u64), 1 << 36).expect("a library");
        let names: Vec<_> = description.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(names, ["Mean", "Sum"]);
        let claims = read_file(&library(TEXT, 1 << 35), 1 << 36).expect_err("a claim");
        assert!(claims.contains("it describes itself in 34359738368 bytes"), "{claims}");
    }

    #[test]
    fn mutants_are_read_or_refused() {
        let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000);
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let sound = library(TEXT, TEXT.len() as u64);
        let bytes = prop_oneof![any::<u8>(), Just(0), Just(1), Just(0xff)];
        proptest!(config, |(changes in vec((0..sound.len(), bytes), 1..8), end in 0..2 * sound.len())| {
            let mut mutant = sound.clone();
            changes.iter().for_each(|(at, byte)| mutant[*at] = *byte);
            mutant.truncate(end);
            drop(Description::read(mutant.as_slice()));
        });
    }
}
