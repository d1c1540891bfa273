//! Kernels that are brought to the multiprocessors while the kernel before them ends ("programmatic dependent launch"), in captured
//! graphs, on GPUs from compute capability 9.0 on.
//!
//! A kernel of ours waits for its predecessor before it reads or writes memory, and then lets its successor come: when a kernel runs,
//! all before its predecessor have ended. So it may read early what its predecessor does not write: the weights of convolutions, but
//! for those behind a kernel that writes weights.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::LazyLock;

use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute, CUfunction, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig,
    cuDriverGetVersion, cuLaunchKernelEx,
};
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DriverError, result};

/// The first version of the driver that captures such launches: 12.3.
const DRIVER: i32 = 12_030;

thread_local! {
    static PREDECESSOR: Cell<Predecessor> = const { Cell::new(Predecessor::Awaited) };
}

/// What a thread has launched last.
#[derive(Clone, Copy, PartialEq)]
enum Predecessor {
    /// It captures no such launches.
    Awaited,
    /// A kernel that writes weights, or none.
    WritesWeights,
    /// Another.
    Other,
}

/// Does work whose kernels are captured so, if `possible` and the device can; not with `ZSKT_PROGRAMMATIC_LAUNCH=0`, for
/// comparisons.
pub fn with_programmatic_launches<T>(stream: &CudaStream, possible: bool, work: impl FnOnce() -> T) -> T {
    /// Ends it, also where the work panics.
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            PREDECESSOR.set(Predecessor::Awaited);
        }
    }

    let _end = End;
    if possible && is_supported(stream) {
        PREDECESSOR.set(Predecessor::WritesWeights);
    }
    work()
}

fn is_supported(stream: &CudaStream) -> bool {
    static ENABLED: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("ZSKT_PROGRAMMATIC_LAUNCH").is_none_or(|value| value != "0"));
    let mut version = 0;
    // SAFETY: a number is written.
    unsafe { cuDriverGetVersion(&raw mut version) };
    let major = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    *ENABLED && version >= DRIVER && stream.context().attribute(major).is_ok_and(|major| major >= 9)
}

/// Launches a kernel of ours.
///
/// # Errors
/// When the driver fails.
///
/// # Safety
/// The kernel takes one struct, at `arguments`, and what that points to lives until the stream is done with it.
pub unsafe fn launch(
    stream: &CudaStream,
    function: CUfunction,
    [blocks, rows, threads]: [u32; 3],
    shared: u32,
    writes_weights: bool,
    arguments: *mut c_void,
) -> Result<(), DriverError> {
    let mut parameters = [arguments];
    let predecessor = PREDECESSOR.get();
    if predecessor != Predecessor::Awaited {
        PREDECESSOR.set(if writes_weights { Predecessor::WritesWeights } else { Predecessor::Other });
    }
    if predecessor != Predecessor::Other {
        let (grid, block) = ((blocks, rows, 1), (threads, 1, 1));
        // SAFETY: as the caller's.
        return unsafe {
            result::launch_kernel(function, grid, block, shared, stream.cu_stream(), &mut parameters)
        };
    }
    let mut attribute = CUlaunchAttribute {
        id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let config = CUlaunchConfig {
        gridDimX: blocks,
        gridDimY: rows,
        gridDimZ: 1,
        blockDimX: threads,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: shared,
        hStream: stream.cu_stream(),
        attrs: &raw mut attribute,
        numAttrs: 1,
    };
    // SAFETY: as the caller's; the attribute has the value of its kind.
    unsafe {
        cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), std::ptr::null_mut()).result()
    }
}
