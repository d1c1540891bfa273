//! How smooth images are.

use zskt_api::candle_core::Tensor;
use zskt_api::{Error, Loss, LossBatch, LossInputs, Result, choice, params};

choice! {
    /// How the differences of neighbours are reduced to a number.
    pub enum VariationNorm {
        /// The mean of their absolute values.
        MeanAbsolute,
        /// The L2 norm over the whole batch, which grows with the root of its size.
        L2,
    }
}

params! {
    /// Total variation of the images: the differences of pixels from their neighbours to the right, below, and on both diagonals, reduced by
    /// `norm` and summed over the four directions. DeepInversion's prior (Yin et al., CVPR 2020), by the L2 norm in its authors' code. It
    /// looks at neither classifier.
    pub struct TotalVariation {
        /// Factor of this loss in the sum.
        pub weight: f64 = 1.0,
        /// How differences are reduced.
        pub norm: VariationNorm = VariationNorm::MeanAbsolute,
    }
}

impl Loss for TotalVariation {
    fn needs(&self) -> LossInputs {
        LossInputs { student: false, images: true, ..LossInputs::default() }
    }

    fn value(&self, batch: &LossBatch<'_>) -> Result<Tensor> {
        let images = batch.images()?.to_nchw()?;
        let (_, _, height, width) = images.dims4()?;
        if height < 2 || width < 2 {
            return Err(Error::new(format!("images of {height}×{width} have no neighbours to differ from")));
        }
        let part = |top: usize, rows: usize, left: usize, columns: usize| {
            images.narrow(2, top, rows)?.narrow(3, left, columns)
        };
        let (rows, columns) = (height - 1, width - 1);
        let differences = [
            (part(0, height, 0, columns)? - part(0, height, 1, columns)?)?,
            (part(0, rows, 0, width)? - part(1, rows, 0, width)?)?,
            (part(1, rows, 0, columns)? - part(0, rows, 1, columns)?)?,
            (part(0, rows, 0, columns)? - part(1, rows, 1, columns)?)?,
        ];
        let reduced = differences.iter().map(|difference| match self.norm {
            VariationNorm::MeanAbsolute => difference.abs()?.mean_all(),
            VariationNorm::L2 => difference.sqr()?.sum_all()?.sqrt(),
        });
        let reduced = reduced.collect::<Result<Vec<_>, _>>()?;
        Ok((Tensor::stack(&reduced, 0)?.sum_all()? * self.weight)?)
    }

    fn replays(&self) -> bool {
        true
    }
}
