//! Other builds of zskt. Two of the same sources are the same; what was made by another is refused with what differs; and the other
//! road works: plugins linked into a static program. It takes minutes: `cargo test --release -- --ignored`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::Workspace;

use crate::crates::{pipeline, two_libraries, with_own_target};
use crate::release::{of_release, outcome, refusal, success, zskt_run};

/// A place for copies of the sources: the same each time, for cargo to find again what it has built of them.
fn place() -> PathBuf {
    let mut hash = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hash);
    std::env::temp_dir().join(format!("zskt-other-builds-{:016x}", hash.finish()))
}

/// A copy of the workspace's sources in a folder, to be changed and built.
fn sources(folder: &Path) -> Workspace {
    let here = Workspace::here().unwrap();
    let copy = folder.join("zskt");
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(&here.root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if !["target", ".git", "runs", "carry", "shared"].iter().any(|left_out| name == *left_out) {
            copy_all(&[&path], &copy);
        }
    }
    Workspace { root: copy, target: shared_target(), ..here }
}

/// With the times of files, by which cargo sees what changed.
fn copy_all(from: &[&Path], to: &Path) {
    fs::create_dir_all(to).unwrap();
    assert!(Command::new("cp").arg("-rp").args(from).arg(to).status().unwrap().success());
}

/// One folder for what most of these builds have in common.
fn shared_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("other builds")
}

/// Settings for the builds in a folder: compiled quickly, but for some packages. One is `zskt-api`, which describes what libraries must
/// agree on.
fn compile_quickly(folder: &Path, but_for: &[&str]) {
    let package = |name: &&str| format!("[profile.release.package.{name}]\nopt-level = 3\n");
    let profiles = format!("[profile.release]\nopt-level = 0\n{}", but_for.iter().map(package).collect::<String>());
    fs::create_dir_all(folder.join(".cargo")).unwrap();
    fs::write(folder.join(".cargo/config.toml"), profiles).unwrap();
}

/// Cargo with the flags of these builds, for crates that are not in the workspace to share what is built.
fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut flags = vec!["-Cmetadata=zskt-image".to_owned()];
    let workspace = Workspace { root: place().join("one/zskt"), target: shared_target(), ..Workspace::here().unwrap() };
    flags.extend(xtask::flags(&workspace).unwrap());
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(folder);
    with_own_target(&mut cargo)
        .env("CARGO_TARGET_DIR", shared_target())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo
}

/// What differs, by the words of the refusal.
fn differences(complaint: &str) -> Vec<&str> {
    let values = ["    of the library: ", "    of zskt-run:    "];
    let lines = complaint.lines().filter(|line| line.starts_with("  ") && !values.iter().any(|v| line.starts_with(v)));
    lines.map(str::trim).collect()
}

#[test]
#[ignore = "builds zskt three more times, once of it with all dependencies"]
fn the_same_sources_make_the_same_release_and_a_library_fits_no_other() {
    let place = place();
    let _ = fs::remove_dir_all(&place);
    let one = place.join("one");
    fs::create_dir_all(&one).unwrap();
    compile_quickly(&one, &["zskt-api"]);
    let sources = sources(&one);
    let insert = |file: &str, place: &str, text: &str| {
        let path = sources.root.join(file);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(place));
        fs::write(&path, before.replacen(place, &format!("{place}{text}"), 1)).unwrap();
    };

    // A comment is enough to be another build.
    insert("zskt-api/src/lib.rs", "pub use rand;\n", "// One more comment.\n");
    let release = xtask::release(&sources, &one).unwrap();
    let (library, complaint) = refused(&release, "commented");
    assert_eq!(differences(&complaint), ["zskt-api"]);
    let program = fs::read(release.join("bin/zskt-run")).unwrap();
    let looks_in = b"\0$ORIGIN/../lib\0";
    assert!(program.windows(looks_in.len()).any(|text| text == looks_in), "it looks for its libraries elsewhere too");

    // Elsewhere, by somebody with files of cargo's elsewhere, and nothing built yet.
    let two = place.join("somebody else/two");
    for part in [".cargo", "zskt"] {
        copy_all(&[&one.join(part)], &two);
    }
    let registry = sources.cargo_home.join("registry");
    copy_all(
        &["index", "cache"].map(|part| registry.join(part)).each_ref().map(PathBuf::as_path),
        &two.join("cargo/registry"),
    );
    let target = shared_target().with_file_name("another build");
    let elsewhere =
        Workspace { root: two.join("zskt"), target, cargo_home: two.join("cargo"), ..Workspace::here().unwrap() };
    let other = xtask::release(&elsewhere, &two).unwrap();
    let sums = |release: &Path| fs::read_to_string(release.join("SHA256SUMS")).unwrap();
    let (sums, others) = (sums(&release), sums(&other));
    let differing: Vec<_> = sums.lines().filter(|line| !others.contains(line)).collect();
    assert!(sums == others, "{differing:#?}");
    success(&mut of_release(&other, &two, &["plugins", "--plugin", library.to_str().unwrap()]));

    // All else that makes a build another.
    insert("zskt-api/Cargo.toml", "[features]\n", "default = [\"extra\"]\nextra = []\n");
    success(&mut cargo(&sources.root, &["update", "--quiet", "sha2", "--precise", "0.10.8"]));
    let config = one.join(".cargo/config.toml");
    let profiles = fs::read_to_string(&config).unwrap();
    let opt_level = "[profile.release.package.zskt-api]\nopt-level = ";
    fs::write(&config, profiles.replace(&format!("{opt_level}3"), &format!("{opt_level}2"))).unwrap();
    let release = place.join("changed release");
    xtask::layout(&sources, &release, xtask::Build::Published).unwrap();
    let (_, complaint) = refused(&release, "changed");
    assert_eq!(differences(&complaint), ["features", "profile", "zskt-api", "dependencies"]);
    for values in [
        "of the library: default extra\n    of zskt-run:    none",
        "of the library: release, opt-level 2\n    of zskt-run:    release, opt-level 3",
    ] {
        assert!(complaint.contains(values), "{complaint}");
    }
    fs::remove_dir_all(place).unwrap();
}

