//! Sound files: every format gives the same tensors, whatever is wrapped around them.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor};
use torch_checkpoint::{ErrorKind, Format, ReadError, TensorInfo, WeightsFile, read};

use crate::written::{self, Value, call, dict, fixture, int, legacy, list, pair, safetensors, text, tuple, view};

/// Element i of the n-th tensor is i / 4 - n, as `make_fixtures.py` has it.
fn numbered(n: u32, shape: &[usize], dtype: DType) -> Tensor {
    let count = shape.iter().product::<usize>() as u32;
    let values = (0..count).map(|i| f64::from(i) / 4.0 - f64::from(n));
    Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(shape).unwrap().to_dtype(dtype).unwrap()
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, Tensor>, expected: &[(&str, Tensor)]) {
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let mut expected_names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    expected_names.sort_unstable();
    assert_eq!(names, expected_names);
    for (name, expected) in expected {
        let found = &found[*name];
        assert_eq!((found.dtype(), found.dims()), (expected.dtype(), expected.dims()), "{name}");
        let numbers =
            |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(numbers(found), numbers(expected), "{name}");
    }
}

fn network() -> [(&'static str, Tensor); 8] {
    [
        ("conv1.weight", numbered(0, &[2, 3, 3, 3], DType::F32)),
        ("bn1.weight", numbered(1, &[2], DType::F32)),
        ("bn1.running_var", numbered(2, &[2], DType::F64)),
        ("bn1.num_batches_tracked", Tensor::new(7_i64, &Device::Cpu).unwrap()),
        ("half", numbered(3, &[3], DType::F16)),
        ("brain", numbered(4, &[3], DType::BF16)),
        ("mask", Tensor::new(&[1_u8, 0, 1], &Device::Cpu).unwrap()),
        ("nothing", Tensor::zeros((0, 5), DType::F32, &Device::Cpu).unwrap()),
    ]
}

#[test]
fn every_format_gives_the_same_tensors() {
    let files = [
        ("small.safetensors", Format::Safetensors, "", ""),
        ("checkpoint.pth", Format::TorchZip, "state_dict", "module."),
        ("checkpoint.legacy.pth.tar", Format::TorchLegacy, "state_dict", "module."),
    ];
    for (name, format, key, prefix) in files {
        let mut file = WeightsFile::open(&fixture(name)).unwrap();
        let [dict] = file.state_dicts() else { panic!("{name}: {:?}", file.state_dicts()) };
        assert_eq!((file.format(), dict.key()), (format, key));
        let infos: BTreeMap<String, TensorInfo> =
            dict.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.info.clone().unwrap())).collect();
        let names: Vec<_> =
            infos.keys().map(|name| (name.clone(), name.strip_prefix(prefix).unwrap().to_owned())).collect();
        let names = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        assert_same(&file.read(0, &names).unwrap(), &network());
        for (name, tensor) in network() {
            let info = TensorInfo { dtype: tensor.dtype(), shape: tensor.dims().to_vec() };
            assert_eq!(infos[&format!("{prefix}{name}")], info);
        }
    }
}

#[test]
fn a_header_as_long_as_a_pickle_or_an_archive_begins_is_a_header() {
    for length in [0x0280, 0x0580, 0x4b50] {
        let header = r#"{"a.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), safetensors(&format!("{header:length$}"), &[0; 4])).unwrap();
        assert_eq!(read(file.path(), None).unwrap().len(), 1, "{length:x}");
    }
}

#[test]
fn tensors_may_be_any_view_of_their_storage() {
    let base = numbered(0, &[4, 6], DType::F32);
    // Rows 1 and 2, every other column.
    let part = base.narrow(0, 1, 2).unwrap().reshape((2, 3, 2)).unwrap().narrow(D::Minus1, 0, 1).unwrap();
    let expected = [
        ("whole.weight", base.clone()),
        ("whole.tied", base.clone()),
        ("transposed.weight", base.t().unwrap()),
        ("part.weight", part.squeeze(D::Minus1).unwrap()),
        ("expanded.weight", Tensor::full(-1_f32, (3, 2), &Device::Cpu).unwrap()),
        ("channels_last.weight", numbered(2, &[2, 3, 2, 2], DType::F32)),
        ("unsigned.weight", Tensor::new(&[1_u32, 2, u32::MAX], &Device::Cpu).unwrap()),
    ];
    for name in ["views.pth", "views.legacy.pth.tar"] {
        assert_same(&read(&fixture(name), None).unwrap(), &expected);
    }
}

#[test]
fn the_byte_order_is_the_archives() {
    let little = read(&fixture("little_endian.pth"), None).unwrap();
    let expected = [("a.weight", numbered(0, &[3], DType::F32)), ("b.weight", numbered(1, &[4], DType::F64))];
    assert_same(&little, &expected);
    assert_same(&read(&fixture("big_endian.pth"), None).unwrap(), &expected);
}

#[test]
fn a_first_directory_entry_as_long_as_the_zip64_records_is_no_reason_to_skip_it() {
    let file = read(&fixture("zip64-record-as-entry.pth"), None).unwrap();
    assert_same(&file, &[("a.weight", numbered(0, &[3], DType::F32))]);
}

