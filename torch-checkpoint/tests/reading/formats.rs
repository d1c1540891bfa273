//! Sound files: every format gives the same tensors, whatever is wrapped around them.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor};
use torch_checkpoint::{Format, ReadError, StateDict, TensorInfo, read, read_header};

use crate::written::{self, call, dict, fixture, int, legacy, list, pair, text, tuple, view};

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
        ("small.safetensors", Format::Safetensors, ""),
        ("checkpoint.pth", Format::TorchZip, "state_dict"),
        ("checkpoint.legacy.pth.tar", Format::TorchLegacy, "state_dict"),
    ];
    for (name, format, key) in files {
        let file = read(&fixture(name), None).unwrap();
        assert_eq!((file.format, file.key.as_str()), (format, key));
        assert_same(&file.tensors, &network());

        let header = read_header(&fixture(name), None).unwrap();
        let info = |tensor: &Tensor| TensorInfo { dtype: tensor.dtype(), shape: tensor.dims().to_vec() };
        let infos = file.tensors.iter().map(|(name, tensor)| (name.clone(), info(tensor)));
        assert_eq!((header.format, header.key.as_str()), (format, key));
        assert_eq!(header.tensors, infos.collect());
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
        assert_same(&read(&fixture(name), None).unwrap().tensors, &expected);
    }
}

#[test]
fn the_byte_order_is_the_archives() {
    let little = read(&fixture("little_endian.pth"), None).unwrap();
    let expected = [("a.weight", numbered(0, &[3], DType::F32)), ("b.weight", numbered(1, &[4], DType::F64))];
    assert_same(&little.tensors, &expected);
    assert_same(&read(&fixture("big_endian.pth"), None).unwrap().tensors, &expected);
}

#[test]
fn a_first_directory_entry_as_long_as_the_zip64_records_is_no_reason_to_skip_it() {
    let file = read(&fixture("zip64-record-as-entry.pth"), None).unwrap();
    assert_same(&file.tensors, &[("a.weight", numbered(0, &[3], DType::F32))]);
}

/// Reads a checkpoint with this object, whose tensors share storage "0".
fn read_object(object: &[u8], key: Option<&str>) -> Result<StateDict, ReadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), legacy(object, &[("0", &[1.0, 2.0])])).unwrap();
    read(file.path(), key)
}

#[test]
fn the_state_dict_is_found_in_any_wrapper() {
    let network = || dict(&[("a.weight", pair()), ("epoch", int(3))]);
    let scalar = || view(written::storage("0", 2), 1, &[], &[]);
    let parameter = |tensor| call("torch._utils", "_rebuild_parameter", &[tensor, b"\x88".to_vec(), b")".to_vec()]);
    let python_2 = [b"}U\x08a.weight", pair().as_slice(), b"s"].concat();
    let pairs = list(&[list(&[text("a.weight"), pair()])]);
    let objects = [
        ("", network()),
        ("", dict(&[("module._orig_mod.a.weight", pair())])),
        ("", dict(&[("a.weight", parameter(pair()))])),
        ("", dict(&[("a.weight", pair()), ("a._extra_state", dict(&[("b.weight", pair())]))])),
        ("", call("collections", "OrderedDict", &[pairs])),
        ("", python_2),
        ("student_state_dict", dict(&[("epoch", int(1)), ("best_acc", scalar()), ("student_state_dict", network())])),
        ("model_state_dict", dict(&[("optimizer", dict(&[("state", network())])), ("model_state_dict", network())])),
        ("net", dict(&[("net", dict(&[("module.a.weight", pair())])), ("acc", b"G\0\0\0\0\0\0\0\0".to_vec())])),
        ("model.state_dict", dict(&[("model", dict(&[("state_dict", network())])), ("ema", network())])),
        ("state_dict", dict(&[("state_dict_ema", network()), ("state_dict", network())])),
        ("mine", dict(&[("criterion", dict(&[("weight", pair())])), ("mine", network())])),
        ("state_dict", dict(&[("args", call("argparse", "Namespace", &[])), ("state_dict", network())])),
    ];
    for (key, object) in objects {
        let file = read_object(&object, None).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(file.key, key);
        assert_same(&file.tensors, &[("a.weight", Tensor::new(&[1_f32, 2.0], &Device::Cpu).unwrap())]);
    }
}

#[test]
fn one_of_several_state_dicts_is_chosen_by_key() {
    let one = |name| dict(&[(name, pair())]);
    let both = dict(&[("teacher_state_dict", one("t.weight")), ("student_state_dict", one("s.weight"))]);
    let teacher = read_object(&both, Some("teacher_state_dict")).unwrap();
    assert_eq!(teacher.tensors.keys().collect::<Vec<_>>(), ["t.weight"]);

    let message = |object: &[u8], key| {
        let kind = read_object(object, key).unwrap_err().kind;
        format!("{kind}; {}", kind.help())
    };
    let listed = "`teacher_state_dict`, `student_state_dict`";
    let expected = format!("it holds several state dicts: {listed}; choose one with the parameter `key`");
    assert_eq!(message(&both, None), expected);
    let expected = format!("it has no state dict under the key `teacher`; it has {listed}");
    assert_eq!(message(&both, Some("teacher")), expected);
    let expected =
        "it has no state dict under the key `model`; its tensors are not wrapped in anything: leave `key` out";
    assert_eq!(message(&one("t.weight"), Some("model")), expected);
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
    assert_same(&read(file.path(), None).unwrap().tensors, &expected);
}
