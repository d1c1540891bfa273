//! Two copies of candle would count tensors separately: a tensor of the program and one of a library could have the same
//! number, and gradients would be lost or given to the wrong one. It shows at some distances between the counts only.

use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use zskt_api::candle_core::{DType, Device, Tensor, Var};
use zskt_api::{
    Architecture, Builder, ClassifierOutput, FeatureMap, ForwardMode, Gradients, LossBatch, Name, PluginInstance,
    PluginRegistration, Precision, RandomStreams, Result, Span, Value, ValueKind, inventory, standard_normal,
};

use crate::crates::two_libraries;

// For the image that it brings: without it, this test would have a copy of candle of its own.
use zskt_runtime as _;

#[rustfmt::skip]
#[path = "../../src/scaffold/templates/architecture.rs"]
mod architecture;

#[expect(unsafe_code, reason = "a library is loaded, which runs its code")]
fn load(path: &Path) {
    // SAFETY: it was compiled against the image that this test runs with.
    std::mem::forget(unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.unwrap());
}

fn instance(name: &str, parameter: &str, value: ValueKind) -> PluginInstance {
    let span = Span { source: 0, start: 0, end: 0 };
    let named = |text: &str| Name { text: text.into(), span };
    let fields = vec![(named(parameter), Value { span, kind: value })];
    let call = Value { span, kind: ValueKind::Named { name: Some(named(name)), fields, items: Vec::new() } };
    let mut problems = Vec::new();
    // Not through `Registry`: the test of the architecture's own may have frozen it before the library was loaded.
    let plugin = inventory::iter::<PluginRegistration>.into_iter().find(|plugin| plugin.name == name).unwrap();
    (plugin.read)(&call, &mut problems).unwrap_or_else(|| panic!("{problems:?}")).instance().clone()
}

/// The gradient of every weight of a network, of its output summed with weights.
fn gradients(plugin: &dyn Architecture) -> Result<Vec<Vec<f32>>> {
    let streams = RandomStreams::new(0);
    let builder = Builder::random(&streams, "network", Precision::F32, &Device::Cpu);
    let network = plugin.build(&builder)?;
    let pixels: Vec<f32> =
        standard_normal(&mut streams.named("images"), 2 * 3 * 8 * 8).into_iter().map(|x| x as f32).collect();
    let images = FeatureMap::from_nchw(&Tensor::from_vec(pixels, (2, 3, 8, 8), &Device::Cpu)?)?;
    let logits = network.forward(&images, ForwardMode::train())?.logits;
    let gradients = Gradients::of(&(logits.sqr()? * 0.5)?.sum_all()?, builder.weights().parameters())?;
    gradients.iter().map(|(_, gradient)| Ok(gradient.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn gradients_are_right_at_every_distance_between_the_counts() -> Result<()> {
    for library in two_libraries() {
        load(library);
    }
    let PluginInstance::Architecture(loaded) = instance("TinyNet", "width", ValueKind::Integer(4)) else {
        panic!("an architecture")
    };
    let PluginInstance::Loss(loss) = instance("ExampleLoss", "weight", ValueKind::Float(3.0)) else { panic!("a loss") };
    let linked = gradients(&architecture::ExampleArchitecture { width: 4, classes: 10, channels: 3 })?;
    let teacher = Tensor::new(&[[0.5f64, -1.0, 2.0]], &Device::Cpu)?;
    for distance in 0..120 {
        // Each is a number that the program's side has used up.
        for _ in 0..distance {
            let _ = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        }
        assert_eq!(gradients(loaded.as_ref())?, linked, "distance {distance}");
        // A variable of the program, squared here, compared there: d/dx of 3·mean((x² − t)²) is 3·4x(x² − t)/3.
        let x = Var::new(&[[1.0f64, 2.0, -1.5]], &Device::Cpu)?;
        let output = |logits: Tensor| ClassifierOutput { logits, activations: Vec::new() };
        let target = loss.target(&output(teacher.clone()).into())?;
        let value = loss.value(&LossBatch::new(&output(x.sqr()?), &target))?;
        let gradient = value.backward()?.get(x.as_tensor()).map(Tensor::to_vec2::<f64>).unwrap()?;
        let expected: Vec<f64> =
            [(1.0, 0.5), (2.0, -1.0), (-1.5, 2.0)].iter().map(|(x, t)| 4.0 * x * (x * x - t)).collect();
        assert_eq!(gradient, [expected], "distance {distance}");
    }
    Ok(())
}
