//! The kernels compiled for the CPU, for tests: the very templates and arguments, without a GPU.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_char, c_uint, c_ulong, c_void};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, bail};
use libloading::Library;

use crate::cuda::conv::tensor_cores::kernel::{Kernel, TEMPLATES};
use crate::cuda::launch::{Argument, address};

const EMULATOR: &str = include_str!("../../kernels/conv/emulator.h");

#[repr(C)]
struct Range {
    from: c_ulong,
    bytes: c_ulong,
}

type Run = unsafe extern "C" fn(*const c_uint, *const Range, *const c_void, c_ulong) -> *const c_char;

/// The compiled kernels; one launch at a time, for an emulator has one set of threads.
static COMPILED: Mutex<Option<HashMap<Kernel, Arc<Library>>>> = Mutex::new(None);

thread_local! {
    /// How blocks and threads take turns: 0, 1 or 2, `Order` in the emulator.
    pub static ORDER: Cell<u32> = const { Cell::new(0) };
    /// The kernels that are asked for, where they are only to be known.
    static WANTED: RefCell<Option<Vec<Kernel>>> = const { RefCell::new(None) };
    /// Those that were likely to be launched, and those that were launched though they were not.
    static LIKELY: RefCell<HashSet<Kernel>> = RefCell::default();
    static SURPRISES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes what a GPU would compile.
pub fn compile_ahead(kernel: &Kernel, likely: impl FnOnce() -> Vec<Kernel>) {
    LIKELY.with_borrow_mut(|all| all.extend(likely().into_iter().chain([*kernel])));
}

/// The kernels that have been launched on this thread and a GPU would have compiled one by one.
pub fn surprises() -> Vec<String> {
    SURPRISES.take()
}

/// Compiles all kernels that some work launches, at once; while it is done, they are not run.
pub fn prepare(work: impl FnOnce()) {
    WANTED.set(Some(Vec::new()));
    work();
    let mut wanted = WANTED.take().unwrap_or_default();
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    wanted.retain(|kernel| !compiled.contains_key(kernel));
    wanted.sort_by_key(Kernel::name);
    wanted.dedup();
    // On a GPU nothing is.
    if wanted.is_empty() {
        return;
    }
    let library = Arc::new(compile(&wanted));
    compiled.extend(wanted.into_iter().map(|kernel| (kernel, Arc::clone(&library))));
}

/// Runs a kernel.
///
/// # Errors
/// When it does what a GPU would not forgive.
pub fn launch(kernel: &Kernel, grid: [usize; 2], words: &[u64], arguments: &[Argument<'_>]) -> Result<()> {
    let only_known = WANTED.with_borrow_mut(|wanted| wanted.as_mut().map(|wanted| wanted.push(*kernel)).is_some());
    if only_known {
        return Ok(());
    }
    if LIKELY.with_borrow(|likely| !likely.contains(kernel)) {
        SURPRISES.with_borrow_mut(|all| all.push(kernel.name()));
    }
    let mut ranges = Vec::new();
    for argument in arguments {
        if let Argument::Tensor(tensor) = argument {
            let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
            ranges.push(Range { from: address(tensor)?, bytes: bytes as c_ulong });
        }
    }
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let library = compiled.get_or_insert_default().entry(*kernel).or_insert_with(|| Arc::new(compile(&[*kernel])));
    let [x, y] = grid.map(|blocks| blocks as c_uint);
    let launch = [x, y, kernel.shared() as c_uint, ORDER.get(), ranges.len() as c_uint];
    // SAFETY: the function has this type, and the arguments are those of the kernel, which it checks for their size.
    let failure = unsafe {
        let run = library.get::<Run>(kernel.name().as_bytes()).map_err(candle_core::Error::wrap)?;
        let failure = run(launch.as_ptr(), ranges.as_ptr(), words.as_ptr().cast(), size_of_val(words) as c_ulong);
        (!failure.is_null()).then(|| CStr::from_ptr(failure).to_string_lossy().into_owned())
    };
    failure.map_or(Ok(()), |failure| bail!("{}: {failure}", kernel.name()))
}

fn compile(kernels: &[Kernel]) -> Library {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("zskt-convolutions-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = [EMULATOR, TEMPLATES].concat() + &kernels.iter().map(Kernel::entry).collect::<String>();
    std::fs::write(folder.join("kernels.cc"), source).unwrap();
    let output = Command::new("c++")
        .args([
            "-std=c++17",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            // Not all compilers know the next.
            "-Wno-unknown-warning-option",
            "-Wno-clobbered",
            "-Wno-unused-function",
            "-Wno-maybe-uninitialized",
        ])
        .args(["-ffp-contract=off", "-shared", "-fPIC", "kernels.cc", "-o", "kernels.so"])
        .current_dir(&folder)
        .output()
        .expect("a C++ compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: its constructors only make it ready.
    let library = unsafe { Library::new(folder.join("kernels.so")).unwrap() };
    std::fs::remove_dir_all(folder).unwrap();
    library
}
