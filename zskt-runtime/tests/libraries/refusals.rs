//! What is not loaded, and why.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::crates::{build, pipeline, two_libraries};
use crate::release::{of_release, outcome, refusal, release, success, zskt_run};

/// What is said of a library by `--plugin`, and by `plugin check`, which says the same.
fn refused(folder: &Path, library: &str) -> String {
    let complaint = refusal(folder, &["plugins", "--plugin", library]);
    assert!(complaint.starts_with(&format!("error: cannot load the plugin library `{library}`: ")), "{complaint}");
    let checked = refusal(folder, &["plugin", "check", library]);
    assert!(checked.starts_with(&format!("error: `{library}` would not be loaded: ")), "{checked}");
    complaint
}

#[test]
fn what_is_no_plugin_library_of_this_machine_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = fs::read(&two_libraries()[1]).unwrap();
    let standard = fs::read_dir(release().join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let standard = fs::read(standard.into_iter().find(|path| !path.ends_with("libzskt_dylib.so")).unwrap()).unwrap();
    let mut other_machine = good.clone();
    // ELF's e_machine: 183 is AArch64, 62 x86-64.
    other_machine[18..20].copy_from_slice(&if cfg!(target_arch = "x86_64") { 183u16 } else { 62 }.to_le_bytes());
    let cases: [(&str, &[u8], &str); 7] = [
        (
            "libnotes.so",
            b"Not a library, but a text that is longer than the header of one would be.",
            "it is not a shared library",
        ),
        ("libempty.so", b"", "it is empty"),
        ("libhead.so", &good[..40], "it is damaged, or was not copied to its end"),
        ("libcut.so", &good[..good.len() / 2], "it is damaged, or was not copied to its end"),
        ("libforeign.so", &standard, "it has no plugins of zskt in it: it exports none"),
        ("libarm.so", &other_machine, "it is for another processor: "),
        (
            "libprogram.so",
            &fs::read(release().join("bin/zskt-run")).unwrap(),
            "it has no plugins of zskt in it: it exports none",
        ),
    ];
    for (name, bytes, expected) in cases {
        fs::write(folder.join(name), bytes).unwrap();
        let complaint = refused(folder, name);
        assert!(complaint.contains(expected), "{name}: {complaint}");
    }
    let complaint = refusal(folder, &["plugins", "--plugin", "libmissing.so"]);
    assert!(complaint.contains("there is no such file"), "{complaint}");
    let complaint = refusal(folder, &["plugins", "--plugin", "."]);
    assert!(complaint.contains("it is a folder"), "{complaint}");
}

#[test]
fn a_library_of_another_release_says_which_and_whether_building_it_again_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let version = env!("CARGO_PKG_VERSION");
    let mut library = fs::read(&two_libraries()[1]).unwrap();
    let mut change = |text: String, change: &dyn Fn(&str) -> String| {
        let place = library.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        library[place..place + text.len()].copy_from_slice(change(&text).as_bytes());
        fs::write(folder.join("libother.so"), &library).unwrap();
        refused(folder, "libother.so")
    };
    let complaint = change(format!("release: {version}\n"), &|text| text.replace('0', "7"));
    let other = version.replace('0', "7");
    assert!(complaint.contains(&format!("it was built for zskt {other} (zskt-api ")), "{complaint}");
    assert!(complaint.contains("help: built again, it works as it is: `zskt-run plugin build`"), "{complaint}");
    let complaint = change("zskt-api: 0.".into(), &|text| text.replace('0', "9"));
    assert!(
        complaint.contains(&format!("help: it was written for a newer plugin API: use zskt {other}")),
        "{complaint}"
    );
}

fn copy_release(folder: &Path) {
    for part in ["bin", "lib"] {
        let copied = Command::new("cp").arg("-r").arg(release().join(part)).arg(folder).status().unwrap();
        assert!(copied.success());
    }
}

#[test]
fn a_program_with_the_image_of_another_build_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy_release(folder);
    let path = folder.join("lib/libzskt_dylib.so");
    let mut image = fs::read(&path).unwrap();
    let text = format!("zskt-api: {}, sources ", zskt_api::build_id::API_VERSION);
    let place = image.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let digit = place + text.len();
    image[digit] = if image[digit] == b'0' { b'1' } else { b'0' };
    fs::write(&path, image).unwrap();
    let (code, out, complaint) = outcome(&mut of_release(folder, folder, &["plugins"]));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{complaint}");
    assert!(complaint.contains("libzskt_dylib.so`, were built separately\nhelp: install both"), "{complaint}");
}

