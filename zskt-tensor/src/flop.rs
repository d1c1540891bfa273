//! How much is computed: the floating-point operations of convolutions and fully connected layers, which are nearly all that a network
//! takes.

use std::cell::Cell;

thread_local! {
    static DONE: Cell<u64> = const { Cell::new(0) };
}

/// The operations of all convolutions and fully connected layers that this thread has asked for so far, as papers count them: two for
/// each multiplication and addition of a forward pass, and as many for each of the two gradients that is computed. A convolution counts as
/// the plain one, though minimal filtering takes fewer.
pub fn done() -> u64 {
    DONE.get()
}

/// Adds passes of so many multiplications and additions each.
pub(crate) fn add(multiply_adds: u64, passes: u64) {
    DONE.set(DONE.get().saturating_add(multiply_adds.saturating_mul(passes).saturating_mul(2)));
}

/// What some work has taken, and that work's result. It is not counted: whoever captures work to do it later counts it then.
pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = done();
    let result = work();
    (result, DONE.replace(before).saturating_sub(before))
}

/// Adds what was left uncounted.
#[cfg(feature = "cuda")]
pub(crate) fn add_uncounted(flop: u64) {
    DONE.set(DONE.get().saturating_add(flop));
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};

    use super::done;
    use crate::{FeatureMap, Precision, backward, ops};

    fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
        let before = done();
        let result = work();
        (result, done() - before)
    }

    #[test]
    fn passes_and_gradients_count_as_papers_count_them() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let images = FeatureMap::from_nchw(&zeros(&[2, 4, 8, 8])).unwrap();
        let (first, second) = (Var::from_tensor(&zeros(&[6, 4, 3, 3])).unwrap(), zeros(&[6, 3, 3, 3]));
        // Stride 2: 4×4 outputs; then the map is made 8×8 again, and convolved in two groups.
        let one = 2 * (2 * 4 * 4) * (6 * 4 * 9);
        let two = 2 * (2 * 8 * 8) * (6 * 3 * 9);
        let (sum, forward) = counted(|| {
            let map = ops::conv2d(&images, &first, None, 2, 1, 1, Precision::F32).unwrap();
            let map = ops::upsample_nearest(&map, 2).unwrap();
            let map = ops::conv2d(&map, &second, None, 1, 1, 2, Precision::F32).unwrap();
            let (weight, bias) = (zeros(&[5, 6]), zeros(&[5]));
            ops::linear(&ops::global_average(&map).unwrap(), &weight, &bias).unwrap().sum_all().unwrap()
        });
        let linear = 2 * 2 * 6 * 5;
        // The linear layer passes its gradient on, to features that are on the tape.
        assert_eq!(forward, one + two + 2 * linear);
        // Nobody asks for the gradients of the images and of the second weight.
        let (_, backward) = counted(|| backward(&sum).unwrap());
        assert_eq!(backward, one + two);
    }
}
