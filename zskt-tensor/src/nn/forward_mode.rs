//! How a network is run: whose statistics batch norm uses, and whether the weights learn.

/// One way of running a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardMode {
    batch_statistics: bool,
    learns: bool,
}

impl ForwardMode {
    /// The player learns: the batch's statistics, gradients for the weights.
    pub const fn train() -> Self {
        Self { batch_statistics: true, learns: true }
    }

    /// The network is in training, but another player learns: the batch's statistics (and the running ones move), no
    /// gradients for the weights, only through them. A frozen batch norm, whose statistics stay, is one in [`Self::eval`].
    pub const fn train_frozen() -> Self {
        Self { batch_statistics: true, learns: false }
    }

    /// The network is frozen: running statistics, no gradients for the weights, only through them.
    pub const fn eval() -> Self {
        Self { batch_statistics: false, learns: false }
    }

    /// Whether batch norm uses, and records, the batch's statistics, and dropout leaves out numbers: PyTorch's `train()`.
    pub fn uses_batch_statistics(self) -> bool {
        self.batch_statistics
    }

    /// Whether the weights are tracked for gradients.
    pub fn tracks_weights(self) -> bool {
        self.learns
    }
}
