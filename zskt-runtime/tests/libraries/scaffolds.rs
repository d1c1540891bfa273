//! What `plugin new` makes works as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::crates::{build, library, with_own_target};
use crate::release::{outcome, refusal, success, zskt_run};

/// What the documentation calls a crate that it makes for a kind of plugin.
fn documented_name(kind: &str) -> Option<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plugins.md");
    let page = fs::read_to_string(page).unwrap();
    page.split("plugin new ").skip(1).find_map(|command| {
        let mut words = command.split_whitespace().map(|word| word.trim_end_matches('`'));
        let name = words.next()?;
        (words.next() == Some("--kind") && words.next() == Some(kind)).then(|| name.to_owned())
    })
}

#[test]
fn each_kind_of_crate_builds_passes_its_tests_and_its_pipeline_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        ("architecture", 1),
        ("loss", 2),
        ("generator", 1),
        ("dataset", 2),
        ("metric", 2),
        ("stage", 2),
        ("teacher", 2),
        ("turn", 1),
        ("optimizer", 2),
        ("schedule", 2),
        ("targets", 2),
    ];
    for (kind, tests) in kinds {
        let name = documented_name(kind).unwrap_or_else(|| format!("my-{kind}"));
        library(folder.path(), &name, kind, |source| source);
        let crate_folder = folder.path().join(name);
        let mut test = Command::new("cargo");
        // Set by the cargo that runs this test, and not by a third party's shell.
        test.args(["test", "--quiet"]).current_dir(&crate_folder).env_remove("LD_LIBRARY_PATH");
        let said = success(with_own_target(&mut test));
        assert!(said.contains(&format!("{tests} passed")), "{said}");
        let said = success(&mut zskt_run(&crate_folder, &["validate", "pipeline.ron"]));
        assert!(said.starts_with("ok pipeline.ron"), "{said}");
    }
    // And it runs.
    let stage = folder.path().join(documented_name("stage").unwrap());
    let shorter = ["pipeline.ron", "--set", "digits.count=64", "--set", "transfer.batches=2", "--out", "run"];
    success(&mut zskt_run(&stage, &shorter));
    assert!(stage.join("run/report.json").exists());
}

#[test]
fn a_crate_is_documented_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    success(&mut zskt_run(folder.path(), &["plugin", "new", "mine", "--kind", "loss"]));
    let mine = folder.path().join("mine");
    let source = fs::read_to_string(mine.join("src/lib.rs")).unwrap();
    let example = "//!\n//! ```\n//! use mine as _;\n//! assert!(zskt_api::Registry::get().unwrap().find(\"Mine\").is_some());\n//! ```\n\n";
    fs::write(mine.join("src/lib.rs"), source.replacen("\n\n", &format!("\n{example}"), 1)).unwrap();
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&mine).env_remove("LD_LIBRARY_PATH").env_remove("RUSTDOCFLAGS");
        success(with_own_target(&mut cargo))
    };
    assert!(cargo(&["test", "--doc", "--quiet"]).contains("1 passed"));
    cargo(&["doc", "--no-deps", "--quiet"]);
    assert!(mine.join("target/doc/mine/struct.Mine.html").exists());
}

#[test]
#[ignore = "cargo asks the registry"]
fn a_crate_is_published_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    success(&mut zskt_run(folder.path(), &["plugin", "new", "mine", "--kind", "loss"]));
    let mine = folder.path().join("mine");
    fs::create_dir_all(mine.join("runs/one")).unwrap();
    for left in ["runs/one/report.json", "student.pth", "student.onnx"] {
        fs::write(mine.join(left), "left by a run").unwrap();
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["package", "--list"]).current_dir(&mine).env_remove("LD_LIBRARY_PATH");
    let packaged = success(with_own_target(&mut cargo));
    assert!(packaged.contains("src/lib.rs") && packaged.contains("pipeline.ron"), "{packaged}");
    assert!(!packaged.contains("runs") && !packaged.contains("student"), "{packaged}");
    let mut cargo = Command::new("cargo");
    cargo.args(["publish", "--dry-run", "--quiet"]).current_dir(&mine).env_remove("LD_LIBRARY_PATH");
    success(with_own_target(&mut cargo));
    let package = fs::read_to_string(mine.join("target/package/mine-0.1.0/Cargo.toml")).unwrap();
    assert!(package.contains("[dependencies.zskt-api]\nversion = \"0.1\"\n"), "{package}");
}

#[test]
fn the_guide_shows_what_is_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let templates = |name: &str| read(&format!("zskt-runtime/src/scaffold/templates/{name}.rs"));
    let kinds = [
        "architecture",
        "dataset",
        "stage",
        "metric",
        "teacher",
        "turn",
        "optimizer",
        "schedule",
        "targets",
        "linked_main",
    ];
    let made: Vec<_> = kinds.into_iter().map(templates).chain([read("plugins/example/src/lib.rs")]).collect();
    let guide = read("docs/plugins.md");
    let blocks: Vec<_> = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6);
    for block in blocks {
        let mut expected = block.to_owned();
        for (shown, template) in [
            ("TinyNet", "ExampleArchitecture"),
            ("LogitMatching", "ExampleLoss"),
            ("NoiseInputs", "ExampleStageInputs"),
            ("tiny_net", "example"),
        ] {
            expected = expected.replace(shown, template);
        }
        assert!(made.iter().any(|source| source.contains(&expected)), "{block}");
    }
}

