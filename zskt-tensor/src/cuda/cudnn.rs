//! Convolutions by cuDNN: descriptors, algorithms and one workspace are kept.

#![expect(unsafe_code, reason = "cuDNN is told what memory holds")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Device, Error, Result, Tensor, bail};

use crate::cuda::convolution::{Convolution, Direction};
use crate::cuda::launch::{address, empty};
use crate::precision::Precision;

/// An algorithm that wants more memory than this is taken only where there is no other.
const LARGE_WORKSPACE: usize = 1 << 30;

type CudnnResult<T> = std::result::Result<T, CudnnError>;

/// How the numbers of tensors lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TensorLayout {
    /// Channels next to each other, as in maps: what tensor cores are fed with.
    ChannelsLast,
    /// Channels one after the other: what cuDNN has all its algorithms for, and copies of the tensors.
    ChannelsFirst,
}

/// A convolution that cuDNN knows how to compute: asking takes longer than computing.
#[derive(Clone, Copy)]
struct ConvPlan {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    /// Bytes that it works in.
    workspace: usize,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// What is kept of a device, as long as its thread lives.
struct CudnnCache {
    handle: sys::cudnnHandle_t,
    plans: HashMap<(Convolution, TensorLayout), ConvPlan>,
    /// The order in which each convolution works.
    orders: HashMap<Convolution, TensorLayout>,
    /// Memory that all convolutions work in, one after the other.
    workspace: CudaSlice<u8>,
    /// Workspaces that were too small for a later convolution: a captured graph may write to them as long as it is replayed.
    retired: Vec<CudaSlice<u8>>,
}

thread_local! {
    static KEPT: RefCell<HashMap<DeviceId, CudnnCache>> = RefCell::new(HashMap::new());
}

/// Computes a convolution or one of its gradients of dense tensors.
///
/// # Errors
/// When cuDNN or the device fails.
pub fn convolve(op: &Convolution, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let Device::Cuda(device) = a.device() else { bail!("cuDNN computes on GPUs only") };
    KEPT.with_borrow_mut(|kept| {
        let kept = match kept.entry(device.id()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(CudnnCache::new(device)?),
        };
        if let Some(order) = kept.orders.get(op).copied() {
            return kept.compute(device, op, order, a, b).map_err(Failure::into_error);
        }
        // In full precision there are no tensor cores to feed, and few algorithms for channels that lie next to each other.
        let exact = matches!(op.precision, Precision::F32 | Precision::F64);
        let mut refused = String::new();
        if !exact {
            match kept.compute(device, op, TensorLayout::ChannelsLast, a, b) {
                Ok(computed) => {
                    kept.orders.insert(*op, TensorLayout::ChannelsLast);
                    return Ok(computed);
                }
                Err(Failure::Unsupported(error)) => refused = format!(" (channels last: {error})"),
                Err(failure) => return Err(failure.into_error()),
            }
        }
        let computed = kept.compute(device, op, TensorLayout::ChannelsFirst, a, b);
        let computed = computed.map_err(|failure| Error::Msg(format!("{}{refused}", failure.into_error())))?;
        kept.orders.insert(*op, TensorLayout::ChannelsFirst);
        Ok(computed)
    })
}

/// Why a convolution was not computed.
enum Failure {
    /// cuDNN does not compute it in this order.
    Unsupported(CudnnError),
    Other(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Unsupported(error) => Error::Msg(format!("cuDNN does not compute a convolution: {error}")),
            Self::Other(error) => error,
        }
    }
}

