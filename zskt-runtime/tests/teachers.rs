//! Teachers as people bring them: files of each codebase's own naming and wrapping, made by PyTorch (`tests/fixtures/make_teachers.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use zskt_api::candle_core::DType;
use zskt_api::testing::build_context;
use zskt_api::{FeatureMap, ForwardMode, FoundWeights, PluginInstance, Precision, Registry, WeightsSource};
use zskt_runtime::{Sources, prove, weights_report};
use zskt_tests::{assert_close, numbers, tensor};

/// A teacher, and the student that learns from it.
const PIPELINE: &str = r#"(
    name: "teachers",
    data_free: ["student"],
    nodes: {
        "teacher": Checkpoint(model: MODEL, path: "PATH"),
        "student": WideResNet(depth: 10, widen_factor: 1, classes: CLASSES),
        "generator": ConvGenerator(latent_dim: 8, channels: 4, first_map: 8, image_size: 32),
        "belief": KlDivergence(),
        "seek": Maximize(optimizer: Adam(lr: 1e-3)),
        "imitate": Minimize(optimizer: Adam(lr: 1e-3)),
        "transfer": Transfer(batches: 2, batch_size: 4),
    },
    edges: [
        "generator -> seek.player", "belief -> seek.loss", "student -> imitate.player", "belief -> imitate.loss",
        "teacher -> transfer.teacher", "student -> transfer.student", "generator -> transfer.images",
        "seek -> transfer.turns", "imitate -> transfer.turns",
    ],
)"#;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/teachers")
}

/// Each file with what is known of it. What lies in a folder of Hugging Face or timm is given as the folder.
fn teachers() -> BTreeMap<PathBuf, Value> {
    let text = std::fs::read_to_string(fixtures().join("teachers.json")).unwrap();
    let all: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let path = |name: &str| fixtures().join(name.strip_suffix("/model.safetensors").unwrap_or(name));
    all.into_iter().map(|(name, known)| (path(&name), known)).collect()
}

fn pipeline(path: &Path, known: &Value) -> String {
    let classes = numbers(&known["logits"]).len() / known["images"][0].as_u64().unwrap() as usize;
    PIPELINE
        .replace("MODEL", known["model"].as_str().unwrap())
        .replace("PATH", path.to_str().unwrap())
        .replace("CLASSES", &classes.to_string())
}

#[test]
fn each_file_gives_the_logits_that_pytorch_has() {
    let registry = Registry::get().unwrap();
    for (path, known) in teachers() {
        let plan = prove(&Sources::new("teachers.ron", pipeline(&path, &known), &[]), registry, false)
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", path.display()));
        let node = plan.nodes.iter().find(|node| node.name == "teacher").unwrap();
        let PluginInstance::Teacher(teacher) = &node.instance else { panic!("{}", node.ron) };
        let network = teacher.load(&build_context("teacher", Precision::F32)).unwrap();
        let shape: Vec<usize> = numbers(&known["images"]).into_iter().map(|size| size as usize).collect();
        let images = FeatureMap::from_nchw(&tensor("images", &shape, 1.0).to_dtype(DType::F32).unwrap()).unwrap();
        let logits = network.forward.forward(&images, ForwardMode::eval()).unwrap().logits;
        let logits = logits.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_close(path.to_str().unwrap(), &logits, &numbers(&known["logits"]), 1e-5);
    }
}

#[test]
fn each_file_is_the_teacher_of_a_transfer_that_says_where_its_weights_were() {
    let folder = tempfile::tempdir().unwrap();
    for (path, known) in teachers() {
        std::fs::write(folder.path().join("p.ron"), pipeline(&path, &known)).unwrap();
        let known_as = path.strip_prefix(fixtures()).unwrap().to_str().unwrap();
        let out = known_as.replace('/', "-");
        let output = Command::new(env!("CARGO_BIN_EXE_zskt-run"))
            .args(["p.ron", "--out", &out])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = std::fs::read(folder.path().join(&out).join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let source: WeightsSource = serde_json::from_value(manifest["teachers"]["teacher"].clone()).unwrap();
        assert_eq!(source.file, path.to_str().unwrap());
        let FoundWeights::StateDict(place) = &source.found else { panic!("{source}") };
        let of_codebase = place.layout.as_deref();
        let (key, prefix, layout) = match known["source"].as_str().unwrap() {
            "kuangliu/pytorch-cifar" => ("net", "module.", Some("kuangliu/pytorch-cifar")),
            "HobbitLong/RepDistiller" => ("model", "", None),
            "zju-vipa/CMI" => ("state_dict", "", Some("kuangliu/pytorch-cifar")),
            "weiaicunzai/pytorch-cifar100" => ("", "", Some("weiaicunzai/pytorch-cifar100")),
            "transformers" => ("", "", Some("transformers")),
            _ => ("", "", None),
        };
        assert_eq!(
            (place.key.as_str(), place.prefix.as_str(), of_codebase),
            (key, prefix, layout),
            "{}",
            path.display()
        );
        let screen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(screen.contains(&format!("weights of teacher: {source}")), "{screen}");
        let report = std::fs::read(folder.path().join(&out).join("report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["teachers"], manifest["teachers"]);
    }
}

#[test]
fn each_file_is_recognized() {
    let registry = Registry::get().unwrap();
    for (path, known) in teachers() {
        let report = weights_report(&path, None, &[], registry).unwrap_or_else(|error| panic!("{error}"));
        let [network] = report.networks.as_slice() else { panic!("{}: {}", path.display(), report.networks.len()) };
        let recognized = network.recognized.first().unwrap_or_else(|| panic!("{}", path.display()));
        let expected = known["model"].as_str().unwrap();
        let kind = expected.split('(').next().unwrap();
        assert_eq!(recognized.registration.name, kind, "{}", path.display());
        let pipeline = pipeline(&path, &known).replace(expected, &recognized.ron);
        let plan = prove(&Sources::new("teachers.ron", pipeline, &[]), registry, false);
        assert!(plan.is_ok(), "{}: {:?}", recognized.ron, plan.err());
    }
    let folder = weights_report(&fixtures().join("timm"), None, &[], registry).unwrap();
    assert_eq!(folder.configuration.unwrap().mean, Some(vec![0.4914, 0.4822, 0.4465]));
}
