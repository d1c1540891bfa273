//! With the feature `cuda`: the driver's functions, for programs that start where there is no driver.

#[cfg(feature = "cuda")]
#[path = "build/driver.rs"]
mod driver;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    driver::compile()?;
    Ok(())
}
