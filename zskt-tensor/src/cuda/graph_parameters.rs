//! Where captured updates find their constants: a learning rate that was written into a recording would stay what it was.

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// Updates that a board has room for.
const CAPACITY: usize = 4096;

/// What becomes of the constants of updates in this thread.
enum Mode {
    /// Updates are made with them.
    Direct,
    /// Updates are captured, and read them from a board, on which these belong.
    Buffer(Tensor, Vec<f64>),
    /// Updates are not made.
    Collected(Vec<f64>),
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Direct) };
}

/// What an update does with its constants.
pub enum ParameterSource {
    /// It uses them.
    Direct,
    /// It reads them from this place of a board.
    Buffer(Tensor, usize),
    /// It is not made.
    Collected,
}

/// A board for as many updates as there may be.
///
/// # Errors
/// When the device has no room.
pub fn new_parameter_buffer(device: &Device) -> Result<Tensor> {
    Ok(Tensor::zeros((CAPACITY, 4), DType::F64, device)?)
}

/// What is to be done with the constants of an update.
///
/// # Errors
/// When a board is full.
pub fn place_parameters(constants: [f64; 4]) -> candle_core::Result<ParameterSource> {
    MODE.with_borrow_mut(|mode| match mode {
        Mode::Direct => Ok(ParameterSource::Direct),
        Mode::Buffer(board, all) => {
            let slot = all.len() / 4;
            if slot == CAPACITY {
                candle_core::bail!("more than {CAPACITY} updates in a recording");
            }
            all.extend(constants);
            Ok(ParameterSource::Buffer(board.clone(), slot))
        }
        Mode::Collected(all) => {
            all.extend(constants);
            Ok(ParameterSource::Collected)
        }
    })
}

/// Does `work`, whose updates read a board, and the constants that belong on it.
///
/// # Errors
/// When the work fails.
pub fn with_parameter_buffer<T>(board: &Tensor, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    within(Mode::Buffer(board.clone(), Vec::new()), work)
}

/// Does `work`, whose updates are not made, and their constants.
///
/// # Errors
/// When the work fails.
pub fn collect_parameters<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    within(Mode::Collected(Vec::new()), work)
}

fn within<T>(mode: Mode, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    MODE.set(mode);
    let done = work();
    match MODE.replace(Mode::Direct) {
        Mode::Buffer(_, constants) | Mode::Collected(constants) => Ok((done?, constants)),
        Mode::Direct => Err(Error::new("a recording within a recording")),
    }
}

/// Puts constants on a board.
///
/// # Errors
/// When the device fails.
pub fn write_parameters(board: &Tensor, constants: Vec<f64>) -> Result<()> {
    let updates = constants.len() / 4;
    Ok(board.slice_set(&Tensor::from_vec(constants, (updates, 4), board.device())?, 0, 0)?)
}
