//! The numbers that maps are made of in memory.

#![expect(unsafe_code, reason = "what may be seen as bits is promised")]

use std::fmt::Debug;

use crate::cpu::simd::float::Float;

/// A number in memory: plain bits.
///
/// # Safety
///
/// Every pattern of bits is a value, zeros are too, and a line of the cache is aligned for it.
pub unsafe trait Plain: Copy + Debug + Default + PartialEq + Send + Sync + 'static {}

// SAFETY: a number of 32 bits.
unsafe impl Plain for f32 {}
// SAFETY: a number of 64 bits.
unsafe impl Plain for f64 {}
// SAFETY: a number of 16 bits.
unsafe impl Plain for Bf16 {}

/// A number in memory that is computed with as a `T`.
pub trait Element<T>: Plain {
    /// The number to compute with.
    fn widen(self) -> T;

    /// The nearest number of this type.
    fn narrow(value: T) -> Self;
}

macro_rules! itself {
    ($type:ty) => {
        impl Element<$type> for $type {
            #[inline(always)]
            fn widen(self) -> $type {
                self
            }

            #[inline(always)]
            fn narrow(value: $type) -> $type {
                value
            }
        }
    };
}

itself!(f32);
itself!(f64);

/// The upper half of an `f32`: its range, with eight bits of precision.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bf16(pub u16);

impl<T: Float> Element<T> for Bf16 {
    #[inline(always)]
    fn widen(self) -> T {
        T::from_f32(f32::from_bits(u32::from(self.0) << 16))
    }

    #[inline(always)]
    fn narrow(value: T) -> Self {
        let bits = value.to_f32().to_bits();
        // To nearest, ties to even; the carry of a NaN could make it an infinity, so it keeps its upper half and is quiet.
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        Self((if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16)
    }
}

/// The numbers of a map in memory, whatever they are.
#[derive(Clone, Copy, Debug)]
pub enum MapSlice<'a, T> {
    /// As they are computed with.
    Full(&'a [T]),
    /// In half the memory of an `f32`.
    Half(&'a [Bf16]),
}

impl<T> MapSlice<'_, T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Full(numbers) => numbers.len(),
            Self::Half(numbers) => numbers.len(),
        }
    }
}

/// The numbers of a map in memory, to be written.
#[derive(Debug)]
pub enum MapSliceMut<'a, T> {
    /// As they are computed with.
    Full(&'a mut [T]),
    /// In half the memory of an `f32`.
    Half(&'a mut [Bf16]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(value: f32) -> Bf16 {
        Bf16::narrow(value)
    }

    fn widen(number: Bf16) -> f32 {
        number.widen()
    }

    #[test]
    fn bf16_is_rounded_to_nearest_even() {
        for (value, bits) in [
            (1.0, 0x3f80),
            (-2.0, 0xc000),
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (1.0 + 1.1 / 256.0, 0x3f81),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
            (1e-40, 0x0001),
        ] {
            assert_eq!(narrow(value).0, bits, "{value}");
        }
        assert!(widen(narrow(f32::NAN)).is_nan());
        assert!(widen(narrow(f32::from_bits(0x7f80_0001))).is_nan());
        for bits in (0..=u16::MAX).filter(|bits| !widen(Bf16(*bits)).is_nan()) {
            assert_eq!(narrow(widen(Bf16(bits))).0, bits);
        }
    }
}
