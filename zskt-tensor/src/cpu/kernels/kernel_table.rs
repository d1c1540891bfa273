//! From an element type, an instruction set and a block shape to the compiled kernel.

#![expect(unsafe_code, reason = "the kernels are unsafe functions")]

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::float32x4_t;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use half::bf16;

use crate::cpu::kernels::depthwise::{
    DepthwiseKernel, DepthwiseProducts, DepthwiseProductsKernel, DepthwiseRow, NARROW, OUTPUTS,
};
use crate::cpu::kernels::epilogue::{ChannelBlock, EpilogueKind};
use crate::cpu::kernels::microkernel::{Patch, PatchKernel, Strip, StripKernel};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::kernels::winograd::WinogradTiles;
use crate::cpu::kernels::{depthwise, epilogue, microkernel, prologue, winograd};
use crate::cpu::simd::dtype::Element;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::simd::vector::{PortableVector, SimdLoadStore, SimdVector};

/// A block of output pixels and channels that one kernel keeps in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterTile {
    /// Rows of pixels.
    pub rows: usize,
    /// Pixels in a row.
    pub columns: usize,
}

const fn tile(rows: usize, columns: usize) -> RegisterTile {
    RegisterTile { rows, columns }
}

/// The kernels of an element type.
pub trait KernelTable: Float + Element<Self> {
    /// Elements in a vector.
    fn width(set: InstructionSet) -> usize;

    /// Vectors of channels in a block when there are `vectors` in all.
    fn vectors(set: InstructionSet, vectors: usize) -> usize;

    /// The pixel blocks there are for a number of vectors, best first.
    fn tiles(set: InstructionSet, vectors: usize) -> &'static [RegisterTile];

    /// [`microkernel::strip`] for one of the [`tiles`](Self::tiles) and the distance of neighbouring inputs.
    fn strip(set: InstructionSet, vectors: usize, tile: RegisterTile, step: usize) -> StripKernel<Self>;

    /// [`microkernel::dot`] for so few output channels and a row of pixels, where it pays.
    fn dot(set: InstructionSet, outputs: usize, columns: usize) -> Option<(StripKernel<Self>, RegisterTile)>;

    /// The numbers of scalars there are for [`patch`](Self::patch) kernels of a number of vectors, best first.
    fn scalars(set: InstructionSet, vectors: usize) -> &'static [usize];

    /// [`microkernel::patch`] for a number of vectors and one of the [`scalars`](Self::scalars).
    fn patch(set: InstructionSet, vectors: usize, scalars: usize) -> PatchKernel<Self>;

    /// [`microkernel::patch`] for so few scalars, all of them at once, with its number of vectors, where it pays.
    fn few(set: InstructionSet, scalars: usize, len: usize) -> Option<(PatchKernel<Self>, usize)>;

    /// The kernels of minimal filtering, where there are any, for a number of vectors and of tiles.
    fn winograd(
        set: InstructionSet,
        vectors: usize,
        tiles: usize,
        inputs: usize,
    ) -> Option<winograd::WinogradKernels<Self>>;

    /// The kernels of weight gradients by minimal filtering, where there are any, for a number of vectors and one of the
    /// [`scalars`](Self::scalars).
    fn winograd_gradient(
        set: InstructionSet,
        vectors: usize,
        scalars: usize,
    ) -> Option<winograd::WinogradGradientKernels<Self>>;

    /// [`depthwise::row`] for some rows and columns of taps, the pixels between the inputs of neighbouring outputs, and some
    /// outputs.
    fn depthwise(set: InstructionSet, taps: [usize; 2], stride: usize, outputs: usize) -> DepthwiseKernel<Self>;

    /// [`depthwise::products`] for a kernel of some size, and the pixels between the inputs of neighbouring outputs.
    fn depthwise_products(set: InstructionSet, kernel: usize, stride: usize) -> DepthwiseProductsKernel<Self>;

    /// [`depthwise::narrow_row`] and [`depthwise::narrow_products`] for a row of 1 to [`NARROW`] outputs.
    fn depthwise_narrow(set: InstructionSet, outputs: usize) -> (DepthwiseKernel<Self>, DepthwiseProductsKernel<Self>);

