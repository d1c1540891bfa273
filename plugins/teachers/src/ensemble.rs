//! Several teachers as one.

use std::path::PathBuf;

use zskt_api::candle_core::{D, Tensor};
use zskt_api::nn::{Wanted, forget_features};
use zskt_api::ops::log_softmax;
use zskt_api::{
    BuildContext, CheckError, Classifier, ClassifierNetwork, ClassifierOutput, ClassifierShape, FeatureMap,
    ForwardMode, ImageShape, Nested, Normalization, OutputShape, Result, TeacherSource, Weights, choice, params,
};

choice! {
    /// How the beliefs of several teachers become one.
    pub enum Combination {
        /// Their mean.
        Mean,
        /// For each image the belief of the one that agrees best with their mean.
        Nearest,
        /// Their mean with weights by how well each agrees with their plain mean on the image.
        Similar,
    }
}

params! {
    /// Several trained classifiers of the same classes as one teacher. What it believes of an image is made of what its members believe,
    /// each the softmax of its logits: `p = Σ αᵢ·pᵢ`; its logits are `log p`. With `w` the weights, scaled to a sum of 1,
    /// `m = Σ wᵢ·pᵢ`, and the agreement `eᵢ = 1 − ½·Σ|pᵢ − m|`, summed over the classes:
    ///
    /// - `Mean`: `αᵢ = wᵢ`, so that `p = m`;
    /// - `Nearest`: `αᵢ = 1` for the largest `eᵢ`, else 0;
    /// - `Similar`: `αᵢ = wᵢ·eᵢ^power / Σ wⱼ·eⱼ^power`.
    ///
    /// `Nearest` and `Similar` are after DistillNearest and DistillWeighted (Borup, Phoo and Hariharan, ICCV 2023, "Distilling from Similar
    /// Tasks for Transfer Learning on a Budget"). There `e` is measured once for each teacher, by its features on a few labelled images of
    /// the student's task, and each teacher has classes of its own. Here no image has a label: teachers are measured by one another, image
    /// by image, and all have the student's classes.
    ///
    /// A loss that looks at batch norms sees those of all members, in their order. It has no features and no activations: members may have
    /// any architecture.
    pub struct Ensemble {
        /// The teachers, two or more, each with the same classes and for images that are normalized alike.
        pub members: Vec<Nested<dyn TeacherSource>>,
        /// How their beliefs become one.
        pub combine: Combination = Combination::Mean,
        /// How much each member counts, in their order; left out, all count the same.
        pub weights: Vec<f64> = Vec::new() => 1e-6..=1e6,
        /// Of `Similar`: 0 is the mean; the larger, the more it is like `Nearest`.
        pub power: f64 = 1.0 => 0.0..=1000.0,
        /// The share of test images that it is known to classify rightly, 0.9372: it warns where a metric finds far less.
        pub accuracy: Option<f64> = None => 0.0..=1.0,
    }
}

impl ClassifierShape for Ensemble {
    fn output_shape(&self, image: ImageShape) -> Result<OutputShape, CheckError> {
        for (index, member) in self.members.iter().enumerate() {
            member.output_shape(image).map_err(|fault| self.of_member(index, fault))?;
        }
        Ok(OutputShape { classes: self.classes(), activations: Vec::new() })
    }

    fn classes(&self) -> usize {
        self.members.first().map_or(0, |member| member.classes())
    }
}

impl TeacherSource for Ensemble {
    /// Whether its members go together: each of them is checked as it would be alone.
    fn check(&self) -> Result<(), CheckError> {
        let count = self.members.len();
        if count < 2 {
            let message = format!("an ensemble has two members or more, and this one has {count}");
            return Err(CheckError::parameter("members", message).help("name a single teacher as the node itself"));
        }
        if count == 2 && self.combine != Combination::Mean {
            let message = "of two teachers neither agrees better with their mean than its weight makes it";
            return Err(CheckError::parameter("combine", message).help("use `Mean`, or three teachers or more"));
        }
        if !self.weights.is_empty() && self.weights.len() != count {
            let message = format!("{} weights for {count} members", self.weights.len());
            return Err(CheckError::parameter("weights", message).help("give one for each member, or none"));
        }
        let classes = self.classes();
        if let Some(index) = self.members.iter().position(|member| member.classes() != classes) {
            let found = self.members[index].classes();
            let message = format!("it tells {found} classes apart, but the first member {classes}");
            return Err(self
                .of_member(index, CheckError::new(message))
                .help("the classes of all members have to be the same, in the same order"));
        }
        let stated = self.members.iter().map(|member| member.normalization()).enumerate();
        let mut stated = stated.filter_map(|(index, normalization)| Some((index, normalization?)));
        if let Some((first, one)) = stated.next()
            && let Some((index, other)) = stated.find(|(_, other)| !one.is_close_to(other))
        {
            let message = format!("it was trained on images of {other}, but `members[{first}]` on images of {one}");
            return Err(self
                .of_member(index, CheckError::new(message))
                .help("all members see the same images; leave out those that were trained on others"));
        }
        Ok(())
    }

