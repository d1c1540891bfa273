//! Memory of what is captured in a graph, allocated once and not by nodes of the graph: a GPU takes its time over these, of which there
//! would be more than kernels.
//!
//! All that a thread allocates and frees while it captures goes through the driver's functions for memory in the order of a stream,
//! which lead here then (`build/driver.rs`).

#![expect(unsafe_code, reason = "memory is handed out")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdeviceptr, CUresult, CUstream, CUstreamCaptureMode, cuMemAlloc_v2, cuMemFree_v2,
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
#[derive(Default)]
struct Captured {
    memory: GraphMemory,
    /// Free parts by their address, none beside another of the same chunk.
    free: BTreeMap<u64, u64>,
    /// Bytes of those that are in use.
    used: HashMap<u64, u64>,
    /// Where chunks begin.
    begins: BTreeSet<u64>,
    /// Memory from before, which was freed meanwhile.
    freed: Vec<u64>,
}

/// The memory of a graph, given back when it is dropped, which must not be before the graph.
#[derive(Default)]
pub struct GraphMemory(Vec<Range<u64>>);

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

/// From now on this thread allocates memory of a graph, until [`end`]; where that is not possible, by nodes of the graph.
pub fn begin() {
    if replace() {
        CAPTURED.set(Some(Captured::default()));
    }
}

/// The memory of the graph that was captured since [`begin`]; what was there before and was freed meanwhile is freed now.
pub fn end(stream: CUstream) -> GraphMemory {
    let Some(captured) = CAPTURED.take() else { return GraphMemory::default() };
    if let Some((_, free)) = driver() {
        for address in captured.freed {
            // SAFETY: whoever had it asked for that.
            unsafe { free(address, stream) };
        }
    }
    captured.memory
}

unsafe extern "C" fn allocate(address: *mut CUdeviceptr, bytes: usize, stream: CUstream) -> CUresult {
    let captured = CAPTURED
        .try_with(|captured| captured.try_borrow_mut().ok()?.as_mut().map(|captured| captured.allocate(bytes as u64)))
        .ok()
        .flatten();
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
    let is_done = CAPTURED.try_with(|captured| {
        let mut captured = captured.try_borrow_mut().ok()?;
        let captured = captured.as_mut()?;
        if !captured.free(address) && !is_of_a_graph() {
            captured.freed.push(address);
        }
        Some(())
    });
    match (is_done.ok().flatten(), driver()) {
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
        // A thread that captures may not wait for the device, as this may: what is captured does not depend on it.
        // SAFETY: the mode is one, and the address has a place.
        let result = unsafe {
            let mut mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
            cuThreadExchangeStreamCaptureMode(&raw mut mode);
            let result = cuMemAlloc_v2(&raw mut address, bytes as usize);
            cuThreadExchangeStreamCaptureMode(&raw mut mode);
            result
        };
        if result != CUresult::CUDA_SUCCESS {
            return Err(result);
        }
        let chunk = address..address + bytes;
        self.0.push(chunk.clone());
        CHUNKS.lock().unwrap_or_else(PoisonError::into_inner).push(chunk.clone());
        Ok(chunk)
    }
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        CHUNKS.lock().unwrap_or_else(PoisonError::into_inner).retain(|chunk| !self.0.contains(chunk));
        for chunk in &self.0 {
            // SAFETY: it was allocated, and nobody has it any more; the device waits for what is still computed there.
            unsafe { cuMemFree_v2(chunk.start) };
        }
    }
}