    /// [`prologue::read`] as this type.
    fn read_full(set: InstructionSet) -> prologue::ReadKernel<Self, Self>;

    /// [`prologue::read`] as half the precision.
    fn read_half(set: InstructionSet) -> prologue::ReadKernel<Self, bf16>;

    /// [`epilogue::finish`] into a map of this type, for all channels of a vector or for some.
    fn finish_full(set: InstructionSet, what: EpilogueKind, all: bool) -> epilogue::FinishKernel<Self, Self>;

    /// [`epilogue::finish`] into a map of half the precision.
    fn finish_half(set: InstructionSet, what: EpilogueKind, all: bool) -> epilogue::FinishKernel<Self, bf16>;
}

/// The instance of a function with these parameters that [`epilogue::finish`] has.
macro_rules! finish_kernel {
    ($what:expr, $all:expr, $function:ident::<$($type:ty),*>) => {
        match ($what, $all) {
            (EpilogueKind::Store, true) => $function::<$($type,)* { EpilogueKind::Store as u8 }, true>,
            (EpilogueKind::Store, false) => $function::<$($type,)* { EpilogueKind::Store as u8 }, false>,
            (EpilogueKind::Moments, true) => $function::<$($type,)* { EpilogueKind::Moments as u8 }, true>,
            (EpilogueKind::Moments, false) => $function::<$($type,)* { EpilogueKind::Moments as u8 }, false>,
            (EpilogueKind::ActivationGradient, true) => $function::<$($type,)* { EpilogueKind::ActivationGradient as u8 }, true>,
            (EpilogueKind::ActivationGradient, false) => $function::<$($type,)* { EpilogueKind::ActivationGradient as u8 }, false>,
        }
    };
}

/// The instance of [`depthwise::row`] for some taps, a stride and some outputs.
macro_rules! depthwise_kernel {
    ($taps:expr, $stride:expr, $outputs:expr, $function:ident::<$($type:ty),*>) => {
        match ($taps, $stride, $outputs >= OUTPUTS) {
            ([3, 3], 1, true) => $function::<$($type,)* 3, 1, OUTPUTS>,
            ([3, 3], 2, true) => $function::<$($type,)* 3, 2, OUTPUTS>,
            (_, _, true) => $function::<$($type,)* 0, 0, OUTPUTS>,
            (_, _, false) => $function::<$($type,)* 0, 0, 1>,
        }
    };
}

/// The instance of [`depthwise::products`] for a kernel of some size and a stride.
macro_rules! depthwise_products_kernel {
    ($kernel:expr, $stride:expr, $function:ident::<$($type:ty),*>) => {
        match ($kernel, $stride) {
            (3, 1) => $function::<$($type,)* 3, 1>,
            (3, 2) => $function::<$($type,)* 3, 2>,
            _ => $function::<$($type,)* 0, 0>,
        }
    };
}

/// The instances of [`depthwise::narrow_row`] and [`depthwise::narrow_products`] for some outputs.
macro_rules! depthwise_narrow_kernels {
    ($outputs:expr, $row:ident, $products:ident, ($($type:ty),*)) => {
        match $outputs {
            1 => ($row::<$($type,)* 1>, $products::<$($type,)* 1>),
            2 => ($row::<$($type,)* 2>, $products::<$($type,)* 2>),
            3 => ($row::<$($type,)* 3>, $products::<$($type,)* 3>),
            4 => ($row::<$($type,)* 4>, $products::<$($type,)* 4>),
            5 => ($row::<$($type,)* 5>, $products::<$($type,)* 5>),
            6 => ($row::<$($type,)* 6>, $products::<$($type,)* 6>),
            7 => ($row::<$($type,)* 7>, $products::<$($type,)* 7>),
            _ => ($row::<$($type,)* NARROW>, $products::<$($type,)* NARROW>),
        }
    };
}

/// The portable kernels: few registers and no known steps, to be small.
mod portable {
    use super::*;

