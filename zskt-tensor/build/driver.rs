//! For programs with CUDA to start where there is no NVIDIA driver: functions under the driver's names, which go on to the
//! driver's own. Its library is opened when the program starts, and where it is missing each of them says that there is no
//! device. Linked statically and before the driver's library, they are what is found, and the library is no longer needed. What they
//! go on to can be replaced.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use object::{Object, ObjectSymbol};

/// Compiles them, where the toolkit's own stand-in for the driver says which functions there are.
pub fn compile() -> io::Result<()> {
    println!("cargo:rustc-check-cfg=cfg(opens_driver)");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let jump = match (target("OS").as_str(), target("ARCH").as_str()) {
        ("linux", "x86_64") => "jmp *zskt_driver + 8 * {}(%rip)",
        ("linux", "aarch64") => "adrp x16, zskt_driver + 8 * {}; ldr x16, [x16, :lo12:zskt_driver + 8 * {}]; br x16",
        _ => return Ok(()),
    };
    let Some(stub) = stub() else {
        println!("cargo:warning=no stubs/libcuda.so in the CUDA toolkit: the program will not start without a driver");
        return Ok(());
    };
    let bytes = fs::read(&stub)?;
    let library = object::File::parse(&*bytes).map_err(io::Error::other)?;
    let names: Vec<String> = library
        .dynamic_symbols()
        .filter(ObjectSymbol::is_definition)
        .filter_map(|symbol| Some(symbol.name().ok()?.to_owned()))
        .filter(|name| name.starts_with("cu") && name[2..].starts_with(|first: char| first.is_ascii_uppercase()))
        .collect();
    let mut source = format!(
        "#include <dlfcn.h>\n\
         #include <string.h>\n\
         __attribute__((visibility(\"hidden\"))) void *zskt_driver[{}];\n\
         static const char *const names[] = {{ \"{}\" }};\n",
        names.len(),
        names.join("\", \"")
    );
    source += r#"
static int found;
/* CUDA_ERROR_NO_DEVICE, and CUDA_ERROR_NOT_FOUND where the driver is too old for a function. */
static int no_driver(void) { return 100; }
static int no_function(void) { return 500; }
__attribute__((constructor)) static void open_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    found = driver != 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        void *function = driver ? dlsym(driver, names[i]) : 0;
        zskt_driver[i] = function ? function : driver ? (void *)no_function : (void *)no_driver;
    }
}
int zskt_driver_found(void) { return found; }
/* What a function goes on to, or null; from now on to `other`, if that is not null. */
void *zskt_driver_function(const char *name, void *other) {
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name)) continue;
        void *before = zskt_driver[i];
        if (other) __atomic_store_n(&zskt_driver[i], other, __ATOMIC_RELEASE);
        return before;
    }
    return 0;
}
"#;
    for (index, name) in names.iter().enumerate() {
        let jump = jump.replace("{}", &index.to_string());
        writeln!(source, "__asm__(\".text\\n.globl {name}\\n.type {name}, %function\\n{name}: {jump}\\n\");")
            .map_err(io::Error::other)?;
    }
    let path = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("driver.c");
    fs::write(&path, source)?;
    cc::Build::new().file(&path).pic(true).try_compile("zskt_driver").map_err(io::Error::other)?;
    println!("cargo:rustc-cfg=opens_driver");
    Ok(())
}

/// The toolkit's stand-in for the driver's library.
fn stub() -> Option<PathBuf> {
    let variables = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"];
    for variable in variables {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let named = variables.iter().filter_map(env::var_os).map(PathBuf::from);
    let usual = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda"].map(PathBuf::from);
    let folders = ["lib64/stubs", "lib/stubs", "targets/x86_64-linux/lib/stubs", "targets/sbsa-linux/lib/stubs"];
    named
        .chain(usual)
        .flat_map(|root| folders.map(|folder| root.join(folder).join("libcuda.so")))
        .find(|path: &PathBuf| Path::exists(path))
}
