//! What goes wrong while a pipeline runs.

use std::fmt;

/// A failure while building or running a node: a message for a person, outermost context first, also where a test shows it.
pub struct Error {
    message: String,
    cause: Cause,
}

/// What a failure is to those who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Other,
    Interrupted,
    OutOfMemory,
    BrokenContract,
}

/// The result of everything that runs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure that says the place, the reason and the way out.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: Cause::Other }
    }

    /// The user asked to stop; everything worth keeping is already in a checkpoint.
    pub fn interrupted() -> Self {
        Self { message: "interrupted".into(), cause: Cause::Interrupted }
    }

    /// Whether the user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.cause == Cause::Interrupted
    }

    /// The device has no room for what was to be computed.
    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: Cause::OutOfMemory }
    }

    /// Whether the device has no room for what was to be computed: a smaller batch may fit.
    pub fn is_out_of_memory(&self) -> bool {
        self.cause == Cause::OutOfMemory
    }

    /// A plugin did other than its contract says, wherever it was asked.
    pub fn broken_contract(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: Cause::BrokenContract }
    }

    /// Whether a plugin did other than its contract says.
    pub fn is_broken_contract(&self) -> bool {
        self.cause == Cause::BrokenContract
    }

    /// Says what was being done when it failed.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        if !self.is_interrupted() {
            self.message = format!("{doing}: {}", self.message);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// As anyhow does: what `main` or a test returns is shown so.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The system says what, but not of which file: say that by [`Context::context`].
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        // The backtrace that candle attaches to its errors is of no use to who reads a message.
        let mut error = error;
        while let candle_core::Error::WithBacktrace { inner, .. } = error {
            error = *inner;
        }
        let message = error.to_string();
        // CUDA's words and cuDNN's; candle keeps no more of them.
        let out_of_memory = ["CUDA_ERROR_OUT_OF_MEMORY", "CUDNN_STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED"];
        if out_of_memory.iter().any(|words| message.contains(words)) {
            return Self::out_of_memory(message);
        }
        Self::new(message)
    }
}

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// Says what was being done when it failed.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(doing))
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, Error, Result};

    #[test]
    fn a_failure_of_the_system_takes_the_path_as_its_context() {
        let read = |path: &str| -> Result<String> { std::fs::read_to_string(path).context(path) };
        let message = read("no/such/file").map_err(|error| error.to_string());
        assert!(message.is_err_and(|message| message.starts_with("no/such/file: No such file")));
        let tested = || -> Result<()> { Err(Error::new("the loss is NaN").context("batch 7")) };
        assert_eq!(format!("{:?}", tested()), "Err(batch 7: the loss is NaN)");
        let bare = || -> Result<Vec<u8>> { Ok(std::fs::read("no/such/file")?) };
        assert!(bare().is_err());
    }

    /// As candle hands on what CUDA and cuDNN say: wrapped, with a backtrace, in words.
    #[test]
    fn a_device_without_room_is_told_from_other_failures() {
        let wrapped = |message: &str| {
            let error: Box<dyn std::error::Error + Send + Sync> = message.into();
            Error::from(candle_core::Error::Cuda(error).bt().context("a batch"))
        };
        assert!(wrapped("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")").is_out_of_memory());
        assert!(wrapped("CudnnError(CUDNN_STATUS_ALLOC_FAILED)").is_out_of_memory());
        assert!(!wrapped("DriverError(CUDA_ERROR_INVALID_VALUE, \"invalid argument\")").is_out_of_memory());
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn the_very_values_of_the_driver_and_cudnn_are_known() {
        use candle_core::cuda_backend::CudaError;
        use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, sys::cudnnStatus_t};
        use candle_core::cuda_backend::cudarc::driver::{DriverError, sys::CUresult};

        let full = CudaError::Cuda(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
        assert!(Error::from(candle_core::Error::from(full)).is_out_of_memory());
        let full =
            candle_core::Error::Msg(format!("cuDNN: {:?}", CudnnError(cudnnStatus_t::CUDNN_STATUS_ALLOC_FAILED)));
        assert!(Error::from(full).is_out_of_memory());
    }
}