/// Opens a checkpoint with this object, whose tensors share storage "0".
fn open_object(object: &[u8]) -> Result<WeightsFile, ReadError> {
    open_legacy(object, &[("0", &[1.0, 2.0])])
}

fn open_legacy(object: &[u8], storages: &[(&str, &[f32])]) -> Result<WeightsFile, ReadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), legacy(object, storages)).unwrap();
    WeightsFile::open(file.path())
}

/// The state dicts of a checkpoint, each with its key and the names of its tensors.
fn found(object: &[u8]) -> Vec<(String, Vec<String>)> {
    let file = open_object(object).unwrap();
    let names = |dict: &torch_checkpoint::StateDict| dict.tensors().iter().map(|tensor| tensor.name.clone()).collect();
    file.state_dicts().iter().map(|dict| (dict.key().to_owned(), names(dict))).collect()
}

/// A network that was saved whole, as `torch.save(model)` does: modules with their attributes.
fn module(class: &str, parameters: &[(&str, Value)], modules: &[(&str, Value)]) -> Value {
    let ordered = |items| [call("collections", "OrderedDict", &[]), items].concat();
    let put = |items: &[(&str, Value)]| {
        let items: Vec<Value> = items.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
        [b"(".as_slice(), items.concat().as_slice(), b"u"].concat()
    };
    let attributes = dict(&[
        ("training", b"\x88".to_vec()),
        ("_parameters", ordered(put(parameters))),
        ("_buffers", ordered(put(&[]))),
        ("_modules", ordered(put(modules))),
    ]);
    [call("models.wide", class, &[]), attributes, b"b".to_vec()].concat()
}

#[test]
fn every_state_dict_is_found_in_any_wrapper() {
    let network = || dict(&[("a.weight", pair()), ("epoch", int(3))]);
    let scalar = || view(written::storage("0", 2), 1, &[], &[]);
    let parameter = |tensor| call("torch._utils", "_rebuild_parameter", &[tensor, b"\x88".to_vec(), b")".to_vec()]);
    let python_2 = [b"}U\x08a.weight", pair().as_slice(), b"s"].concat();
    let pairs = list(&[list(&[text("a.weight"), pair()])]);
    let layer = || module("Layer", &[("weight", parameter(pair())), ("bias", b"N".to_vec())], &[]);
    let whole = module("ResNet", &[], &[("a", layer())]);
    // What a text with half a surrogate pair is in a pickle: `"\udce9"`.
    let half = [b"X\x03\0\0\0\xed\xb3\xa9".as_slice(), b"X\x03\0\0\0\xed\xb3\xa9"].concat();
    let odd_text = [b"}(", half.as_slice(), text("a.weight").as_slice(), pair().as_slice(), b"u"].concat();
    let objects: [(&[&str], Value); 18] = [
        (&[""], network()),
        (&[""], dict(&[("a.weight", parameter(pair()))])),
        (&[""], dict(&[("a.weight", pair()), ("a._extra_state", dict(&[("b.weight", pair())]))])),
        (&[""], call("collections", "OrderedDict", &[pairs])),
        (&[""], python_2),
        (&[""], odd_text),
        (&[""], whole.clone()),
        (&["net"], dict(&[("net", whole), ("epoch", int(1))])),
        (&["student_state_dict"], dict(&[("best_acc", scalar()), ("student_state_dict", network())])),
        (&["model_state_dict"], dict(&[("optimizer", dict(&[("state", network())])), ("model_state_dict", network())])),
        (&["net"], dict(&[("net", network()), ("acc", b"G\0\0\0\0\0\0\0\0".to_vec())])),
        (&["model.state_dict", "ema"], dict(&[("model", dict(&[("state_dict", network())])), ("ema", network())])),
        (&["state_dict_ema", "state_dict"], dict(&[("state_dict_ema", network()), ("state_dict", network())])),
        (&["state_dict"], dict(&[("args", call("argparse", "Namespace", &[])), ("state_dict", network())])),
        // An object of a class of the user's own, with attributes.
        (&["net"], [call("train", "Snapshot", &[]), dict(&[("net", network())]), b"b".to_vec()].concat()),
        (&["a.b"], dict(&[("a", dict(&[("b", network())]))])),
        // The second under a key takes the place of the first.
        (&[""], dict(&[("a.weight", scalar()), ("a.weight", pair())])),
        (&["list"], dict(&[("list", dict(&[("a.weight", pair()), ("a.norms", list(&[pair()]))]))])),
    ];
    for (keys, object) in objects {
        let expected: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), vec!["a.weight".to_owned()])).collect();
        assert_eq!(found(&object), expected);
        let mut file = open_object(&object).unwrap();
        let tensors = file.read(0, &[("a.weight", "b")].into()).unwrap();
        assert_same(&tensors, &[("b", Tensor::new(&[1_f32, 2.0], &Device::Cpu).unwrap())]);
    }
}

