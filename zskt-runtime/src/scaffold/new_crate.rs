//! `plugin new`: a crate with one plugin, its test, and a pipeline that uses it.

use std::fs;
use std::path::PathBuf;

use clap::ValueEnum;
use zskt_api::{Diagnostic, Registry};

use super::build;
use super::linked::ZsktSource;
use super::sdk::Sdk;
use crate::text_format::reason;

/// The kinds of plugins that a crate can begin with.
#[derive(Clone, Copy, ValueEnum)]
pub enum ScaffoldKind {
    /// A network that tells classes apart
    Architecture,
    /// What a turn makes small, or large
    Loss,
    /// A network that makes images
    Generator,
    /// Labelled images
    Dataset,
    /// A measurement
    Metric,
    /// Training, or other work
    Stage,
    /// A trained classifier
    Teacher,
    /// The updates of one network in each batch
    Turn,
    /// How gradients change weights
    Optimizer,
    /// How the learning rate changes over a stage
    Schedule,
    /// Which classes made images are to show
    Targets,
}

/// What a crate is made of: texts with a plugin `Example…` in a crate `example`.
struct Template {
    plugin: &'static str,
    source: &'static str,
    pipeline: &'static str,
    /// What else is in the crate: paths and texts.
    files: &'static [(&'static str, &'static str)],
}

impl ScaffoldKind {
    fn template(self) -> Template {
        macro_rules! template {
            ($plugin:literal, $source:literal, $pipeline:literal) => {
                Template {
                    plugin: $plugin,
                    source: include_str!($source),
                    pipeline: include_str!($pipeline),
                    files: &[],
                }
            };
        }
        match self {
            Self::Architecture => {
                template!("ExampleArchitecture", "templates/architecture.rs", "templates/architecture.ron")
            }
            Self::Loss => {
                template!("ExampleLoss", "templates/loss.rs", "templates/loss.ron")
            }
            Self::Generator => template!("ExampleGenerator", "templates/generator.rs", "templates/generator.ron"),
            Self::Dataset => template!("ExampleDataset", "templates/dataset.rs", "templates/dataset.ron"),
            Self::Metric => template!("ExampleMetric", "templates/metric.rs", "templates/metric.ron"),
            Self::Stage => template!("ExampleStage", "templates/stage.rs", "templates/stage.ron"),
            Self::Teacher => Template {
                files: &[("parts.csv", include_str!("templates/parts.csv"))],
                ..template!("ExampleTeacher", "templates/teacher.rs", "templates/teacher.ron")
            },
            Self::Turn => template!("ExampleTurn", "templates/turn.rs", "templates/turn.ron"),
            Self::Optimizer => template!("ExampleOptimizer", "templates/optimizer.rs", "templates/optimizer.ron"),
            Self::Schedule => template!("ExampleSchedule", "templates/schedule.rs", "templates/schedule.ron"),
            Self::Targets => template!("ExampleTargets", "templates/targets.rs", "templates/targets.ron"),
        }
    }
}

/// What the description of a new crate ends with: it names the plugin, and says nothing of it.
pub const DESCRIPTION: &str = ", a plugin for zskt";

/// Cargo's settings of a crate, which nobody who depends on it sees.
pub const CARGO_CONFIG: &str = ".cargo/config.toml";

/// Those of a crate that is loaded: `zskt-api` is the SDK.
pub const OF_LOADED: &str = include_str!("templates/loaded_config.toml");

