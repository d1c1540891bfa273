//! Opens the device that a pipeline asks for.

use std::fmt;

use candle_core::Device;
use zskt_api::Diagnostic;

use crate::device_request::DeviceRequest;

/// The device, and its plain name.
///
/// # Errors
/// When this program or machine has no such device.
pub fn open(request: DeviceRequest) -> Result<(Device, String), Diagnostic> {
    match request {
        DeviceRequest::Cpu => Ok((Device::Cpu, "cpu".into())),
        DeviceRequest::Auto => match cuda::count() {
            Ok(_) => cuda::open(0),
            // A program without CUDA was not meant for it, so there is nothing to say.
            Err(NoGpu::NotBuiltIn) => Ok((Device::Cpu, "cpu".into())),
            Err(reason) => Ok((Device::Cpu, format!("cpu ({reason})"))),
        },
        DeviceRequest::Cuda(number) => match cuda::count() {
            Ok(count) if number < count => cuda::open(number),
            Ok(count) => {
                let there: Vec<_> = (0..count).map(|number| format!("`cuda:{number}`")).collect();
                let there = there.join(", ");
                Err(Diagnostic::global(format!("device `{request}` is not there; this machine has `cpu` and {there}")))
            }
            Err(reason) => {
                Err(Diagnostic::global(format!("device `{request}` is not there: {reason}; there is only `cpu`"))
                    .help("say `--set device=cpu`, or `auto` in the pipeline"))
            }
        },
    }
}

/// Why no GPU can be used.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "without CUDA no driver is looked for"))]
enum NoGpu {
    #[cfg_attr(feature = "cuda", expect(dead_code, reason = "this build has CUDA"))]
    NotBuiltIn,
    NoDriver,
    IncompleteDriver,
    NoneFound {
        status: [i32; 2],
    },
}

impl fmt::Display for NoGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuiltIn => f.write_str("this build has no CUDA"),
            Self::NoDriver => f.write_str("no NVIDIA driver is installed"),
            Self::IncompleteDriver => f.write_str("the NVIDIA driver lacks a function"),
            Self::NoneFound { status } => write!(f, "the NVIDIA driver finds no GPU (status {status:?})"),
        }
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    #![expect(unsafe_code, reason = "the driver is asked before anything is linked against it")]

    use std::ffi::c_int;

    use candle_core::Device;
    use libloading::Library;
    use zskt_api::Diagnostic;

    use super::NoGpu;

    type Function<T> = unsafe extern "C" fn(T) -> c_int;

    /// How many GPUs there are. candle itself fails where there is no driver.
    ///
    /// # Errors
    /// Why there is none.
    pub fn count() -> Result<usize, NoGpu> {
        let odd = |_| NoGpu::IncompleteDriver;
        // SAFETY: the driver's library may be opened by anyone, and its functions have these types.
        unsafe {
            let driver = Library::new("libcuda.so.1").map_err(|_| NoGpu::NoDriver)?;
            let init = driver.get::<Function<u32>>(b"cuInit").map_err(odd)?;
            let device_count = driver.get::<Function<*mut c_int>>(b"cuDeviceGetCount").map_err(odd)?;
            let mut count = 0;
            let status = [init(0), device_count(&raw mut count)];
            if status != [0, 0] || count < 1 {
                return Err(NoGpu::NoneFound { status });
            }
            // What a driver has begun goes on after its library was closed.
            std::mem::forget(driver);
            Ok(count as usize)
        }
    }

    /// A GPU, with a stream of its own.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(number: usize) -> Result<(Device, String), Diagnostic> {
        let name = format!("cuda:{number}");
        match zskt_api::open_gpu(number) {
            Ok(device) => Ok((device, name)),
            Err(error) => Err(Diagnostic::global(format!("device `{name}` cannot be used: {error}"))),
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use candle_core::Device;
    use zskt_api::Diagnostic;

    use super::NoGpu;

    pub fn count() -> Result<usize, NoGpu> {
        Err(NoGpu::NotBuiltIn)
    }

    pub fn open(_: usize) -> Result<(Device, String), Diagnostic> {
        Err(Diagnostic::global(NoGpu::NotBuiltIn.to_string()))
    }
}
