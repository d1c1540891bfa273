//! What `plugin new` makes works as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::crates::{build, library, with_own_target};
use crate::release::{outcome, refusal, release, success, zskt_run};

#[test]
fn each_kind_of_crate_builds_passes_its_tests_and_its_pipeline_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [("architecture", 1), ("loss", 2), ("generator", 1), ("dataset", 2), ("metric", 2), ("stage", 2)];
    for (kind, tests) in kinds {
        let name = format!("my-{kind}");
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
    let stage = folder.path().join("my-stage");
    let shorter = ["pipeline.ron", "--set", "digits.count=64", "--set", "transfer.batches=2", "--out", "run"];
    success(&mut zskt_run(&stage, &shorter));
    assert!(stage.join("run/report.json").exists());
}

#[test]
fn the_guide_shows_what_is_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let templates = |name: &str| read(&format!("zskt-runtime/src/scaffold/templates/{name}.rs"));
    let made =
        [templates("architecture"), templates("stage"), templates("linked_main"), read("plugins/example/src/lib.rs")];
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
fn a_release_looks_for_its_libraries_beside_it_only() {
    let program = fs::read(release().join("bin/zskt-run")).unwrap();
    let text = b"$ORIGIN/../lib:$ORIGIN:$ORIGIN/..";
    let place = program.windows(text.len()).position(|window| window == text).unwrap();
    assert_eq!(program[place + text.len()], 0);
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
    fs::write(
        folder.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"one\", \"two\"]\nexclude = [\".zskt\"]\n\n[workspace.dependencies]\n\
         zskt-api = { package = \"zskt-sdk\", path = \".zskt/sdk\" }\n",
    )
    .unwrap();
    for (name, kind) in [("one", "loss"), ("two", "metric")] {
        success(&mut zskt_run(folder, &["plugin", "new", name, "--kind", kind]));
        let manifest = folder.join(name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let (before, _) = text.split_once("[workspace]").unwrap();
        let shared =
            before.lines().map(|line| if line.starts_with("zskt-api") { "zskt-api.workspace = true" } else { line });
        fs::write(manifest, shared.collect::<Vec<_>>().join("\n")).unwrap();
        fs::remove_dir_all(folder.join(name).join(".zskt")).unwrap();
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
        (&["plugin", "new", "loss", "--kind", "loss"], "the name `loss` means something else already"),
        (&["plugin", "new", "match", "--kind", "metric"], "the name `match` means something else already"),
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
    // What rustc finds wrong is rustc's to say.
    success(&mut zskt_run(folder, &["plugin", "new", "mine", "--kind", "loss"]));
    fs::write(folder.join("mine/src/lib.rs"), "fn wrong( {").unwrap();
    let (code, _, complaint) = outcome(with_own_target(&mut zskt_run(folder, &["plugin", "build", "mine"])));
    assert_eq!(code, Some(2));
    assert!(
        complaint.contains("src/lib.rs:1") && complaint.contains("cargo could not build the crate in `mine`"),
        "{complaint}"
    );
}