    fn observable(&self) -> Wanted {
        // Features of several networks are not one tensor.
        let batch_norms = self.members.iter().any(|member| member.observable().batch_norms);
        Wanted { batch_norms, features: false }
    }

    fn normalization(&self) -> Option<Normalization> {
        self.members.iter().find_map(|member| member.normalization())
    }

    fn accuracy(&self) -> Option<f64> {
        self.accuracy
    }

    fn load(&self, context: &BuildContext) -> Result<ClassifierNetwork> {
        let networks = self.members.iter().map(|member| member.load(context)).collect::<Result<Vec<_>>>()?;
        let parts = networks.iter().enumerate().map(|(index, network)| (format!("members.{index}"), &network.weights));
        let weights = Weights::joined(parts);
        let members = networks.into_iter().map(|network| network.forward).collect();
        let total: f64 = self.weights.iter().sum();
        let share = |index: usize| self.weights.get(index).map_or(1.0 / self.members.len() as f64, |w| w / total);
        let log_weights = (0..self.members.len()).map(|index| share(index).ln()).collect();
        let forward = Box::new(Combined { members, log_weights, combine: self.combine, power: self.power });
        Ok(ClassifierNetwork { name: context.node.clone(), weights, forward })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.members.iter().flat_map(|member| member.files()).collect()
    }
}

impl Ensemble {
    /// What is wrong with a member, at its place.
    fn of_member(&self, index: usize, fault: CheckError) -> CheckError {
        let member = format!("members[{index}]");
        let parameter = fault.parameter.as_ref().map_or_else(|| member.clone(), |inner| format!("{member}.{inner}"));
        CheckError { message: format!("`{member}`: {}", fault.message), parameter: Some(parameter), ..fault }
    }
}

/// The members, and how they are combined.
struct Combined {
    members: Vec<Box<dyn Classifier>>,
    /// Natural logarithms of weights whose sum is 1.
    log_weights: Vec<f64>,
    combine: Combination,
    power: f64,
}

impl Classifier for Combined {
    fn forward(&self, images: &FeatureMap, mode: ForwardMode) -> Result<ClassifierOutput> {
        let logits = self.members.iter().map(|member| member.forward(images, mode).map(|output| output.logits));
        let beliefs = logits.map(|logits| log_softmax(&logits?)).collect::<Result<Vec<_>>>()?;
        // Those of its last member are not what the whole is made of.
        forget_features();
        Ok(ClassifierOutput { logits: self.combined(&beliefs)?, activations: Vec::new() })
    }

    fn replays(&self) -> bool {
        self.members.iter().all(|member| member.replays())
    }
}

impl Combined {
    /// The logarithm of the belief that comes of the logarithms of those of the members, each `[B, classes]`.
    fn combined(&self, beliefs: &[Tensor]) -> Result<Tensor> {
        let weighted = beliefs.iter().zip(&self.log_weights).map(|(belief, weight)| Ok(belief.affine(1.0, *weight)?));
        let mean = log_sum_exp(&weighted.collect::<Result<Vec<_>>>()?)?;
        if self.combine == Combination::Mean {
            return Ok(mean);
        }
        let mean = mean.exp()?;
        // `[B, 1]` each. None is smaller than the member's weight, but for rounding, so its logarithm is finite.
        let agreement = |belief: &Tensor| -> Result<Tensor> {
            let agreement = (belief.exp()? - &mean)?.abs()?.sum_keepdim(D::Minus1)?.affine(-0.5, 1.0)?;
            Ok(agreement.maximum(f64::from(f32::EPSILON))?)
        };
        let agreements = beliefs.iter().map(agreement).collect::<Result<Vec<_>>>()?;
        if self.combine == Combination::Nearest {
            let nearest = Tensor::cat(&agreements, D::Minus1)?.detach().argmax_keepdim(D::Minus1)?;
            return beliefs.iter().enumerate().try_fold(beliefs[0].zeros_like()?, |sum, (index, belief)| {
                let chosen = nearest.eq(index as u32)?.to_dtype(belief.dtype())?;
                Ok((sum + belief.broadcast_mul(&chosen)?)?)
            });
        }
        let factors = agreements.iter().zip(&self.log_weights);
        let factors = factors.map(|(agreement, weight)| Ok(agreement.log()?.affine(self.power, *weight)?));
        let factors = factors.collect::<Result<Vec<_>>>()?;
        let total = log_sum_exp(&factors)?;
        let terms = beliefs.iter().zip(&factors);
        let terms = terms.map(|(belief, factor)| Ok(belief.broadcast_add(&(factor - &total)?)?));
        log_sum_exp(&terms.collect::<Result<Vec<_>>>()?)
    }
}

/// The logarithm of the sum of exponentials of tensors of one shape.
fn log_sum_exp(terms: &[Tensor]) -> Result<Tensor> {
    let terms = Tensor::stack(terms, 0)?;
    let largest = terms.detach().max_keepdim(0)?;
    Ok((terms.broadcast_sub(&largest)?.exp()?.sum_keepdim(0)?.log()? + largest)?.squeeze(0)?)
}
