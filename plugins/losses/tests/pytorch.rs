//! Every loss against PyTorch: its value, and its gradients by the beliefs of both players.

use zskt_api::candle_core::{Device, Tensor};
use zskt_api::nn::{BatchNormInput, Observation};
use zskt_api::ops::batch_moments;
use zskt_api::serde_json::{self, Value};
use zskt_api::{
    Builder, ClassifierOutput, FeatureMap, ForwardMode, Gradients, Init, LossBatch, Parameter, PluginInstance,
    Precision, Result, TeacherOutput, testing,
};
use zskt_losses as _;
use zskt_tests::{assert_close, numbers, shape};

/// A player's logits, or its activations.
fn player(name: &str, tensors: &Value) -> Result<Vec<Parameter>> {
    let builder = Builder::zeros(Precision::F64, &Device::Cpu);
    let make = |(index, value): (usize, &Value)| {
        let parameter = builder.parameter(&format!("{name}.{index}"), &shape(value), Init::Constant(0.0))?;
        parameter.var().set(&Tensor::from_vec(numbers(value), shape(value), &Device::Cpu)?)?;
        Ok(parameter)
    };
    tensors.as_array().into_iter().flatten().enumerate().map(make).collect()
}

fn output(parameters: &[Parameter]) -> Result<ClassifierOutput> {
    let mut output =
        ClassifierOutput { logits: Tensor::zeros((1, 2), Precision::F64.dtype(), &Device::Cpu)?, activations: vec![] };
    for tensor in parameters.iter().map(|parameter| parameter.tensor(ForwardMode::train())) {
        match tensor.rank() {
            2 => output.logits = tensor,
            _ => output.activations.push(FeatureMap::from_nchw(&tensor)?),
        }
    }
    Ok(output)
}

/// The teacher's output, with the features or the batch norms' inputs that a case is about.
fn seen_of_teacher(teacher: &[Parameter], case: &Value) -> Result<TeacherOutput> {
    let mut within = Observation::default();
    let mut shown = teacher;
    if case["features"].as_bool() == Some(true) {
        within.features = Some(teacher[1].tensor(ForwardMode::train()));
        shown = &teacher[..1];
    }
    for (input, running) in teacher.iter().zip(case["running"].as_array().into_iter().flatten()) {
        let moments = batch_moments(&FeatureMap::from_nchw(&input.tensor(ForwardMode::train()))?)?;
        let tracked = |index: usize| Tensor::new(numbers(&running[index]), &Device::Cpu);
        within.batch_norms.push(BatchNormInput {
            mean: moments.mean,
            variance: moments.variance,
            running_mean: tracked(0)?,
            running_variance: tracked(1)?,
        });
        shown = &[];
    }
    Ok(TeacherOutput { output: output(shown)?, within })
}

#[test]
fn values_and_gradients_are_pytorchs() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/losses.json")).expect("a fixture is JSON");
    for case in cases {
        let plugin = case["plugin"].as_str().expect("a plugin");
        let PluginInstance::Loss(loss) = testing::plugin(plugin)? else { panic!("{plugin} is not a loss") };
        let (student, teacher) = (player("student", &case["student"])?, player("teacher", &case["teacher"])?);
        let labels: Vec<u32> = numbers(&case["labels"]).into_iter().map(|label| label as u32).collect();
        let needs = loss.needs();
        let target = if needs.teacher { loss.target(&seen_of_teacher(&teacher, &case)?)? } else { Vec::new() };
        let labels = (!labels.is_empty()).then(|| Tensor::new(labels, &Device::Cpu)).transpose()?;
        let images = case["images"].as_bool().map(|_| FeatureMap::from_nchw(&teacher[0].tensor(ForwardMode::train())));
        let (seen, images) = (output(&student)?, images.transpose()?);
        let value = loss.value(&LossBatch {
            student: Some(&seen).filter(|_| needs.student),
            target: &target,
            labels: labels.as_ref(),
            images: images.as_ref(),
        })?;
        assert_close(plugin, &[value.to_scalar()?], &numbers(&case["value"]), 1e-10);
        let gradients = Gradients::of(&value, student.iter().chain(&teacher))?;
        for (name, parameters) in [("student", student), ("teacher", teacher)] {
            for (index, parameter) in parameters.iter().enumerate() {
                if case["gradients"][name][index].is_null() {
                    continue;
                }
                let (_, found) =
                    gradients.iter().find(|(other, _)| other.name() == parameter.name()).expect("a gradient");
                let expected = numbers(&case["gradients"][name][index]);
                let what = format!("{plugin}, gradient of {}", parameter.name());
                assert_close(&what, &found.flatten_all()?.to_vec1()?, &expected, 1e-10);
            }
        }
    }
    Ok(())
}
