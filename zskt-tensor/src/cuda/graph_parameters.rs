//! The parameters of updates in a captured graph: a learning rate that was written into a graph would stay what it was, so
//! captured updates read theirs from a buffer on the device.

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// Rows of four parameters that a buffer has room for.
const CAPACITY: usize = 4096;

/// What becomes of the parameters of updates in this thread.
enum Mode {
    /// Updates are made with them.
    Immediate,
    /// Updates are captured, and read them from a buffer, to which these belong.
    Buffered(Tensor, Vec<f64>),
    /// Updates are not made.
    Collected(Vec<f64>),
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Immediate) };
}

/// What an update does with its parameters.
pub enum UpdateParameters {
    /// It uses them.
    Immediate,
    /// It reads them from this row of a buffer on.
    Buffered(Tensor, usize),
    /// It is not made.
    Collected,
}

/// A buffer for as many updates as there may be, `[CAPACITY, 4]`: each has a row, or some.
///
/// # Errors
/// When the device has no room.
pub fn new_parameter_buffer(device: &Device) -> Result<Tensor> {
    Ok(Tensor::zeros((CAPACITY, 4), DType::F64, device)?)
}

/// What is to be done with the parameters of an update, whole rows of four.
///
/// # Errors
/// When a buffer is full.
pub fn place_parameters<const COUNT: usize>(parameters: [f64; COUNT]) -> candle_core::Result<UpdateParameters> {
    const { assert!(COUNT.is_multiple_of(4)) };
    MODE.with_borrow_mut(|mode| match mode {
        Mode::Immediate => Ok(UpdateParameters::Immediate),
        Mode::Buffered(buffer, all) => {
            let row = all.len() / 4;
            if row + COUNT / 4 > CAPACITY {
                candle_core::bail!("the parameters of the updates in a captured graph have more than {CAPACITY} rows");
            }
            all.extend(parameters);
            Ok(UpdateParameters::Buffered(buffer.clone(), row))
        }
        Mode::Collected(all) => {
            all.extend(parameters);
            Ok(UpdateParameters::Collected)
        }
    })
}

/// Does `work`, whose updates read a buffer, and returns the parameters that belong there.
///
/// # Errors
/// When the work fails, or this is done within such work.
pub fn with_parameter_buffer<T>(buffer: &Tensor, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    within(Mode::Buffered(buffer.clone(), Vec::new()), work)
}

/// Does `work`, whose updates are not made, and returns their parameters.
///
/// # Errors
/// When the work fails, or this is done within such work.
pub fn collect_parameters<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    within(Mode::Collected(Vec::new()), work)
}

fn within<T>(mode: Mode, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    let nested = MODE.with_borrow(|current| !matches!(current, Mode::Immediate));
    if nested {
        return Err(Error::new("a graph is being captured or replayed already"));
    }
    MODE.set(mode);
    let done = work();
    match MODE.replace(Mode::Immediate) {
        Mode::Buffered(_, parameters) | Mode::Collected(parameters) => Ok((done?, parameters)),
        Mode::Immediate => unreachable!("what is done within does not change the mode"),
    }
}

/// Writes parameters into a buffer.
///
/// # Errors
/// When the device fails.
pub fn write_parameters(buffer: &Tensor, parameters: Vec<f64>) -> Result<()> {
    let rows = parameters.len() / 4;
    Ok(buffer.slice_set(&Tensor::from_vec(parameters, (rows, 4), buffer.device())?, 0, 0)?)
}

#[cfg(test)]
mod tests {
    use super::{UpdateParameters, collect_parameters, place_parameters};

    #[test]
    fn a_capture_within_another_fails_and_leaves_that_as_it_was() {
        let ((), parameters) = collect_parameters(|| {
            place_parameters([1.0; 4])?;
            assert!(collect_parameters(|| Ok(())).is_err());
            place_parameters([2.0; 4])?;
            Ok(())
        })
        .unwrap();
        assert_eq!(parameters, [[1.0; 4], [2.0; 4]].concat());
        assert!(matches!(place_parameters([3.0; 4]), Ok(UpdateParameters::Immediate)));
    }
}
