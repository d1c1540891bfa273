//! A teacher that knows where classes lie in the plane.

use std::fs;
use std::path::PathBuf;

use zskt_api::candle_core::{D, Tensor};
use zskt_api::{
    BuildContext, Builder, CheckError, Classifier, ClassifierNetwork, ClassifierOutput,
    ClassifierShape, Context, Error, FeatureMap, ForwardMode, ImageShape, Network, Normalization,
    OutputShape, Result, TeacherSource, params,
};

/// What a point is for networks: an image of one pixel, whose channels are its coordinates.
const POINT: ImageShape = ImageShape {
    channels: 2,
    height: 1,
    width: 1,
};

params! {
    /// Tells points in the plane apart by normal distributions that it reads from a file: the score of a class is the logarithm of how
    /// likely its parts make the point.
    pub struct ExampleTeacher {
        /// The file, a line for each part of a class: the class, the coordinates of the middle, and both standard deviations, with
        /// commas between them.
        pub path: PathBuf,
        /// Classes it tells apart.
        pub classes: usize = 3 => 2..=1000,
    }
}

/// A part of a class: a normal distribution.
struct Part {
    class: usize,
    middle: [f64; 2],
    std: [f64; 2],
}

impl ExampleTeacher {
    fn parts(&self) -> Result<Vec<Part>> {
        let text = fs::read_to_string(&self.path).context(self.path.display())?;
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| {
                self.part(line)
                    .context(format!("{}: `{line}`", self.path.display()))
            })
            .collect()
    }

    fn part(&self, line: &str) -> Result<Part> {
        let numbers = line.split(',').map(|number| number.trim().parse());
        let numbers = numbers
            .collect::<Result<Vec<f64>, _>>()
            .map_err(|error| Error::new(error.to_string()))?;
        let &[class, x, y, std_x, std_y] = numbers.as_slice() else {
            return Err(Error::new("expected five numbers"));
        };
        let is_class = class.fract() == 0.0 && (0.0..self.classes as f64).contains(&class);
        if !is_class || !(std_x > 0.0 && std_y > 0.0) {
            return Err(Error::new(
                "expected a class and, at the end, deviations above zero",
            ));
        }
        Ok(Part {
            class: class as usize,
            middle: [x, y],
            std: [std_x, std_y],
        })
    }
}

impl ClassifierShape for ExampleTeacher {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        if image != POINT {
            return Err(CheckError::new(format!(
                "expected points, {POINT}, found images {image}"
            )));
        }
        Ok(OutputShape {
            classes: self.classes,
            activations: Vec::new(),
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }
}

impl TeacherSource for ExampleTeacher {
    fn check(&self) -> Result<(), CheckError> {
        let parts = self
            .parts()
            .map_err(|error| CheckError::parameter("path", error.to_string()))?;
        match (0..self.classes).find(|class| parts.iter().all(|part| part.class != *class)) {
            Some(class) => {
                let message = format!("{} has no part of class {class}", self.path.display());
                Err(CheckError::parameter("classes", message))
            }
            None => Ok(()),
        }
    }

    // Pixels from 0 to 1 are coordinates from -3 to 3: generators and datasets of the pipeline follow it.
    fn normalization(&self) -> Option<Normalization> {
        Some(Normalization {
            mean: vec![0.5; 2],
            std: vec![1.0 / 6.0; 2],
        })
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let tensor = |numbers: Vec<f64>, rows| -> Result<Tensor> {
            let tensor = Tensor::from_vec(numbers, rows, &context.device)?;
            Ok(tensor.to_dtype(context.precision.dtype())?)
        };
        let mut classes = Vec::new();
        for class in 0..self.classes {
            let parts: Vec<_> = self
                .parts()?
                .into_iter()
                .filter(|part| part.class == class)
                .collect();
            let rows = (1, parts.len(), 2);
            classes.push(Class {
                middles: tensor(parts.iter().flat_map(|part| part.middle).collect(), rows)?,
                scales: tensor(
                    parts
                        .iter()
                        .flat_map(|part| part.std.map(|std| 1.0 / std))
                        .collect(),
                    rows,
                )?,
            });
        }
        // It has no weights.
        let weights = Builder::zeros(context.precision, &context.device).weights();
        let forward = Box::new(Plane { classes });
        Ok(Network {
            name: context.node.clone(),
            weights,
            forward,
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }
}

/// The parts of a class, `[1, parts, 2]`.
struct Class {
    middles: Tensor,
    /// Reciprocals of the standard deviations.
    scales: Tensor,
}

struct Plane {
    classes: Vec<Class>,
}

impl Classifier for Plane {
    fn forward(&self, images: &FeatureMap, _: ForwardMode) -> Result<ClassifierOutput> {
        let points = images.flatten()?.unsqueeze(1)?;
        let score = |class: &Class| -> Result<Tensor> {
            let distances = points
                .broadcast_sub(&class.middles)?
                .broadcast_mul(&class.scales)?;
            let exponents = (distances.sqr()?.sum(D::Minus1)? * -0.5)?;
            let logarithms = exponents.broadcast_add(&class.scales.log()?.sum(D::Minus1)?)?;
            Ok(logarithms.log_sum_exp(D::Minus1)?)
        };
        let scores = self.classes.iter().map(score).collect::<Result<Vec<_>>>()?;
        Ok(ClassifierOutput {
            logits: Tensor::stack(&scores, 1)?,
            activations: Vec::new(),
        })
    }

    // It computes on the device only, with numbers that never change: a GPU may replay it.
    fn replays(&self) -> bool {
        true
    }
}

// The file is a parameter, and holds no image.
zskt_api::export! { reads: none; teacher: ExampleTeacher }

#[cfg(test)]
mod tests {
    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::testing::{build_context, conforms};
    use zskt_api::{FeatureMap, ForwardMode, Precision, Result, TeacherSource};

    use super::ExampleTeacher;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleTeacher(path: \"parts.csv\")")
    }

    #[test]
    fn a_point_is_of_the_class_that_it_lies_in() -> Result<()> {
        let teacher = ExampleTeacher {
            path: "parts.csv".into(),
            classes: 3,
        };
        let network = teacher.load(&build_context("teacher", Precision::F32))?;
        let points = Tensor::new(&[0.0f32, 1.5, -1.0, 0.0, 1.0, 0.0], &Device::Cpu)?;
        let points = FeatureMap::from_nchw(&points.reshape((3, 2, 1, 1))?)?;
        let scores = network
            .forward
            .forward(&points, ForwardMode::eval())?
            .logits;
        assert_eq!(scores.argmax(1)?.to_vec1::<u32>()?, [0, 1, 2]);
        Ok(())
    }
}
