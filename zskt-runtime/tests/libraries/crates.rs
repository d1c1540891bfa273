//! Crates as third parties make them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::release::{release, success, zskt_run};

/// Makes a crate with a plugin in a folder, changes its source, and builds it. Gives its library.
pub fn library(folder: &Path, name: &str, kind: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    success(&mut zskt_run(folder, &["plugin", "new", name, "--kind", kind]));
    let source = folder.join(name).join("src/lib.rs");
    let (before, after) = {
        let text = fs::read_to_string(&source).unwrap();
        (text.clone(), change(text))
    };
    if before != after {
        fs::write(&source, after).unwrap();
    }
    build(&folder.join(name), name)
}

/// Builds a crate. Gives its library.
pub fn build(folder: &Path, name: &str) -> PathBuf {
    let said = success(with_own_target(&mut zskt_run(folder, &["plugin", "build"])));
    assert!(said.contains("can be loaded"), "{said}");
    folder.join(format!("target/release/lib{}.so", name.replace('-', "_")))
}

/// Cargo's own settings of the tests are not those of a third party.
pub fn with_own_target(command: &mut Command) -> &mut Command {
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS")
}

/// The libraries of an architecture with convolutions and batch norm, `TinyNet`, and of `plugins/example`, `ExampleLoss`.
pub fn two_libraries() -> &'static [PathBuf; 2] {
    static LIBRARIES: OnceLock<[PathBuf; 2]> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        let folder = release().join("third-parties");
        fs::create_dir_all(&folder).unwrap();
        let example = folder.join("example");
        for file in ["Cargo.toml", ".cargo/config.toml", "src/lib.rs"] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/example").join(file);
            fs::create_dir_all(example.join(file).parent().unwrap()).unwrap();
            fs::copy(source, example.join(file)).unwrap();
        }
        [library(&folder, "tiny-net", "architecture", |source| source), build(&example, "example")]
    })
}

/// A pipeline with both: a student of `architecture` learns in 20 updates.
pub fn pipeline(architecture: &str) -> String {
    format!(
        r#"(
    name: "third-parties",
    data_free: ["student", "generator"],
    nodes: {{
        "teacher": WideResNet(depth: 10, widen_factor: 1),
        "digits": SyntheticDigits(count: 128, size: 16, split: Train),
        "labels": CrossEntropy(),
        "learn": Minimize(optimizer: Adam(lr: 1e-3)),
        "teaching": Train(epochs: 1, batch_size: 32),
        "student": {architecture}(width: 8),
        "generator": ConvGenerator(latent_dim: 16, channels: 8, first_map: 4, image_size: 16),
        "belief": KlDivergence(),
        "attention": AttentionTransfer(beta: 25.0),
        "mine": ExampleLoss(weight: 0.1),
        "seek": Maximize(optimizer: Adam(lr: 1e-3)),
        "imitate": Minimize(optimizer: Adam(lr: 5e-3)),
        "transfer": Transfer(batches: 20, batch_size: 16, checkpoint_every: 4),
    }},
    edges: [
        "digits -> teaching.images", "teacher -> teaching.student", "teacher -> learn.player",
        "labels -> learn.loss", "learn -> teaching.turns",
        "generator -> seek.player", "belief -> seek.loss", "mine -> seek.loss",
        "student -> imitate.player", "belief -> imitate.loss", "attention -> imitate.loss", "mine -> imitate.loss",
        "teaching -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
    ],
)
"#
    )
}
