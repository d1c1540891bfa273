//! Files that are several: shards with their index, folders as they are published.

use std::fs;
use std::path::Path;

use torch_checkpoint::{Configuration, Format, WeightsFile};

use crate::written::{dict, legacy, pair, safetensors};

/// A safetensors file with a tensor of two numbers under each name.
fn shard(names: &[&str]) -> Vec<u8> {
    let entry = |(number, name): (usize, &&str)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{},{}]}}"#, number * 8, number * 8 + 8)
    };
    let entries: Vec<_> = names.iter().enumerate().map(entry).collect();
    safetensors(&format!("{{{}}}", entries.join(",")), &vec![0; names.len() * 8])
}

fn names(file: &WeightsFile) -> Vec<&str> {
    let [dict] = file.state_dicts() else { panic!("{:?}", file.state_dicts()) };
    dict.tensors().iter().map(|tensor| tensor.name.as_str()).collect()
}

fn write(folder: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
}

fn message(path: &Path) -> String {
    WeightsFile::open(path).err().expect("a bad file").kind.to_string()
}

#[test]
fn shards_are_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    // An index of some of the tensors, as tools leave it that add to it only what they have changed.
    let index = format!(r#"{{"metadata": {{"total_size": 16}}, "weight_map": {{"a.weight": "{first}"}}}}"#);
    let files: [(&str, &[u8]); 3] = [
        ("model.safetensors.index.json", index.as_bytes()),
        (first, &shard(&["a.weight"])),
        (second, &shard(&["b.weight"])),
    ];
    write(folder.path(), &files);
    let path = folder.path().join("model.safetensors.index.json");
    for path in [path.as_path(), folder.path()] {
        let mut file = WeightsFile::open(path).unwrap();
        assert_eq!((file.format(), names(&file)), (Format::Safetensors, vec!["a.weight", "b.weight"]));
        assert_eq!(file.files(), ["model.safetensors.index.json", first, second].map(|name| folder.path().join(name)));
        let both = [("a.weight", "a"), ("b.weight", "b")].into();
        assert_eq!(file.read(0, &both).unwrap().keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    fs::remove_file(folder.path().join(second)).unwrap();
    let missing = WeightsFile::open(&path).err().unwrap();
    assert_eq!(
        (missing.path, missing.kind.to_string().as_str()),
        (folder.path().join(second), "there is no such file")
    );
    write(folder.path(), &[(second, &shard(&["a.weight"]))]);
    assert_eq!(message(&path), "it is damaged at byte 0: the tensor `a.weight` is in two of its files");
}

#[test]
fn what_an_index_may_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin.index.json");
    let outside = folder.path().join("inner");
    fs::create_dir(&outside).unwrap();
    write(folder.path(), &[("inner/w.bin", &legacy(&dict(&[("a.weight", pair())]), &[("0", &[1.0, 2.0])]))]);
    write(folder.path(), &[("w.bin", &legacy(&dict(&[("a.weight", pair())]), &[("0", &[1.0, 2.0])]))]);
    let many: Vec<_> = (0..300).map(|number| format!(r#""w{number}": "f{number}.bin""#)).collect();
    let many = format!(r#"{{"weight_map": {{{}}}}}"#, many.join(","));
    for (index, expected) in [
        (
            r#"{"weight_map": {"a.weight": "inner/w.bin"}}"#,
            "it is damaged at byte 0: the index names the file `inner/w.bin`, which is not beside it",
        ),
        (
            r#"{"weight_map": {"a.weight": ".."}}"#,
            "it is damaged at byte 0: the index names the file `..`, which is not beside it",
        ),
        (
            r#"{"weight_map": {"b.weight": "w.bin"}}"#,
            "it is damaged at byte 0: the index puts the tensor `b.weight` in `w.bin`, which lacks it",
        ),
        (
            r#"{"weight_map": {"a.weight": "pytorch_model.bin.index.json"}}"#,
            r#"it is text that begins with `{\"weight_map\": {\"a.weight\": \"pytorch_mod`"#,
        ),
        (r#"{"weight_map": {}}"#, "it holds no state dict: found an index that names no file"),
        (r#"{"architectures": ["ResNet"]}"#, "it is JSON without the `weight_map` of a sharded file's index"),
        (&many, "it is refused at byte 0: an index of 300 files, where 256 are the most"),
    ] {
        write(folder.path(), &[("pytorch_model.bin.index.json", index.as_bytes())]);
        assert_eq!(message(&path), expected);
    }
    write(folder.path(), &[("pytorch_model.bin.index.json", br#"{"weight_map": {"a.weight": "w.bin"}}"#)]);
    assert_eq!(names(&WeightsFile::open(folder.path()).unwrap()), ["a.weight"]);
}

/// A safetensors file with a tensor `a.weight`, and these texts beside it.
fn with_metadata(metadata: &str) -> Vec<u8> {
    let header =
        format!(r#"{{"__metadata__":{metadata},"a.weight":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#);
    safetensors(&header, &[0; 8])
}

#[test]
fn a_file_says_what_its_network_is() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, metadata: &str| {
        write(folder.path(), &[(name, &with_metadata(metadata))]);
        WeightsFile::open(&folder.path().join(name)).unwrap().configuration().cloned()
    };
    let said = r#"{"format": "pt", "architecture": "Net(classes: 2)", "classes": "2", "image": "[1, 28, 30]", "mean": "[0.5]",
        "std": "[0.25]", "batch_norm_eps": "0.001"}"#;
    let expected = Configuration {
        architecture: Some("Net(classes: 2)".into()),
        labels: Vec::new(),
        classes: Some(2),
        mean: Some(vec![0.5]),
        std: Some(vec![0.25]),
        input_size: Some([1, 28, 30]),
        batch_norm_epsilon: Some(0.001),
    };
    assert_eq!(of("best.safetensors", said), Some(expected.clone()));

    // What stands in the file counts for more than what lies beside it.
    let beside = r#"{"architecture": "other", "label_names": ["cat", "dog"], "mean": [0.1], "std": [0.2]}"#;
    write(folder.path(), &[("config.json", beside.as_bytes())]);
    let both = Configuration { labels: vec!["cat".into(), "dog".into()], ..expected };
    assert_eq!(of("model.safetensors", said), Some(both));

    // Texts that say nothing of the kind, and what the format does not allow there.
    for other in [
        r#"{"format": "pt"}"#,
        r#"{"classes": "many", "image": "[0, 28]", "mean": "[NaN]", "std": "0.5"}"#,
        r#"{"mean": [0.5], "std": [0.25]}"#,
        "[]",
    ] {
        assert_eq!(of("best.safetensors", other), None, "{other}");
    }
}

#[test]
fn a_folder_says_what_its_network_is() {
    let folder = tempfile::tempdir().unwrap();
    let timm = r#"{"architecture": "resnet18", "num_classes": 10,
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5, 0.25, 1], "std": [0.1, 0.2, 0.3], "label_names": ["cat", "dog"]},
        "model_args": {"bn_eps": 0.001}}"#;
    write(folder.path(), &[("model.safetensors", &shard(&["a.weight"])), ("config.json", timm.as_bytes())]);
    let expected = Configuration {
        architecture: Some("resnet18".into()),
        labels: vec!["cat".into(), "dog".into()],
        classes: Some(10),
        mean: Some(vec![0.5, 0.25, 1.0]),
        std: Some(vec![0.1, 0.2, 0.3]),
        input_size: Some([3, 32, 32]),
        batch_norm_epsilon: Some(0.001),
    };
    assert_eq!(WeightsFile::open(folder.path()).unwrap().configuration(), Some(&expected));

    let transformers = br#"{"architectures": ["ResNetForImageClassification"], "id2label": {"1": "dog", "0": "cat"},
        "layer_norm_eps": 1e-12}"#;
    let processor =
        br#"{"do_normalize": true, "image_mean": [0.5], "image_std": [0.25], "size": {"height": 28, "width": 30}}"#;
    write(folder.path(), &[("config.json", transformers), ("preprocessor_config.json", processor)]);
    let expected = Configuration {
        architecture: Some("ResNetForImageClassification".into()),
        labels: vec!["cat".into(), "dog".into()],
        classes: Some(2),
        mean: Some(vec![0.5]),
        std: Some(vec![0.25]),
        input_size: Some([1, 28, 30]),
        batch_norm_epsilon: Some(1e-12),
    };
    let file = WeightsFile::open(folder.path()).unwrap();
    assert_eq!(file.configuration(), Some(&expected));
    let files = ["model.safetensors", "config.json", "preprocessor_config.json"].map(|name| folder.path().join(name));
    assert_eq!(file.files(), files);

    // What is not as expected is left out; what is no JSON is damaged.
    let odd =
        br#"{"architectures": [], "id2label": {"7": "dog"}, "num_classes": -1, "mean": ["?"], "input_size": [3, 32],
            "norm_eps": 9.999999747378752e-06}"#;
    write(folder.path(), &[("config.json", odd), ("preprocessor_config.json", b"[]")]);
    assert_eq!(WeightsFile::open(folder.path()).unwrap().configuration(), Some(&Configuration::default()));
    write(folder.path(), &[("config.json", b"{")]);
    assert!(message(folder.path()).starts_with("it is damaged at byte 0: it is not JSON"));

    // The same for the file in it; of other names nothing is taken for a description.
    write(folder.path(), &[("config.json", timm.as_bytes()), ("best.safetensors", &shard(&["a.weight"]))]);
    let of = |name| WeightsFile::open(&folder.path().join(name)).unwrap().configuration().cloned();
    assert_eq!(of("model.safetensors").unwrap().architecture.as_deref(), Some("resnet18"));
    assert_eq!(of("best.safetensors"), None);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let help = WeightsFile::open(folder.path()).err().unwrap().kind.help();
    assert_eq!(help, "give the file itself: it has `best.safetensors`");
}
