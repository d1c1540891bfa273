//! The kernels on NVIDIA GPUs: compiled for the device when they are first used, by NVRTC.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction};
use candle_core::cuda_backend::cudarc::driver::{CudaModule, CudaSlice, DevicePtr, result};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId};
use candle_core::{CudaDevice, CudaStorage, Error, Result, bail};

use crate::cuda::kernel_source::{BLOCK, KernelVariant, SOURCE};

/// What was compiled for a device.
#[derive(Default)]
struct Compiled {
    modules: HashMap<KernelVariant, Arc<CudaModule>>,
    functions: HashMap<(KernelVariant, &'static str), CUfunction>,
}

thread_local! {
    static COMPILED: RefCell<HashMap<DeviceId, Compiled>> = RefCell::new(HashMap::new());
}

/// Launches a kernel with its struct of arguments.
///
/// # Errors
/// When it cannot be compiled or launched.
pub fn launch(
    device: &CudaDevice,
    variant: KernelVariant,
    kernel: &'static str,
    blocks: usize,
    mut arguments: Vec<u64>,
) -> Result<()> {
    let function = COMPILED.with_borrow_mut(|compiled| {
        let compiled = compiled.entry(device.id()).or_default();
        if let Some(function) = compiled.functions.get(&(variant, kernel)) {
            return Ok(*function);
        }
        let module = match compiled.modules.get(&variant) {
            Some(module) => Arc::clone(module),
            None => {
                let module = compile(device, variant)?;
                compiled.modules.insert(variant, Arc::clone(&module));
                module
            }
        };
        let function = module.load_function(&format!("zskt_{kernel}")).map_err(failed(kernel))?;
        // The module, which it belongs to, is kept as long.
        let function = function.cu_function();
        compiled.functions.insert((variant, kernel), function);
        Ok::<_, Error>(function)
    })?;
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().map_err(failed(kernel))?;
    let mut parameters = [arguments.as_mut_ptr().cast()];
    // SAFETY: the kernel takes one struct, and these are its bytes; what it points to lives until the stream is done with it,
    // for memory is freed in the order of the stream.
    unsafe {
        let (grid, block) = ((blocks as u32, 1, 1), (BLOCK as u32, 1, 1));
        result::launch_kernel(function, grid, block, 0, stream.cu_stream(), &mut parameters)
    }
    .map_err(failed(kernel))
}

fn compile(device: &CudaDevice, variant: KernelVariant) -> Result<Arc<CudaModule>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let attribute = |attribute| context.attribute(attribute).map_err(failed("its device"));
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let mut options = vec![format!("--gpu-architecture=compute_{major}{minor}")];
    options.extend(variant.options());
    let compiled = compile_ptx_with_opts(SOURCE, CompileOptions { options, ..CompileOptions::default() });
    let ptx =
        compiled.map_err(|error| Error::Msg(format!("the kernels of {variant:?} cannot be compiled: {error:?}")))?;
    context.load_module(ptx).map_err(failed("its module"))
}

/// Where the numbers of a storage begin.
///
/// # Errors
/// When kernels do not know their type.
pub fn address(storage: &CudaStorage) -> Result<u64> {
    fn of<T>(slice: &CudaSlice<T>) -> u64 {
        // What it waits for when it is dropped are other streams, and there are none.
        slice.device_ptr(slice.stream()).0
    }
    match &storage.slice {
        CudaStorageSlice::F32(slice) => Ok(of(slice)),
        CudaStorageSlice::F64(slice) => Ok(of(slice)),
        CudaStorageSlice::BF16(slice) => Ok(of(slice)),
        CudaStorageSlice::I64(slice) => Ok(of(slice)),
        CudaStorageSlice::U32(slice) => Ok(of(slice)),
        _ => bail!("no kernel reads {:?}", candle_core::backend::BackendStorage::dtype(storage)),
    }
}

fn failed<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Error {
    move |error| Error::Msg(format!("CUDA, {what}: {error}"))
}
