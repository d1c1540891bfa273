//! The very build that is tested, laid out as a release is, and moved away from where it was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use xtask::{Build, Workspace, layout};

/// The folder of the release: `bin/`, `lib/`, `sdk/`.
pub fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
        layout(&Workspace::here().unwrap(), &made, Build::Tests).unwrap();
        let moved = made.with_file_name("moved release");
        let _ = fs::remove_dir_all(&moved);
        fs::rename(made, &moved).unwrap();
        moved
    })
}

/// The released program, to be run in a folder.
pub fn zskt_run(folder: &Path, arguments: &[&str]) -> Command {
    of_release(release(), folder, arguments)
}

/// The program of a release, to be run in a folder.
pub fn of_release(release: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(release.join("bin/zskt-run"));
    command.args(arguments).current_dir(folder).env_remove("ZSKT_PLUGIN_PATH");
    // Cargo tells tests where libraries are; users have nobody who does.
    // What it says must not depend on who tests it.
    command.env("RUST_BACKTRACE", "0");
    command.env_remove("LD_LIBRARY_PATH").env_remove("DYLD_FALLBACK_LIBRARY_PATH");
    command
}

/// The exit code, standard output and standard error.
pub fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What the program says when all goes well.
pub fn success(command: &mut Command) -> String {
    let (code, out, complaint) = outcome(command);
    assert_eq!(code, Some(0), "{command:?}: {complaint}");
    out
}

/// What the program says when it refuses.
pub fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, complaint) = outcome(&mut zskt_run(folder, arguments));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {complaint}");
    complaint
}
