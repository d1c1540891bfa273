//! Whether crates take zskt-api from the SDK: a library with a copy of its own would share nothing with the program that loads it.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::semver::{Comparator, Op, Version, VersionReq};
use cargo_metadata::{Metadata, Package};
use zskt_api::Diagnostic;

use super::new_crate::{CARGO_CONFIG, OF_LOADED};
use super::sdk::Sdk;
use crate::library::RELEASE;
use crate::text_format::reason;

const PACKAGE: &str = "zskt-api";

/// Whether crates ask for zskt-api as an SDK can be it, in their `Cargo.toml`: by a version that it has.
///
/// # Errors
/// Which does not, and what to write instead.
pub fn check_asked(crates: &[&Package], sdk: &Sdk) -> Result<(), Diagnostic> {
    let written = format!("{PACKAGE} = \"{}\"", requirement(&sdk.api_version));
    let mut found = false;
    for package in crates {
        for dependency in package.dependencies.iter().filter(|it| it.name == PACKAGE) {
            found = true;
            let of_registry = dependency.source.as_ref().is_some_and(|source| source.repr.contains("crates.io"));
            if dependency.path.is_some() || !of_registry {
                let message = format!(
                    "`{}` does not take {PACKAGE} by a version alone: a library with another one than the SDK's could not be loaded",
                    package.manifest_path
                );
                return Err(Diagnostic::global(message).help(format!("`{written}` in its [dependencies]")));
            }
            check_version(&package.name, &dependency.req, &sdk.api_version)?;
        }
    }
    if found {
        return Ok(());
    }
    let places: Vec<_> = crates.iter().map(|package| format!("`{}`", package.manifest_path)).collect();
    let message = format!("no plugin can be in {}: it does not depend on {PACKAGE}", places.join(", "));
    Err(Diagnostic::global(message).help(format!("`{written}` in its [dependencies]")))
}

/// Whether the SDK's version is one that a crate asks for; if not, who has to change.
fn check_version(package: &str, asked: &VersionReq, has: &Version) -> Result<(), Diagnostic> {
    if asked.matches(has) {
        return Ok(());
    }
    let message =
        format!("`{package}` needs {PACKAGE} {asked}, and this zskt-run, of zskt {RELEASE}, has {PACKAGE} {has}");
    let newer = asked.comparators.iter().any(|it| is_above(it, has));
    let written = format!("`{PACKAGE} = \"{}\"`", requirement(has));
    Err(Diagnostic::global(message).help(if newer {
        format!(
            "a newer release of zskt has it{}; or write {written} and leave out what is new since",
            super::from_homepage()
        )
    } else {
        format!(
            "the entries marked **Plugins** in zskt's CHANGELOG.md say what to change in its source; then write {written}. Or \
             build it with the release of zskt that it was written for{}",
            super::from_homepage()
        )
    }))
}

fn is_above(comparator: &Comparator, version: &Version) -> bool {
    let asked = (comparator.major, comparator.minor.unwrap_or(0), comparator.patch.unwrap_or(0));
    !matches!(comparator.op, Op::Less | Op::LessEq) && asked > (version.major, version.minor, version.patch)
}

/// What a `Cargo.toml` says to have a version and all that are compatible with it.
fn requirement(version: &Version) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// Has the crates in a folder take zskt-api from an SDK, by cargo's settings of the folder or of one above it.
///
/// # Errors
/// When the settings of its workspace are there already and do not say so, or a file cannot be written.
pub fn set(folder: &Path, workspace: &Path, sdk: &Sdk) -> Result<(), Diagnostic> {
    let folder = folder.canonicalize().map_err(|error| Diagnostic::global(reason(&error)))?;
    let says_so = |place: &&Path| fs::read_to_string(place.join(CARGO_CONFIG)).is_ok_and(|it| it.contains(".zskt/sdk"));
    if let Some(place) = folder.ancestors().find(says_so) {
        return sdk.link(place);
    }
    let config = workspace.join(CARGO_CONFIG);
    if config.exists() {
        let message = format!("`{}` does not say that {PACKAGE} is the SDK", config.display());
        let settings = OF_LOADED.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let settings: Vec<_> = settings.collect();
        return Err(Diagnostic::global(message)
            .help(format!("put this into it, the first line before all others\n{}", settings.join("\n"))));
    }
    let write =
        || fs::create_dir_all(config.parent().unwrap_or(workspace)).and_then(|()| fs::write(&config, OF_LOADED));
    write().map_err(|error| Diagnostic::global(format!("cannot write {}: {}", config.display(), reason(&error))))?;
    sdk.link(workspace)
}

/// Whether zskt-api is nothing but the SDK wherever it is among the dependencies of crates.
///
/// # Errors
/// Who has another one, and from where.
pub fn check_found(metadata: &Metadata, sdk: &Sdk) -> Result<(), Diagnostic> {
    for package in metadata.packages.iter().filter(|package| package.name.as_str() == PACKAGE) {
        let folder = package.manifest_path.parent().map(|it| PathBuf::from(it.as_str())).unwrap_or_default();
        if folder.canonicalize().is_ok_and(|folder| folder == sdk.folder) {
            continue;
        }
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let users = nodes.filter(|node| node.dependencies.contains(&package.id)).map(|node| &metadata[&node.id]);
        let users: Vec<_> = users.map(|user| format!("`{}` {}", user.name, user.version)).collect();
        let from = package.source.as_ref().map_or_else(|| folder.display().to_string(), ToString::to_string);
        let message = format!(
            "{} would have the sources of {PACKAGE} {} ({from}) in the library instead of the SDK: it would share nothing with the \
             zskt-run that loads it",
            users.join(", "),
            package.version,
        );
        return Err(Diagnostic::global(message).help(format!(
            "all have to take {PACKAGE} from crates.io, by a version that {} is compatible with: there the SDK takes its place",
            sdk.api_version
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_change_is_said() {
        let said = |asked: &str, has: &str| {
            let problem = check_version("mine", &asked.parse().unwrap(), &has.parse().unwrap()).err()?;
            Some(format!("{} {}", problem.message, problem.help.unwrap_or_default()))
        };
        assert_eq!(said("0.3", "0.3.2"), None);
        let newer = said("0.4", "0.3.2").unwrap();
        assert!(
            newer.contains("`mine` needs zskt-api ^0.4") && newer.contains("a newer release of zskt has it"),
            "{newer}"
        );
        assert!(newer.contains("`zskt-api = \"0.3\"`"), "{newer}");
        assert!(said("0.3.3", "0.3.2").unwrap().contains("a newer release of zskt has it"));
        assert!(said("0.2", "0.3.2").unwrap().contains("the entries marked **Plugins**"));
        assert!(said(">=0.1, <0.3", "0.3.2").unwrap().contains("the entries marked **Plugins**"));
    }
}
