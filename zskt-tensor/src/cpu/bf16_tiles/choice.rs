//! Which convolutions of bf16 maps are multiplied as bf16.
//!
//! By AMX all of them. Dot products have twice the speed of the fused multiply-adds of f32, so that for some shapes, f32's
//! kernels are faster, which read and write the same maps: those that multiply less, and those that leave no lanes empty.

use crate::cpu::bf16_tiles::unit::Unit;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// Outputs of a map for which f32 has minimal filtering by tiles of 4×4, a fourth of the products.
const LARGE: usize = 256;
/// So many outputs, or fewer, for which f32 has vectors of inputs.
const FEW: usize = 3;
/// Fewer channels than this leave most of a weight gradient's tile empty.
const NARROW: usize = 8;

/// What computes the forward pass as bf16, if anything does.
pub fn for_forward(precision: Precision, g: &ConvGeometry) -> Option<Unit> {
    unit(precision, [g.out_height(), g.out_width()], [g.in_channels, g.out_channels], g)
}

/// The same for the data gradient.
pub fn for_data_gradient(precision: Precision, g: &ConvGeometry) -> Option<Unit> {
    unit(precision, [g.height, g.width], [g.out_channels, g.in_channels], g)
}

/// The same for the weight gradient.
pub fn for_weight_gradient(precision: Precision, g: &ConvGeometry) -> Option<Unit> {
    best(precision).filter(|unit| *unit == Unit::Amx || g.in_channels.min(g.out_channels) >= NARROW)
}

fn best(precision: Precision) -> Option<Unit> {
    Unit::best().filter(|_| precision == Precision::Bf16)
}

/// For a convolution of some inputs to some outputs, into a map of some size.
fn unit(precision: Precision, size: [usize; 2], [inputs, outputs]: [usize; 2], g: &ConvGeometry) -> Option<Unit> {
    let filtered = g.kernel == 3
        && g.stride == 1
        && g.upsampling == 1
        && size.iter().all(|count| count.is_multiple_of(4))
        && size[0] * size[1] >= LARGE
        && [inputs, outputs].iter().all(|channels| channels.is_multiple_of(16));
    best(precision).filter(|unit| *unit == Unit::Amx || !(filtered || outputs <= FEW))
}
