//! A loaded plugin is a plugin like all others.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::crates::{library, pipeline, two_libraries, with_own_target};
use crate::release::{outcome, refusal, success, zskt_run};

/// What the linked example is called: cargo has built it beside the tests.
fn linked(folder: &Path, arguments: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_zskt-run")).with_file_name("examples").join("linked");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_remove("ZSKT_PLUGIN_PATH");
    command
}

#[test]
fn loaded_plugins_give_the_weights_that_linked_ones_give() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [architecture, loss] = two_libraries().each_ref().map(|path| path.to_str().unwrap());
    fs::write(folder.join("linked.ron"), pipeline("ExampleArchitecture")).unwrap();
    success(&mut linked(folder, &["linked.ron", "--out", "linked", "--quiet"]));
    let weights = fs::read(folder.join("linked/student.safetensors")).unwrap();

    fs::write(folder.join("loaded.ron"), pipeline("TinyNet")).unwrap();
    let arguments = ["loaded.ron", "--out", "loaded", "--quiet", "--plugin", architecture, "--plugin", loss];
    success(&mut zskt_run(folder, &arguments));
    assert!(weights == fs::read(folder.join("loaded/student.safetensors")).unwrap(), "other weights");

    // The run names its libraries itself, so that it can be made again from its own pipeline; and its manifest knows them.
    success(&mut zskt_run(folder, &["loaded/pipeline.ron", "--out", "again", "--quiet"]));
    assert!(weights == fs::read(folder.join("again/student.safetensors")).unwrap(), "other weights");
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("again/manifest.json")).unwrap()).unwrap();
    let sum = String::from_utf8(Command::new("sha256sum").arg(loss).output().unwrap().stdout).unwrap();
    assert_eq!(manifest["libraries"][1]["path"], loss);
    assert_eq!(manifest["libraries"][1]["sha256"], sum.split_whitespace().next().unwrap());
    assert_eq!(manifest["plugins"]["tiny-net"], "0.1.0");
}

#[test]
fn loaded_plugins_are_listed_described_checked_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [architecture, loss] = two_libraries().each_ref().map(|path| path.to_str().unwrap());
    let list = success(&mut zskt_run(folder, &["--plugin", loss, "plugins", "--plugin", architecture]));
    assert!(list.lines().any(|line| line.contains("ExampleLoss  ") && line.ends_with("… [libexample.so]")), "{list}");

    let page = success(&mut zskt_run(folder, &["inspect", "TinyNet", "--plugin", architecture]));
    assert!(page.contains("TinyNet: architecture of tiny-net 0.1.0\n"), "{page}");
    assert!(page.contains(&format!("loaded from {architecture}\n")) && page.contains("width: integer = 16"), "{page}");
    let json = success(&mut zskt_run(folder, &["inspect", "TinyNet", "--json", "--plugin", architecture]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["library"].as_str(), json["version"].as_str()), (Some(architecture), Some("0.1.0")));

    // By the environment, a file and a folder.
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy(loss, plugins.join("libexample.so")).unwrap();
    fs::write(plugins.join("notes.txt"), "no library").unwrap();
    let search = format!("{architecture}::{}", plugins.display());
    fs::write(folder.join("loaded.ron"), pipeline("TinyNet")).unwrap();
    let drawing = success(zskt_run(folder, &["graph", "loaded.ron"]).env("ZSKT_PLUGIN_PATH", &search));
    assert!(drawing.contains("TinyNet") && drawing.contains("ExampleLoss"), "{drawing}");

    // By the pipeline itself, where mistakes are shown in their places.
    let named =
        |text: &str| text.replacen("data_free", &format!("plugins: [{architecture:?}, {loss:?}],\n    data_free"), 1);
    fs::write(folder.join("sound.ron"), named(&pipeline("TinyNet"))).unwrap();
    success(&mut zskt_run(folder, &["validate", "sound.ron"]));
    // What one pipeline names is not there for the next.
    fs::write(folder.join("unnamed.ron"), pipeline("TinyNet")).unwrap();
    let (code, out, complaint) = outcome(&mut zskt_run(folder, &["validate", "sound.ron", "unnamed.ron"]));
    assert!(code == Some(2) && out.starts_with("ok sound.ron"), "{out}{complaint}");
    assert!(complaint.contains("`unnamed.ron` uses the plugin `TinyNet` of the library"), "{complaint}");
    fs::write(folder.join("wrong.ron"), named(&pipeline("TinyNet").replace("width: 8", "width: 0, channels: 1")))
        .unwrap();
    let complaint = refusal(folder, &["validate", "wrong.ron"]);
    assert!(complaint.contains("`width` is out of range: expected from 1 to 4096, found 0"), "{complaint}");
    fs::write(folder.join("wrong.ron"), named(&pipeline("TinyNet").replace("width: 8", "channels: 1"))).unwrap();
    let complaint = refusal(folder, &["validate", "wrong.ron"]);
    assert!(complaint.contains("expected images of 1 channels, found 3×16×16"), "{complaint}");
}

