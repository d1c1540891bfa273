//! How kernels are launched: by the driver on a GPU; in tests, on the CPU.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, DType, Device, Result, Tensor, bail};

use crate::cuda::kernel_source::{BLOCK, KernelVariant};

/// The most blocks among which sums are divided: as many as an H200 has multiprocessors, and no more, for one of them is to add up
/// what all find. A constant, for sums to be the same everywhere.
const SUMMING: usize = 132;

/// The most blocks of a launch that divides its work among what there is.
const DIVIDED: usize = 4096;

/// An argument of a kernel; the order is that of its struct.
#[derive(Clone, Copy)]
pub enum Argument<'a> {
    /// The numbers of a dense tensor, read or written.
    Tensor(&'a Tensor),
    /// Numbers that lie here.
    Address(u64),
    /// No tensor.
    Nothing,
    /// An `unsigned`.
    Count(usize),
    /// A `Real`.
    Real(f64),
    /// A `double`.
    Double(f64),
}

impl<'a> From<Option<&'a Tensor>> for Argument<'a> {
    fn from(tensor: Option<&'a Tensor>) -> Self {
        tensor.map_or(Self::Nothing, Self::Tensor)
    }
}

/// Launches a kernel of one variant on the device where its tensors are.
///
/// # Errors
/// When a tensor is not dense or too large, or the device fails.
pub fn launch(
    device: &Device,
    variant: KernelVariant,
    kernel: &'static str,
    blocks: usize,
    arguments: &[Argument<'_>],
) -> Result<()> {
    if blocks == 0 {
        return Ok(());
    }
    #[cfg(test)]
    launch_count::add(kernel);
    let words = words(kernel, variant.real_size(), arguments)?;
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::gpu::launch(device, variant, kernel, blocks, words),
        #[cfg(test)]
        Device::Cpu => {
            crate::cuda::cpu_emulation::launch(variant, kernel, blocks, &words);
            Ok(())
        }
        other => {
            drop(words);
            bail!("there are no kernels for {:?}", other.location())
        }
    }
}

/// The bytes of a kernel's struct, in which a `Real` has so many.
///
/// # Errors
/// When a tensor is not dense or too large.
pub fn words(kernel: &str, real_size: usize, arguments: &[Argument<'_>]) -> Result<Vec<u64>> {
    let mut layout = Arguments::default();
    for argument in arguments {
        match argument {
            Argument::Tensor(tensor) => layout.put(&address(tensor)?.to_ne_bytes()),
            Argument::Address(address) => layout.put(&address.to_ne_bytes()),
            Argument::Nothing => layout.put(&0_u64.to_ne_bytes()),
            Argument::Count(count) => match u32::try_from(*count) {
                Ok(count) if count < 1 << 31 => layout.put(&count.to_ne_bytes()),
                _ => bail!("{kernel} of {count} numbers: kernels count to 2³¹; a smaller batch would do"),
            },
            Argument::Real(real) if real_size == 8 => layout.put(&real.to_ne_bytes()),
            Argument::Real(real) => layout.put(&(*real as f32).to_ne_bytes()),
            Argument::Double(real) => layout.put(&real.to_ne_bytes()),
        }
    }
    Ok(layout.words)
}

/// How often each kernel is launched: what a step costs on a GPU as long as its kernels are small. Kernels of candle's own are
/// not seen, nor what cuDNN launches.
#[cfg(test)]
pub mod launch_count {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// Launches by the kernel's name.
    pub type Launches = BTreeMap<&'static str, usize>;

    thread_local! {
        static LAUNCHES: RefCell<Launches> = const { RefCell::new(Launches::new()) };
    }

    /// Counts a launch.
    pub fn add(kernel: &'static str) {
        LAUNCHES.with_borrow_mut(|launches| *launches.entry(kernel).or_default() += 1);
    }

    /// What work returns, and what it launches.
    pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Launches) {
        let before = LAUNCHES.take();
        let done = work();
        let launches = LAUNCHES.with_borrow(Clone::clone);
        for (kernel, count) in before {
            LAUNCHES.with_borrow_mut(|all| *all.entry(kernel).or_default() += count);
        }
        (done, launches)
    }
}

