//! The kernels compiled for the CPU, for tests: the very sources and arguments, without a GPU.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_int, c_uint, c_void};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use candle_core::CpuStorage;
use libloading::Library;

use crate::cuda::kernel_source::{KernelVariant, SOURCE};

type Thread = unsafe extern "C" fn(*const c_void);
type RunBlocks = unsafe extern "C" fn(Thread, *const c_void, c_uint, c_int);

/// The compiled variants, as files are.
static COMPILED: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// This thread's own copies, for the emulation has one set of threads.
    static LOADED: RefCell<HashMap<KernelVariant, Library>> = RefCell::default();
    /// Whether blocks and threads run backwards.
    pub static BACKWARDS: Cell<bool> = const { Cell::new(false) };
}

/// Runs a kernel.
pub fn launch(variant: KernelVariant, kernel: &str, blocks: usize, arguments: &[u64]) {
    LOADED.with_borrow_mut(|loaded| {
        let library = loaded.entry(variant).or_insert_with(|| load(variant));
        // SAFETY: the functions have these types, and the arguments are those of the kernel.
        unsafe {
            let run = library.get::<RunBlocks>(b"run_blocks").unwrap();
            let kernel = library.get::<Thread>(format!("zskt_{kernel}")).unwrap();
            run(*kernel, arguments.as_ptr().cast(), blocks as c_uint, c_int::from(BACKWARDS.get()));
        }
    });
}

/// Where the numbers of a storage begin.
pub fn address(storage: &CpuStorage) -> u64 {
    match storage {
        CpuStorage::F32(numbers) => numbers.as_ptr() as u64,
        CpuStorage::F64(numbers) => numbers.as_ptr() as u64,
        CpuStorage::BF16(numbers) => numbers.as_ptr() as u64,
        CpuStorage::I64(numbers) => numbers.as_ptr() as u64,
        CpuStorage::U32(numbers) => numbers.as_ptr() as u64,
        other => panic!("kernels of {:?}", candle_core::backend::BackendStorage::dtype(other)),
    }
}

fn load(variant: KernelVariant) -> Library {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = compiled.entry(variant.options().concat()).or_insert_with(|| compile(variant));
    // A file that another thread has open would be the same library.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernels.so");
    std::fs::write(&path, bytes).unwrap();
    // SAFETY: it has no constructors.
    unsafe { Library::new(path).unwrap() }
}

fn compile(variant: KernelVariant) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("kernels.h"), SOURCE).unwrap();
    std::fs::write(path("emulated.c"), include_str!("kernels/emulated.c")).unwrap();
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-Wno-unused-function", "-ffp-contract=off", "-shared", "-fPIC"])
        .args(variant.options())
        .arg("-DKERNELS=\"kernels.h\"")
        .args([path("emulated.c"), "-o".into(), path("kernels.so"), "-lm".into()])
        .output()
        .expect("a C compiler, which Rust needs to link");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path("kernels.so")).unwrap()
}