    pub const TILES: [RegisterTile; 2] = [tile(1, 4), tile(1, 1)];
    pub const SCALARS: [usize; 1] = [4];

    unsafe fn strip<L: SimdVector, const Q: usize>(s: &Strip<L::Element>) {
        // SAFETY: every processor has these instructions; the rest is the caller's promise.
        unsafe { microkernel::strip::<L, 1, 1, Q, 0>(s) }
    }

    unsafe fn patch<L: SimdVector, const M: usize>(p: &Patch<L::Element>) {
        // SAFETY: as above.
        unsafe { microkernel::patch::<L, 1, M>(p) }
    }

    pub fn strip_kernel<L: SimdVector>(tile: RegisterTile) -> StripKernel<L::Element> {
        if tile.columns == 4 { strip::<L, 4> } else { strip::<L, 1> }
    }

    pub fn patch_kernel<L: SimdVector>() -> PatchKernel<L::Element> {
        patch::<L, 4>
    }

    pub unsafe fn winograd_inputs<L: SimdVector>(
        s: &WinogradTiles<L::Element>,
        x: *const L::Element,
        to: *mut L::Element,
    ) {
        // SAFETY: as above.
        unsafe { winograd::inputs::<L>(s, x, to) }
    }

    pub unsafe fn winograd_outputs<L: SimdVector>(
        s: &WinogradTiles<L::Element>,
        m: *const L::Element,
        start: *const L::Element,
        y: *mut L::Element,
    ) {
        // SAFETY: as above.
        unsafe { winograd::outputs::<L>(s, m, start, y) }
    }

    pub unsafe fn winograd_gradients<L: SimdVector>(
        s: &WinogradTiles<L::Element>,
        e: *const L::Element,
        to: *mut L::Element,
    ) {
        // SAFETY: as above.
        unsafe { winograd::gradients::<L>(s, e, to) }
    }

    pub unsafe fn winograd_weight_gradients<L: SimdVector>(len: usize, m: *const L::Element, to: *mut L::Element) {
        // SAFETY: as above.
        unsafe { winograd::weight_gradients::<L>(len, m, to) }
    }

    unsafe fn depthwise<L: SimdVector, const K: usize, const S: usize, const Q: usize>(
        r: &DepthwiseRow<'_, L::Element>,
    ) {
        // SAFETY: as above.
        unsafe { depthwise::row::<L, K, S, Q>(r) }
    }

    pub fn depthwise_kernel<L: SimdVector>(
        taps: [usize; 2],
        stride: usize,
        outputs: usize,
    ) -> DepthwiseKernel<L::Element> {
        depthwise_kernel!(taps, stride, outputs, depthwise::<L>)
    }

    unsafe fn products<L: SimdVector, const K: usize, const S: usize>(p: &DepthwiseProducts<'_, L::Element>) {
        // SAFETY: as above.
        unsafe { depthwise::products::<L, K, S>(p) }
    }

    pub fn depthwise_products<L: SimdVector>(kernel: usize, stride: usize) -> DepthwiseProductsKernel<L::Element> {
        depthwise_products_kernel!(kernel, stride, products::<L>)
    }

    unsafe fn narrow_row<L: SimdVector, const W: usize>(r: &DepthwiseRow<'_, L::Element>) {
        // SAFETY: as above.
        unsafe { depthwise::narrow_row::<L, W>(r) }
    }

    unsafe fn narrow_products<L: SimdVector, const W: usize>(p: &DepthwiseProducts<'_, L::Element>) {
        // SAFETY: as above.
        unsafe { depthwise::narrow_products::<L, W>(p) }
    }

    pub fn depthwise_narrow<L: SimdVector>(
        outputs: usize,
    ) -> (DepthwiseKernel<L::Element>, DepthwiseProductsKernel<L::Element>) {
        depthwise_narrow_kernels!(outputs, narrow_row, narrow_products, (L))
    }

    pub unsafe fn read<L: SimdVector<Element: SimdLoadStore<L>>, C: SimdLoadStore<L>>(
        source: &InputView<L::Element>,
        at: usize,
        out: &mut [C],
        add: bool,
    ) {
        // SAFETY: as above.
        unsafe { prologue::read::<L, C>(source, at, out, add) }
    }

