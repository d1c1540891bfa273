//! The kernels on NVIDIA GPUs: compiled for the device when they are first used, unless that was done before.

#![expect(unsafe_code, reason = "kernels get addresses, and NVRTC writes what it compiled")]

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute};
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, result};
use candle_core::cuda_backend::cudarc::nvrtc::{Ptx, result as nvrtc, sys};
use candle_core::{CudaDevice, Error, Result};

use crate::cuda::conv::tensor_cores::cubin_cache;
use crate::cuda::conv::tensor_cores::kernel::{Kernel, options, source};
use crate::cuda::conv::tensor_cores::plan::ONE_BLOCK;

static LOADED: LazyLock<Mutex<HashMap<(DeviceId, Kernel), CudaFunction>>> = LazyLock::new(Mutex::default);

/// Launches a kernel with its struct of arguments.
///
/// # Errors
/// When it cannot be compiled or launched.
pub fn launch(device: &CudaDevice, kernel: &Kernel, grid: [usize; 2], mut arguments: Vec<u64>) -> Result<()> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (device.id(), *kernel);
    let function = match loaded.get(&key) {
        Some(function) => function.cu_function(),
        None => {
            let function = load(device, kernel)?;
            // What it belongs to is kept as long.
            loaded.entry(key).or_insert(function).cu_function()
        }
    };
    drop(loaded);
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().map_err(failed(kernel))?;
    let (grid, block) = ((grid[0] as u32, grid[1] as u32, 1), (256, 1, 1));
    let mut parameters = [arguments.as_mut_ptr().cast()];
    // SAFETY: the kernel takes one struct, and these are its bytes; what it points to lives until the stream is done with it,
    // for memory is freed in the order of the stream.
    unsafe { result::launch_kernel(function, grid, block, kernel.shared() as u32, stream.cu_stream(), &mut parameters) }
        .map_err(failed(kernel))
}

/// Whether the device has compute capability 8.0, and as much shared memory for a block: those for graphics have less.
pub fn is_supported(device: &CudaDevice) -> bool {
    let stream = device.cuda_stream();
    let is_at_least = |attribute, least| stream.context().attribute(attribute).is_ok_and(|value| value >= least);
    is_at_least(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 8)
        && is_at_least(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, ONE_BLOCK as i32)
}

fn load(device: &CudaDevice, kernel: &Kernel) -> Result<CudaFunction> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let attribute = |attribute| context.attribute(attribute).map_err(failed(kernel));
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let module =
        context.load_module(Ptx::from_binary(cubin(kernel, &format!("{major}{minor}"))?)).map_err(failed(kernel))?;
    let function = module.load_function(&kernel.name()).map_err(failed(kernel))?;
    // What a launch may have without asking is 48 kB.
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(attribute, kernel.shared() as i32).map_err(failed(kernel))?;
    Ok(function)
}

/// Compiled for a compute capability, as in `90`.
fn cubin(kernel: &Kernel, capability: &str) -> Result<Vec<u8>> {
    let (options, source) = (options(capability), source(kernel));
    cubin_cache::cubin(&source, &options, &version(), || compile(kernel, &source, &options))
}

fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: two numbers are written. Where they are not, it is one more version.
    unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    format!("NVRTC {major}.{minor}")
}

fn compile(kernel: &Kernel, source: &str, options: &[String]) -> Result<Vec<u8>> {
    let source = CString::new(source).map_err(Error::wrap)?;
    let program = nvrtc::create_program(&source, None).map_err(failed(kernel))?;
    // SAFETY: the program is there until it is destroyed, once.
    unsafe {
        let compiled = nvrtc::compile_program(program, options).map_err(|error| {
            let log = nvrtc::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.iter().map(|byte| *byte as u8).collect();
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
            Error::Msg(format!("{} cannot be compiled: {error:?}\n{log}", kernel.name()))
        });
        let cubin = compiled.and_then(|()| {
            let mut bytes = 0;
            sys::nvrtcGetCUBINSize(program, &raw mut bytes).result().map_err(failed(kernel))?;
            let mut cubin = vec![0_u8; bytes];
            sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()).result().map_err(failed(kernel))?;
            Ok(cubin)
        });
        let destroyed = nvrtc::destroy_program(program).map_err(failed(kernel));
        cubin.and_then(|cubin| destroyed.map(|()| cubin))
    }
}

fn failed<E: std::fmt::Debug>(kernel: &Kernel) -> impl Fn(E) -> Error {
    let name = kernel.name();
    move |error| Error::Msg(format!("CUDA, {name}: {error:?}"))
}
