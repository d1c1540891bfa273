//! The numbers that maps are made of in memory.

use std::fmt::Debug;

use half::bf16;

use bytemuck::Pod;

use crate::cpu::simd::float::Float;

/// A number in memory: plain bits.
pub trait Plain: Pod + Debug + Default + PartialEq + Send + Sync {}

impl<T: Pod + Debug + Default + PartialEq + Send + Sync> Plain for T {}

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

impl<T: Float> Element<T> for bf16 {
    #[inline(always)]
    fn widen(self) -> T {
        T::from_f32(self.to_f32())
    }

    #[inline(always)]
    fn narrow(value: T) -> Self {
        Self::from_f32(value.to_f32())
    }
}

/// The numbers of a map in memory, whatever they are.
#[derive(Clone, Copy, Debug)]
pub enum MapSlice<'a, T> {
    /// As they are computed with.
    Full(&'a [T]),
    /// In half the memory of an `f32`.
    Half(&'a [bf16]),
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
    Half(&'a mut [bf16]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(value: f32) -> bf16 {
        bf16::narrow(value)
    }

    fn widen(number: bf16) -> f32 {
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
            assert_eq!(narrow(value).to_bits(), bits, "{value}");
        }
        assert!(widen(narrow(f32::NAN)).is_nan());
        assert!(widen(narrow(f32::from_bits(0x7f80_0001))).is_nan());
        for bits in (0..=u16::MAX).filter(|bits| !widen(bf16::from_bits(*bits)).is_nan()) {
            assert_eq!(narrow(widen(bf16::from_bits(bits))).to_bits(), bits);
        }
    }
}