    unsafe fn finish<L: SimdVector, E: SimdLoadStore<L>, const THEN: u8, const ALL: bool>(
        block: &mut ChannelBlock<'_, L::Element, E>,
    ) {
        // SAFETY: as above.
        unsafe { epilogue::finish::<L, E, THEN, ALL>(block) }
    }

    pub fn finish_kernel<L: SimdVector, E: SimdLoadStore<L>>(
        what: EpilogueKind,
        all: bool,
    ) -> epilogue::FinishKernel<L::Element, E> {
        finish_kernel!(what, all, finish::<L, E>)
    }
}

impl KernelTable for f64 {
    fn width(_: InstructionSet) -> usize {
        PortableVector::<f64>::WIDTH
    }

    fn vectors(_: InstructionSet, _: usize) -> usize {
        1
    }

    fn tiles(_: InstructionSet, _: usize) -> &'static [RegisterTile] {
        &portable::TILES
    }

    fn strip(_: InstructionSet, _: usize, tile: RegisterTile, _: usize) -> StripKernel<f64> {
        portable::strip_kernel::<PortableVector<f64>>(tile)
    }

    fn dot(_: InstructionSet, _: usize, _: usize) -> Option<(StripKernel<f64>, RegisterTile)> {
        None
    }

    fn scalars(_: InstructionSet, _: usize) -> &'static [usize] {
        &portable::SCALARS
    }

    fn patch(_: InstructionSet, _: usize, _: usize) -> PatchKernel<f64> {
        portable::patch_kernel::<PortableVector<f64>>()
    }

    fn few(_: InstructionSet, _: usize, _: usize) -> Option<(PatchKernel<f64>, usize)> {
        None
    }

    fn winograd(_: InstructionSet, _: usize, _: usize, _: usize) -> Option<winograd::WinogradKernels<f64>> {
        // It is there to compare with.
        None
    }

    fn winograd_gradient(_: InstructionSet, _: usize, _: usize) -> Option<winograd::WinogradGradientKernels<f64>> {
        None
    }

    fn depthwise(_: InstructionSet, taps: [usize; 2], stride: usize, outputs: usize) -> DepthwiseKernel<f64> {
        portable::depthwise_kernel::<PortableVector<f64>>(taps, stride, outputs)
    }

    fn depthwise_products(_: InstructionSet, kernel: usize, stride: usize) -> DepthwiseProductsKernel<f64> {
        portable::depthwise_products::<PortableVector<f64>>(kernel, stride)
    }

    fn depthwise_narrow(_: InstructionSet, outputs: usize) -> (DepthwiseKernel<f64>, DepthwiseProductsKernel<f64>) {
        portable::depthwise_narrow::<PortableVector<f64>>(outputs)
    }

    fn read_full(_: InstructionSet) -> prologue::ReadKernel<f64, f64> {
        portable::read::<PortableVector<f64>, f64>
    }

    fn read_half(_: InstructionSet) -> prologue::ReadKernel<f64, bf16> {
        portable::read::<PortableVector<f64>, bf16>
    }

    fn finish_full(_: InstructionSet, what: EpilogueKind, all: bool) -> epilogue::FinishKernel<f64, f64> {
        portable::finish_kernel::<PortableVector<f64>, f64>(what, all)
    }

    fn finish_half(_: InstructionSet, what: EpilogueKind, all: bool) -> epilogue::FinishKernel<f64, bf16> {
        portable::finish_kernel::<PortableVector<f64>, bf16>(what, all)
    }
}

