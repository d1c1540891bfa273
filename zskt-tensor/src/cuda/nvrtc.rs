//! NVRTC, which compiles kernels where they run: once for a machine, and several at once, for one takes some tenths of a second or seconds.

#![expect(unsafe_code, reason = "NVRTC writes what it compiled")]

use std::ffi::{CStr, CString};
use std::panic::resume_unwind;
use std::thread;

use candle_core::cuda_backend::cudarc::nvrtc::{result as nvrtc, sys};
use candle_core::{Error, Result};

use crate::cuda::cubin_cache;

/// What is to be compiled.
pub struct Program {
    /// For messages.
    pub name: String,
    /// In CUDA C++.
    pub source: String,
    /// The compiler's, the architecture among them.
    pub options: Vec<String>,
}

impl Program {
    /// Machine code, from the cache or compiled now.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn cubin(&self) -> Result<Vec<u8>> {
        cubin_cache::cubin(&self.source, &self.options, &version(), || self.compile())
    }

    fn compile(&self) -> Result<Vec<u8>> {
        let failed = |error: nvrtc::NvrtcError| Error::Msg(format!("{} cannot be compiled: {error:?}", self.name));
        let source = CString::new(self.source.as_str()).map_err(Error::wrap)?;
        let program = nvrtc::create_program(&source, None).map_err(failed)?;
        // SAFETY: the program is there until it is destroyed, once.
        unsafe {
            let compiled = nvrtc::compile_program(program, &self.options).map_err(|error| {
                let log = nvrtc::get_program_log(program).unwrap_or_default();
                let log: Vec<u8> = log.iter().map(|byte| *byte as u8).collect();
                let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
                Error::Msg(format!("{} cannot be compiled: {error:?}\n{log}", self.name))
            });
            let cubin = compiled.and_then(|()| {
                let mut bytes = 0;
                sys::nvrtcGetCUBINSize(program, &raw mut bytes).result().map_err(failed)?;
                let mut cubin = vec![0_u8; bytes];
                sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()).result().map_err(failed)?;
                Ok(cubin)
            });
            let destroyed = nvrtc::destroy_program(program).map_err(failed);
            cubin.and_then(|cubin| destroyed.map(|()| cubin))
        }
    }
}

/// The machine code of several programs, each made by a thread of its own while there are threads to be had.
pub fn compile_all(programs: &[Program]) -> Vec<Result<Vec<u8>>> {
    thread::scope(|scope| {
        let spawned = programs.iter().map(|program| thread::Builder::new().spawn_scoped(scope, || program.cubin()));
        let spawned: Vec<_> = spawned.collect();
        let cubins = programs.iter().zip(spawned).map(|(program, spawned)| match spawned {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => program.cubin(),
        });
        cubins.collect()
    })
}

fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: two numbers are written. Where they are not, it is one more version.
    unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    format!("NVRTC {major}.{minor}")
}
