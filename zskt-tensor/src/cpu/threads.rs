//! How work is divided, by its size alone, and outputs that are written once.

#![expect(unsafe_code, reason = "outputs are written once, without a pass that zeroes them first")]

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::out_of_memory::out_of_memory;

/// Below this many elements a pass over memory is not worth a second thread.
pub const PARALLEL_THRESHOLD: usize = 1 << 15;

/// Fills a slice of memory from its beginning to its end.
pub struct Writer<'a, T> {
    rest: &'a mut [MaybeUninit<T>],
}

impl<T: Copy> Writer<'_, T> {
    /// Appends what `values` yields, until it ends or the slice is full.
    #[inline(always)]
    pub fn extend(&mut self, values: impl Iterator<Item = T>) {
        let mut written = 0;
        for (slot, value) in self.rest.iter_mut().zip(values) {
            slot.write(value);
            written += 1;
        }
        let rest = std::mem::take(&mut self.rest);
        self.rest = &mut rest[written..];
    }
}

/// A vector of `len` elements, each part of `part` elements (the last one may be shorter) written by `write`, which is
/// told where the part begins.
pub fn build<T: Copy + Send>(len: usize, part: usize, write: impl Fn(usize, &mut Writer<T>) + Sync) -> Vec<T> {
    let mut out = Vec::new();
    if out.try_reserve_exact(len).is_err() {
        out_of_memory(len * size_of::<T>());
    }
    let slots = &mut out.spare_capacity_mut()[..len];
    let part = part.max(1);
    let one = |index: usize, slots: &mut [MaybeUninit<T>]| {
        let mut writer = Writer { rest: slots };
        write(index * part, &mut writer);
        assert!(writer.rest.is_empty(), "every element is written");
    };
    if len <= part {
        one(0, slots);
    } else {
        region(|| slots.par_chunks_mut(part).enumerate().for_each(|(index, slots)| one(index, slots)));
    }
    // SAFETY: every part was checked to be written to its end.
    unsafe { out.set_len(len) };
    out
}

/// Calls `work` with the parts of `slice` of `part` elements and where they begin.
pub fn update<T: Send>(slice: &mut [T], part: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if slice.len() <= part {
        work(0, slice);
    } else {
        region(|| slice.par_chunks_mut(part).enumerate().for_each(|(index, slice)| work(index * part, slice)));
    }
}

/// Whole rows of `row` elements that make a part for [`build`] or a partial sum, whatever the number of threads.
pub fn task_len(row: usize) -> usize {
    PARALLEL_THRESHOLD.div_ceil(row.max(1)) * row.max(1)
}

/// Calls `work` with `0..count`, in parallel where there is more than one.
pub fn each(count: usize, work: impl Fn(usize) + Sync + Send) {
    if count == 1 {
        work(0);
    } else {
        region(|| (0..count).into_par_iter().with_max_len(1).for_each(work));
    }
}

/// The results of `work` for `0..count`, in order.
pub fn map<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if count == 1 {
        return vec![work(0)];
    }
    region(|| (0..count).into_par_iter().with_max_len(1).map(work).collect())
}

/// How long a thread without work waits for the next region. Waking it costs some 50 µs, as much as many a region takes on
/// one more thread, and rayon lets it sleep after about 30.
const PATIENCE: Duration = Duration::from_millis(1);
/// Looks for work between one offer of the core to others and the next.
const SPINS: usize = 64;

/// Runs a parallel region and keeps the pool's other threads awake for the next one.
fn region<R>(run: impl FnOnce() -> R) -> R {
    let result = run();
    let Some(caller) = rayon::current_thread_index().filter(|_| rayon::current_num_threads() > 1) else {
        return result;
    };
    let end = Instant::now() + PATIENCE;
    rayon::spawn_broadcast(move |worker| {
        // After a job the thread goes on by itself: this may lie on top of work that waits for something else.
        while worker.index() != caller && Instant::now() < end {
            for _ in 0..SPINS {
                if matches!(rayon::yield_now(), Some(rayon::Yield::Executed)) {
                    return;
                }
                std::hint::spin_loop();
            }
            std::thread::yield_now();
        }
    });
    result
}

/// A pointer that tasks share to write disjoint parts of one allocation.
pub struct Shared<T>(*mut T);

// SAFETY: whoever dereferences the pointer answers for the parts being disjoint; elements may change threads.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares the elements of `slice`.
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The first element.
    pub fn pointer(&self) -> *mut T {
        self.0
    }
}