/// Makes a module of kernels for a vector type, each compiled with the type's instructions.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
macro_rules! vector_kernels {
    (
        $name:ident, $features:literal, $vector:ident,
        strips: { $($sv:literal: [$(($r:literal, $q:literal)),*] + [$(($tr:literal, $tq:literal)),*];)* }
        dots: $dq:literal,
        patches: { $($pv:literal: [$($m:literal),*];)* }
        few: [$($fv:literal),*]
    ) => {
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            unsafe fn strip<const V: usize, const R: usize, const Q: usize, const STEP: usize>(s: &Strip<f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { microkernel::strip::<$vector, V, R, Q, STEP>(s) }
            }

            #[target_feature(enable = $features)]
            unsafe fn dot<const O: usize, const Q: usize>(s: &Strip<f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { microkernel::dot::<$vector, O, Q>(s) }
            }

            #[target_feature(enable = $features)]
            unsafe fn patch<const V: usize, const M: usize>(p: &Patch<f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { microkernel::patch::<$vector, V, M>(p) }
            }

            #[target_feature(enable = $features)]
            unsafe fn winograd_inputs(s: &WinogradTiles<f32>, x: *const f32, to: *mut f32) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { winograd::inputs::<$vector>(s, x, to) }
            }

            #[target_feature(enable = $features)]
            unsafe fn winograd_outputs(s: &WinogradTiles<f32>, m: *const f32, start: *const f32, y: *mut f32) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { winograd::outputs::<$vector>(s, m, start, y) }
            }

            pub fn winograd_transforms() -> (winograd::InputTransform<f32>, winograd::OutputTransform<f32>) {
                (winograd_inputs, winograd_outputs)
            }

            #[target_feature(enable = $features)]
            unsafe fn winograd_gradients(s: &WinogradTiles<f32>, e: *const f32, to: *mut f32) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { winograd::gradients::<$vector>(s, e, to) }
            }

            #[target_feature(enable = $features)]
            unsafe fn winograd_weight_gradients(len: usize, m: *const f32, to: *mut f32) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { winograd::weight_gradients::<$vector>(len, m, to) }
            }

            pub fn winograd_gradient_transforms() -> winograd::GradientTransforms<f32> {
                (winograd_inputs, winograd_gradients, winograd_weight_gradients)
            }

            #[target_feature(enable = $features)]
            unsafe fn depthwise<const K: usize, const S: usize, const Q: usize>(r: &DepthwiseRow<'_, f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { depthwise::row::<$vector, K, S, Q>(r) }
            }

            pub fn depthwise_kernel(taps: [usize; 2], stride: usize, outputs: usize) -> DepthwiseKernel<f32> {
                depthwise_kernel!(taps, stride, outputs, depthwise::<>)
            }

            #[target_feature(enable = $features)]
            unsafe fn products<const K: usize, const S: usize>(p: &DepthwiseProducts<'_, f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { depthwise::products::<$vector, K, S>(p) }
            }

            pub fn depthwise_products(kernel: usize, stride: usize) -> DepthwiseProductsKernel<f32> {
                depthwise_products_kernel!(kernel, stride, products::<>)
            }

            #[target_feature(enable = $features)]
            unsafe fn narrow_row<const W: usize>(r: &DepthwiseRow<'_, f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { depthwise::narrow_row::<$vector, W>(r) }
            }

            #[target_feature(enable = $features)]
            unsafe fn narrow_products<const W: usize>(p: &DepthwiseProducts<'_, f32>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { depthwise::narrow_products::<$vector, W>(p) }
            }

            pub fn depthwise_narrow(outputs: usize) -> (DepthwiseKernel<f32>, DepthwiseProductsKernel<f32>) {
                depthwise_narrow_kernels!(outputs, narrow_row, narrow_products, ())
            }

            #[target_feature(enable = $features)]
            unsafe fn read<C: SimdLoadStore<$vector>>(source: &InputView<f32>, at: usize, out: &mut [C], add: bool) {
                // SAFETY: the caller has the instructions.
                unsafe { prologue::read::<$vector, C>(source, at, out, add) }
            }

            pub fn read_kernel<C: SimdLoadStore<$vector>>() -> prologue::ReadKernel<f32, C> {
                read::<C>
            }

            #[target_feature(enable = $features)]
            unsafe fn finish<E: SimdLoadStore<$vector>, const THEN: u8, const ALL: bool>(block: &mut ChannelBlock<'_, f32, E>) {
                // SAFETY: the caller has the instructions and the pointers.
                unsafe { epilogue::finish::<$vector, E, THEN, ALL>(block) }
            }

            pub fn finish_kernel<E: SimdLoadStore<$vector>>(what: EpilogueKind, all: bool) -> epilogue::FinishKernel<f32, E> {
                finish_kernel!(what, all, finish::<E>)
            }

            pub const fn width() -> usize {
                $vector::WIDTH
            }

            pub fn vectors(all: usize) -> usize {
                // The vectors of a block share every broadcast, unless many would be padding.
                let few_added = |vectors: &usize| 6 * all.next_multiple_of(*vectors) <= 7 * all;
                [$($sv),*].into_iter().rev().find(few_added).unwrap_or(1)
            }

            pub fn tiles(vectors: usize) -> &'static [RegisterTile] {
                match vectors {
                    $($sv => const { &[$(tile($r, $q),)* $(tile($tr, $tq),)*] },)*
                    _ => &[],
                }
            }

            pub fn strip_kernel(vectors: usize, tile: RegisterTile, step: usize) -> StripKernel<f32> {
                match (vectors, tile.rows, tile.columns) {
                    $(
                        // The steps of the usual networks are compiled in; odd ones pay for address arithmetic.
                        $(($sv, $r, $q) => match step {
                            3 => strip::<$sv, $r, $q, 3>,
                            16 => strip::<$sv, $r, $q, 16>,
                            32 => strip::<$sv, $r, $q, 32>,
                            64 => strip::<$sv, $r, $q, 64>,
                            128 => strip::<$sv, $r, $q, 128>,
                            256 => strip::<$sv, $r, $q, 256>,
                            _ => strip::<$sv, $r, $q, 0>,
                        },)*
                        $(($sv, $tr, $tq) => strip::<$sv, $tr, $tq, 0>,)*
                    )*
                    _ => unreachable!("a tile from the list"),
                }
            }

            pub fn dot_kernel(outputs: usize, columns: usize) -> Option<(StripKernel<f32>, RegisterTile)> {
                let wide = columns >= $dq;
                let kernel: StripKernel<f32> = match (outputs, wide) {
                    (1, true) => dot::<1, $dq>,
                    (2, true) => dot::<2, $dq>,
                    (3, true) => dot::<3, $dq>,
                    (1, false) => dot::<1, 1>,
                    (2, false) => dot::<2, 1>,
                    (3, false) => dot::<3, 1>,
                    _ => return None,
                };
                Some((kernel, tile(1, if wide { $dq } else { 1 })))
            }

            pub fn scalars(vectors: usize) -> &'static [usize] {
                match vectors {
                    $($pv => &[$($m),*],)*
                    _ => &[],
                }
            }

            pub fn patch_kernel(vectors: usize, scalars: usize) -> PatchKernel<f32> {
                match (vectors, scalars) {
                    $($(($pv, $m) => patch::<$pv, $m>,)*)*
                    _ => unreachable!("a block from the list"),
                }
            }

            pub fn few(scalars: usize, len: usize) -> Option<(PatchKernel<f32>, usize)> {
                let mut best: Option<(PatchKernel<f32>, usize)> = None;
                $(
                    let kernel: PatchKernel<f32> = match scalars {
                        1 => patch::<$fv, 1>,
                        2 => patch::<$fv, 2>,
                        3 => patch::<$fv, 3>,
                        _ => return None,
                    };
                    let padded = |vectors: usize| len.next_multiple_of(vectors * width());
                    if best.is_none_or(|(_, vectors)| padded($fv) < padded(vectors)) {
                        best = Some((kernel, $fv));
                    }
                )*
                best
            }
        }
    };
}

