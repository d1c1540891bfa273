//! How much memory a file may ask for.

/// The bytes that a file of a given size may still ask for.
pub(crate) struct AllocationBudget {
    left: u64,
}

impl AllocationBudget {
    /// For the storages in a file of `length` bytes: together no more than the file, or they lie on top of each other.
    pub(crate) fn for_storages(length: u64) -> Self {
        Self { left: length }
    }

    /// For the tensors made of them. Views may share a storage (tied weights), even with themselves (an expanded
    /// scalar), so some excess is legitimate.
    pub(crate) fn for_tensors(length: u64) -> Self {
        const SHARING: u64 = 16;
        const FREE: u64 = 1 << 16;
        Self { left: length.saturating_mul(SHARING).saturating_add(FREE) }
    }

    /// Takes `bytes`; false where fewer are left.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}