/// Makes a library with a release. Gives it, and what the tested program says when it refuses it.
fn refused(release: &Path, name: &str) -> (PathBuf, String) {
    let folder = place();
    success(&mut of_release(release, &folder, &["plugin", "new", name, "--kind", "loss"]));
    success(with_own_target(&mut of_release(release, &folder, &["plugin", "build", name])));
    let library = format!("{name}/target/release/lib{name}.so");
    let complaint = refusal(&folder, &["plugins", "--plugin", &library]);
    assert!(complaint.contains("it was compiled against another build of zskt"), "{complaint}");
    assert!(complaint.contains("help: build it with the SDK of this zskt-run"), "{complaint}");
    assert!(refusal(&folder, &["plugin", "check", &library]).contains("it contains\n  "), "{complaint}");
    let kept = folder.join(format!("{name}.so"));
    fs::copy(folder.join(&library), &kept).unwrap();
    // With the SDK of the tested program it is built anew, its tests too, though the other SDK's files are the younger ones.
    success(with_own_target(&mut zskt_run(&folder, &["plugin", "build", name])));
    success(&mut zskt_run(&folder, &["plugins", "--plugin", &library]));
    let mut test = Command::new("cargo");
    success(with_own_target(test.args(["test", "--quiet"]).current_dir(folder.join(name))));
    (kept, complaint)
}

/// The crates of zskt as they are published, each in a folder of its name; what is as it was before keeps its times.
fn packages(place: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let made = tempfile::tempdir().unwrap();
    let mut package = Command::new("cargo");
    package.args(["package", "--workspace", "--exclude=xtask", "--exclude=zskt-tests", "--no-verify", "--allow-dirty"]);
    package.args(["--config", "patch.crates-io.zskt-dylib.path=\"zskt-dylib\"", "--target-dir"]).arg(made.path());
    success(package.current_dir(root));
    fs::create_dir_all(place).unwrap();
    let (lock, old) = (fs::read(root.join("Cargo.lock")).unwrap(), place.join("Cargo.lock"));
    if fs::read(&old).ok().as_ref() != Some(&lock) {
        fs::write(&old, lock).unwrap();
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(made.path().join("package")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|it| it == "crate") {
            success(Command::new("tar").args(["-xmf"]).arg(&file).arg("-C").arg(made.path()));
            let unpacked = made.path().join(file.file_stem().unwrap());
            let name = unpacked.file_name().unwrap().to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
            let old = place.join(&name);
            let same =
                Command::new("diff").args(["-rq", "-x", ".cargo_vcs_info.json"]).args([&unpacked, &old]).output();
            if !same.unwrap().status.success() {
                let _ = fs::remove_dir_all(&old);
                success(Command::new("cp").arg("-r").args([&unpacked, &old]));
            }
            names.push(name);
        }
    }
    names
}

/// Makes a registry of one crate in a folder: an index, and the crate as `cargo package` packs it.
fn publish(crate_folder: &Path, name: &str, registry: &Path) {
    let mut package = Command::new("cargo");
    package.args(["package", "--no-verify", "--quiet"]).current_dir(crate_folder);
    success(with_own_target(&mut package));
    let (file, index) = (format!("{name}-0.1.0.crate"), registry.join("index").join(&name[..2]).join(&name[2..4]));
    fs::create_dir_all(&index).unwrap();
    fs::copy(crate_folder.join("target/package").join(&file), registry.join(&file)).unwrap();
    let sum = success(Command::new("sha256sum").arg(registry.join(&file)));
    let dependency = serde_json::json!({
        "name": "zskt-api", "req": "^0.1", "features": [], "optional": false, "default_features": true, "target": null,
        "kind": "normal", "registry": "https://github.com/rust-lang/crates.io-index",
    });
    let line = serde_json::json!({
        "name": name, "vers": "0.1.0", "deps": [dependency], "features": {}, "yanked": false,
        "cksum": sum.split_whitespace().next().unwrap(),
    });
    fs::write(index.join(name), line.to_string()).unwrap();
}