// 32 registers, each of a fourth of AVX-512's elements: more of them are channels, for each broadcast to be used as often.
#[cfg(target_arch = "aarch64")]
vector_kernels! {
    neon, "neon", float32x4_t,
    strips: {
        1: [(1, 16), (2, 8), (4, 4)] + [(1, 8), (1, 4), (1, 1)];
        2: [(1, 8), (2, 4)] + [(1, 4), (1, 1)];
        4: [(1, 4), (2, 2)] + [(1, 1)];
    }
    dots: 8,
    patches: {
        1: [24, 16, 9];
        2: [12, 9, 8];
        4: [6, 4];
    }
    few: [6, 4, 3]
}

// 32 registers: 16 accumulators hide the latency of the products and leave room for weights; the sums of a weight
// gradient, which load more per product, take 24.
#[cfg(target_arch = "x86_64")]
vector_kernels! {
    avx512, "avx512f,avx512vl", __m512,
    strips: {
        1: [(1, 16), (2, 8), (4, 4)] + [(1, 8), (1, 4), (1, 1)];
        2: [(1, 8), (2, 4)] + [(1, 4), (1, 1)];
    }
    dots: 8,
    patches: {
        1: [24, 16, 9];
        2: [12, 9, 8];
    }
    few: [6, 4, 3]
}

