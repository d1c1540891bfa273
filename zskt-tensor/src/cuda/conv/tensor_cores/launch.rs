//! How kernels are launched: by the driver on a GPU; in tests, on the CPU.

use candle_core::{Device, Result, bail};

use crate::cuda::conv::tensor_cores::kernel::Kernel;
use crate::cuda::launch::{Argument, address, words};

/// Makes a kernel ready that is launched for the first time, and those that are likely to be launched soon.
///
/// # Errors
/// When the device fails.
pub fn compile_ahead(device: &Device, kernel: &Kernel, likely: impl FnOnce() -> Vec<Kernel>) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::gpu::compile_ahead(device, kernel, likely),
        #[cfg(test)]
        Device::Cpu => {
            super::emulation::compile_ahead(kernel, likely);
            Ok(())
        }
        _ => {
            drop((kernel, likely));
            Ok(())
        }
    }
}

/// Launches a kernel, of blocks over pixels and over channels.
///
/// # Errors
/// When a tensor is not dense, too large, or begins where sixteen bytes may not, or the device fails.
pub fn launch(device: &Device, kernel: &Kernel, grid: [usize; 2], arguments: &[Argument<'_>]) -> Result<()> {
    if grid.contains(&0) {
        return Ok(());
    }
    for argument in arguments {
        if let Argument::Tensor(tensor) = argument
            && tensor.dims().last().is_some_and(|channels| *channels >= 8)
            && !address(tensor)?.is_multiple_of(16)
        {
            bail!("{}: {:?} begins where sixteen bytes may not", kernel.name(), tensor.dims());
        }
    }
    #[cfg(test)]
    crate::cuda::launch::launch_count::add(kernel.kind());
    let words = words("a convolution", size_of::<f32>(), arguments)?;
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::gpu::launch(device, kernel, grid, words),
        #[cfg(test)]
        Device::Cpu => super::emulation::launch(kernel, grid, &words, arguments),
        other => {
            drop(words);
            bail!("there are no kernels for {:?}", other.location())
        }
    }
}
