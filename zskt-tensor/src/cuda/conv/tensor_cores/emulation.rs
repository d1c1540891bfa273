//! The kernels compiled for the CPU, for tests: the very templates and arguments, without a GPU.

#![expect(unsafe_code, reason = "kernels get addresses")]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_char, c_uint, c_ulong, c_void};
use std::process::Command;
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

/// The compiled kernels: of each the file that it is in.
static COMPILED: Mutex<Option<HashMap<Kernel, Arc<Vec<u8>>>>> = Mutex::new(None);

thread_local! {
    /// This thread's own copies, for an emulator has one set of threads.
    static LOADED: RefCell<Vec<(Arc<Vec<u8>>, Library)>> = const { RefCell::new(Vec::new()) };
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
    let file = Arc::new(compile(&wanted));
    compiled.extend(wanted.into_iter().map(|kernel| (kernel, Arc::clone(&file))));
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
    let file = {
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(compiled.get_or_insert_default().entry(*kernel).or_insert_with(|| Arc::new(compile(&[*kernel]))))
    };
    let [x, y] = grid.map(|blocks| blocks as c_uint);
    let launch = [x, y, kernel.shared() as c_uint, ORDER.get(), ranges.len() as c_uint];
    let failure = LOADED.with_borrow_mut(|loaded| {
        let at = loaded.iter().position(|(of, _)| Arc::ptr_eq(of, &file)).unwrap_or_else(|| {
            loaded.push((Arc::clone(&file), load(&file)));
            loaded.len() - 1
        });
        // SAFETY: the function has this type, and the arguments are those of the kernel, which it checks for their size.
        unsafe {
            let run = loaded[at].1.get::<Run>(kernel.name().as_bytes()).map_err(candle_core::Error::wrap)?;
            let failure = run(launch.as_ptr(), ranges.as_ptr(), words.as_ptr().cast(), size_of_val(words) as c_ulong);
            Ok::<_, candle_core::Error>(
                (!failure.is_null()).then(|| CStr::from_ptr(failure).to_string_lossy().into_owned()),
            )
        }
    })?;
    failure.map_or(Ok(()), |failure| bail!("{}: {failure}", kernel.name()))
}

fn load(file: &[u8]) -> Library {
    // What another thread has open would be the same library.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernels.so");
    std::fs::write(&path, file).unwrap();
    // SAFETY: its constructors only make it ready.
    unsafe { Library::new(path).unwrap() }
}

fn compile(kernels: &[Kernel]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = [EMULATOR, TEMPLATES].concat() + &kernels.iter().map(Kernel::entry).collect::<String>();
    std::fs::write(folder.path().join("kernels.cc"), source).unwrap();
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
            // Else copies of a library would have one set of variables within inline functions.
            "-fvisibility=hidden",
        ])
        .args(["-ffp-contract=off", "-shared", "-fPIC", "kernels.cc", "-o", "kernels.so"])
        .current_dir(folder.path())
        .output()
        .expect("a C++ compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.path().join("kernels.so")).unwrap()
}