#[test]
fn a_library_that_may_not_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let library = folder.join("libexample.so");
    fs::copy(&two_libraries()[1], &library).unwrap();
    fs::set_permissions(&library, fs::Permissions::from_mode(0o000)).unwrap();
    // Where everyone may look.
    copy_release(folder);
    let mut command = of_release(folder, folder, &["plugins", "--plugin", "libexample.so"]);
    if fs::metadata(folder).unwrap().uid() == 0 {
        // Nothing is forbidden to root.
        command.uid(65534).gid(65534);
    }
    let (code, _, complaint) = outcome(&mut command);
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("cannot load the plugin library `libexample.so`: permission denied"), "{complaint}");
}

#[test]
fn a_library_is_loaded_once_and_a_plugin_has_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let example = two_libraries()[1].to_str().unwrap();
    let complaint = refusal(folder, &["plugins", "--plugin", example, "--plugin", example]);
    assert!(complaint.contains("it is named twice"), "{complaint}");
    fs::copy(example, folder.join("libcopy.so")).unwrap();
    let complaint = refusal(folder, &["plugins", "--plugin", example, "--plugin", "libcopy.so"]);
    assert!(complaint.contains(&format!("it is named twice, the first time as `{example}`")), "{complaint}");
    // The pipeline, the environment and the command line may all name it.
    let named = pipeline("LeNet").replacen("data_free", &format!("plugins: [{example:?}],\n    data_free"), 1);
    let named = named.replace("LeNet(width: 8)", "WideResNet(depth: 10, widen_factor: 1)");
    fs::write(folder.join("p.ron"), &named).unwrap();
    success(zskt_run(folder, &["validate", "p.ron", "--plugin", example]).env("ZSKT_PLUGIN_PATH", example));

    // Another crate of the same name, with a plugin of the same name.
    let other = folder.join("example");
    let copied =
        Command::new("cp").arg("-r").args([&release().join("third-parties/example"), &other]).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(other.join("target")).unwrap();
    let source = other.join("src/lib.rs");
    fs::write(&source, fs::read_to_string(&source).unwrap().replace("    /// ", "    /// Another: ")).unwrap();
    let other = build(&other, "example");
    let complaint = refusal(folder, &["plugins", "--plugin", example, "--plugin", other.to_str().unwrap()]);
    let expected = format!(
        "its plugin `example::ExampleLoss` of example 0.1.0 is there already, of example 0.1.0, of the library `{example}`"
    );
    assert!(complaint.contains(&expected) && complaint.contains(other.to_str().unwrap()), "{complaint}");
    // Two pipelines may name two copies.
    fs::write(folder.join("copy.ron"), named.replace(example, "libcopy.so")).unwrap();
    let said = success(&mut zskt_run(folder, &["validate", "p.ron", "copy.ron"]));
    assert!(said.contains("ok p.ron") && said.contains("ok copy.ron"), "{said}");
    // A mistake in a pipeline is shown in its place.
    fs::write(folder.join("p.ron"), named.replacen("plugins: [", &format!("plugins: [{other:?}, "), 1)).unwrap();
    let complaint = refusal(folder, &["validate", "p.ron"]);
    assert!(complaint.contains("p.ron:3:") && complaint.contains("is there already"), "{complaint}");
}

#[test]
fn nothing_is_loaded_that_others_could_have_written_or_nobody_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy(&two_libraries()[1], plugins.join("libexample.so")).unwrap();
    fs::copy(&two_libraries()[1], folder.join("libexample.so")).unwrap();
    let with_path = |path: &str| outcome(zskt_run(folder, &["plugins"]).env("ZSKT_PLUGIN_PATH", path));
    for nothing in ["", ":", "::"] {
        let (code, list, complaint) = with_path(nothing);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(!list.contains("ExampleLoss"), "the working directory was searched");
    }
    assert!(with_path("plugins").1.contains("ExampleLoss"));
    fs::set_permissions(plugins.join("libexample.so"), fs::Permissions::from_mode(0o666)).unwrap();
    let (code, _, complaint) = with_path("plugins");
    assert!(code == Some(2) && complaint.contains("others, or its group, can write to it"), "{complaint}");
    fs::set_permissions(plugins.join("libexample.so"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, _, complaint) = with_path("plugins");
    assert!(code == Some(2) && complaint.contains("others, or its group, can write to it"), "{complaint}");
    assert!(
        complaint.contains("ZSKT_PLUGIN_PATH in `plugins`") && complaint.contains("help: chmod go-w"),
        "{complaint}"
    );
}
