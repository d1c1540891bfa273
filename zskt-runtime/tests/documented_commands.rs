//! Blocks of commands in the documentation are run as a reader would, in a shell: with a small pipeline and its runs in the places of those that are named.
//! That all others are commands of the program is seen in `src/documentation`.

#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Stands for every pipeline.
const PIPELINE: &str = r#"(
    name: "quickstart",
    nodes: {
        "student": WideResNet(depth: 10, widen_factor: 1),
        "digits": SyntheticDigits(split: Train, count: 8, size: 12),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(batches: 1, batch_size: 4),
        "student_accuracy": Accuracy(),
    },
    edges: [
        "student -> learn.player", "labels -> learn.loss",
        "student -> teaching.student", "digits -> teaching.images", "learn -> teaching.turns",
        "teaching -> student_accuracy.classifier", "digits -> student_accuracy.dataset",
    ],
)
"#;

/// What is not run here, by something that its block has in it, and why.
const NOT_RUN: [(&str, &str); 30] = [
    ("cargo test --release --workspace\n", "it is what runs this"),
    ("zskt-run new --teacher", "needs a user's network: tests/bring_your_own.rs does it"),
    ("cargo xtask layout", "builds: tests/libraries lays out the same"),
    ("--set teacher.path=my-wrn-16-2.pth", "needs a user's network and images"),
    ("cargo package", "packs all crates: tests/libraries/other_builds.rs does it"),
    ("zskt-run plugin package\n", "needs a crate: tests/libraries/catalogue.rs does it"),
    ("zskt-run plugin add ./", "needs a package: tests/libraries/catalogue.rs does it"),
    ("--index ../packages", "needs a crate: tests/libraries/catalogue.rs does it"),
    ("--on slurm", "needs Slurm"),
    ("--on hyperqueue", "needs HyperQueue"),
    ("--on parallel", "needs GNU parallel"),
    ("| jq", "needs jq"),
    ("--features cuda\n", "needs a toolkit"),
    ("tests/gpu/check.sh", "needs a GPU"),
    ("nvidia-cuda-mps-control", "needs a GPU's driver"),
    ("benches/pseudo_batches", "needs a GPU"),
    ("pipelines/paper/zero-shot.ron --set device=cuda:0", "needs a GPU"),
    ("sha256sum --check --ignore-missing", "needs an archive: xtask's tests unpack one"),
    ("# deep-inversion\n", "arguments, no commands"),
    ("--set teacher.path=weights/svhn", "arguments, no commands"),
    ("pipelines/paper/", "hours, and images of others"),
    ("plugin new tiny-net", "builds a crate: tests/libraries/scaffolds.rs does it"),
    ("path/to/libtiny_net.so", "needs a library: tests/libraries/registered_plugins.rs does it"),
    ("pip install ./python", "python/check does it"),
    ("export ZSKT_RUN=", "python/check does it"),
    ("zskt-run watch", "needs a terminal"),
    ("tests/sanitizers/run", "takes minutes, and another compiler"),
    ("tensorboard --logdir", "needs TensorBoard"),
    ("wandb sync", "needs Weights & Biases"),
    ("mlflow server", "needs MLflow"),
];

/// The blocks for shells, each with its place.
fn blocks() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md"].map(|it| root.join(it)).into();
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|page| page.extension().is_some_and(|it| it == "md"));
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for part in text.split("\n```sh\n").skip(1) {
            let block = part.split("\n```").next().unwrap();
            let first = block.lines().next().unwrap_or_default();
            blocks.push((format!("{}: {first}", page.file_name().unwrap().display()), format!("{block}\n")));
        }
    }
    blocks
}

/// Runs commands in a folder, with the program in `PATH`; the first that fails is the last, also where others read what it says.
fn shell(folder: &Path, commands: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_zskt-run")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-o", "pipefail", "-c", commands])
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("ZSKT_PLUGIN_PATH");
    shell.output().unwrap()
}

/// A folder as a reader has it: pipelines, and runs that are over.
fn readers_folder(run: Option<&Path>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    for name in ["pipelines/quickstart.ron", "pipeline.ron", "PIPELINE.ron"] {
        fs::write(folder.path().join(name), PIPELINE).unwrap();
    }
    if let Some(run) = run {
        for name in ["runs/quickstart-1", "runs/a", "runs/b", "sweeps/width/0", "RUN"] {
            let place = folder.path().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            assert!(Command::new("cp").arg("-rp").args([run, &place]).status().unwrap().success());
        }
    }
    folder
}

#[test]
fn each_block_of_commands_is_run_or_says_why_not() {
    let first = readers_folder(None);
    let made = shell(first.path(), "zskt-run pipeline.ron --quiet --out run");
    assert!(made.status.success(), "{made:?}");
    let mut used = [false; NOT_RUN.len()];
    let (mut failed, mut count) = (Vec::new(), 0);
    for (place, block) in blocks() {
        if let Some(at) = NOT_RUN.iter().position(|(has, _)| block.contains(has)) {
            used[at] = true;
            continue;
        }
        count += 1;
        let commands =
            block.replace("cargo run --release --", "zskt-run").replace("runs/quickstart-…", "runs/quickstart-1");
        let folder = readers_folder(Some(&first.path().join("run")));
        let output = shell(folder.path(), &commands);
        if !output.status.success() {
            failed.push(format!("{place}\n{}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(failed.is_empty(), "mend these, or say in NOT_RUN why they are not run:\n{}", failed.join("\n"));
    assert!(count >= 8, "{count} blocks were run");
    let unused: Vec<_> = NOT_RUN.iter().zip(used).filter_map(|((has, _), used)| (!used).then_some(has)).collect();
    assert!(unused.is_empty(), "no block has {unused:?}");
}
