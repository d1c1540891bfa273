//! Maps read with their prologue, by the kernels of the processor.

#![expect(unsafe_code, reason = "the kernels are unsafe functions")]

use half::bf16;

use crate::cpu::kernels::kernel_table::KernelTable;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::Element;
use crate::cpu::simd::instruction_set::InstructionSet;

impl<T: KernelTable> InputView<'_, T> {
    /// Writes the elements from `at` on, where a pixel begins.
    pub fn write<C: InputElement<T>>(&self, set: InstructionSet, at: usize, out: &mut [C]) {
        C::read(set, self, at, out, false);
    }

    /// Adds the elements from `at` on, where a pixel begins, to what is there.
    pub fn add(&self, set: InstructionSet, at: usize, out: &mut [T]) {
        T::read(set, self, at, out, true);
    }
}

/// A type that sources are written as.
pub trait InputElement<T: KernelTable>: Element<T> {
    /// Writes or adds the elements of a source from `at` on.
    fn read(set: InstructionSet, source: &InputView<T>, at: usize, out: &mut [Self], add: bool);
}

impl<T: KernelTable> InputElement<T> for T {
    fn read(set: InstructionSet, source: &InputView<T>, at: usize, out: &mut [T], add: bool) {
        // SAFETY: the processor has the instructions of the set.
        unsafe { T::read_full(set)(source, at, out, add) }
    }
}

impl<T: KernelTable> InputElement<T> for bf16 {
    fn read(set: InstructionSet, source: &InputView<T>, at: usize, out: &mut [bf16], add: bool) {
        // SAFETY: the processor has the instructions of the set.
        unsafe { T::read_half(set)(source, at, out, add) }
    }
}
