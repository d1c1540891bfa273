//! Where a run computes, and how precisely.

use candle_core::Device;
use zskt_api::Precision;

/// The device called `cpu`, `cuda:N` or `auto`, and its plain name.
///
/// # Errors
/// When this program or machine has no such device.
pub fn device(name: &str) -> Result<(Device, String), String> {
    match name {
        "cpu" => Ok((Device::Cpu, "cpu".into())),
        "auto" => match cuda::count() {
            Ok(1..) => cuda::open(0),
            // A program without CUDA was not meant for it, so there is nothing to say.
            Err(reason) if cfg!(feature = "cuda") => Ok((Device::Cpu, format!("cpu ({reason})"))),
            _ => Ok((Device::Cpu, "cpu".into())),
        },
        _ => {
            let way_out = "say `--set device=cpu`, or `auto` in the pipeline";
            let number = name.strip_prefix("cuda:").and_then(|number| number.parse::<usize>().ok());
            let Some(number) = number else {
                return Err(format!("there is no device `{name}`: expected `cpu`, `cuda:N` or `auto`"));
            };
            match cuda::count() {
                Ok(count) if number < count => cuda::open(number),
                Ok(count) => {
                    let there: Vec<_> = (0..count).map(|number| format!("`cuda:{number}`")).collect();
                    Err(format!("device `{name}` is not there; this machine has `cpu` and {}", there.join(", ")))
                }
                Err(reason) => Err(format!("device `{name}` is not there: {reason}; there is only `cpu`; {way_out}")),
            }
        }
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    #![expect(unsafe_code, reason = "the driver is asked before anything is linked against it")]

    use std::ffi::c_int;

    use candle_core::Device;
    use libloading::Library;

    type Function<T> = unsafe extern "C" fn(T) -> c_int;

    /// How many GPUs there are. candle itself fails where there is no driver.
    ///
    /// # Errors
    /// Why there is none.
    pub fn count() -> Result<usize, String> {
        let none = |_| "no NVIDIA driver is installed".to_owned();
        let odd = |_| "the NVIDIA driver lacks a function".to_owned();
        // SAFETY: the driver's library may be opened by anyone, and its functions have these types.
        unsafe {
            let driver = Library::new("libcuda.so.1").map_err(none)?;
            let init = driver.get::<Function<u32>>(b"cuInit").map_err(odd)?;
            let device_count = driver.get::<Function<*mut c_int>>(b"cuDeviceGetCount").map_err(odd)?;
            let mut count = 0;
            let status = [init(0), device_count(&raw mut count)];
            if status != [0, 0] || count < 1 {
                return Err(format!("the NVIDIA driver finds no GPU (status {status:?})"));
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
    pub fn open(number: usize) -> Result<(Device, String), String> {
        let name = format!("cuda:{number}");
        match zskt_api::open_gpu(number) {
            Ok(device) => Ok((device, name)),
            Err(error) => Err(format!("device `{name}` cannot be used: {error}")),
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use candle_core::Device;

    pub fn count() -> Result<usize, String> {
        Err("this build has no CUDA".into())
    }

    pub fn open(_: usize) -> Result<(Device, String), String> {
        Err("this build has no CUDA".into())
    }
}

/// The precision of this name.
///
/// # Errors
/// When there is none.
pub fn precision(name: &str) -> Result<Precision, String> {
    let unknown = || format!("there is no precision `{name}`: expected {}", Precision::choice('`'));
    Precision::named(name).ok_or_else(unknown)
}