// 16 registers.
#[cfg(target_arch = "x86_64")]
vector_kernels! {
    avx2, "avx2,fma", __m256,
    strips: {
        1: [(1, 8), (2, 4)] + [(1, 4), (1, 1)];
        2: [(1, 4), (2, 2)] + [(1, 1)];
    }
    dots: 4,
    patches: {
        1: [12, 9, 8];
        2: [6, 4];
    }
    few: [3]
}

/// What [`avx512`] has for maps of half the precision, where there is an instruction that rounds to it.
#[cfg(target_arch = "x86_64")]
mod avx512_bf16 {
    use super::*;
    use crate::cpu::simd::x86::Bf16Rounding;

    #[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
    pub unsafe fn read(source: &InputView<f32>, at: usize, out: &mut [bf16], add: bool) {
        // SAFETY: the caller has the instructions.
        unsafe { prologue::read::<Bf16Rounding, bf16>(source, at, out, add) }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
    unsafe fn finish<E: SimdLoadStore<Bf16Rounding>, const THEN: u8, const ALL: bool>(
        block: &mut ChannelBlock<'_, f32, E>,
    ) {
        // SAFETY: the caller has the instructions and the pointers.
        unsafe { epilogue::finish::<Bf16Rounding, E, THEN, ALL>(block) }
    }

    pub fn finish_kernel(what: EpilogueKind, all: bool) -> epilogue::FinishKernel<f32, bf16> {
        finish_kernel!(what, all, finish::<bf16>)
    }
}

/// What the module of an instruction set has: the portable expression, or a call of a function of that name.
macro_rules! by_set {
    ($set:expr, $portable:expr, $function:ident $(::<$type:ty>)? ($($argument:expr),*)) => {
        match $set {
            InstructionSet::Portable => $portable,
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => neon::$function$(::<$type>)?($($argument),*),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => avx2::$function$(::<$type>)?($($argument),*),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => avx512::$function$(::<$type>)?($($argument),*),
        }
    };
}

impl KernelTable for f32 {
    fn width(set: InstructionSet) -> usize {
        by_set!(set, PortableVector::<f32>::WIDTH, width())
    }

    fn vectors(set: InstructionSet, vectors: usize) -> usize {
        by_set!(set, 1, vectors(vectors))
    }

    fn tiles(set: InstructionSet, vectors: usize) -> &'static [RegisterTile] {
        by_set!(set, &portable::TILES, tiles(vectors))
    }

    fn strip(set: InstructionSet, vectors: usize, tile: RegisterTile, step: usize) -> StripKernel<f32> {
        by_set!(set, portable::strip_kernel::<PortableVector<f32>>(tile), strip_kernel(vectors, tile, step))
    }

    fn dot(set: InstructionSet, outputs: usize, columns: usize) -> Option<(StripKernel<f32>, RegisterTile)> {
        by_set!(set, None, dot_kernel(outputs, columns))
    }

