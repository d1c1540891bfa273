//! What is read of sound models.

use onnx_model::{Attribute, Dimension, ElementType, Model, Tensor, read};

use crate::written::{dims_of, field, initializer, input, int, model, node, output, sound, tensor};

fn read_bytes(bytes: &[u8]) -> Model {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read(file.path()).unwrap()
}

#[test]
fn a_graph_is_typed() {
    let Model { producer, opset, graph, .. } = read_bytes(&model(&sound()));
    assert_eq!((producer.as_str(), opset), ("pytorch 2.9", Some(17)));
    let [images] = &graph.inputs[..] else { panic!("one input: {:?}", graph.inputs) };
    let [batch, rest @ ..] = &images.shape.as_deref().unwrap() else { panic!("four dimensions") };
    assert_eq!(*batch, Dimension::Free(Some("N".into())));
    assert_eq!(rest, [3, 4, 4].map(Dimension::Fixed));
    let [conv] = &graph.nodes[..] else { panic!("one node") };
    let names: Vec<_> = conv.inputs.iter().flatten().map(|value| graph.name_of(*value)).collect();
    assert_eq!((conv.operation.as_str(), names), ("Conv", vec!["x", "w"]));
    assert_eq!(conv.attributes["strides"], Attribute::Ints(vec![1, 1]));
    assert_eq!(graph.initializers[&conv.inputs[1].unwrap()].to_f32(), [0.5; 6]);
}

#[test]
fn what_is_written_is_what_was_read() {
    let attributes = [
        [field(1, "s"), field(4, "SAME_UPPER"), int(20, 3)].concat(),
        [field(1, "t"), field(5, tensor("", &[2], &[1.0, 2.0])), int(20, 4)].concat(),
        [field(1, "floats"), field(7, 1.5_f32.to_le_bytes()), int(20, 6)].concat(),
    ];
    let model = read_bytes(&model(&[sound(), vec![node("Other", "o", &["y", "", "w"], &["z"], &attributes)]].concat()));
    let bytes = model.to_bytes().unwrap();
    assert_eq!(read_bytes(&bytes), model);
    assert_eq!(read_bytes(&bytes).to_bytes().unwrap(), bytes);
}

#[test]
fn nodes_are_put_into_the_order_of_their_computation() {
    let parts = [
        input("x", &[1]),
        node("Relu", "last", &["b"], &["y"], &[]),
        node("Relu", "second", &["a"], &["b"], &[]),
        node("Relu", "first", &["x"], &["a"], &[]),
        // An optional input that is left out has no name.
        node("Clip", "side", &["a", "", "max"], &["c"], &[]),
        initializer(tensor("max", &[], &[6.0])),
        // Before IR version 4, initializers were inputs too.
        input("max", &[]),
        output("y"),
    ];
    let graph = read_bytes(&model(&parts)).graph;
    let names: Vec<_> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "side", "last"]);
    assert_eq!(graph.nodes[2].inputs[1], None);
    assert_eq!(graph.inputs.len(), 1);
}

#[test]
fn tensors_of_every_type_and_place() {
    let typed = |code: i64, data: Vec<u8>| [dims_of(&[2]), int(2, code), field(8, "w"), data].concat();
    let floats = |number: u64, values: [f32; 2]| field(number, values.map(f32::to_le_bytes).concat());
    let doubles = field(10, [1.5_f64, -2.0].map(f64::to_le_bytes).concat());
    // 1.0 and -2.0 as bits.
    let halves = field(5, [0x80, 0x78, 0x80, 0x80, 0x03]);
    let brains = field(9, [0x80, 0x3f, 0x00, 0xc0]);
    for (code, data, element, numbers) in [
        (1, floats(4, [1.5, -2.0]), ElementType::F32, [1.5, -2.0]),
        (1, floats(9, [1.5, -2.0]), ElementType::F32, [1.5, -2.0]),
        (11, doubles, ElementType::F64, [1.5, -2.0]),
        (10, halves, ElementType::F16, [1.0, -2.0]),
        (16, brains, ElementType::Bf16, [1.0, -2.0]),
        (7, field(7, [1, 127]), ElementType::I64, [1.0, 127.0]),
        (6, field(5, [1, 127]), ElementType::I32, [1.0, 127.0]),
        (2, field(9, [1, 255]), ElementType::U8, [1.0, 255.0]),
        (3, field(9, [1, 255]), ElementType::I8, [1.0, -1.0]),
        (9, field(5, [1, 0]), ElementType::Bool, [1.0, 0.0]),
    ] {
        let mut parts = sound();
        parts[1] = initializer(typed(code, data));
        let graph = read_bytes(&model(&parts)).graph;
        let found: &Tensor = graph.initializers.values().next().unwrap();
        assert_eq!((found.element(), found.to_f64()), (element, numbers.to_vec()), "type {code}");
    }
}
