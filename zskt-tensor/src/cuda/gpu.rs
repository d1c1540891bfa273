//! The kernels on NVIDIA GPUs: compiled for the device when they are first used.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction};
use candle_core::cuda_backend::cudarc::driver::{CudaModule, CudaSlice, DevicePtr, result};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId};
use candle_core::{CudaDevice, CudaStorage, Error, Result, bail};

use crate::cuda::kernel_source::{BLOCK, KernelVariant, SOURCE};
use crate::cuda::nvrtc::{Program, compile_all};

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
        if !compiled.modules.contains_key(&variant) {
            load(device, variant, &mut compiled.modules)?;
        }
        let function = compiled.modules[&variant].load_function(&format!("zskt_{kernel}")).map_err(failed(kernel))?;
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

/// Loads a variant, and those that are used beside it, for they compile in as much time as one.
fn load(
    device: &CudaDevice,
    variant: KernelVariant,
    modules: &mut HashMap<KernelVariant, Arc<CudaModule>>,
) -> Result<()> {
    let beside = KernelVariant::ALL.into_iter().filter(|other| other.is_used_beside(variant));
    let variants: Vec<_> = beside.filter(|other| !modules.contains_key(other)).collect();
    let architecture = format!("--gpu-architecture=sm_{}", compute_capability(device)?);
    let program = |variant: &KernelVariant| Program {
        name: format!("{variant:?}"),
        source: SOURCE.into(),
        options: [&[architecture.clone()][..], &variant.options()].concat(),
    };
    let stream = device.cuda_stream();
    for (loaded, cubin) in variants.iter().zip(compile_all(&variants.iter().map(program).collect::<Vec<_>>())) {
        let module =
            cubin.and_then(|cubin| stream.context().load_module(Ptx::from_binary(cubin)).map_err(failed("its module")));
        match module {
            Ok(module) => {
                modules.insert(*loaded, module);
            }
            Err(error) if *loaded == variant => return Err(error),
            // Who needs it will hear of it.
            Err(_) => {}
        }
    }
    Ok(())
}

/// As architectures of compilers have it: `90` for compute capability 9.0.
///
/// # Errors
/// When the device does not say.
pub fn compute_capability(device: &CudaDevice) -> Result<String> {
    let stream = device.cuda_stream();
    let attribute = |attribute| stream.context().attribute(attribute).map_err(failed("its compute capability"));
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(format!("{major}{minor}"))
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
