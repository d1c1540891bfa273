//! CUDA graphs: what a stream was asked for, captured.

use candle_core::Device;

use crate::error::Result;

#[cfg(feature = "cuda")]
pub use cuda::Graph;
#[cfg(feature = "cuda")]
pub use cuda::can_capture;
#[cfg(feature = "cuda")]
pub use cuda::capture;
#[cfg(feature = "cuda")]
pub use cuda::warm_up;
#[cfg(not(feature = "cuda"))]
pub use none::Graph;
#[cfg(not(feature = "cuda"))]
pub use none::can_capture;
#[cfg(not(feature = "cuda"))]
pub use none::capture;
#[cfg(not(feature = "cuda"))]
pub use none::warm_up;

#[cfg(not(feature = "cuda"))]
mod none {
    use super::Device;
    use super::Result;

    /// There is none.
    pub enum Graph {}

    impl Graph {
        /// Computes what was captured.
        ///
        /// # Errors
        /// Never.
        pub fn launch(&self) -> Result<()> {
            match *self {}
        }
    }

    /// Whether the device captures.
    pub fn can_capture(_: &Device) -> bool {
        false
    }

    /// Captures work.
    ///
    /// # Errors
    /// Never.
    pub fn capture<T>(_: &Device, _: impl FnOnce() -> Result<T>) -> Result<Option<(Graph, T)>> {
        Ok(None)
    }

    /// Does work as it will be captured.
    ///
    /// # Errors
    /// When the work fails.
    pub fn warm_up<T>(_: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work()
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    #![expect(unsafe_code, reason = "memory is given back")]

    use candle_core::CudaDevice;
    use candle_core::cuda_backend::cudarc::driver::CudaGraph;
    use candle_core::cuda_backend::cudarc::driver::DriverError;
    use candle_core::cuda_backend::cudarc::driver::result;
    use candle_core::cuda_backend::cudarc::driver::sys::CUgraphInstantiate_flags;
    use candle_core::cuda_backend::cudarc::driver::sys::CUstreamCaptureMode;
    use candle_core::cuda_backend::cudarc::driver::sys::cuDeviceGraphMemTrim;

    use super::Device;
    use super::Result;
    use crate::cuda::exact_sums;
    use crate::cuda::graph_memory::{Capturing, GraphMemory};
    use crate::cuda::ticket::ticket;
    use crate::error::Error;
    use crate::flop;

    /// A captured graph.
    pub struct Graph {
        graph: Option<CudaGraph>,
        /// What its kernels read and write, where that is not the graph's own affair.
        memory: Option<GraphMemory>,
        device: CudaDevice,
        /// What it computes, as [`flop::done`] counts it.
        flop: u64,
    }

    impl Graph {
        /// Computes what was captured.
        ///
        /// # Errors
        /// When the device fails.
        pub fn launch(&self) -> Result<()> {
            let launched = self.graph.as_ref().map_or(Ok(()), CudaGraph::launch);
            flop::add_uncounted(self.flop);
            Ok(launched.map_err(|error| candle_core::Error::Msg(format!("CUDA, a graph: {error}")))?)
        }
    }

    impl Drop for Graph {
        fn drop(&mut self) {
            // Whoever drops it may be another thread.
            let _ = self.device.cuda_stream().context().bind_to_thread();
            drop(self.graph.take());
            drop(self.memory.take());
            // Memory of its nodes, if it has such, is kept for other graphs, of which there may be none.
            // SAFETY: the device is there, and memory that a graph uses is not given back.
            unsafe { cuDeviceGraphMemTrim(self.device.cuda_stream().context().cu_device()) };
        }
    }

    /// Gives back the memory that nobody uses: a graph does not take its own from there.
    fn trim(device: &CudaDevice) -> Result<(), DriverError> {
        let stream = device.cuda_stream();
        stream.synchronize()?;
        // SAFETY: the pool is the device's own.
        unsafe {
            let pool = result::device::get_default_mem_pool(stream.context().cu_device())?;
            result::mem_pool::trim_to(pool, 0)
        }
    }

    /// Whether the device captures.
    pub fn can_capture(device: &Device) -> bool {
        device.is_cuda()
    }

    /// Captures work.
    ///
    /// # Errors
    /// When the work fails or cannot be captured.
    pub fn capture<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<Option<(Graph, T)>> {
        let Device::Cuda(cuda) = device else { return Ok(None) };
        // What is made within a graph does not outlive it, and what was left before is no part of it.
        ticket(device)?;
        exact_sums::finish_all()?;
        exact_sums::forget_zeros();
        let device = cuda;
        let stream = device.cuda_stream();
        let failed = |error: DriverError| Error::new(format!("CUDA, capturing: {error}"));
        trim(device).map_err(failed)?;
        // candle refuses copies between host and device meanwhile, but for those that it has made before.
        let _tables = device.enable_cuda_graph_htod_cache();
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(failed)?;
        let capturing = Capturing::begin(&stream);
        let work = || work().and_then(|done| exact_sums::finish_all().map(|()| done).map_err(Error::from));
        let (captured, flop) = flop::uncounted(work);
        exact_sums::forget_all();
        // Where capturing was made impossible, what was dropped since could not be freed: an old error, that ending would only
        // repeat, and not end.
        let _ = stream.context().check_err();
        // What nodes of the graph leave in memory is freed by its next launch.
        let graph = stream.end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
        let memory = capturing.end();
        match (captured, graph) {
            (Ok(captured), Ok(Some(graph))) => {
                let (graph, memory) = (Some(graph), Some(memory));
                Ok(Some((Graph { graph, memory, device: device.clone(), flop }, captured)))
            }
            (captured, graph) => {
                let reason = match (captured, graph) {
                    (Err(error), _) => error,
                    // Its memory never came to be, so there is nothing to be freed.
                    (Ok(captured), graph) => {
                        std::mem::forget(captured);
                        graph.err().map_or_else(|| Error::new("CUDA captured nothing"), failed)
                    }
                };
                // What was dropped while capturing may have failed to be freed, which is not for the next call to report.
                let _ = stream.context().check_err();
                Err(reason)
            }
        }
    }

    /// Does work with candle's tables kept.
    ///
    /// # Errors
    /// When the work fails.
    pub fn warm_up<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _tables = match device {
            Device::Cuda(device) => Some(device.enable_cuda_graph_htod_cache()),
            _ => None,
        };
        work()
    }
}
