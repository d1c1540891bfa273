//! Where a run computes, and how precisely.

use candle_core::Device;
use zskt_api::Precision;

/// The device called `cpu`, `cuda:N` or `auto`, and its plain name.
///
/// # Errors
/// When this program or machine has no such device.
pub fn device(name: &str) -> Result<(Device, String), String> {
    match name {
        "cpu" | "auto" => Ok((Device::Cpu, "cpu".into())),
        _ if name.starts_with("cuda") => Err(format!(
            "device `{name}` is not there: this build has no CUDA, only `cpu`; say `--set device=cpu`, or `auto` in the pipeline"
        )),
        _ => Err(format!("there is no device `{name}`: expected `cpu`, `cuda:N` or `auto`; this build has only `cpu`")),
    }
}

/// The precision of this name.
///
/// # Errors
/// When there is none.
pub fn precision(name: &str) -> Result<Precision, String> {
    let unknown = || format!("there is no precision `{name}`: expected {}", Precision::choice('`'));
    Precision::named(name).ok_or_else(unknown)
}
