//! A teacher from a file is held to the contract of its kind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use zskt_api::candle_core::{Device, Tensor, safetensors};
use zskt_api::nn::{Linear, Wanted, global_average, observe};
use zskt_api::testing::{build_context, conforms, plugin};
use zskt_api::{
    Architecture, Builder, CheckError, Classifier, ClassifierOutput, ClassifierShape, FeatureMap, ForwardMode,
    ImageShape, OutputShape, PluginInstance, Precision, RandomStreams, Result, TeacherSource, params,
};
use zskt_teachers as _;

params! {
    /// Classifies images of three channels by their means.
    pub struct Means {
        /// Classes it tells apart.
        pub classes: usize = 4,
    }
}

impl ClassifierShape for Means {
    fn output_shape(&self, _: ImageShape) -> Result<OutputShape, CheckError> {
        Ok(OutputShape { classes: self.classes, activations: Vec::new() })
    }
    fn classes(&self) -> usize {
        self.classes
    }
}

struct Layer(Linear);

impl Classifier for Layer {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        Ok(ClassifierOutput { logits: self.0.forward(&global_average(images)?, mode)?, activations: Vec::new() })
    }
}

impl Architecture for Means {
    fn build(&self, builder: &Builder) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Layer(Linear::new(builder, 3, self.classes)?)))
    }
}

zskt_api::export! { architecture: Means }

/// A teacher with random weights, as a pipeline writes it.
fn means(folder: &Path, seed: u64, classes: usize, more: &str) -> Result<String> {
    let path = folder.join(format!("means-{seed}-{classes}.safetensors"));
    let builder = Builder::random(&RandomStreams::new(seed), "means", Precision::F32, &Device::Cpu);
    Means { classes }.build(&builder)?;
    // Large enough that teachers disagree.
    let scaled = |(name, weight): (String, Tensor)| Ok((name, (weight * 8.0)?));
    safetensors::save(
        &builder.weights().snapshot()?.into_iter().map(scaled).collect::<Result<HashMap<_, _>>>()?,
        &path,
    )?;
    Ok(format!("Checkpoint(model: Means(classes: {classes}), path: {path:?}{more})"))
}

fn teacher(text: &str) -> Result<Arc<dyn TeacherSource>> {
    match plugin(text)? {
        PluginInstance::Teacher(teacher) => Ok(teacher),
        _ => panic!("{text} is not a teacher"),
    }
}

#[test]
fn every_teacher_keeps_its_contract() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let members = (0..3).map(|seed| means(folder.path(), seed, 4, "")).collect::<Result<Vec<_>>>()?;
    conforms(&members[0])?;
    let members = members.join(", ");
    for more in
        ["", "weights: [1.0, 2.0, 0.5]", "combine: Nearest", "combine: Similar, weights: [1.0, 2.0, 1.0], power: 3.0"]
    {
        conforms(&format!("Ensemble(members: [{members}], {more})"))?;
    }
    Ok(())
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / sum).collect()
}

fn sum_of(weights: &[f64], beliefs: &[Vec<f64>]) -> Vec<f64> {
    (0..beliefs[0].len())
        .map(|c| weights.iter().zip(beliefs).map(|(weight, belief)| weight * belief[c]).sum())
        .collect()
}