#[test]
fn a_crate_from_elsewhere_is_given_this_sdk_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    library(folder, "mine", "loss", |source| source);
    let complaint = refusal(folder, &["plugin", "new", "mine", "--kind", "loss"]);
    assert!(complaint.contains("`mine` exists already, and nothing is ever overwritten"), "{complaint}");
    // A colleague's link leads nowhere, and what is checked out has none.
    let link = folder.join("mine/.zskt/sdk");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/nowhere/sdk", &link).unwrap();
    build(&folder.join("mine"), "mine");
    fs::remove_dir_all(folder.join("mine/.zskt")).unwrap();
    build(&folder.join("mine"), "mine");
    // The environment's libraries have no part in it, were they wrong.
    let stale = folder.join("stale.so");
    fs::write(&stale, "stale").unwrap();
    let mut again = zskt_run(folder, &["plugin", "build", "mine"]);
    success(with_own_target(again.env("ZSKT_PLUGIN_PATH", &stale)));
}

#[test]
fn the_crates_of_a_workspace_share_an_sdk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"one\", \"two\"]\n").unwrap();
    for (name, kind) in [("one", "loss"), ("two", "metric")] {
        success(&mut zskt_run(folder, &["plugin", "new", name, "--kind", kind]));
        let manifest = folder.join(name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(manifest, text.replace("[workspace]\n", "")).unwrap();
        for of_workspace in [".cargo", ".zskt"] {
            fs::remove_dir_all(folder.join(name).join(of_workspace)).unwrap();
        }
    }
    let said = success(with_own_target(&mut zskt_run(folder, &["plugin", "build"])));
    assert!(said.contains("libone.so can be loaded:\n  One  loss of one 0.1.0\n"), "{said}");
    assert!(said.contains("libtwo.so can be loaded:\n  Two  metric of two 0.1.0\n"), "{said}");
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet"]).current_dir(folder).env_remove("LD_LIBRARY_PATH");
    success(with_own_target(&mut test));
}

#[test]
fn what_cannot_be_made_or_built_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, expected) in [
        (&["plugin", "new", "TinyNet", "--kind", "loss"][..], "a crate cannot be called `TinyNet`"),
        (&["plugin", "new", "le-net", "--kind", "loss"], "there is a plugin `LeNet` already, of zskt-architectures"),
        (&["plugin", "new", "loss", "--kind", "loss"], "its plugin would be `Loss`, which is a name of the plugin API"),
        (&["plugin", "new", "match", "--kind", "metric"], "to rustc or cargo `match` means something else"),
        (&["plugin", "new", "a--b", "--kind", "metric"], "a crate cannot be called `a--b`"),
        (&["plugin", "new", "accuracy", "--kind", "metric"], "there is a plugin `Accuracy` already, of zskt-metrics"),
        (&["plugin", "new", "mine", "--kind", "loss", "--sdk", "."], "there is no SDK in `.`: there is no such file"),
        (&["plugin", "new", "mine", "--kind", "loss", "--linked", "."], "`.` is not the folder of zskt's sources"),
        (&["plugin", "build"], "there is no crate in `.`"),
    ] {
        let complaint = refusal(folder, arguments);
        assert!(complaint.contains(expected) && complaint.contains("help: "), "{complaint}");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "{arguments:?} left something");
    }
    // A crate that does not take zskt-api as an SDK can be it.
    success(&mut zskt_run(folder, &["plugin", "new", "mine", "--kind", "loss"]));
    let (manifest, config) = (folder.join("mine/Cargo.toml"), folder.join("mine/.cargo/config.toml"));
    let [kept, kept_config] = [&manifest, &config].map(|file| fs::read_to_string(file).unwrap());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("zskt-api");
    let of_sources = format!("zskt-api = {{ path = {sources:?} }}");
    for (written, expected) in [
        ("zskt-api = \"9.1\"", "`mine` needs zskt-api ^9.1, and this zskt-run, of zskt "),
        (&of_sources, "does not take zskt-api by a version alone"),
        ("serde = \"1\"", "it does not depend on zskt-api"),
    ] {
        fs::write(&manifest, kept.replace("zskt-api = \"0.1\"", written)).unwrap();
        let complaint = refusal(folder, &["plugin", "build", "mine"]);
        assert!(complaint.contains(expected) && complaint.contains("zskt-api = \"0.1\""), "{complaint}");
    }
    fs::write(&manifest, kept).unwrap();
    fs::write(&config, "[build]\njobs = 1\n").unwrap();
    let complaint = refusal(folder, &["plugin", "build", "mine"]);
    assert!(complaint.contains("does not say that zskt-api is the SDK\nhelp: put this into it"), "{complaint}");
    assert!(complaint.contains("\ninclude = [") && complaint.contains("\n[patch.crates-io]\n"), "{complaint}");
    // Of its settings nothing is left but those that other sources of zskt-api are taken by.
    fs::create_dir_all(folder.join("elsewhere/.zskt/sdk/src")).unwrap();
    let other = "[package]\nname = \"zskt-api\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(folder.join("elsewhere/.zskt/sdk/Cargo.toml"), other).unwrap();
    fs::write(folder.join("elsewhere/.zskt/sdk/src/lib.rs"), "").unwrap();
    fs::write(&config, kept_config.replace("\".zskt/sdk\"", "\"../elsewhere/.zskt/sdk\"")).unwrap();
    let complaint = refusal(folder, &["plugin", "build", "mine"]);
    assert!(complaint.contains("`mine` 0.1.0 would have the sources of zskt-api 0.1.0"), "{complaint}");
    fs::write(&config, kept_config).unwrap();
    // What rustc finds wrong is rustc's to say.
    fs::write(folder.join("mine/src/lib.rs"), "fn wrong( {").unwrap();
    let (code, _, complaint) = outcome(with_own_target(&mut zskt_run(folder, &["plugin", "build", "mine"])));
    assert_eq!(code, Some(2));
    assert!(
        complaint.contains("src/lib.rs:1") && complaint.contains("cargo could not build the crate in `mine`"),
        "{complaint}"
    );
}
