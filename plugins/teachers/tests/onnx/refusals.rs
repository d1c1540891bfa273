//! What is said of models that are not taken.

use onnx_model::Graph;
use zskt_api::CheckError;

use crate::{Nodes, fixture, saved, teacher};

fn fault(model: &str, more: &str) -> CheckError {
    teacher(&fixture(model), more).check().unwrap_err()
}

#[test]
fn every_operation_that_is_not_taken_is_listed() {
    let fault = fault("refused.onnx", "");
    assert_eq!(fault.parameter.as_deref(), Some("path"));
    assert_eq!(fault.message, format!("6 operations of `{}` cannot be taken", fixture("refused.onnx").display()));
    // In the order of computation; what only takes what these make is not, and what nothing is made of does not matter.
    let help = "docs/teachers.md says which operations are, and how to export a model with them
  `/stem/Conv` (Conv): its kernel is 1×3; square ones are taken
  `/gelu/Erf` (Erf): this operation is not taken
  `/position/Mul` (Mul): its constant [1, 1, 8, 8] is not one number for each channel of `NCHW`
  `/swirl` (Swirl): operations of the domain `com.example` are not taken
  `/behind/Relu` (Relu): it takes the output of `/attention/Softmax` (Softmax), and a softmax is taken at the end only
  `/Sum` (Sum): this operation is not taken";
    assert_eq!(fault.help.as_deref(), Some(help));
}

#[test]
fn names_that_are_not_there() {
    let typo = fault("vgg.18.onnx", ", activations: [\"relu_l\"]");
    assert_eq!(typo.parameter.as_deref(), Some("activations"));
    assert_eq!(typo.message, "the model has no node and no value called `relu_l`");
    assert!(typo.help.as_deref().is_some_and(|help| help.starts_with("did you mean `relu_")), "{:?}", typo.help);
    let vectors = fault("vgg.18.onnx", ", activations: [\"view\"]");
    assert_eq!(vectors.message, "`view` is not a map of features `[B, C, H, W]`");
    let output = fault("vgg.18.onnx", ", output: \"logits\"");
    assert_eq!(output.parameter.as_deref(), Some("output"));
    assert_eq!(output.help.as_deref(), Some("it has `output`"));
}

#[test]
fn a_sigmoid_at_the_end_makes_no_logits() {
    let mut graph = Graph::default();
    let x = graph.images("x");
    let pooled = graph.node("/pool", "GlobalAveragePool", &[x]);
    let active = graph.node("/head/act", "Sigmoid", &[pooled]);
    let y = graph.node("/flatten", "Flatten", &[active]);
    let file = saved(graph, y);
    let fault = teacher(file.path(), "").check().unwrap_err();
    let reason = "its output `/flatten_output` is made by `/head/act` (Sigmoid): numbers from 0 to 1, not logits";
    assert!(fault.message.contains(reason), "{}", fault.message);
}

#[test]
fn a_file_that_is_no_model() {
    let fault = fault("expected.json", "");
    assert_eq!(fault.parameter.as_deref(), Some("path"));
    assert!(fault.message.contains("`: it is damaged: as Protocol Buffers it has "), "{}", fault.message);
    let missing = teacher("none.onnx".as_ref(), "").check().unwrap_err();
    assert_eq!(missing.message, "cannot take a network from `none.onnx`: there is no such file");
}
