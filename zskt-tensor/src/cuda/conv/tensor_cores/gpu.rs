//! The kernels on NVIDIA GPUs: compiled for the device when they are first used, unless that was done before.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute};
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, result};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, Error, Result};

use crate::cuda::conv::tensor_cores::kernel::{Kernel, options, source};
use crate::cuda::conv::tensor_cores::plan::ONE_BLOCK;
use crate::cuda::gpu::compute_capability;
use crate::cuda::nvrtc::{Program, compile_all};

static LOADED: LazyLock<Mutex<HashMap<(DeviceId, Kernel), CudaFunction>>> = LazyLock::new(Mutex::default);

/// Machine code.
type Cubin = Vec<u8>;

/// For a compute capability, before anybody launched them.
static COMPILED: LazyLock<Mutex<HashMap<(String, Kernel), Cubin>>> = LazyLock::new(Mutex::default);

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

static SUPPORTED: LazyLock<Mutex<HashMap<DeviceId, bool>>> = LazyLock::new(Mutex::default);

/// Whether the device has compute capability 8.0, and as much shared memory for a block: those for graphics have less.
///
/// # Errors
/// When the device does not say, or tells of an error of what it did before.
pub fn is_supported(device: &CudaDevice) -> Result<bool> {
    let mut supported = SUPPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(supported) = supported.get(&device.id()) {
        return Ok(*supported);
    }
    let stream = device.cuda_stream();
    let is_at_least = |attribute, least| stream.context().attribute(attribute).map(|value| value >= least);
    let answer = is_at_least(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 8)
        .and_then(|capable| {
            let memory = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            Ok(capable && is_at_least(memory, ONE_BLOCK as i32)?)
        })
        .map_err(|error| Error::Msg(format!("CUDA, what the GPU can: {error}")))?;
    supported.insert(device.id(), answer);
    Ok(answer)
}

/// Compiles a kernel that is not loaded, and those that are likely to be launched soon beside it, for that takes as much time as one.
///
/// # Errors
/// When the device does not say what it is.
pub fn compile_ahead(device: &CudaDevice, kernel: &Kernel, likely: impl FnOnce() -> Vec<Kernel>) -> Result<()> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if loaded.contains_key(&(device.id(), *kernel)) {
        return Ok(());
    }
    let capability = compute_capability(device)?;
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut wanted = likely();
    wanted.push(*kernel);
    wanted.retain(|kernel| {
        !loaded.contains_key(&(device.id(), *kernel)) && !compiled.contains_key(&(capability.clone(), *kernel))
    });
    let programs: Vec<_> = wanted.iter().map(|kernel| program(kernel, &capability)).collect();
    for (kernel, cubin) in wanted.into_iter().zip(compile_all(&programs)) {
        // Of those that cannot be compiled, who launches them will hear.
        if let Ok(cubin) = cubin {
            compiled.insert((capability.clone(), kernel), cubin);
        }
    }
    Ok(())
}

fn load(device: &CudaDevice, kernel: &Kernel) -> Result<CudaFunction> {
    let capability = compute_capability(device)?;
    let ahead = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).remove(&(capability.clone(), *kernel));
    let cubin = ahead.map_or_else(|| program(kernel, &capability).cubin(), Ok)?;
    let stream = device.cuda_stream();
    let module = stream.context().load_module(Ptx::from_binary(cubin)).map_err(failed(kernel))?;
    let function = module.load_function(&kernel.name()).map_err(failed(kernel))?;
    // What a launch may have without asking is 48 kB.
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(attribute, kernel.shared() as i32).map_err(failed(kernel))?;
    Ok(function)
}

fn program(kernel: &Kernel, capability: &str) -> Program {
    Program { name: kernel.name(), source: source(kernel), options: options(capability) }
}

fn failed<E: std::fmt::Debug>(kernel: &Kernel) -> impl Fn(E) -> Error {
    let name = kernel.name();
    move |error| Error::Msg(format!("CUDA, {name}: {error:?}"))
}
