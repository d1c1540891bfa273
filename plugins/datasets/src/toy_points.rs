//! Points in the plane.

use std::path::PathBuf;
use std::sync::Arc;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::{
    Batch, BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Error, FeatureMap, ImageShape,
    Normalization, RandomStreams, Result, Split, StreamRng, params, standard_normal,
};

/// What the plane is for networks: an image of a single pixel with two channels.
const POINT: ImageShape = ImageShape { channels: 2, height: 1, width: 1 };
/// Pixels from 0 to 1 are coordinates from minus this to this.
const REACH: f64 = 3.0;
/// The radius of the holes, and the standard deviation of what is in them.
const HOLE: f64 = 0.3;
const IN_HOLE: f64 = HOLE / 5.0;

params! {
    /// Points for a toy problem as the paper has one (Micaelli & Storkey 2019): three classes in the plane, each a normal distribution in two
    /// parts. Where the parts lie and how wide they are is our choice, as is how many points there are. The first class lies above and below the middle, with a hole in each part; the second lies to the left and fills the
    /// upper hole, the third to the right and in the lower one. A point is an image of one pixel with two channels, which are its
    /// coordinates; a pixel from 0 to 1 stands for -3 to 3. Every point depends on `split` and its number alone.
    pub struct ToyPoints {
        /// How many points; all are held in memory.
        pub count: usize => 1..=1_000_000,
        /// Points to learn from, or others to measure on.
        pub split: Split,
    }
}

/// The part of a class that a point belongs to: its middle, its standard deviations, and whether it has a hole there.
struct Part {
    label: u32,
    middle: [f64; 2],
    std: [f64; 2],
    hole: bool,
}

const PARTS: [Part; 6] = [
    Part { label: 0, middle: [0.0, 1.0], std: [0.3, 0.4], hole: true },
    Part { label: 1, middle: [-1.0, 0.0], std: [0.4, 0.3], hole: false },
    Part { label: 2, middle: [1.0, 0.0], std: [0.4, 0.3], hole: false },
    Part { label: 0, middle: [0.0, -1.0], std: [0.3, 0.4], hole: true },
    Part { label: 1, middle: [0.0, 1.0], std: [IN_HOLE; 2], hole: false },
    Part { label: 2, middle: [0.0, -1.0], std: [IN_HOLE; 2], hole: false },
];

impl Part {
    fn draw(&self, rng: &mut StreamRng) -> [f64; 2] {
        loop {
            let drawn = standard_normal(rng, 2);
            let moved = [drawn[0] * self.std[0], drawn[1] * self.std[1]];
            if !self.hole || moved[0].hypot(moved[1]) >= HOLE {
                return [self.middle[0] + moved[0], self.middle[1] + moved[1]];
            }
        }
    }
}

impl DatasetSource for ToyPoints {
    fn usual_normalization(&self, _: usize) -> Option<Normalization> {
        Some(Normalization { mean: vec![0.5; 2], std: vec![0.5 / REACH; 2] })
    }

    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        Ok(DatasetSignature { image: POINT, classes: 3, images: self.count })
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        let name = match self.split {
            Split::Train => "points/train",
            Split::Test => "points/test",
        };
        let streams = RandomStreams::new(0);
        let draw = |index: usize| PARTS[index % PARTS.len()].draw(&mut streams.at(name, index as u64));
        let mut points: Vec<_> = (0..self.count).map(draw).collect();
        // As networks see them anyway, unless the teacher's normalization is another.
        if let Some(Normalization { mean, std }) = &context.normalization {
            let ([mean_x, mean_y], [std_x, std_y]) = (mean.as_slice(), std.as_slice()) else {
                return Err(Error::new("a normalization of points has two numbers for `mean` and two for `std`"));
            };
            for [x, y] in &mut points {
                let pixel = |coordinate: f64| (coordinate / REACH + 1.0) / 2.0;
                (*x, *y) = ((pixel(*x) - mean_x) / std_x, (pixel(*y) - mean_y) / std_y);
            }
        }
        Ok(Arc::new(Points(points)))
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

struct Points(Vec<[f64; 2]>);

impl Dataset for Points {
    fn signature(&self) -> DatasetSignature {
        DatasetSignature { image: POINT, classes: 3, images: self.0.len() }
    }

    fn batch(&self, indices: &[usize], _: Option<&mut StreamRng>, dtype: DType, device: &Device) -> Result<Batch> {
        let point = |index: &usize| self.0.get(*index).ok_or_else(|| Error::new(format!("there is no point {index}")));
        let points = indices.iter().map(point).collect::<Result<Vec<_>>>()?;
        let points: Vec<f64> = points.into_iter().flatten().copied().collect();
        let points = Tensor::from_vec(points, (indices.len(), 2, 1, 1), device)?.to_dtype(dtype)?;
        let labels: Vec<_> = indices.iter().map(|index| PARTS[index % PARTS.len()].label).collect();
        Ok(Batch { images: FeatureMap::from_nchw(&points)?, labels: Tensor::from_vec(labels, indices.len(), device)? })
    }
}