impl From<CudnnError> for Failure {
    fn from(error: CudnnError) -> Self {
        // By cuDNN's classes of status: bad parameters, what is not supported, and algorithms that do not do what they promise;
        // but not that there is no memory.
        match error.0 as u32 {
            2000..=4002 | 4005.. => Self::Unsupported(error),
            _ => Self::Other(Error::Msg(format!("cuDNN: {error}"))),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl CudnnCache {
    fn new(device: &CudaDevice) -> Result<Self> {
        let failed = |error: CudnnError| Error::Msg(format!("cuDNN cannot be used: {error}"));
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: both live, and the stream is the only one of its device.
        unsafe { result::set_stream(handle, device.cuda_stream().cu_stream().cast()) }.map_err(failed)?;
        // SAFETY: it is written before it is read.
        let workspace = unsafe { device.alloc::<u8>(1)? };
        Ok(Self { handle, plans: HashMap::new(), orders: HashMap::new(), workspace, retired: Vec::new() })
    }

    fn compute(
        &mut self,
        device: &CudaDevice,
        op: &Convolution,
        order: TensorLayout,
        a: &Tensor,
        b: &Tensor,
    ) -> std::result::Result<Tensor, Failure> {
        let ordered = |tensor: &Tensor| match order {
            TensorLayout::ChannelsLast => Ok(tensor.clone()),
            TensorLayout::ChannelsFirst => tensor.permute((0, 3, 1, 2))?.contiguous(),
        };
        let (a, b) = (ordered(a)?, ordered(b)?);
        let [n, h, w, c] = op.result();
        let shape = match order {
            TensorLayout::ChannelsLast => [n, h, w, c],
            TensorLayout::ChannelsFirst => [n, c, h, w],
        };
        let out = empty(&shape[..], op.precision.storage_dtype(), a.device())?;
        let plan = match self.plans.get(&(*op, order)) {
            Some(plan) => *plan,
            None => {
                let plan = plan(self.handle, op, order)?;
                self.plans.insert((*op, order), plan);
                plan
            }
        };
        if self.workspace.len() < plan.workspace {
            // SAFETY: it is written before it is read.
            let larger = unsafe { device.alloc::<u8>(plan.workspace.next_power_of_two())? };
            self.retired.push(std::mem::replace(&mut self.workspace, larger));
        }
        let workspace = self.workspace.device_ptr(self.workspace.stream()).0;
        let [a, b, to] = [address(&a)?, address(&b)?, address(&out)?].map(|address| address as *mut c_void);
        // SAFETY: the descriptors are those of the tensors, which are dense; the workspace is as large as was asked.
        unsafe { self.launch(&plan, op.precision, [a, b, to], workspace as *mut c_void)? };
        match order {
            TensorLayout::ChannelsLast => Ok(out),
            TensorLayout::ChannelsFirst => Ok(out.permute((0, 2, 3, 1))?.contiguous()?),
        }
    }

    /// # Safety
    /// The memory must be what the plan says.
    unsafe fn launch(
        &self,
        plan: &ConvPlan,
        precision: Precision,
        [a, b, out]: [*mut c_void; 3],
        workspace: *mut c_void,
    ) -> CudnnResult<()> {
        let (single, double) = ([1.0_f32, 0.0], [1.0_f64, 0.0]);
        // The result counts once, and what is there not at all.
        let [alpha, beta] = [0, 1].map(|which| match precision {
            Precision::F64 => (&raw const double[which]).cast::<c_void>(),
            _ => (&raw const single[which]).cast::<c_void>(),
        });
        let ConvPlan { x, w, y, convolution, algorithm, workspace: bytes } = *plan;
        // SAFETY: the caller's.
        unsafe {
            match algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    self.handle,
                    alpha,
                    x,
                    a,
                    w,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    bytes,
                    beta,
                    y,
                    out,
                ),
                Algorithm::Input(algorithm) => result::convolution_backward_data(
                    self.handle,
                    alpha,
                    w,
                    b,
                    y,
                    a,
                    convolution,
                    algorithm,
                    workspace,
                    bytes,
                    beta,
                    x,
                    out,
                ),
                Algorithm::Weight(algorithm) => result::convolution_backward_filter(
                    self.handle,
                    alpha,
                    x,
                    a,
                    y,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    bytes,
                    beta,
                    w,
                    out,
                ),
            }
        }
    }
}

/// Asks cuDNN for the fastest algorithm that gives the same bits each time; for any other only where there is none.
macro_rules! pick {
    ($handle:expr, $ask:path, $perf:ty, [$($descriptor:expr),*]) => {{
        const MOST: usize = 8;
        let mut count: c_int = 0;
        // SAFETY: zeros are a value of it.
        let mut found = [unsafe { std::mem::zeroed::<$perf>() }; MOST];
        // SAFETY: the descriptors live, and there is room for so many.
        unsafe { $ask($handle, $($descriptor,)* MOST as c_int, &raw mut count, found.as_mut_ptr())? };
        let works = |perf: &&$perf| perf.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS;
        let same = |perf: &&$perf| perf.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
        let found = &found[..usize::try_from(count).unwrap_or_default()];
        let works = || found.iter().filter(works);
        let small = works().filter(same).find(|perf| perf.memory <= LARGE_WORKSPACE);
        match small.or_else(|| works().find(same)).or_else(|| works().next()) {
            Some(perf) => (perf.algo, perf.memory, perf.mathType),
            None => return Err(CudnnError(sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED)),
        }
    }};
}

/// Makes the descriptors of a convolution and chooses its algorithm.
fn plan(handle: sys::cudnnHandle_t, op: &Convolution, order: TensorLayout) -> CudnnResult<ConvPlan> {
    use sys::cudnnDataType_t as Type;
    use sys::cudnnMathType_t as Math;
    use sys::cudnnTensorFormat_t as Format;
    let format = match order {
        TensorLayout::ChannelsLast => Format::CUDNN_TENSOR_NHWC,
        TensorLayout::ChannelsFirst => Format::CUDNN_TENSOR_NCHW,
    };
    let (number, sum, math) = match op.precision {
        Precision::F32 => (Type::CUDNN_DATA_FLOAT, Type::CUDNN_DATA_FLOAT, Math::CUDNN_FMA_MATH),
        // For numbers in f32 the default is TF32.
        Precision::Tf32 => (Type::CUDNN_DATA_FLOAT, Type::CUDNN_DATA_FLOAT, Math::CUDNN_DEFAULT_MATH),
        Precision::Bf16 => (Type::CUDNN_DATA_BFLOAT16, Type::CUDNN_DATA_FLOAT, Math::CUDNN_TENSOR_OP_MATH),
        Precision::F64 => (Type::CUDNN_DATA_DOUBLE, Type::CUDNN_DATA_DOUBLE, Math::CUDNN_FMA_MATH),
    };
    let dims = |[n, h, w, c]: [usize; 4]| [n, c, h, w].map(|dim| dim as c_int);
    let (x, y) = (result::create_tensor_descriptor()?, result::create_tensor_descriptor()?);
    let (w, convolution) = (result::create_filter_descriptor()?, result::create_convolution_descriptor()?);
    let (padding, stride) = (op.geometry.padding as c_int, op.geometry.stride as c_int);
    // SAFETY: the descriptors have just been made.
    unsafe {
        result::set_tensor4d_descriptor(x, format, number, dims(op.input()))?;
        result::set_tensor4d_descriptor(y, format, number, dims(op.output()))?;
        result::set_filter4d_descriptor(w, number, format, dims(op.weight()))?;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        result::set_convolution2d_descriptor(convolution, padding, padding, stride, stride, 1, 1, mode, sum)?;
        result::set_convolution_math_type(convolution, math)?;
        sys::cudnnSetConvolutionGroupCount(convolution, op.geometry.groups as c_int).result()?;
    }
    let (algorithm, workspace, chosen) = match op.direction {
        Direction::Forward => {
            let ask = result::get_convolution_forward_algorithm;
            let (algorithm, bytes, math) =
                pick!(handle, ask, sys::cudnnConvolutionFwdAlgoPerf_t, [x, w, convolution, y]);
            (Algorithm::Forward(algorithm), bytes, math)
        }
        Direction::Input => {
            let ask = result::get_convolution_backward_data_algorithm;
            let (algorithm, bytes, math) =
                pick!(handle, ask, sys::cudnnConvolutionBwdDataAlgoPerf_t, [w, y, convolution, x]);
            (Algorithm::Input(algorithm), bytes, math)
        }
        Direction::Weight => {
            let ask = result::get_convolution_backward_filter_algorithm;
            let (algorithm, bytes, math) =
                pick!(handle, ask, sys::cudnnConvolutionBwdFilterAlgoPerf_t, [x, y, convolution, w]);
            (Algorithm::Weight(algorithm), bytes, math)
        }
    };
    if math != Math::CUDNN_FMA_MATH {
        // The algorithm was chosen for this arithmetic. Where all digits are asked for, there is no choice.
        // SAFETY: the descriptor is the one above.
        unsafe { result::set_convolution_math_type(convolution, chosen)? };
    }
    Ok(ConvPlan { x, w, y, convolution, algorithm, workspace })
}