/// How zskt-run and the crate come together.
pub enum Linkage<'a> {
    /// As a library, compiled against this SDK.
    Loaded(&'a Sdk),
    /// Into a program of its own, made of these sources of zskt.
    Linked(&'a ZsktSource),
}

/// Writes the crate `name` into a new folder of that name.
///
/// # Errors
/// When a crate cannot have the name, it is taken, or the folder cannot be written.
pub fn write(
    name: &str,
    kind: ScaffoldKind,
    linkage: &Linkage<'_>,
    registry: &Registry,
) -> Result<PathBuf, Diagnostic> {
    let template = kind.template();
    let plugin = check_name(name, &template, registry)?;
    let folder = PathBuf::from(name);
    if folder.symlink_metadata().is_ok() {
        let problem = Diagnostic::global(format!("`{name}` exists already, and nothing is ever overwritten"));
        return Err(problem.help("choose another name"));
    }
    let (mut pipeline, module) = (template.pipeline.to_owned(), name.replace('-', "_"));
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let mut files = match linkage {
        Linkage::Loaded(sdk) => {
            pipeline = pipeline.replace("libexample.so", &format!("{prefix}{module}{suffix}"));
            vec![
                ("Cargo.toml", include_str!("templates/loaded.toml").replace("ExampleLoss", &plugin)),
                (CARGO_CONFIG, OF_LOADED.to_owned()),
                ("rust-toolchain.toml", toolchain(&sdk.rust_version)),
                (".gitignore", "/.zskt\n/*.zskt\n/runs\n/target\n".to_owned()),
            ]
        }
        Linkage::Linked(source) => {
            pipeline = pipeline
                .replace("    plugins: [\"target/release/libexample.so\"],\n", "")
                .replace("zskt-run pipeline.ron", "cargo run --release -- pipeline.ron");
            let main = include_str!("templates/linked_main.rs").replace("use example", &format!("use {module}"));
            let mut files = vec![
                ("Cargo.toml", include_str!("templates/linked.toml").to_owned()),
                (CARGO_CONFIG, source.cargo_config(&folder)?),
                ("src/main.rs", main),
                (".gitignore", "/runs\n/target\n".to_owned()),
            ];
            files.extend(source.cargo_lock().map(|text| ("Cargo.lock", text)));
            files
        }
    };
    files.extend([("src/lib.rs", template.source.to_owned()), ("pipeline.ron", pipeline)]);
    files.extend(template.files.iter().map(|(path, text)| (*path, (*text).to_owned())));
    for (path, text) in files {
        let path = folder.join(path);
        let text = text.replace(template.plugin, &plugin).replace("\"example\"", &format!("\"{name}\""));
        let made = fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| fs::write(&path, text));
        made.map_err(|error| Diagnostic::global(format!("cannot write {}: {}", path.display(), reason(&error))))?;
    }
    if let Linkage::Loaded(sdk) = linkage {
        sdk.link(&folder)?;
        build::lock_without_network(&folder);
    }
    Ok(folder)
}

/// Names of crates that mean something else to rustc or cargo.
const RESERVED: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
                        examples extern false final fn for gen if impl in incremental let loop macro match mod move mut \
                        override priv proc-macro pub ref return self static std struct super test trait true try type typeof \
                        unsafe unsized use virtual where while";

/// Types and traits that every crate knows by name.
const PRELUDE: &str = "Option Some None Result Ok Err String Vec Box Self Clone Copy Debug Default Drop Eq Ord Fn FnMut FnOnce \
                       From Into Iterator PartialEq PartialOrd Send Sync Sized ToOwned ToString TryFrom TryInto AsRef AsMut Extend";

/// The plugin's name for a crate's name: `tiny-net` makes `TinyNet`.
fn check_name(name: &str, template: &Template, registry: &Registry) -> Result<String, Diagnostic> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let bad_dash = name.ends_with(['-', '_']) || ["--", "__", "-_", "_-"].iter().any(|pair| name.contains(pair));
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(letters) || bad_dash {
        return Err(Diagnostic::global(format!("a crate cannot be called `{name}`"))
            .help("small letters, digits and `-`, with a letter first: `tiny-net` holds a plugin `TinyNet`"));
    }
    let plugin: String = name
        .split(['-', '_'])
        .map(|word| word[..word.len().min(1)].to_uppercase() + word.get(1..).unwrap_or_default())
        .collect();
    let taken = if name.starts_with("zskt") {
        "crates of zskt itself begin with `zskt`".to_owned()
    } else if RESERVED.split_whitespace().any(|word| word == name) {
        format!("to rustc or cargo `{name}` means something else")
    } else if let Some(other) = registry.find(&plugin) {
        format!("there is a plugin `{plugin}` already, of {} {}", other.crate_name, other.crate_version)
    } else if has_word(PRELUDE, &plugin) {
        format!("`{plugin}` is a name of Rust's own")
    } else if template.source.lines().any(|line| !is_comment(line) && has_word(line, &plugin)) {
        format!("its plugin would be `{plugin}`, which is a name of the plugin API")
    } else {
        return Ok(plugin);
    };
    Err(Diagnostic::global(format!("the crate cannot be called `{name}`: {taken}")).help("choose another name"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Whether a word is in a text, not as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word)
}

fn toolchain(version: &str) -> String {
    format!(
        "# The compiler that zskt-run was made with: a library must be made with the same.\n[toolchain]\nchannel = \"{version}\"\n"
    )
}