fn append(file: &Path, text: &str) {
    fs::write(file, fs::read_to_string(file).unwrap() + text).unwrap();
}

#[test]
#[ignore = "builds zskt once more, as a static program of its packages"]
fn a_static_program_has_the_plugins_of_others_linked_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Networks are trained in it.
    compile_quickly(folder, &["zskt-api", "zskt-tensor"]);
    // Crates as they are made for loading: one in a git repository, one in a registry.
    success(&mut zskt_run(folder, &["plugin", "new", "tiny-net", "--kind", "architecture"]));
    let repository = folder.join("tiny-net");
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message=0.1.0"]] {
        let author = ["-c", "user.name=a", "-c", "user.email=a@b.c"];
        success(Command::new("git").args(author).args(arguments).current_dir(&repository));
    }
    success(&mut zskt_run(folder, &["plugin", "new", "other-loss", "--kind", "loss"]));
    publish(&folder.join("other-loss"), "other-loss", &folder.join("registry"));

    let zskt = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages of zskt");
    let names = packages(&zskt);
    let arguments = ["plugin", "new", "mine", "--kind", "architecture", "--linked", zskt.to_str().unwrap()];
    success(&mut zskt_run(folder, &arguments));
    let mine = folder.join("mine");
    let dependencies = format!(
        "\n[dependencies.tiny-net]\ngit = \"file://{}\"\n\n[dependencies.other-loss]\nversion = \"0.1\"\nregistry = \"plugins\"\n",
        repository.display()
    );
    append(&mine.join("Cargo.toml"), &dependencies);
    append(&mine.join("src/main.rs"), "\nuse other_loss as _;\nuse tiny_net as _;\n");
    // Packages name no folders, so the others of zskt have to be named, too; and the registry is in a folder.
    let others = names.iter().filter(|name| !["zskt-api", "zskt-runtime"].contains(&name.as_str()));
    let others = others.map(|name| format!("{name} = {{ path = {:?} }}\n", zskt.join(name))).collect::<String>();
    let index = "sparse+https://plugins.example/index/";
    let registry = format!(
        "\n[registries.plugins]\nindex = \"{index}\"\n\n[source.plugins]\nregistry = \"{index}\"\nreplace-with = \"folder\"\n\n\
         [source.folder]\nlocal-registry = \"../registry\"\n"
    );
    append(&mine.join(".cargo/config.toml"), &(others + &registry));

    let said = success(&mut cargo(&mine, &["test", "--release", "--quiet"]));
    assert!(said.contains("1 passed"), "{said}");
    let run = |arguments: &[&str]| cargo(&mine, &[&["run", "--quiet", "--release", "--"], arguments].concat());
    assert!(success(&mut run(&["validate", "pipeline.ron"])).starts_with("ok"));
    assert!(success(&mut run(&["inspect", "Mine"])).contains("Mine: architecture of mine 0.1.0"));
    // What is not in a package has not changed.
    let (_, _, built) = outcome(&mut cargo(&mine, &["build", "--release"]));
    assert!(!built.contains("Compiling") && built.contains("Finished"), "{built}");

    fs::write(mine.join("linked.ron"), pipeline("TinyNet").replace("ExampleLoss", "OtherLoss")).unwrap();
    success(&mut run(&["linked.ron", "--out", "linked", "--quiet"]));
    let libraries = two_libraries().each_ref().map(|path| path.to_str().unwrap());
    fs::write(folder.join("loaded.ron"), pipeline("TinyNet")).unwrap();
    let arguments = ["loaded.ron", "--out", "loaded", "--quiet", "--plugin", libraries[0], "--plugin", libraries[1]];
    success(&mut zskt_run(folder, &arguments));
    let weights = |run: PathBuf| fs::read(run.join("student.safetensors")).unwrap();
    assert!(weights(mine.join("linked")) == weights(folder.join("loaded")), "other weights");

    let (code, _, complaint) = outcome(&mut run(&["plugins", "--plugin", libraries[0]]));
    assert_eq!(code, Some(2));
    assert!(complaint.contains("this zskt-run is one static file and cannot load any"), "{complaint}");

    // The library of a crate that was made for loading is built on the way, with a copy of zskt in it.
    let built = fs::read_dir(shared_target().join("release/deps")).unwrap().map(|entry| entry.unwrap().path());
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("libtiny_net") && name.ends_with(".so")
    };
    let library = built.filter(is_library).max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap();
    let complaint = refusal(folder, &["plugin", "check", library.to_str().unwrap()]);
    assert!(complaint.contains("it was compiled against the sources of zskt-api"), "{complaint}");
}