#[test]
fn an_ensemble_believes_what_its_members_believe() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let members = (0..3).map(|seed| means(folder.path(), seed, 4, "")).collect::<Result<Vec<_>>>()?;
    let images = (0..6 * 3 * 4).map(|i| f64::from(i * i * 7 % 31) / 4.0 - 4.0).collect::<Vec<_>>();
    let images = FeatureMap::from_nchw(&Tensor::from_vec(images, (6, 3, 2, 2), &Device::Cpu)?)?;
    let believed = |text: &str| -> Result<Vec<Vec<f64>>> {
        let network = teacher(text)?.load(&build_context("teacher", Precision::F64))?;
        let output = network.forward.forward(&images, ForwardMode::eval())?;
        Ok(output.logits.to_vec2::<f64>()?.iter().map(|logits| softmax(logits)).collect())
    };
    let of_members = members.iter().map(|member| believed(member)).collect::<Result<Vec<_>>>()?;
    let weights = [0.4, 0.4, 0.2];
    let members = members.join(", ");
    let mut chosen = Vec::new();
    for (combine, power) in [("Mean", 1.0), ("Nearest", 1.0), ("Similar", 1.0), ("Similar", 5.0), ("Similar", 0.0)] {
        let text =
            format!("Ensemble(members: [{members}], combine: {combine}, weights: [2.0, 2.0, 1.0], power: {power:?})");
        for (image, found) in believed(&text)?.into_iter().enumerate() {
            let beliefs: Vec<_> = of_members.iter().map(|member| member[image].clone()).collect();
            let mean = sum_of(&weights, &beliefs);
            let agreement =
                |belief: &Vec<f64>| 1.0 - belief.iter().zip(&mean).map(|(p, m)| (p - m).abs()).sum::<f64>() / 2.0;
            let agreements: Vec<f64> = beliefs.iter().map(agreement).collect();
            let nearest = (0..3).max_by(|a, b| agreements[*a].total_cmp(&agreements[*b])).expect("three");
            let factors: Vec<f64> = agreements.iter().zip(weights).map(|(e, weight)| weight * e.powf(power)).collect();
            let total: f64 = factors.iter().sum();
            let expected = match combine {
                "Mean" => mean,
                "Nearest" => {
                    chosen.push(nearest);
                    beliefs[nearest].clone()
                }
                _ => sum_of(&factors.iter().map(|factor| factor / total).collect::<Vec<_>>(), &beliefs),
            };
            let differs = found.iter().zip(&expected).any(|(found, expected)| (found - expected).abs() > 1e-12);
            assert!(!differs, "{combine} to the power of {power}, image {image}: {found:?}, expected {expected:?}");
        }
    }
    assert!(chosen.iter().any(|member| *member != chosen[0]), "one member is always the nearest: {chosen:?}");
    let network = teacher(&format!("Ensemble(members: [{members}])"))?.load(&build_context("all", Precision::F64))?;
    let names: Vec<_> = network.weights.iter().map(|weight| weight.name().to_owned()).collect();
    assert_eq!(names[..3], ["members.0.weight", "members.0.bias", "members.1.weight"]);
    let wanted = Wanted { features: true, ..Wanted::default() };
    let (_, seen) = observe(wanted, || network.forward.forward(&images, ForwardMode::eval()))?;
    assert!(seen.features.is_none(), "the features of one member are not those of all");
    Ok(())
}

#[test]
fn teachers_that_do_not_go_together_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let one = means(folder.path(), 0, 4, ", mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]")?;
    let other = means(folder.path(), 1, 4, ", mean: [0.1, 0.5, 0.5], std: [0.2, 0.2, 0.2]")?;
    let (silent, five) = (means(folder.path(), 2, 4, "")?, means(folder.path(), 3, 5, "")?);
    for (members, more, parameter, message) in [
        (vec![&one], "", "members", "two members or more, and this one has 1"),
        (vec![&one, &silent], "combine: Similar", "combine", "neither agrees better"),
        (vec![&one, &silent], "weights: [1.0]", "weights", "1 weights for 2 members"),
        (
            vec![&one, &silent, &five],
            "",
            "members[2]",
            "`members[2]`: it tells 5 classes apart, but the first member 4",
        ),
        (vec![&silent, &one, &other], "", "members[2]", "but `members[1]` on images of mean [0.5, 0.5, 0.5]"),
    ] {
        let members: Vec<_> = members.into_iter().map(String::as_str).collect();
        let fault = teacher(&format!("Ensemble(members: [{}], {more})", members.join(", ")))?.check();
        let fault = fault.expect_err(message);
        assert_eq!(fault.parameter.as_deref(), Some(parameter));
        assert!(fault.message.contains(message), "{}", fault.message);
    }
    let ensemble = teacher(&format!("Ensemble(members: [{silent}, {one}])"))?;
    ensemble.check()?;
    assert_eq!(ensemble.normalization().expect("of the second").mean, [0.5; 3]);
    Ok(())
}
