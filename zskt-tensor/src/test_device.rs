//! The device that tests compute on.

use std::sync::OnceLock;

use candle_core::Device;

/// The device that `ZSKT_TEST_DEVICE` names (`cuda:0`), opened as a run opens it; the CPU where it names none.
///
/// # Panics
/// When there is no such device.
pub fn test_device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE
        .get_or_init(|| {
            match std::env::var("ZSKT_TEST_DEVICE").ok().as_deref().map(|name| name.strip_prefix("cuda:")) {
                None => Device::Cpu,
                Some(Some(number)) => open(number.parse().expect("the number of a GPU")),
                Some(None) => panic!("ZSKT_TEST_DEVICE is not `cuda:` and the number of a GPU"),
            }
        })
        .clone()
}

#[cfg(feature = "cuda")]
fn open(number: usize) -> Device {
    crate::cuda::driver::open(number).expect("a GPU")
}

#[cfg(not(feature = "cuda"))]
fn open(number: usize) -> Device {
    panic!("GPU {number} is used with the feature `cuda`")
}
