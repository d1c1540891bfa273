//! What a library says of itself, read from its file: loading it would run its code before anyone could object.

use object::{Architecture, Object, ObjectSection};
use zskt_api::Diagnostic;

/// The section of the file, by the names that ELF and Mach-O give it.
const SECTION: [&str; 2] = [".zskt", "__zskt"];

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
    /// Reads the description in a library's bytes.
    ///
    /// # Errors
    /// When they are not a library, one for another machine, or have no plugins in them.
    pub fn read(bytes: &[u8]) -> Result<Self, Diagnostic> {
        let damaged =
            |error: object::Error| Diagnostic::global(format!("it is damaged, or was not copied to its end ({error})"));
        if bytes.is_empty() {
            return Err(Diagnostic::global("it is empty"));
        }
        let file = match object::File::parse(bytes) {
            Ok(file) => file,
            Err(error) if object::FileKind::parse(bytes).is_ok() || bytes.starts_with(b"\x7fELF") => {
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
        let Some(section) = SECTION.iter().find_map(|name| file.section_by_name(name)) else {
            return Err(Diagnostic::global(
                "it has no plugins of zskt in it: it exports none (`zskt_api::export! { … }`), or was not compiled against \
                 an SDK",
            )
            .help("`zskt-run plugin new` makes a crate that is"));
        };
        // Between the texts the linker may leave zeros.
        let text = String::from_utf8_lossy(section.data().map_err(damaged)?).replace('\0', "");
        let mut description = Self { plugins: Vec::new(), image: Vec::new() };
        for (what, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            if what != "plugin" {
                let entry = (what.to_owned(), value.to_owned());
                // Each crate of a library says it once.
                if !description.image.contains(&entry) {
                    description.image.push(entry);
                }
            } else if let Some((plugin, origin)) = value.split_once(" of ")
                && let Some((kind, name)) = plugin.split_once(' ')
            {
                let [kind, name, origin] = [kind, name, origin].map(ToOwned::to_owned);
                description.plugins.push(Described { kind, name, origin });
            }
        }
        description.plugins.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(description)
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
