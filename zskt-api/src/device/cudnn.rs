//! Convolutions by cuDNN.

#![expect(unsafe_code, reason = "cuDNN is told what memory holds")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionFwdAlgo_t, cudnnConvolutionMode_t,
    cudnnMathType_t, cudnnTensorFormat_t,
};
use candle_core::cuda_backend::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvForward, Cudnn, CudnnDataType, CudnnError,
};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr};
use candle_core::cuda_backend::{CudaDType, DeviceId};
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Shape, bail};

use super::convolution::{Convolution, Direction};

const FORMAT: cudnnTensorFormat_t = cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
const MODE: cudnnConvolutionMode_t = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;

/// What cuDNN chose for a convolution: asking takes longer than many a convolution.
#[derive(Clone, Copy)]
enum Algorithm {
    Forward(cudnnConvolutionFwdAlgo_t),
    Input(cudnnConvolutionBwdDataAlgo_t),
    Weight(cudnnConvolutionBwdFilterAlgo_t),
}

/// What is kept of a device.
struct Kept {
    cudnn: Arc<Cudnn>,
    algorithms: HashMap<(Convolution, DType), (Algorithm, usize)>,
    /// Memory that all convolutions work in, one after the other.
    workspace: CudaSlice<u8>,
}

thread_local! {
    static KEPT: RefCell<HashMap<DeviceId, Kept>> = RefCell::new(HashMap::new());
}

/// Computes a convolution or one of its gradients.
///
/// # Errors
/// When a tensor is not dense, has a type that maps have not, or the device fails.
pub fn convolve(
    op: &Convolution,
    a: &CudaStorage,
    al: &Layout,
    b: &CudaStorage,
    bl: &Layout,
) -> Result<(CudaStorage, Shape)> {
    let storage = match a.dtype() {
        DType::F32 => run::<f32, f32>(op, a, al, b, bl)?,
        DType::F64 => run::<f64, f64>(op, a, al, b, bl)?,
        DType::BF16 => run::<half::bf16, f32>(op, a, al, b, bl)?,
        other => bail!("a convolution of {other:?}"),
    };
    Ok((storage, Shape::from(&op.result()[..])))
}

/// Of numbers `T`, computed in `C`.
fn run<T, C>(op: &Convolution, a: &CudaStorage, al: &Layout, b: &CudaStorage, bl: &Layout) -> Result<CudaStorage>
where
    T: CudnnDataType + CudaDType + DeviceRepr + Scale,
    C: CudnnDataType,
{
    let (Some((a_start, a_end)), Some((b_start, b_end))) = (al.contiguous_offsets(), bl.contiguous_offsets()) else {
        bail!("a convolution of tensors that are not dense");
    };
    let (device, dtype) = (a.device().clone(), a.dtype());
    let a = a.as_cuda_slice::<T>()?.slice(a_start..a_end);
    let b = b.as_cuda_slice::<T>()?.slice(b_start..b_end);
    // SAFETY: cuDNN overwrites all of it, for `beta` is zero.
    let mut out: CudaSlice<T> = unsafe { device.alloc::<T>(op.result().iter().product())? };
    with_kept(&device, |kept| {
        let cudnn = &kept.cudnn;
        let mut conv =
            cudnn.create_conv2d::<C>([op.geometry.padding as i32; 2], [op.geometry.stride as i32; 2], [1, 1], MODE)?;
        let math = if dtype == DType::BF16 {
            cudnnMathType_t::CUDNN_TENSOR_OP_MATH
        } else {
            // Single precision in full: no TF32.
            cudnnMathType_t::CUDNN_FMA_MATH
        };
        conv.set_math_type(math)?;
        let dims = |dims: [usize; 4]| dims.map(|dim| dim as i32);
        let x = cudnn.create_4d_tensor::<T>(FORMAT, dims(op.input()))?;
        let w = cudnn.create_4d_filter::<T>(FORMAT, dims(op.weight()))?;
        let y = cudnn.create_4d_tensor::<T>(FORMAT, dims(op.output()))?;
        let forward = ConvForward { conv: &conv, x: &x, w: &w, y: &y };
        let input = ConvBackwardData { conv: &conv, dx: &x, w: &w, dy: &y };
        let weight = ConvBackwardFilter { conv: &conv, x: &x, dw: &w, dy: &y };
        let key = (*op, dtype);
        let (algorithm, bytes) = match kept.algorithms.get(&key) {
            Some(chosen) => *chosen,
            None => {
                let chosen = match op.direction {
                    Direction::Forward => {
                        let algorithm = forward.pick_algorithm()?;
                        (Algorithm::Forward(algorithm), forward.get_workspace_size(algorithm)?)
                    }
                    Direction::Input => {
                        let algorithm = input.pick_algorithm()?;
                        (Algorithm::Input(algorithm), input.get_workspace_size(algorithm)?)
                    }
                    Direction::Weight => {
                        let algorithm = weight.pick_algorithm()?;
                        (Algorithm::Weight(algorithm), weight.get_workspace_size(algorithm)?)
                    }
                };
                kept.algorithms.insert(key, chosen);
                chosen
            }
        };
        if kept.workspace.len() < bytes {
            // SAFETY: it is written before it is read.
            kept.workspace = unsafe { device.alloc::<u8>(bytes) }.map_err(|_| {
                CudnnError(candle_core::cuda_backend::cudarc::cudnn::sys::cudnnStatus_t::CUDNN_STATUS_ALLOC_FAILED)
            })?;
        }
        let workspace = Some(&mut kept.workspace);
        let factors = (T::ONE, T::ZERO);
        // SAFETY: the descriptors are those of the slices, whose lengths follow from the same shapes.
        unsafe {
            match algorithm {
                Algorithm::Forward(algorithm) => forward.launch(algorithm, workspace, factors, &a, &b, &mut out),
                Algorithm::Input(algorithm) => input.launch(algorithm, workspace, factors, &mut out, &b, &a),
                Algorithm::Weight(algorithm) => weight.launch(algorithm, workspace, factors, &a, &mut out, &b),
            }
        }
    })?;
    Ok(CudaStorage::wrap_cuda_slice(out, device))
}

fn with_kept<R>(device: &CudaDevice, work: impl FnOnce(&mut Kept) -> std::result::Result<R, CudnnError>) -> Result<R> {
    KEPT.with(|kept| {
        let mut kept = kept.borrow_mut();
        let kept = match kept.entry(device.id()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let cudnn = Cudnn::new(device.cuda_stream()).map_err(failed)?;
                // SAFETY: it is written before it is read.
                let workspace = unsafe { device.alloc::<u8>(1)? };
                entry.insert(Kept { cudnn, algorithms: HashMap::new(), workspace })
            }
        };
        work(kept).map_err(failed)
    })
}

fn failed(error: CudnnError) -> candle_core::Error {
    candle_core::Error::Msg(format!("cuDNN: {error}"))
}

/// The factors of cuDNN's `alpha · result + beta · what is there`.
trait Scale {
    const ONE: Self;
    const ZERO: Self;
}

impl Scale for f32 {
    const ONE: Self = 1.0;
    const ZERO: Self = 0.0;
}

impl Scale for f64 {
    const ONE: Self = 1.0;
    const ZERO: Self = 0.0;
}

impl Scale for half::bf16 {
    const ONE: Self = Self::ONE;
    const ZERO: Self = Self::ZERO;
}
