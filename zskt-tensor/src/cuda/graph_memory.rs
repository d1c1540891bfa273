//! Memory of what is captured in a graph, allocated once and not by nodes of the graph: a GPU takes its time over these, of which there
//! would be more than kernels.
//!
//! All that is allocated and freed goes through the driver's functions for memory in the order of a stream. From the first capture on these
//! lead here (`build/driver.rs`), for the whole process, and on to the driver for all but the stream that is captured. Where they cannot be
//! led here, as on other systems than Linux, graphs have nodes for memory.
//!
//! What was made while a graph was captured must not outlive it.

#![expect(unsafe_code, reason = "memory is handed out")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdeviceptr, CUgraphInstantiate_flags, CUresult, CUstream, CUstreamCaptureMode, cuMemAlloc_v2, cuMemFree_v2,
    cuThreadExchangeStreamCaptureMode,
};

/// What addresses and sizes are multiples of, as the driver's own.
const GRAIN: u64 = 512;

/// The least that is asked for at once.
const CHUNK: u64 = 32 << 20;

type Allocate = unsafe extern "C" fn(*mut CUdeviceptr, usize, CUstream) -> CUresult;
type Free = unsafe extern "C" fn(CUdeviceptr, CUstream) -> CUresult;

/// The driver's functions.
static DRIVER: OnceLock<Option<(Allocate, Free)>> = OnceLock::new();

/// The chunks of all graphs that there are.
static CHUNKS: Mutex<Vec<Range<u64>>> = Mutex::new(Vec::new());

thread_local! {
    /// What this thread captures into.
    static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
}

/// Memory while a graph is captured.
struct Captured {
    /// Of whose stream.
    stream: CUstream,
    memory: GraphMemory,
    /// Free parts by their address, none beside another of the same chunk.
    free: BTreeMap<u64, u64>,
    /// Bytes of those that are in use.
    used: HashMap<u64, u64>,
    /// Where chunks begin.
    begins: BTreeSet<u64>,
}

/// The memory of a graph, given back when it is dropped, which must not be before the graph.
#[derive(Default)]
pub struct GraphMemory {
    chunks: Vec<Range<u64>>,
    /// What was there before and was freed meanwhile, on which stream: the graph may read it.
    freed: Vec<(u64, SendStream)>,
}

/// A stream, which any thread may name.
struct SendStream(CUstream);

// SAFETY: the driver's functions may be called from any thread.
unsafe impl Send for SendStream {}
// SAFETY: as above.
unsafe impl Sync for SendStream {}

#[cfg(opens_driver)]
unsafe extern "C" {
    /// What a function of the driver goes on to, and from now on, unless it is null, to another (`build/driver.rs`).
    fn zskt_driver_function(name: *const c_char, other: *mut c_void) -> *mut c_void;
}

/// Where the driver's functions are its own.
#[cfg(not(opens_driver))]
unsafe fn zskt_driver_function(_: *const c_char, _: *mut c_void) -> *mut c_void {
    std::ptr::null_mut()
}

/// The driver's functions, which lead here from now on.
fn driver() -> Option<(Allocate, Free)> {
    fn function(name: &CStr, other: *mut c_void) -> *mut c_void {
        // SAFETY: the name ends, and what it goes on to has the type of that name's function.
        unsafe { zskt_driver_function(name.as_ptr(), other) }
    }

    *DRIVER.get_or_init(|| {
        let names = [c"cuMemAllocAsync", c"cuMemFreeAsync"];
        let [of_allocate, of_free] = names.map(|name| function(name, std::ptr::null_mut()));
        if of_allocate.is_null() || of_free.is_null() {
            return None;
        }
        // SAFETY: these are the types of the functions of these names.
        let driver =
            unsafe { (transmute::<*mut c_void, Allocate>(of_allocate), transmute::<*mut c_void, Free>(of_free)) };
        Some(driver)
    })
}

/// Lets the driver's functions lead here.
fn replace() -> bool {
    static REPLACED: OnceLock<bool> = OnceLock::new();
    *REPLACED.get_or_init(|| {
        let found = driver().is_some();
        if found {
            // SAFETY: the names end, and both have the types of these functions.
            unsafe {
                zskt_driver_function(c"cuMemAllocAsync".as_ptr(), allocate as Allocate as *mut c_void);
                zskt_driver_function(c"cuMemFreeAsync".as_ptr(), free as Free as *mut c_void);
            }
        }
        found
    })
}

/// A thread that captures a stream: it allocates memory of the graph there, or, where that is not possible, nodes do.
pub struct Capturing(Arc<CudaStream>);

impl Capturing {
    /// From now on.
    pub fn begin(stream: &Arc<CudaStream>) -> Self {
        if replace() {
            let (free, used, begins) = Default::default();
            let captured = Captured { stream: stream.cu_stream(), memory: GraphMemory::default(), free, used, begins };
            CAPTURED.set(Some(captured));
        }
        Self(Arc::clone(stream))
    }

