//! Packages: made, added, found and used by their names, and refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::crates::{library, pipeline, two_libraries, with_own_target};
use crate::release::{outcome, release, success, zskt_run};

/// The program, with packages of its own in `data`.
fn in_data(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = zskt_run(folder, arguments);
    command.env("XDG_DATA_HOME", folder.join("data")).env_remove("ZSKT_PLUGIN_INDEX");
    command
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, complaint) = outcome(&mut in_data(folder, arguments));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {complaint}");
    complaint
}

#[test]
fn a_package_is_made_added_and_used_by_its_name() {
    two_libraries();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let example = release().join("third-parties/tiny-net");
    let example = example.to_str().unwrap();
    fs::write(Path::new(example).join("LICENSE-MIT"), "do what you like\n").unwrap();
    let package = ["plugin", "package", example, "--index", "index"];
    let (_, made, missed) = outcome(with_own_target(&mut in_data(folder, &package)));
    assert!(made.contains("tiny_net::TinyNet  architecture"), "{made}");
    // Told before the version is published, which then stays as it is.
    let before_it_is_built = missed.split("Finished").next().unwrap();
    for message in
        ["warning: `tiny-net` names no licence", "warning: the description of `tiny-net` does not say what it is"]
    {
        assert!(before_it_is_built.contains(message), "{missed}");
    }
    let again = success(with_own_target(&mut in_data(folder, &["plugin", "package", example, "--index", "index"])));
    assert_eq!(made, again, "the same package");

    let (_, _, unnamed) = outcome(&mut in_data(folder, &["plugin", "search"]));
    assert!(unnamed.contains("no index of packages is named"), "{unnamed}");
    let found = success(&mut in_data(folder, &["plugin", "search", "tiny", "ARCHITECTURE", "--index", "index"]));
    assert!(found.contains("zskt-run plugin add tiny-net@0.1.0 --index index"), "{found}");
    assert!(success(&mut in_data(folder, &["plugin", "search", "huge", "--index", "index"])).contains("no package"));

    let complaint = refused(folder, &["plugins", "--plugin", "tiny-net"]);
    assert!(complaint.contains("no plugin package `tiny-net` is installed"), "{complaint}");
    let said = success(in_data(folder, &["plugin", "add", "tiny-net"]).env("ZSKT_PLUGIN_INDEX", "index"));
    assert!(said.contains("added tiny-net 0.1.0") && said.contains("plugins: [\"tiny-net\"]"), "{said}");
    let file = fs::read_dir(folder.join("index")).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|it| it == "zskt")).unwrap();
    let file = file.to_str().unwrap();
    assert!(success(&mut in_data(folder, &["plugin", "add", file])).contains("installed already"));
    assert!(success(&mut in_data(folder, &["plugin", "list"])).contains("tiny_net::TinyNet"));
    let installed = fs::read_dir(folder.join("data/zskt/plugins")).unwrap().next().unwrap().unwrap().path();
    let installed = installed.join("tiny-net@0.1.0");
    assert!(installed.join("LICENSE-MIT").exists() && installed.join("plugins/tiny_net.TinyNet.json").exists());
    // No folder of who made it.
    let described = fs::read_to_string(installed.join("plugins/tiny_net.TinyNet.json")).unwrap();
    assert!(described.contains("\"library\": \"libtiny_net.so\""), "{described}");

    // The example that comes with it names it, and a pipeline uses it by its name.
    let shown = installed.join("example/pipeline.ron");
    success(&mut in_data(folder, &["validate", shown.to_str().unwrap()]));
    let text = pipeline("tiny_net::TinyNet").replace("        \"mine\": ExampleLoss(weight: 0.1),\n", "");
    let text = text.replace(", \"mine -> imitate.loss\"", "").replace(", \"mine -> seek.loss\"", "");
    let text = text.replacen("data_free", "plugins: [\"tiny-net@0.1.0\"],\n    data_free", 1);
    fs::write(folder.join("p.ron"), text).unwrap();
    success(&mut in_data(folder, &["p.ron", "--out", "run", "--quiet"]));
    let manifest = fs::read_to_string(folder.join("run/manifest.json")).unwrap();
    assert!(manifest.contains("\"tiny_net::TinyNet\""), "{manifest}");
    // Its own pipeline means the same wherever the package is installed.
    let kept = fs::read_to_string(folder.join("run/pipeline.ron")).unwrap();
    assert!(kept.contains("plugins: [\"tiny-net@0.1.0\"]"), "{kept}");
    success(&mut in_data(folder, &["--resume", "run"]));
    let complaint = refused(folder, &["plugins", "--plugin", "tiny-net@0.2.0"]);
    assert!(
        complaint.contains("no plugin package `tiny-net@0.2.0` is installed; installed is tiny-net 0.1.0"),
        "{complaint}"
    );
    assert!(success(&mut in_data(folder, &["plugin", "check", "tiny_net"])).contains("can be loaded"));

    let library = installed.join("libtiny_net.so");
    let kept = fs::read(&library).unwrap();
    fs::write(&library, [&kept[..], b"0"].concat()).unwrap();
    let complaint = refused(folder, &["validate", "p.ron"]);
    assert!(
        complaint.contains("p.ron:3:") && complaint.contains("is not what was installed as tiny-net 0.1.0"),
        "{complaint}"
    );
    let complaint = refused(folder, &["plugin", "add", file]);
    assert!(complaint.contains("another tiny-net 0.1.0 is installed"), "{complaint}");
    let said = success(&mut in_data(folder, &["plugin", "add", file, "--replace"]));
    assert!(said.starts_with("replaced the tiny-net 0.1.0"), "{said}");
    success(&mut in_data(folder, &["validate", "p.ron"]));
    for writable in [installed.as_path(), &folder.join("data/zskt")] {
        fs::set_permissions(writable, fs::Permissions::from_mode(0o777)).unwrap();
        let complaint = refused(folder, &["validate", "p.ron"]);
        assert!(complaint.contains("others, or its group, can write to it"), "{complaint}");
        fs::set_permissions(writable, fs::Permissions::from_mode(0o755)).unwrap();
    }

    assert_eq!(success(&mut in_data(folder, &["plugin", "remove", "tiny_net"])), "removed tiny-net 0.1.0\n");
    assert!(
        !installed.exists() && refused(folder, &["plugin", "remove", "tiny-net"]).contains("is installed for this")
    );
    assert_eq!(fs::read_dir(installed.parent().unwrap()).unwrap().count(), 0, "nothing stays");

    // An index whose file was changed, or is for another release.
    let index = folder.join("index/index.json");
    let listed = fs::read_to_string(&index).unwrap();
    let add = ["plugin", "add", "tiny-net", "--index", "index"];
    fs::write(file, [&fs::read(file).unwrap()[..], b"0"].concat()).unwrap();
    let complaint = refused(folder, &add);
    assert!(complaint.contains("it is not the file that the index says"), "{complaint}");
    let image = listed.split("\"image\": \"").nth(1).unwrap()[..64].to_owned();
    fs::write(&index, listed.replace(&image, &"0".repeat(64))).unwrap();
    let complaint = refused(folder, &add);
    assert!(complaint.contains("is for another build of zskt 0.1.0 (image 0000000000000000"), "{complaint}");
    let found = success(&mut in_data(folder, &["plugin", "search", "--index", "index"]));
    assert!(found.contains("not for this zskt-run: it is for another build"), "{found}");
}