    fn scalars(set: InstructionSet, vectors: usize) -> &'static [usize] {
        by_set!(set, &portable::SCALARS, scalars(vectors))
    }

    fn patch(set: InstructionSet, vectors: usize, scalars: usize) -> PatchKernel<f32> {
        by_set!(set, portable::patch_kernel::<PortableVector<f32>>(), patch_kernel(vectors, scalars))
    }

    fn few(set: InstructionSet, scalars: usize, len: usize) -> Option<(PatchKernel<f32>, usize)> {
        by_set!(set, None, few(scalars, len))
    }

    fn winograd(
        set: InstructionSet,
        vectors: usize,
        tiles: usize,
        inputs: usize,
    ) -> Option<winograd::WinogradKernels<f32>> {
        let tiles = Self::tiles(set, vectors).iter().filter(|tile| tile.rows == 1 && tile.columns <= tiles);
        let tile = *tiles.max_by_key(|tile| tile.columns)?;
        let product = Self::strip(set, vectors, tile, inputs);
        let (inputs, outputs): (winograd::InputTransform<f32>, winograd::OutputTransform<f32>) = by_set!(
            set,
            (portable::winograd_inputs::<PortableVector<f32>>, portable::winograd_outputs::<PortableVector<f32>>),
            winograd_transforms()
        );
        Some(winograd::WinogradKernels { inputs, outputs, product })
    }

    fn winograd_gradient(
        set: InstructionSet,
        vectors: usize,
        scalars: usize,
    ) -> Option<winograd::WinogradGradientKernels<f32>> {
        let (inputs, gradients, weight_gradients): winograd::GradientTransforms<f32> = by_set!(
            set,
            (
                portable::winograd_inputs::<PortableVector<f32>>,
                portable::winograd_gradients::<PortableVector<f32>>,
                portable::winograd_weight_gradients::<PortableVector<f32>>
            ),
            winograd_gradient_transforms()
        );
        let product = Self::patch(set, vectors, scalars);
        Some(winograd::WinogradGradientKernels { inputs, gradients, weight_gradients, product })
    }

    fn depthwise(set: InstructionSet, taps: [usize; 2], stride: usize, outputs: usize) -> DepthwiseKernel<f32> {
        by_set!(
            set,
            portable::depthwise_kernel::<PortableVector<f32>>(taps, stride, outputs),
            depthwise_kernel(taps, stride, outputs)
        )
    }

    fn depthwise_products(set: InstructionSet, kernel: usize, stride: usize) -> DepthwiseProductsKernel<f32> {
        by_set!(
            set,
            portable::depthwise_products::<PortableVector<f32>>(kernel, stride),
            depthwise_products(kernel, stride)
        )
    }

    fn depthwise_narrow(set: InstructionSet, outputs: usize) -> (DepthwiseKernel<f32>, DepthwiseProductsKernel<f32>) {
        by_set!(set, portable::depthwise_narrow::<PortableVector<f32>>(outputs), depthwise_narrow(outputs))
    }

    fn read_full(set: InstructionSet) -> prologue::ReadKernel<f32, f32> {
        by_set!(set, portable::read::<PortableVector<f32>, f32>, read_kernel::<f32>())
    }

    fn read_half(set: InstructionSet) -> prologue::ReadKernel<f32, bf16> {
        #[cfg(target_arch = "x86_64")]
        if set == InstructionSet::Avx512Bf16 {
            return avx512_bf16::read;
        }
        by_set!(set, portable::read::<PortableVector<f32>, bf16>, read_kernel::<bf16>())
    }

    fn finish_full(set: InstructionSet, what: EpilogueKind, all: bool) -> epilogue::FinishKernel<f32, f32> {
        by_set!(set, portable::finish_kernel::<PortableVector<f32>, f32>(what, all), finish_kernel(what, all))
    }

    fn finish_half(set: InstructionSet, what: EpilogueKind, all: bool) -> epilogue::FinishKernel<f32, bf16> {
        #[cfg(target_arch = "x86_64")]
        if set == InstructionSet::Avx512Bf16 {
            return avx512_bf16::finish_kernel(what, all);
        }
        by_set!(set, portable::finish_kernel::<PortableVector<f32>, bf16>(what, all), finish_kernel(what, all))
    }
}
