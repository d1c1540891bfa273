//! The kernels: how often they are launched, and whether a GPU's compiler takes them.

use candle_core::{DType, Tensor};

use crate::cuda::kernel_source::{KernelVariant, SOURCE};
use crate::cuda::launch::launch_count;
use crate::cuda::map::CudaMap;
use crate::cuda::nvrtc_library::Nvrtc;
use crate::error::Result;
use crate::feature_map::FeatureMap;
use crate::ops::{self, Pool};
use crate::test_device::test_device as device;

#[test]
fn launches_are_counted_where_they_are_asked_for() -> Result<()> {
    let x = FeatureMap::from(CudaMap::from_nchw(&Tensor::ones((1, 4, 2, 2), DType::F32, &device())?)?);
    let (inner, outer) = launch_count::counted(|| -> Result<_> {
        ops::max_pool(&x, Pool::squares(2))?;
        let (_, inner) = launch_count::counted(|| ops::average_pool(&x, Pool::squares(2)));
        Ok(inner)
    });
    assert_eq!(inner?, [("mean", 1)].into());
    assert_eq!(outer, [("mean", 1), ("largest", 1)].into());
    Ok(())
}

/// The compiler of a GPU's driver takes every kernel in every variant: needs no GPU, but NVRTC.
#[test]
#[ignore = "needs the NVRTC library of a CUDA toolkit, in NVRTC_LIBRARY"]
fn every_kernel_compiles() {
    let nvrtc = Nvrtc::open();
    let kernels = SOURCE.matches("\nKERNEL(").count();
    assert!(kernels > 20);
    for (variant, architecture) in KernelVariant::ALL.iter().flat_map(|variant| [(variant, "80"), (variant, "90")]) {
        let options = [vec![format!("--gpu-architecture=sm_{architecture}")], variant.options().to_vec()].concat();
        let (ptx, log) = nvrtc.compile(SOURCE, &options);
        assert_eq!(ptx.matches(".entry zskt_").count(), kernels, "{variant:?}");
        assert!(!log.contains("warning"), "{variant:?}: {log}");
    }
}