/// A loss with dependencies of its own, that panics in its 30th value when a variable is set.
fn trip(source: &str) -> String {
    let at = source.find("        let [logits]").unwrap();
    let wire = "        use rayon::prelude::*;
        static VALUES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
        let order: Order = Order { numbers: rand::random() };
        let sum: u64 = (0..order.numbers.len() as u64).into_par_iter().sum();
        assert_eq!(sum, 6);
        if VALUES.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 30 && std::env::var_os(\"WIRE\").is_some() {
            panic!(\"tripped over a wire\");
        }
";
    let order = "\n#[derive(serde::Serialize)]\nstruct Order {\n    numbers: [u8; 4],\n}\n";
    format!("{}{wire}{}{order}", &source[..at], &source[at..])
}

#[test]
fn a_panic_in_a_library_ends_the_run_and_resuming_gives_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    success(&mut zskt_run(folder, &["plugin", "new", "trip", "--kind", "loss"]));
    let source = fs::read_to_string(folder.join("trip/src/lib.rs")).unwrap();
    fs::write(folder.join("trip/src/lib.rs"), trip(&source)).unwrap();
    let added = Command::new("cargo")
        .args(["add", "--quiet", "rand", "rayon", "serde", "--features", "serde/derive"])
        .current_dir(folder.join("trip"))
        .status();
    assert!(added.unwrap().success());
    success(with_own_target(&mut zskt_run(folder, &["plugin", "build", "trip"])));

    let text =
        pipeline("WideResNet").replace("(width: 8)", "(depth: 10, widen_factor: 1)").replace("ExampleLoss", "Trip");
    let named = text.replacen("data_free", "plugins: [\"trip/target/release/libtrip.so\"],\n    data_free", 1);
    fs::write(folder.join("trip.ron"), named).unwrap();
    success(&mut zskt_run(folder, &["trip.ron", "--out", "whole", "--quiet"]));

    let (code, _, complaint) = outcome(zskt_run(folder, &["trip.ron", "--out", "run"]).env("WIRE", "1"));
    assert_eq!(code, Some(1), "{complaint}");
    let said = "error: node `transfer`: node `mine`: the plugin `Trip` of trip 0.1.0 panicked at src/lib.rs:";
    assert!(complaint.starts_with(said) && complaint.contains(": tripped over a wire\n"), "{complaint}");
    assert!(folder.join("run/checkpoint/state.safetensors").exists());

    // Another library under the same name is not what the run began with.
    let library = folder.join("trip/target/release/libtrip.so");
    let kept = fs::read(&library).unwrap();
    let mut other = kept.clone();
    other.push(0);
    fs::write(&library, other).unwrap();
    let complaint = refusal(folder, &["--resume", "run"]);
    assert!(complaint.contains("trip/target/release/libtrip.so changed since the run began"), "{complaint}");
    fs::write(&library, kept).unwrap();
    // The sums decide, not the places: it may have moved.
    fs::rename(&library, folder.join("moved.so")).unwrap();
    let moved = ["--resume", "run", "--quiet", "--set", "plugins=[\"moved.so\"]"];
    success(&mut zskt_run(folder, &moved));
    let weights = |run: &str| fs::read(folder.join(run).join("student.safetensors")).unwrap();
    assert!(weights("whole") == weights("run"), "other weights");
}

