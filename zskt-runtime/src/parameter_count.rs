//! How many numbers the networks of a plan learn, counted without running anything.

use candle_core::Device;
use zskt_api::{Builder, Normalization, PluginInstance, Precision};

/// The parameters of the network that a plugin makes; `None` where it makes none, or not one that can be built from the plugin's
/// parameters alone.
pub fn of(plugin: &PluginInstance) -> Option<usize> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    match plugin {
        PluginInstance::Architecture(architecture) => {
            architecture.build(&builder).ok()?;
        }
        PluginInstance::Generator(generator) => {
            // How its images are normalized changes no count.
            let any = Normalization::identity(generator.image().ok()?.channels);
            generator.build(&builder, Some(&any)).ok()?;
        }
        PluginInstance::Teacher(teacher) => {
            teacher.architecture()?.build(&builder).ok()?;
        }
        _ => return None,
    }
    Some(builder.weights().parameter_count())
}
