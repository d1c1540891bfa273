//! Losses.

use candle_core::{DType, Device, Tensor};

use super::{finite_differences, normal, number, same_bits};
use crate::nn::{BatchNormInput, Observation};
use crate::{
    Builder, ClassifierOutput, FeatureMap, ForwardMode, ImageShape, Init, Loss, LossBatch, LossInputs, OutputShape,
    Parameter, Precision, Result, TeacherOutput,
};

const BATCH: usize = 4;
const CLASSES: usize = 10;
/// As of a network with three groups of layers.
const ACTIVATIONS: [[usize; 3]; 3] = [[4, 8, 8], [6, 4, 4], [8, 2, 2]];

pub fn loss(loss: &dyn Loss) -> Result<()> {
    let needs = loss.needs();
    let activations = ACTIVATIONS.map(|[channels, height, width]| ImageShape::new(channels, height, width)).to_vec();
    let shape = OutputShape { classes: CLASSES, activations };
    loss.check(&shape, needs.teacher.then_some(&shape))?;
    let value = |student: &[Parameter], teacher: &[Parameter]| -> Result<Tensor> {
        let target = if needs.teacher { loss.target(&teacher_output(teacher, needs)?)? } else { Vec::new() };
        let labels = needs.labels.then(|| Tensor::from_iter((0..BATCH as u32).map(|i| i * 3), &Device::Cpu));
        let (labels, student) = (labels.transpose()?, needs.student.then(|| output(student)).transpose()?);
        // Images that depend on what a generator changes.
        let images =
            needs.images.then(|| FeatureMap::from_nchw(&teacher[1].tensor(ForwardMode::train()))).transpose()?;
        let (student, labels, images) = (student.as_ref(), labels.as_ref(), images.as_ref());
        loss.value(&LossBatch { student, target: &target, labels, images })
    };
    let players = |precision| Ok((player("student", precision)?, player("teacher", precision)?));
    let computed = |precision| players(precision).and_then(|(student, teacher)| value(&student, &teacher));
    let (exact, again, single) = (computed(Precision::F64)?, computed(Precision::F64)?, computed(Precision::F32)?);
    promise!(same_bits([&exact], [&again])?, "`value` is another the second time, for the same beliefs");
    for (found, dtype) in [(&exact, DType::F64), (&single, DType::F32)] {
        let (shape, made) = (found.dims(), found.dtype());
        promise!(
            shape.is_empty() && made == dtype,
            "`value` promises a scalar of {dtype:?} for such logits, and is {shape:?} of {made:?}"
        );
    }
    let (exact, single) = (number(&exact)?, number(&single)?);
    let near = (single - exact).abs() <= 1e-3 * exact.abs().max(1e-3);
    promise!(near, "`value` is {exact} in f64, and {single} in f32");
    finite_differences::check("`value`", &|change| {
        let (student, teacher) = players(Precision::F64)?;
        // A generator learns through the teacher as well.
        let parameters: Vec<_> = (student.iter().filter(|_| needs.student))
            .chain(teacher.iter().filter(|_| needs.teacher || needs.images))
            .cloned()
            .collect();
        change(&parameters)?;
        Ok((parameters, value(&student, &teacher)?))
    })
}

/// Logits and activations.
fn player(name: &str, precision: Precision) -> Result<Vec<Parameter>> {
    let builder = Builder::zeros(precision, &Device::Cpu);
    let maps = ACTIVATIONS.map(|[channels, height, width]| vec![BATCH, channels, height, width]);
    let shapes = [vec![BATCH, CLASSES]].into_iter().chain(maps);
    let made = shapes.enumerate().map(|(index, shape)| {
        let name = if index == 0 { format!("{name}'s logits") } else { format!("{name}'s activation {index}") };
        let parameter = builder.parameter(&name, &shape, Init::Constant(0.0))?;
        parameter.var().set(&normal(&name, &shape, precision.dtype())?)?;
        Ok(parameter)
    });
    made.collect()
}

/// What a teacher gives, with features and batch norms' inputs made of its logits where they are wanted.
fn teacher_output(player: &[Parameter], needs: LossInputs) -> Result<TeacherOutput> {
    let output = output(player)?;
    let logits = &output.logits;
    let input = |scale: f64| -> Result<BatchNormInput> {
        let mean = (logits.mean(0)? * scale)?;
        let variance = ((logits * scale)?.sqr()?.mean(0)? + 0.1)?;
        let running_mean = (mean.zeros_like()? + 0.2)?;
        Ok(BatchNormInput { running_variance: (&running_mean.sqr()? + 1.0)?, mean, variance, running_mean })
    };
    let within = Observation {
        batch_norms: if needs.within_teacher.batch_norms { vec![input(1.0)?, input(0.5)?] } else { Vec::new() },
        features: needs.within_teacher.features.then(|| logits.affine(2.0, 0.3)).transpose()?,
    };
    Ok(TeacherOutput { output, within })
}

fn output(player: &[Parameter]) -> Result<ClassifierOutput> {
    let activations = player[1..].iter().map(|map| FeatureMap::from_nchw(&map.tensor(ForwardMode::train())));
    Ok(ClassifierOutput {
        logits: player[0].tensor(ForwardMode::train()),
        activations: activations.collect::<Result<_>>()?,
    })
}
