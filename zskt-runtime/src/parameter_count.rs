//! How many numbers the networks of a plan learn, and whether they can be built at all, found without running anything.

use candle_core::Device;
use zskt_api::{Builder, Normalization, PluginInstance, Precision, Result};

use crate::plugin_calls::catch_panics;

/// The parameters of the network that a plugin makes; `None` where it makes none, or not one that can be built from the plugin's
/// parameters alone.
pub fn of(plugin: &PluginInstance) -> Option<usize> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    let is_built = build(plugin, &builder).ok()?;
    is_built.then(|| builder.weights().parameter_count())
}

/// Why the network that a plugin makes cannot be built, whatever its weights are.
///
/// # Errors
/// Those of its `build`, but not where it is memory alone that is missing.
pub fn check(plugin: &PluginInstance) -> Result<()> {
    // Shapes take no room, whatever the network's size.
    if let Ok(Ok(_)) = catch_panics(|| Builder::shapes_of(|builder| build(plugin, builder))) {
        return Ok(());
    }
    // A `build` may compute with its weights, which have no numbers where shapes alone are asked for, and may panic at that.
    match build(plugin, &Builder::zeros(Precision::F32, &Device::Cpu)) {
        Err(error) if !error.is_out_of_memory() => Err(error),
        _ => Ok(()),
    }
}

/// Builds the network of a plugin, and says whether it makes one from its parameters alone.
fn build(plugin: &PluginInstance, builder: &Builder) -> Result<bool> {
    match plugin {
        PluginInstance::Architecture(architecture) => architecture.build(builder).map(|_| true),
        PluginInstance::Generator(generator) => match generator.image() {
            // How its images are normalized changes no weight.
            Ok(image) => generator.build(builder, Some(&Normalization::identity(image.channels))).map(|_| true),
            // Which is what is wrong with it.
            Err(_) => Ok(false),
        },
        PluginInstance::Teacher(teacher) => match teacher.architecture() {
            Some(architecture) => architecture.build(builder).map(|_| true),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}
