//! An NVIDIA GPU, made ready for training.

#![expect(unsafe_code, reason = "the device's memory pool is told what to keep")]

use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;
use candle_core::{CudaDevice, Device, Error, Result};

#[cfg(opens_driver)]
unsafe extern "C" {
    /// Whether the driver's library was opened (`build/driver.rs`).
    safe fn zskt_driver_found() -> std::ffi::c_int;
}

/// The GPU of this number, with a stream of its own on which everything is computed.
///
/// # Errors
/// When there is no driver, or the GPU cannot be used.
pub fn open(number: usize) -> Result<Device> {
    #[cfg(opens_driver)]
    if zskt_driver_found() == 0 {
        candle_core::bail!("no NVIDIA driver is installed");
    }
    let device = CudaDevice::new_with_stream(number)?;
    let stream = device.cuda_stream();
    let failed = |error| Error::Msg(format!("its memory: {error}"));
    // SAFETY: everything is computed on this stream, in order; the device and its pool live as long as the process, and the
    // attribute is a number of 64 bits.
    unsafe {
        device.disable_event_tracking();
        let pool = result::device::get_default_mem_pool(stream.context().cu_device()).map_err(failed)?;
        // What is freed is kept for the next to ask, also when somebody has waited for the stream.
        let mut all = u64::MAX;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut all).cast()).map_err(failed)?;
    }
    Ok(Device::Cuda(device))
}

/// What the card is called, and its compute capability; nothing of a device that is no GPU.
pub fn describe(device: &Device) -> Option<String> {
    let Device::Cuda(device) = device else { return None };
    let stream = device.cuda_stream();
    let (name, (major, minor)) = (stream.context().name().ok()?, stream.context().compute_capability().ok()?);
    Some(format!("{name}, compute capability {major}.{minor}"))
}
