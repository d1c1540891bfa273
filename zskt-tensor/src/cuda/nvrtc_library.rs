//! NVRTC by its library, for tests: what compiles needs no GPU.

#![expect(unsafe_code, reason = "a C library is called")]

use std::ffi::{CString, c_char, c_int, c_void};

use libloading::Library;

type Program = *mut c_void;
type Create =
    unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const c_void, *const c_void) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

/// The library that `NVRTC_LIBRARY` names.
pub struct Nvrtc(Library);

impl Nvrtc {
    /// Opens it.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn open() -> Self {
        let library = std::env::var("NVRTC_LIBRARY").expect("NVRTC_LIBRARY is the path of libnvrtc.so");
        // SAFETY: its constructors only make it ready.
        Self(unsafe { Library::new(library).unwrap() })
    }

    /// The PTX of a source, and what the compiler says.
    ///
    /// # Panics
    /// When it does not compile.
    pub fn compile(&self, source: &str, options: &[String]) -> (String, String) {
        let source = CString::new(source).unwrap();
        let options: Vec<CString> = options.iter().map(|option| CString::new(option.as_str()).unwrap()).collect();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: these are NVRTC's functions, and what they get lives until they return.
        unsafe {
            let mut program = std::ptr::null_mut();
            let (none, nothing) = (std::ptr::null(), std::ptr::null());
            let create = self.0.get::<Create>(b"nvrtcCreateProgram").unwrap();
            assert_eq!(create(&raw mut program, source.as_ptr(), none, 0, nothing, nothing), 0);
            let compile = self.0.get::<Compile>(b"nvrtcCompileProgram").unwrap();
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let text = |size: &[u8], text: &[u8]| {
                let mut bytes = 0;
                self.0.get::<Size>(size).unwrap()(program, &raw mut bytes);
                let mut out = vec![0_u8; bytes];
                self.0.get::<Text>(text).unwrap()(program, out.as_mut_ptr().cast());
                String::from_utf8_lossy(&out).into_owned()
            };
            let log = text(b"nvrtcGetProgramLogSize", b"nvrtcGetProgramLog");
            assert_eq!(status, 0, "{log}");
            (text(b"nvrtcGetPTXSize", b"nvrtcGetPTX"), log)
        }
    }
}
