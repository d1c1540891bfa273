//! Pooling.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::pool_windows::PoolGeometry;
pub use crate::pool_windows::{Pool, PoolWindows};
use crate::trace::{self, TracedOperation};

/// The largest number of each window, `[B, C, windows, windows]`. Padding is smaller than any number.
///
/// # Errors
/// When the windows do not fit, or the device fails.
pub fn max_pool(x: &FeatureMap, windows: impl Into<PoolWindows>) -> Result<FeatureMap> {
    let windows = windows.into();
    let geometry = geometry(x, windows)?;
    let pooled = on_backend!(x, x => x.max_pool(&geometry)?.into());
    Ok(trace::map(&[x], || TracedOperation::MaxPool(windows), pooled))
}

/// The mean of each window, `[B, C, windows, windows]`.
///
/// # Errors
/// When the windows do not fit, or the device fails.
pub fn average_pool(x: &FeatureMap, windows: impl Into<PoolWindows>) -> Result<FeatureMap> {
    let windows = windows.into();
    let geometry = geometry(x, windows)?;
    let pooled = on_backend!(x, x => x.average_pool(&geometry)?.into());
    Ok(trace::map(&[x], || TracedOperation::AveragePool(windows), pooled))
}

/// The means of `rows` × `columns` windows that cover the map, `[B, C, rows, columns]`: the `i`-th of `n` from `⌊i·H/n⌋` to
/// `⌈(i+1)·H/n⌉`, as PyTorch's `AdaptiveAvgPool2d`.
///
/// # Errors
/// When there is nothing to pool, or the device fails.
pub fn adaptive_average_pool(x: &FeatureMap, rows: usize, columns: usize) -> Result<FeatureMap> {
    let geometry = PoolGeometry::adaptive(&x.shape(), [rows, columns])
        .ok_or_else(|| Error::new(format!("cannot pool a map {} to {rows}×{columns}", x.image())))?;
    let pooled = on_backend!(x, x => x.average_pool(&geometry)?.into());
    let operation = || TracedOperation::AdaptiveAveragePool { of: x.image(), output: [rows, columns] };
    Ok(trace::map(&[x], operation, pooled))
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &FeatureMap) -> Result<Tensor> {
    let means = on_backend!(x, x => x.global_average())?;
    Ok(trace::map_to_tensor(x, TracedOperation::GlobalAverage, means))
}

fn geometry(x: &FeatureMap, windows: PoolWindows) -> Result<PoolGeometry> {
    PoolGeometry::of(&x.shape(), &windows).ok_or_else(|| {
        let PoolWindows { size: [rows, columns], stride, padding, .. } = windows;
        let message = format!(
            "cannot pool {rows}×{columns} windows with stride {stride:?} and padding {padding:?} of a map {}: a window must fit \
             into the padded map, and the padding be smaller than a window",
            x.image()
        );
        Error::new(message)
    })
}
