//! Which build a library was compiled against, if not this one, and what its user and its author can do.

use cargo_metadata::semver::{Comparator, Op, Version, VersionReq};
use zskt_api::Diagnostic;

use super::description::{Description, Difference};

/// The release that this program is of.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Where releases are, if zskt names a place.
pub const HOMEPAGE: Option<&str> = {
    let homepage = env!("CARGO_PKG_HOMEPAGE");
    if homepage.is_empty() { None } else { Some(homepage) }
};

/// Checks that a library was compiled against the build that says this of itself.
///
/// # Errors
/// What differs, and whether it has to be built again, or its source to be changed.
pub fn check(library: &Description, ours: &str) -> Result<(), Diagnostic> {
    let mut differences = library.differences(ours);
    if differences.is_empty() {
        return Ok(());
    }
    if let Some(release) = library.release()
        && release != RELEASE
    {
        return Err(of_other_release(release, library.api_version(), &current_api()));
    }
    // The image differs whenever anything does.
    if differences.len() > 1 {
        differences.retain(|difference| difference.what != "image");
    }
    let message = if let [Difference { what, .. }] = differences.as_slice()
        && what == "image"
    {
        "it was compiled against another build of zskt, made of the same sources".into()
    } else {
        let lines = differences.iter().map(|Difference { what, theirs, ours }| {
            format!("\n  {what}\n    of the library: {theirs}\n    of zskt-run:    {ours}")
        });
        format!("it was compiled against another build of zskt {RELEASE}{}", lines.collect::<String>())
    };
    Err(Diagnostic::global(message)
        .help("build it with the SDK of this zskt-run: `zskt-run plugin build` in the folder of its crate"))
}

/// The version of the plugin API that this program has; it is a version, for cargo has read it.
fn current_api() -> Version {
    zskt_api::build_id::API_VERSION.parse().unwrap_or(Version::new(0, 0, 0))
}

/// What to say of a library that was built for another release, with another version of the plugin API.
fn of_other_release(release: &str, theirs: Option<Version>, ours: &Version) -> Diagnostic {
    let place = HOMEPAGE.map(|place| format!(" ({place})")).unwrap_or_default();
    let version = theirs.as_ref().map(|version| format!(" (zskt-api {version})")).unwrap_or_default();
    let message = format!("it was built for zskt {release}{version}, and this is zskt {RELEASE} (zskt-api {ours})");
    let rebuild = "`zskt-run plugin build` in the folder of its crate";
    let way_out = match theirs {
        Some(theirs) if is_compatible(ours, &theirs) => {
            format!(
                "built again, it works as it is: {rebuild}; or ask its authors for one that is built for zskt {RELEASE}"
            )
        }
        Some(theirs) if is_compatible(&theirs, ours) => {
            format!("it may use what zskt {release} has and this one has not: use that one{place}, or try {rebuild}")
        }
        Some(theirs) if theirs > *ours => format!("it was written for a newer plugin API: use zskt {release}{place}"),
        _ => format!(
            "its source has to change first, as the entries marked **Plugins** in zskt's CHANGELOG.md say, and then {rebuild}; or use \
             it with zskt {release}{place}"
        ),
    };
    Diagnostic::global(message).help(way_out)
}

/// Whether a version has all that was there in another one.
fn is_compatible(version: &Version, with: &Version) -> bool {
    let caret = Comparator {
        op: Op::Caret,
        major: with.major,
        minor: Some(with.minor),
        patch: Some(with.patch),
        pre: with.pre.clone(),
    };
    VersionReq { comparators: vec![caret] }.matches(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_whether_building_again_is_enough() {
        let said = |theirs: &str, ours: &str| {
            let problem = of_other_release("0.9.0", theirs.parse().ok(), &ours.parse().unwrap());
            assert!(
                problem
                    .message
                    .starts_with(&format!("it was built for zskt 0.9.0 (zskt-api {theirs}), and this is zskt "))
            );
            problem.help.unwrap_or_default()
        };
        assert!(said("1.2.0", "1.3.1").starts_with("built again, it works as it is: "));
        assert!(said("1.3.1", "1.2.0").starts_with("it may use what zskt 0.9.0 has and this one has not"));
        assert!(said("1.3.1", "2.0.0").starts_with("its source has to change first"));
        assert!(said("0.3.0", "0.4.0").starts_with("its source has to change first"));
        assert!(said("0.4.0", "0.3.9").starts_with("it was written for a newer plugin API: use zskt 0.9.0"));
    }
}