#[test]
fn a_run_is_exported_and_resumed_with_its_library_from_elsewhere_and_told_of_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [architecture, loss] = two_libraries().each_ref().map(|path| path.to_str().unwrap());
    fs::copy(architecture, folder.join("net.so")).unwrap();
    let named = format!("plugins: [\"net.so\", {loss:?}],\n    data_free");
    fs::write(folder.join("p.ron"), pipeline("TinyNet").replacen("data_free", &named, 1)).unwrap();
    success(&mut zskt_run(folder, &["p.ron", "--out", "run", "--quiet"]));
    let export = |to: &str, plugin: &str| {
        outcome(&mut zskt_run(folder, &["export", "run", "--format", "onnx", "--to", to, "--plugin", plugin]))
    };

    fs::rename(folder.join("net.so"), folder.join("moved.so")).unwrap();
    let complaint = refusal(folder, &["export", "run", "--format", "onnx"]);
    assert!(complaint.contains("net.so`: there is no such file"), "{complaint}");
    let (code, _, complaint) = export("same.onnx", "moved.so");
    assert!(code == Some(0) && complaint.is_empty(), "{complaint}");
    success(&mut zskt_run(folder, &["--resume", "run", "--quiet", "--plugin", "moved.so"]));

    // The run's pipeline names it from there now.
    let mut other = fs::read(folder.join("moved.so")).unwrap();
    other.push(0);
    fs::write(folder.join("moved.so"), other).unwrap();
    let (code, _, complaint) = export("other.onnx", "moved.so");
    assert!(code == Some(0) && complaint.starts_with("warning: the plugin library "), "{complaint}");
    assert!(complaint.contains("moved.so changed since the run began: its weights fit, but"), "{complaint}");
    // A copy of what it was is as good as itself.
    let (code, _, complaint) = export("copy.onnx", architecture);
    assert!(code == Some(0) && complaint.is_empty(), "{complaint}");
    fs::rename(folder.join("moved.so"), folder.join("net.so")).unwrap();
    let (code, out, _) = outcome(&mut zskt_run(folder, &["runs", "verify", "run"]));
    let differs = out.lines().find(|line| line.contains("net.so")).unwrap_or_default();
    assert!(code == Some(1) && differs.contains("plugin library") && differs.contains("DIFFERS"), "{out}");
}

#[test]
fn an_optimizer_of_a_library_is_a_parameter_of_a_linked_turn() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let descent = "
use std::collections::BTreeMap;
use zskt_api::{Gradients, Optimizer, Parameter, OptimizerState};

params! {
    /// Plain gradient descent.
    pub struct Descent {
        /// Learning rate.
        pub lr: f64 = 0.1 => 0.0..,
    }
}

struct Steps;

impl Optimizer for Descent {
    fn learning_rate(&self) -> f64 {
        self.lr
    }
    fn start(&self, _: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        Ok(Box::new(Steps))
    }
}

impl OptimizerState for Steps {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        for (parameter, gradient) in gradients.iter() {
            parameter.var().set(&(parameter.value() - (gradient * learning_rate)?)?)?;
        }
        Ok(())
    }
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }
    fn restore(&mut self, _: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}
";
    let loss = library(folder, "mine", "loss", |source| {
        let at = source.find("zskt_api::export!").unwrap();
        let exported = source[at..].replacen("loss: Mine", "loss: Mine; optimizer: Descent", 1);
        format!("{}{descent}\n{exported}", &source[..at])
    });
    // candle's tensors of the library are updated by the program's, and the other way round: the same weights as Sgd's.
    let text =
        pipeline("WideResNet").replace("(width: 8)", "(depth: 10, widen_factor: 1)").replace("ExampleLoss", "Mine");
    let weights = |optimizer: &str| {
        let text = text.replace("Adam(lr: 5e-3)", optimizer);
        fs::write(folder.join("p.ron"), text).unwrap();
        let out = optimizer.split('(').next().unwrap();
        success(&mut zskt_run(folder, &["p.ron", "--quiet", "--out", out, "--plugin", loss.to_str().unwrap()]));
        fs::read(folder.join(out).join("student.safetensors")).unwrap()
    };
    assert!(weights("Descent(lr: 0.01)") == weights("Sgd(lr: 0.01)"), "other weights");
}