#[test]
fn what_cannot_be_read_matters_to_who_needs_it() {
    let quantized = call("torch._utils", "_rebuild_qtensor", &[]);
    let mut file = open_object(&dict(&[("a.weight", pair()), ("a.scale", quantized)])).unwrap();
    assert_eq!(file.read(0, &[("a.weight", "a.weight")].into()).unwrap().len(), 1);
    let error = file.read(0, &[("a.scale", "a.scale")].into()).unwrap_err().kind.to_string();
    assert_eq!(error, "its tensor `a.scale` is made by `_rebuild_qtensor`, not an ordinary dense one");
}

#[test]
fn one_of_several_state_dicts_is_read_by_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let one = |name| dict(&[(name, pair())]);
    let both = dict(&[("teacher_state_dict", one("t.weight")), ("student_state_dict", one("s.weight"))]);
    std::fs::write(file.path(), legacy(&both, &[("0", &[1.0, 2.0])])).unwrap();
    let teacher = read(file.path(), Some("teacher_state_dict")).unwrap();
    assert_eq!(teacher.keys().collect::<Vec<_>>(), ["t.weight"]);
    let keys = ["teacher_state_dict", "student_state_dict"];
    match read(file.path(), None).unwrap_err().kind {
        ErrorKind::Ambiguous { keys: found } => assert_eq!(found, keys),
        other => panic!("{other}"),
    }
    match read(file.path(), Some("teacher")).unwrap_err().kind {
        ErrorKind::UnknownKey { key, keys: found } => {
            assert_eq!((key.as_str(), found), ("teacher", keys.map(str::to_owned).to_vec()));
        }
        other => panic!("{other}"),
    }
}

/// What NumPy pickles of an array of two float32: `numpy.dtype("f4")` with its state, and the bytes.
fn array(bytes: Value, order: &str, shape: &[i64], columns_first: bool) -> Value {
    let sizes = tuple(&shape.iter().copied().map(int).collect::<Vec<_>>());
    let nothing = || b"N".to_vec();
    let state = [int(3), text(order), nothing(), nothing(), nothing(), int(-1), int(-1), int(0)];
    let dtype =
        [call("numpy", "dtype", &[text("f4"), b"\x89".to_vec(), b"\x88".to_vec()]), tuple(&state), b"b".to_vec()];
    let empty = call("numpy.core.multiarray", "_reconstruct", &[written::global("numpy", "ndarray"), tuple(&[int(0)])]);
    let columns_first = if columns_first { b"\x88".to_vec() } else { b"\x89".to_vec() };
    let state = tuple(&[int(1), sizes, dtype.concat(), columns_first, bytes]);
    [empty, state, b"b".to_vec()].concat()
}

#[test]
fn tensors_made_of_arrays_of_numpy() {
    let numbers = [1.0_f32, -2.5, 3.0, 0.5];
    let little: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let big: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    // As protocol 2 has bytes: a text with a character for each.
    let latin: String = little.iter().copied().map(char::from).collect();
    let encoded = call("_codecs", "encode", &[text(&latin), text("latin1")]);
    let raw = |bytes: &[u8]| [b"B", (bytes.len() as u32).to_le_bytes().as_slice(), bytes].concat();
    let tensor = |array| {
        let arguments = [array, written::global("torch", "float32"), text("xla:0"), b"\x89".to_vec()];
        call("torch._utils", "_rebuild_device_tensor_from_numpy", &arguments)
    };
    let expected = |shape: &[usize]| Tensor::from_slice(&numbers, shape, &Device::Cpu).unwrap();
    let cases = [
        (array(encoded, "<", &[4], false), expected(&[4])),
        (array(raw(&little), "<", &[2, 2], false), expected(&[2, 2])),
        (array(raw(&big), ">", &[2, 2], false), expected(&[2, 2])),
        (array(raw(&little), "<", &[2, 2], true), expected(&[2, 2]).t().unwrap()),
    ];
    for (array, expected) in cases {
        let mut file = open_legacy(&dict(&[("a.weight", tensor(array))]), &[]).unwrap();
        assert_same(&file.read(0, &[("a.weight", "a.weight")].into()).unwrap(), &[("a.weight", expected)]);
    }
    let mut file =
        open_legacy(&dict(&[("a.weight", tensor(array(raw(&little[..8]), "<", &[2, 2], false)))]), &[]).unwrap();
    let error = file.read(0, &[("a.weight", "a.weight")].into()).unwrap_err().to_string();
    assert!(error.contains("reaches outside its storage of 8 bytes"), "{error}");
}

#[test]
fn parts_of_storages_as_old_files_have_them() {
    let part = tuple(&[text("part"), int(1), int(2)]);
    let id = [text("storage"), written::global("torch", "FloatStorage"), text("0"), text("cpu"), int(4), part];
    let storage = [tuple(&id), b"Q".to_vec()].concat();
    let file = tempfile::NamedTempFile::new().unwrap();
    let object = dict(&[("a.weight", view(storage, 1, &[1], &[1]))]);
    std::fs::write(file.path(), legacy(&object, &[("0", &[1.0, 2.0, 3.0, 4.0])])).unwrap();
    let expected = [("a.weight", Tensor::new(&[3_f32], &Device::Cpu).unwrap())];
    assert_same(&read(file.path(), None).unwrap(), &expected);
}