#[test]
fn what_began_goes_on_with_the_version_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    success(&mut zskt_run(folder, &["plugin", "new", "flat-land", "--kind", "teacher"]));
    let manifest = folder.join("flat-land/Cargo.toml");
    let add_version = |version: &str| {
        success(&mut in_data(folder, &["plugin", "add", &format!("flat-land@{version}"), "--index", "a b"]))
    };
    let add = |version: &str| {
        let text =
            fs::read_to_string(&manifest).unwrap().replace("version = \"0.1.0\"", &format!("version = {version:?}"));
        fs::write(&manifest, text).unwrap();
        let made =
            success(with_own_target(&mut in_data(folder, &["plugin", "package", "flat-land", "--index", "a b"])));
        assert!(made.contains("with example/parts.csv, example/pipeline.ron"), "{made}");
        assert!(made.contains(&format!("zskt-run plugin add flat-land@{version} --index 'a b'")), "{made}");
        let said = add_version(version);
        assert!(said.contains(&format!("added flat-land {version} ")), "{said}");
        said
    };
    let said = add("0.1.0");
    // As it says: a copy of the example, with the file that it reads.
    let copy = said.lines().find_map(|line| line.trim().strip_prefix("an example:")).unwrap();
    let copy = copy.split_once(" && cd flat-land-0.1.0-example && ").unwrap().0;
    let copied = || Command::new("sh").args(["-c", copy]).current_dir(folder).status().unwrap().success();
    assert!(copied() && !copied(), "once");
    let example = folder.join("flat-land-0.1.0-example");
    std::os::unix::fs::symlink(folder.join("data"), example.join("data")).unwrap();
    let named = |run: &str| fs::read_to_string(example.join(run).join("pipeline.ron")).unwrap();
    let short = ["--set", "transfer.batches=3"];
    let run = |arguments: &[&str]| success(&mut in_data(&example, &[arguments, &short].concat()));
    run(&["pipeline.ron", "--out", "run", "--quiet"]);
    run(&["sweep", "pipeline.ron", "--out", "swept", "--seeds", "0..2", "--list"]);
    let default = ["sweep", "pipeline.ron", "--seeds", "0..2", "--list"];
    run(&default);

    add("0.2.0");
    run(&["pipeline.ron", "--resume", "run", "--quiet"]);
    run(&["pipeline.ron", "--out", "new", "--quiet"]);
    assert!(named("run").contains("flat-land@0.1.0") && named("new").contains("flat-land@0.2.0"));
    let commands = run(&["sweep", "pipeline.ron", "--out", "swept", "--seeds", "0..3", "--list"]);
    assert_eq!(commands.matches("--plugin flat-land@0.1.0").count(), 3, "{commands}");
    let again = success(&mut in_data(&example, &["sweep", "--resume", "swept", "--list"]));
    assert_eq!(again, commands);
    let of_first = commands.lines().next().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", of_first]).env("XDG_DATA_HOME", example.join("data")).env_remove("LD_LIBRARY_PATH");
    success(&mut shell);
    assert!(named("swept/seed=0").contains("flat-land@0.1.0"));
    // In its default folder it is found only when the plugins are loaded. The way out is what the message says, also with a name on the command line.
    for named in [&[][..], &["--plugin", "flat-land"]] {
        let command = [&default[..], named].concat();
        let complaint = refused(&example, &[&command[..], &short].concat());
        assert!(complaint.contains("began with `flat-land@0.1.0`, and this is `flat-land@0.2.0`"), "{complaint}");
        let (_, out) = complaint.split_once("with --out ").unwrap();
        let commands = run(&[&command[..], &["--out", out.split_once(',').unwrap().0]].concat());
        assert_eq!(commands.matches("--plugin flat-land@0.1.0").count(), 2, "{commands}");
    }
    let complaint = refused(&example, &["sweep", "--resume", "swept", "--list", "--plugin", "flat-land@0.2.0"]);
    assert!(complaint.contains("where no version is named"), "{complaint}");
    run(&[&default[..], &["--plugin", "flat-land@0.1.0"]].concat());
    // Whatever is meant by the name that the environment has.
    let mut export = in_data(&example, &["export", "run", "--format", "safetensors"]);
    success(export.env("ZSKT_PLUGIN_PATH", "flat-land"));

    // A library that is named by its file, too, is told to points once.
    let library = ["--plugin", "../flat-land/target/release/libflat_land.so"];
    let commands = run(&[&["sweep", "pipeline.ron", "--out", "both", "--seeds", "0", "--list"][..], &library].concat());
    assert!(commands.contains("--plugin flat-land@0.2.0") && !commands.contains(".so"), "{commands}");
    let again = [&["sweep", "--resume", "both", "--list"][..], &library].concat();
    assert_eq!(success(&mut in_data(&example, &again)), commands);

    // What is told when an older version is added means that one.
    success(&mut in_data(folder, &["plugin", "remove", "flat-land@0.1.0"]));
    let said = add_version("0.1.0");
    assert!(said.contains("plugins: [\"flat-land@0.1.0\"]"), "{said}");
    assert!(said.contains("zskt-run pipeline.ron --plugin flat-land@0.1.0"), "{said}");
}

