//! Memory that is used again: large buffers come from a pool and return to it, so that a training step in its steady
//! state asks the system for none, and touches no page for the first time.

#![expect(unsafe_code, reason = "lines of the cache, seen as the elements they hold")]

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::cpu::simd::dtype::Plain;
use crate::out_of_memory::out_of_memory;

/// A line of the cache: vectors that cross lines take twice as long to load, and tiles four times.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct CacheLine([u8; 64]);

const EMPTY: CacheLine = CacheLine([0; 64]);

fn lines<E>(len: usize) -> usize {
    (len * size_of::<E>()).div_ceil(size_of::<CacheLine>())
}

fn elements<E: Plain>(lines: &[CacheLine], len: usize) -> &[E] {
    assert!(len * size_of::<E>() <= size_of_val(lines), "the elements fit");
    // SAFETY: elements are numbers, of which every pattern of bits is one; lines are aligned for all of them, and they fit.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), len) }
}

fn elements_mut<E: Plain>(lines: &mut [CacheLine], len: usize) -> &mut [E] {
    assert!(len * size_of::<E>() <= size_of_val(lines), "the elements fit");
    // SAFETY: as above, and the lines are borrowed for writing.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
}

/// A buffer that waits in the pool, and when it came there.
struct Idle {
    lines: Vec<CacheLine>,
    since: u64,
}

/// Buffers by their number of lines.
struct Pool {
    idle: BTreeMap<usize, Vec<Idle>>,
    /// Buffers given out so far.
    clock: u64,
}

/// Buffers that nobody wanted while this many others were given out are returned to the system: they belong to a stage
/// or a batch size that is over.
const PATIENCE: u64 = 1 << 19;

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: BTreeMap::new(), clock: 0 });

fn take(lines: usize) -> Vec<CacheLine> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.clock += 1;
    if pool.clock.is_multiple_of(PATIENCE / 8) {
        let oldest = pool.clock.saturating_sub(PATIENCE);
        pool.idle.values_mut().for_each(|buffers| buffers.retain(|buffer| buffer.since >= oldest));
        pool.idle.retain(|_, buffers| !buffers.is_empty());
    }
    // A little larger will do: batches at the end of a dataset are a little smaller.
    if let Some((&size, buffers)) = pool.idle.range_mut(lines..=lines + lines / 4).next()
        && let Some(buffer) = buffers.pop()
    {
        if buffers.is_empty() {
            pool.idle.remove(&size);
        }
        return buffer.lines;
    }
    drop(pool);
    fresh(lines)
}

/// Memory of the system; the pool gives up its own where there is no more.
fn fresh(lines: usize) -> Vec<CacheLine> {
    let mut memory = Vec::new();
    if memory.try_reserve_exact(lines).is_err() {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).idle.clear();
        if memory.try_reserve_exact(lines).is_err() {
            out_of_memory(lines.saturating_mul(size_of::<CacheLine>()));
        }
    }
    memory.resize(lines, EMPTY);
    memory
}

fn give(lines: Vec<CacheLine>) {
    if !lines.is_empty() {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let since = pool.clock;
        pool.idle.entry(lines.len()).or_default().push(Idle { lines, since });
    }
}

/// Elements in memory of the pool, aligned to lines of the cache.
pub struct Buffer<E> {
    lines: Vec<CacheLine>,
    len: usize,
    elements: PhantomData<E>,
}

impl<E: Plain> Buffer<E> {
    /// `len` elements with anything in them.
    pub fn new(len: usize) -> Self {
        Self { lines: take(lines::<E>(len)), len, elements: PhantomData }
    }
}

impl<E: Plain> Deref for Buffer<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        elements(&self.lines, self.len)
    }
}

impl<E: Plain> DerefMut for Buffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        elements_mut(&mut self.lines, self.len)
    }
}

impl<E> Drop for Buffer<E> {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.lines));
    }
}

impl<E> std::fmt::Debug for Buffer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;
    use crate::cpu::threads;
    use crate::error::Error;
    use crate::out_of_memory::catch_out_of_memory;

    #[test]
    fn memory_that_there_is_not_is_an_error_from_any_thread() {
        // More than a process can address.
        let ask = |_| drop(Buffer::<f32>::new(1 << 58));
        for count in [1, 8] {
            let all = || {
                threads::each(count, ask);
                Ok(())
            };
            let error = catch_out_of_memory(all).unwrap_err();
            assert!(error.is_out_of_memory(), "{error}");
        }
        // Others go on as they are.
        let error = catch_out_of_memory(|| Err::<(), _>(Error::new("another"))).unwrap_err();
        assert_eq!(error.to_string(), "another");
        let panicked = std::panic::catch_unwind(|| catch_out_of_memory(|| -> crate::Result<()> { panic!("a mine") }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"a mine"));
        assert_eq!(Buffer::<f32>::new(100).len(), 100);
    }
}