    /// The memory of the graph, whose capture has ended.
    pub fn end(self) -> GraphMemory {
        CAPTURED.take().map_or_else(GraphMemory::default, |captured| captured.memory)
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        // Only where what is captured panics is there anything left. What lives on may be in memory of the graph.
        if let Some(captured) = CAPTURED.take() {
            std::mem::forget(captured.memory);
            let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            let _ = self.0.end_capture(flags);
        }
    }
}

/// What this thread captures, if this is its stream.
fn with_captured<R>(stream: CUstream, work: impl FnOnce(&mut Captured) -> R) -> Option<R> {
    let of_stream = |captured: &RefCell<Option<Captured>>| {
        let mut captured = captured.try_borrow_mut().ok()?;
        captured.as_mut().filter(|captured| captured.stream == stream).map(work)
    };
    CAPTURED.try_with(of_stream).ok().flatten()
}

unsafe extern "C" fn allocate(address: *mut CUdeviceptr, bytes: usize, stream: CUstream) -> CUresult {
    let captured = with_captured(stream, |captured| captured.allocate(bytes as u64));
    match (captured, driver()) {
        (Some(Ok(found)), _) => {
            // SAFETY: the caller wants it there.
            unsafe { *address = found };
            CUresult::CUDA_SUCCESS
        }
        (Some(Err(error)), _) => error,
        // SAFETY: as the caller's.
        (None, Some((allocate, _))) => unsafe { allocate(address, bytes, stream) },
        (None, None) => CUresult::CUDA_ERROR_NOT_FOUND,
    }
}

unsafe extern "C" fn free(address: CUdeviceptr, stream: CUstream) -> CUresult {
    let is_of_a_graph = || {
        let chunks = CHUNKS.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.iter().any(|chunk| chunk.contains(&address))
    };
    let is_done = with_captured(stream, |captured| {
        if !captured.free(address) && !is_of_a_graph() {
            captured.memory.freed.push((address, SendStream(stream)));
        }
    });
    match (is_done, driver()) {
        (Some(()), _) => CUresult::CUDA_SUCCESS,
        // It stays the graph's.
        _ if is_of_a_graph() => CUresult::CUDA_SUCCESS,
        // SAFETY: as the caller's.
        (None, Some((_, free))) => unsafe { free(address, stream) },
        (None, None) => CUresult::CUDA_ERROR_NOT_FOUND,
    }
}

impl Captured {
    fn allocate(&mut self, bytes: u64) -> Result<u64, CUresult> {
        let bytes = bytes.max(1).next_multiple_of(GRAIN);
        let fits = self.free.iter().filter(|(_, size)| **size >= bytes).min_by_key(|(_, size)| **size);
        let address = match fits {
            Some((address, _)) => *address,
            None => {
                let chunk = self.memory.allocate(bytes.max(CHUNK).next_multiple_of(2 << 20))?;
                self.begins.insert(chunk.start);
                self.free.insert(chunk.start, chunk.end - chunk.start);
                chunk.start
            }
        };
        let size = self.free.remove(&address).unwrap_or_default();
        if size > bytes {
            self.free.insert(address + bytes, size - bytes);
        }
        self.used.insert(address, bytes);
        Ok(address)
    }

    /// Whether it was in use.
    fn free(&mut self, address: u64) -> bool {
        let Some(mut bytes) = self.used.remove(&address) else { return false };
        let mut address = address;
        let behind = address + bytes;
        if !self.begins.contains(&behind)
            && let Some(size) = self.free.remove(&behind)
        {
            bytes += size;
        }
        if !self.begins.contains(&address)
            && let Some((before, size)) = self.free.range(..address).next_back().map(|(before, size)| (*before, *size))
            && before + size == address
        {
            (address, bytes) = (before, bytes + size);
        }
        self.free.insert(address, bytes);
        true
    }
}

impl GraphMemory {
    fn allocate(&mut self, bytes: u64) -> Result<Range<u64>, CUresult> {
        let mut address = 0;
        // SAFETY: the address has a place.
        let result = relaxed(|| unsafe { cuMemAlloc_v2(&raw mut address, bytes as usize) });
        if result != CUresult::CUDA_SUCCESS {
            return Err(result);
        }
        let chunk = address..address + bytes;
        self.chunks.push(chunk.clone());
        CHUNKS.lock().unwrap_or_else(PoisonError::into_inner).push(chunk.clone());
        Ok(chunk)
    }
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: it was allocated, and nobody has it any more; the device waits for what is still computed there.
            relaxed(|| unsafe { cuMemFree_v2(chunk.start) });
        }
        CHUNKS.lock().unwrap_or_else(PoisonError::into_inner).retain(|chunk| !self.chunks.contains(chunk));
        let Some((_, free)) = driver() else { return };
        for (address, stream) in &self.freed {
            // SAFETY: whoever had it asked for that.
            relaxed(|| unsafe { free(*address, stream.0) });
        }
    }
}

/// Does what a thread that captures may not do, for it may wait for the device: what is captured does not depend on it.
fn relaxed<R>(work: impl FnOnce() -> R) -> R {
    let mut mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    // SAFETY: the mode is one, and is what it was again.
    unsafe {
        cuThreadExchangeStreamCaptureMode(&raw mut mode);
        let done = work();
        cuThreadExchangeStreamCaptureMode(&raw mut mode);
        done
    }
}