#[test]
fn two_libraries_may_have_a_plugin_of_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let tiny_net = two_libraries()[0].to_str().unwrap();
    // A plugin that is called as that of the other library, and one that is called as one of zskt's own.
    let other = library(folder, "other-nets", "architecture", |source| {
        let source = source.replace("OtherNets", "TinyNet");
        source.replace("architecture: TinyNet", "architecture: TinyNet, WideResNet")
            + "
params! {
    /// Another network of this name.
    pub struct WideResNet {
        /// Classes.
        pub classes: usize = 10,
    }
}

impl ClassifierShape for WideResNet {
    fn output_shape(&self, _: ImageShape) -> std::result::Result<OutputShape, CheckError> {
        Err(CheckError::new(\"takes no images\"))
    }
    fn classes(&self) -> usize {
        self.classes
    }
}

impl Architecture for WideResNet {
    fn build(&self, _: &Builder) -> Result<Box<dyn Classifier>> {
        Err(zskt_api::Error::new(\"there is no such network\"))
    }
}
"
    });
    let both = ["--plugin", tiny_net, "--plugin", other.to_str().unwrap()];
    let text = pipeline("tiny_net::TinyNet").replace("        \"mine\": ExampleLoss(weight: 0.1),\n", "");
    let text = text.replace(", \"mine -> imitate.loss\"", "").replace(", \"mine -> seek.loss\"", "");
    let run = |text: &str, more: &[&str]| {
        fs::write(folder.join("p.ron"), text).unwrap();
        outcome(&mut zskt_run(folder, &[&["p.ron", "--quiet", "--out", "run"], more].concat()))
    };
    let (_, _, complaint) = run(&text, &both);
    let expected = "2 plugins are called `WideResNet`: `other_nets::WideResNet`, `zskt_architectures::WideResNet`";
    assert!(complaint.contains(expected) && complaint.contains("p.ron:5:20"), "{complaint}");
    let (code, _, complaint) = run(&text.replace("tiny_net::", ""), &["--plugin", tiny_net]);
    assert_eq!(code, Some(0), "{complaint}");
    // What was unique when the run began is not any more; the run knows which it meant.
    let (code, _, complaint) = outcome(&mut zskt_run(folder, &[&both[2..], &["--resume", "run", "--quiet"]].concat()));
    assert_eq!(code, Some(0), "{complaint}");
    let inspected = success(&mut zskt_run(folder, &[&["inspect", "other-nets::TinyNet"], &both[..]].concat()));
    assert!(inspected.starts_with("other_nets::TinyNet: architecture of other-nets 0.1.0"), "{inspected}");
}
