//! What was made by another build is refused with what differs, and the other road works: plugins linked into a static
//! program. zskt is built several times for it, which takes minutes: `cargo test --release -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::crates::{pipeline, two_libraries, with_own_target};
use crate::release::{of_release, outcome, refusal, success, zskt_run};

/// A copy of the workspace's sources, to be changed and built.
fn sources(folder: &Path) -> PathBuf {
    let (root, copy) = (Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap(), folder.join("zskt"));
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if !["target", ".git", "runs", "carry", "shared"].iter().any(|left_out| name == *left_out) {
            assert!(Command::new("cp").arg("-r").args([&path, &copy]).status().unwrap().success());
        }
    }
    copy
}

/// Settings for the builds in a folder: compiled quickly, as fast as nothing here need be but the kernels. `zskt-api`, which
/// describes what libraries must agree on, is compiled as it is released.
fn compile_quickly(folder: &Path) {
    let packages = ["zskt-api", "zskt-tensor"].map(|name| format!("[profile.release.package.{name}]\nopt-level = 3\n"));
    let profiles = format!("[profile.release]\nopt-level = 0\n{}", packages.concat());
    fs::create_dir(folder.join(".cargo")).unwrap();
    fs::write(folder.join(".cargo/config.toml"), profiles).unwrap();
}

/// One folder for what all of these builds have in common.
fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other builds");
    cargo.args(arguments).current_dir(folder);
    // The workspace's own flags, for crates that are not in it to share what is built.
    with_own_target(&mut cargo).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "-Cmetadata=zskt-image");
    cargo
}

/// What differs, by the words of the refusal.
fn differences(complaint: &str) -> Vec<&str> {
    let values = ["    of the library: ", "    of zskt-run:    "];
    let lines = complaint.lines().filter(|line| line.starts_with("  ") && !values.iter().any(|v| line.starts_with(v)));
    lines.map(str::trim).collect()
}

#[test]
#[ignore = "builds zskt four more times"]
fn libraries_of_other_builds_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    compile_quickly(folder);
    let sources = sources(folder);
    let insert = |file: &str, place: &str, text: &str| {
        let path = sources.join(file);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(place));
        fs::write(&path, before.replacen(place, &format!("{place}{text}"), 1)).unwrap();
        (path, before)
    };
    let refused = |name: &str| {
        // The same layout as of a release, from this build.
        let release = folder.join(name);
        let arguments = ["run", "--package", "xtask", "--release", "--", "dist", release.to_str().unwrap()];
        success(&mut cargo(&sources, &arguments));
        success(&mut of_release(&release, folder, &["plugin", "new", &format!("of-{name}"), "--kind", "loss"]));
        success(with_own_target(&mut of_release(&release, folder, &["plugin", "build", &format!("of-{name}")])));
        let library = format!("of-{name}/target/release/libof_{name}.so");
        let complaint = refusal(folder, &["plugins", "--plugin", &library]);
        assert!(complaint.contains("it was compiled against another build of zskt"), "{complaint}");
        assert!(complaint.contains("help: build it with the SDK of this zskt-run"), "{complaint}");
        assert!(refusal(folder, &["plugin", "check", &library]).contains("it contains\n  Of"), "{complaint}");
        // With the SDK of this program it is built anew, its tests too, though the other SDK's files are the younger ones.
        let crate_folder = folder.join(format!("of-{name}"));
        let test =
            || success(with_own_target(Command::new("cargo").args(["test", "--quiet"]).current_dir(&crate_folder)));
        success(with_own_target(&mut zskt_run(folder, &["plugin", "build", &format!("of-{name}")])));
        success(&mut zskt_run(folder, &["plugins", "--plugin", &library]));
        assert!(test().contains("2 passed"));
        complaint
    };

    let (path, before) = insert("zskt-api/src/lib.rs", "pub use rand;\n", "\n/// One more.\npub fn one_more() {}\n");
    assert_eq!(differences(&refused("source")), ["zskt-api"]);
    fs::write(path, before).unwrap();

    let (path, before) = insert("zskt-api/Cargo.toml", "[features]\n", "default = [\"extra\"]\nextra = []\n");
    let complaint = refused("features");
    assert_eq!(differences(&complaint), ["features", "zskt-api"]);
    assert!(complaint.contains("of the library: default extra\n    of zskt-run:    none"), "{complaint}");
    fs::write(path, before).unwrap();

    let kept = fs::read(sources.join("Cargo.lock")).unwrap();
    success(&mut cargo(&sources, &["update", "--quiet", "sha2", "--precise", "0.10.8"]));
    assert_eq!(differences(&refused("lock")), ["dependencies"]);
    fs::write(sources.join("Cargo.lock"), kept).unwrap();

    // Of a profile, what is built anew is zskt-api alone.
    let config = folder.join(".cargo/config.toml");
    let profiles = fs::read_to_string(&config).unwrap();
    let place = "[profile.release.package.zskt-api]\nopt-level = ";
    fs::write(&config, profiles.replace(&format!("{place}3"), &format!("{place}2"))).unwrap();
    let complaint = refused("profile");
    assert_eq!(differences(&complaint), ["profile"]);
    let values = "of the library: release, opt-level 2\n    of zskt-run:    release, opt-level 3";
    assert!(complaint.contains(values), "{complaint}");
}

#[test]
#[ignore = "builds zskt once more, as a static program"]
fn a_static_program_has_linked_plugins_and_says_that_it_loads_none() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    compile_quickly(folder);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    success(&mut zskt_run(
        folder,
        &["plugin", "new", "mine", "--kind", "architecture", "--linked", root.to_str().unwrap()],
    ));
    let mine = folder.join("mine");
    // The versions of this workspace, whatever has come since.
    fs::copy(root.join("Cargo.lock"), mine.join("Cargo.lock")).unwrap();
    let said = success(&mut cargo(&mine, &["test", "--release", "--quiet"]));
    assert!(said.contains("1 passed"), "{said}");
    let run = |arguments: &[&str]| cargo(&mine, &[&["run", "--quiet", "--release", "--"], arguments].concat());
    assert!(success(&mut run(&["validate", "pipeline.ron"])).starts_with("ok"));
    assert!(success(&mut run(&["inspect", "Mine"])).contains("Mine: architecture of mine 0.1.0"));

    // One with the loss beside it would need a second crate; its plugin is left out of both runs.
    let text = pipeline("Mine").replace(", \"mine -> seek.loss\"", "").replace(", \"mine -> imitate.loss\"", "");
    let text = text.replace("        \"mine\": ExampleLoss(weight: 0.1),\n", "");
    fs::write(mine.join("linked.ron"), &text).unwrap();
    success(&mut run(&["linked.ron", "--out", "linked", "--quiet"]));
    let tiny_net = two_libraries()[0].to_str().unwrap();
    fs::write(folder.join("loaded.ron"), text.replace("Mine", "TinyNet")).unwrap();
    success(&mut zskt_run(folder, &["loaded.ron", "--out", "loaded", "--quiet", "--plugin", tiny_net]));
    let weights = |run: PathBuf| fs::read(run.join("student.safetensors")).unwrap();
    assert!(weights(mine.join("linked")) == weights(folder.join("loaded")), "other weights");

    let (code, _, complaint) = outcome(&mut run(&["plugins", "--plugin", tiny_net]));
    assert_eq!(code, Some(2));
    assert!(complaint.contains("this zskt-run is one static file and cannot load any"), "{complaint}");
}
