//! The windows that pooling goes over a map with.

use std::ops::Range;

use crate::shape::MapShape;

/// Square windows, the same along both axes, as PyTorch's `MaxPool2d` and `AvgPool2d` have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Rows and columns of a window.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels at each side that windows reach beyond the map; for a mean, of zeros that count.
    pub padding: usize,
}

impl Pool {
    /// Windows next to each other; rows and columns left over are dropped.
    pub fn squares(size: usize) -> Self {
        Self { size, stride: size, padding: 0 }
    }
}

/// Windows of any kind, as in ONNX's `MaxPool` and `AveragePool`: first for rows, then for columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolWindows {
    /// Rows and columns of a window.
    pub size: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels that windows reach beyond the map, at its beginning and at its end. Ceil mode is as many
    /// more at the end as the last windows need: these never count for a mean, so that a mean in ceil mode is one with
    /// `count_padding: false` and no other padding.
    pub padding: [[usize; 2]; 2],
    /// Whether a mean counts the padding, as zeros. ONNX by itself does not.
    pub count_padding: bool,
}

impl From<Pool> for PoolWindows {
    fn from(Pool { size, stride, padding }: Pool) -> Self {
        Self { size: [size; 2], stride: [stride; 2], padding: [[padding; 2]; 2], count_padding: true }
    }
}

/// How windows lie along one axis of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Of one size.
    Regular { size: usize, stride: usize, before: usize, count_padding: bool },
    /// Of nearly one size, covering the map: the `i`-th of `n` from `⌊i·len/n⌋` to `⌈(i+1)·len/n⌉`, as in PyTorch's
    /// `AdaptiveAvgPool2d`.
    Adaptive,
}

/// One axis of a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolAxis {
    /// Pixels of the map.
    pub input: usize,
    /// Windows.
    pub output: usize,
    /// How they lie.
    pub windows: Windows,
}

impl PoolAxis {
    /// The pixels of a window that are in the map.
    pub fn window(&self, at: usize) -> Range<usize> {
        match self.windows {
            Windows::Regular { size, stride, before, .. } => {
                let clipped = |place: usize| place.saturating_sub(before).min(self.input);
                clipped(at * stride)..clipped(at * stride + size)
            }
            Windows::Adaptive => at * self.input / self.output..((at + 1) * self.input).div_ceil(self.output),
        }
    }

    /// How many pixels of a window count for its mean.
    pub fn counted(&self, at: usize) -> usize {
        match self.windows {
            Windows::Regular { size, count_padding: true, .. } => size,
            _ => self.window(at).len(),
        }
    }
}

/// A pooling of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows and columns.
    pub axes: [PoolAxis; 2],
}

impl PoolGeometry {
    /// The windows of a map, if they fit: each has a pixel of the map, and there is at least one.
    pub fn of(shape: &MapShape, windows: &PoolWindows) -> Option<Self> {
        let axis = |which: usize, input: usize| {
            let (size, stride, [before, after]) = (windows.size[which], windows.stride[which], windows.padding[which]);
            if size == 0 || stride == 0 || before >= size || after >= size {
                return None;
            }
            let padded = input.checked_add(before)?.checked_add(after)?;
            let stride = stride.min(padded);
            let output = padded.checked_sub(size)? / stride + 1;
            let windows = Windows::Regular { size, stride, before, count_padding: windows.count_padding };
            let axis = PoolAxis { input, output, windows };
            (!axis.window(0).is_empty() && !axis.window(output - 1).is_empty()).then_some(axis)
        };
        let axes = [axis(0, shape.height)?, axis(1, shape.width)?];
        Some(Self { batch: shape.batch, channels: shape.channels, axes })
    }

    /// So many windows that cover a map.
    pub fn adaptive(shape: &MapShape, output: [usize; 2]) -> Option<Self> {
        let axis = |input: usize, output: usize| {
            let countable = MapShape::is_countable([Some(input), Some(output), Some(1), Some(1)]);
            (input > 0 && output > 0 && countable).then_some(PoolAxis { input, output, windows: Windows::Adaptive })
        };
        let axes = [axis(shape.height, output[0])?, axis(shape.width, output[1])?];
        let pooled = Self { batch: shape.batch, channels: shape.channels, axes };
        MapShape::is_countable([Some(shape.batch), Some(output[0]), Some(output[1]), Some(shape.channels)])
            .then_some(pooled)
    }

    /// The shape of the map.
    pub fn input(&self) -> MapShape {
        let [height, width] = self.axes.map(|axis| axis.input);
        MapShape { batch: self.batch, height, width, channels: self.channels }
    }

    /// The shape of the pooled map.
    pub fn output(&self) -> MapShape {
        let [height, width] = self.axes.map(|axis| axis.output);
        MapShape { batch: self.batch, height, width, channels: self.channels }
    }
}
