//! By what the last block of a launch finds that it is the last, and what all leave for it.

use std::cell::RefCell;

use candle_core::{DType, Device, Result, Tensor};

/// As many as a convolution's result has blocks of channels at most.
const TICKETS: usize = 128;

/// Two sums of `LIMBS` (4) in the kernels for each of the most channels of a convolution.
const LIMBS: usize = 4 * 2 * 2048;

/// Numbers on a device that are 0 between the kernels of its stream.
#[derive(Clone)]
struct Zeros {
    tickets: Tensor,
    limbs: Tensor,
}

thread_local! {
    static MADE: RefCell<Vec<(Device, Zeros)>> = const { RefCell::new(Vec::new()) };
}

/// By which kernels count their blocks, `u32` `[128]`, 0 between the kernels of the device's stream.
///
/// # Errors
/// When the device has no room.
pub fn tickets(device: &Device) -> Result<Tensor> {
    Ok(zeros(device)?.tickets)
}

/// In which convolutions add up sums over their blocks, `i64` `[16384]`, 0 between the kernels of the device's stream.
///
/// # Errors
/// When the device has no room.
pub fn limbs(device: &Device) -> Result<Tensor> {
    Ok(zeros(device)?.limbs)
}

fn zeros(device: &Device) -> Result<Zeros> {
    MADE.with_borrow_mut(|made| {
        if let Some((_, zeros)) = made.iter().find(|(of, _)| of.same_device(device)) {
            return Ok(zeros.clone());
        }
        let zeros = Zeros {
            tickets: Tensor::zeros(TICKETS, DType::U32, device)?,
            limbs: Tensor::zeros(LIMBS, DType::I64, device)?,
        };
        // Captured graphs know where they are, whatever becomes of this thread.
        std::mem::forget(zeros.clone());
        made.push((device.clone(), zeros.clone()));
        Ok(zeros)
    })
}
