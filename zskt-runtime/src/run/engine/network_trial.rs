//! Every network computes once before the first stage begins: a forward pass that fails would otherwise be found when the network's own
//! stage begins, hours after the start of the run, and by then a plugin that is built anew does not fit the run any more.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use candle_core::{DType, Device, Tensor};
use zskt_api::nn::with_layer_streams;
use zskt_api::tensor::{catch_out_of_memory, flop};
use zskt_api::{
    Diagnostic, Error, FeatureMap, ForwardMode, GeneratorInput, GeneratorNetwork, GeneratorSignature, ImageShape,
    NodeOutput, PluginInstance, Result, Signature,
};

use super::environment::Environment;
use super::node_outputs::NodeOutputs;
use crate::plan::{Plan, PlanNode};
use crate::plugin_calls::{PluginOfNode, run_named_plugin};
use crate::run::interrupt::Interrupted;
use crate::run::start_error::StartError;

/// Images of a pass: with one alone, a network that takes a batch for an image would pass.
const IMAGES: usize = 2;

/// Lets each network that a stage or a metric is given make or take images, as it is evaluated: generators of latents of zeros, classifiers
/// what a generator makes, or zeros. That changes no weight, draws nothing that the run draws, and counts as no training. Gives the
/// floating-point operations that all of them take for one image.
///
/// # Errors
/// Where a pass fails, the network's node and plugin; or that the user asked to stop.
pub fn try_networks(
    plan: &Plan,
    outputs: &NodeOutputs<'_>,
    environment: &Environment,
    interrupted: &Interrupted,
) -> Result<f64, StartError> {
    let (tried, flop_per_image) = (BTreeSet::new(), Cell::new(0.0));
    let mut trial = NetworkTrial { plan, outputs, environment, interrupted, tried, flop_per_image };
    // What draws numbers even when it is evaluated has some in a stage, and is to have some here.
    with_layer_streams(&environment.streams, "trial", 0, || plan.nodes.iter().try_for_each(|node| trial.node(node)))?;
    Ok(trial.flop_per_image.get())
}

struct NetworkTrial<'t, 'p> {
    plan: &'p Plan,
    outputs: &'t NodeOutputs<'p>,
    environment: &'t Environment,
    interrupted: &'t Interrupted,
    /// Networks, and the images that they made or took.
    tried: BTreeSet<(&'p str, [usize; 3])>,
    /// Of all that were.
    flop_per_image: Cell<f64>,
}

impl<'p> NetworkTrial<'_, 'p> {
    /// Tries what arrives at a stage or a metric. What only an earlier stage makes is not there yet.
    fn node(&mut self, node: &'p PlanNode) -> Result<(), StartError> {
        if !matches!(node.instance, PluginInstance::Stage(_) | PluginInstance::Metric(_)) {
            return Ok(());
        }
        let (plan, outputs) = (self.plan, self.outputs);
        let arriving = || node.inputs.iter().filter_map(|edge| plan.nodes[edge.from].signature.as_ref());
        for source in arriving() {
            let Some(image) = source.image() else { continue };
            let mut images = zeros(image, self.environment)?;
            if let Signature::Generator(signature) = source
                && let Some(NodeOutput::Generator(generator)) = outputs.of_network(&signature.network)
                && self.is_new(&signature.network, image)
            {
                images = self.made(generator, signature)?;
            }
            for signature in arriving() {
                if let Signature::Classifier(signature) = signature
                    && let Some(NodeOutput::Classifier(network)) = outputs.of_network(&signature.network)
                    && signature.shape.output_shape(image).is_ok()
                    && self.is_new(&signature.network, image)
                {
                    let given = format_args!("{IMAGES} images {image}");
                    self.run(&signature.network, IMAGES, given, || {
                        network.forward.forward(&images, ForwardMode::eval())
                    })?;
                }
            }
        }
        Ok(())
    }

    fn is_new(&mut self, network: &'p str, ImageShape { channels, height, width }: ImageShape) -> bool {
        self.tried.insert((network, [channels, height, width]))
    }

    /// What a generator makes, of as many latents as it takes at once.
    fn made(&self, generator: &GeneratorNetwork, signature: &GeneratorSignature) -> Result<FeatureMap, StartError> {
        let Environment { device, precision, .. } = self.environment;
        let batch = signature.batch_size.unwrap_or(IMAGES);
        self.run(&signature.network, batch, format_args!("{batch} latents of zeros"), || {
            let width = generator.forward.latent_dim();
            // A GPU takes no tensors without numbers, and generators without latents do not look at them.
            let of_latents = if width == 0 { &Device::Cpu } else { device };
            let latents = Tensor::zeros((batch, width), precision.dtype(), of_latents)?;
            let labels = signature.classes.map(|_| Tensor::zeros(batch, DType::U32, device)).transpose()?;
            let input = GeneratorInput { latents: &latents, labels: labels.as_ref() };
            generator.forward.forward(&input, ForwardMode::eval())?.narrow(0, batch.min(IMAGES))
        })
    }

    fn run<T>(
        &self,
        network: &str,
        images: usize,
        given: fmt::Arguments<'_>,
        pass: impl FnOnce() -> Result<T>,
    ) -> Result<T, StartError> {
        if (self.interrupted)() {
            return Err(Error::interrupted().into());
        }
        let before = flop::done();
        let result = match self.plan.nodes.iter().find(|node| node.name == network) {
            Some(maker) => run_named_plugin(PluginOfNode::of(maker), pass),
            None => pass(),
        };
        self.flop_per_image.set(self.flop_per_image.get() + (flop::done() - before) as f64 / images as f64);
        result.map_err(|error| {
            // That a machine has no room is no fault of the pipeline.
            if error.is_out_of_memory() || error.is_interrupted() {
                return error.into();
            }
            let help = format!(
                "nothing was trained yet: before that each network computes once in evaluation mode, and `{network}` was given {given}; \
                 mend the forward pass of its plugin and run again"
            );
            Diagnostic::global(error.to_string()).help(help).into()
        })
    }
}

fn zeros(image: ImageShape, environment: &Environment) -> Result<FeatureMap> {
    let shape = [IMAGES, image.channels, image.height, image.width];
    let zeros = Tensor::zeros(&shape[..], environment.precision.dtype(), &environment.device)?;
    catch_out_of_memory(|| FeatureMap::from_nchw(&zeros))
}