/// The bytes of a kernel's struct.
#[derive(Default)]
struct Arguments {
    words: Vec<u64>,
    bytes: usize,
}

impl Arguments {
    /// Puts a number at the next place that its size divides.
    fn put(&mut self, number: &[u8]) {
        let start = self.bytes.next_multiple_of(number.len());
        self.bytes = start + number.len();
        self.words.resize(self.bytes.div_ceil(8), 0);
        let word = &mut self.words[start / 8];
        let mut bytes = word.to_ne_bytes();
        bytes[start % 8..][..number.len()].copy_from_slice(number);
        *word = u64::from_ne_bytes(bytes);
    }
}

/// Where the numbers of a dense tensor begin.
///
/// # Errors
/// When it is not dense, or kernels do not read its type.
pub fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("a dense tensor is expected here, found strides {:?}", layout.stride());
    };
    let offset = (start * tensor.dtype().size_in_bytes()) as u64;
    match &*storage {
        #[cfg(feature = "cuda")]
        candle_core::Storage::Cuda(storage) => Ok(storage.address()? + offset),
        candle_core::Storage::Cpu(storage) => Ok(storage.address()? + offset),
        _ => bail!("there are no kernels for {:?}, where {offset} would be", tensor.device().location()),
    }
}

/// Storages that kernels read and write.
pub trait Addressed: BackendStorage<Device: BackendDevice<Storage = Self>> {
    /// Where its numbers begin.
    ///
    /// # Errors
    /// When there are no kernels for it.
    fn address(&self) -> Result<u64>;
}

impl Addressed for CpuStorage {
    fn address(&self) -> Result<u64> {
        #[cfg(test)]
        return Ok(crate::cuda::cpu_emulation::address(self));
        #[cfg(not(test))]
        bail!("there are no kernels for the CPU");
    }
}

#[cfg(feature = "cuda")]
impl Addressed for candle_core::CudaStorage {
    fn address(&self) -> Result<u64> {
        crate::cuda::gpu::address(self)
    }
}

/// A tensor with anything in it.
///
/// # Errors
/// When the device has no room.
pub fn empty(shape: impl Into<candle_core::Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    if shape.elem_count() >= 1 << 32 {
        bail!("{shape:?} has more numbers than kernels count; a smaller batch would do");
    }
    #[expect(unsafe_code, reason = "the kernel that it is made for writes all of it")]
    // SAFETY: numbers of any bits are numbers.
    unsafe {
        Tensor::empty(shape, dtype, device)
    }
}

/// Blocks for work on so many packs, one per thread.
pub fn blocks_of_packs(packs: usize) -> usize {
    packs.div_ceil(BLOCK).min(DIVIDED)
}

/// Blocks for work on the pixels of maps whose channels matter.
pub fn blocks_of_pixels(variant: KernelVariant, pixels: usize, channels: usize) -> usize {
    pixels.div_ceil(rows(variant, channels)).min(DIVIDED)
}

/// Blocks for sums over pixels: with at least four pixels for each thread, which it reads at once.
fn blocks_of_sums(variant: KernelVariant, pixels: usize, channels: usize) -> usize {
    pixels.div_ceil(4 * rows(variant, channels)).min(SUMMING)
}

/// Parts of sums over pixels, of which each has a block and four pixels at least for each thread.
pub fn blocks_of_parts(variant: KernelVariant, pixels: usize, channels: usize) -> usize {
    blocks_of_sums(variant, pixels, channels).max(1)
}

/// Where the blocks of a launch leave two sums over the pixels for each channel, `[blocks, 2, C]`, with some channels more where
/// those do not make up packs of 16 bytes; and how many blocks there are.
///
/// # Errors
/// When the device has no room.
pub fn partial_sums(
    variant: KernelVariant,
    pixels: usize,
    channels: usize,
    dtype: DType,
    device: &Device,
) -> Result<(Tensor, usize)> {
    let (blocks, pack) = (blocks_of_sums(variant, pixels, channels), 16 / dtype.size_in_bytes());
    Ok((empty((blocks, 2, channels.next_multiple_of(pack)), dtype, device)?, blocks))
}

/// Pixels that a block has in hand at once.
fn rows(variant: KernelVariant, channels: usize) -> usize {
    BLOCK / (channels / variant.vector_width).clamp(1, BLOCK)
}
