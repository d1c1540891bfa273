//! From bytes to what a network sees: size, normalization, augmentation, few images per class. The same for every dataset.

use std::fmt::Display;
use std::sync::Arc;

use image_formats::{ImageHeader, RawImages, ReadError, ResizeError, Resizing};
use zskt_api::{
    Augmentation, BuildContext, CheckError, Context, Dataset, DatasetSignature, Error, ImageSet, ImageShape,
    Normalization, Result,
};

/// Declares a dataset's parameters: its own, then those every dataset has, normalization with defaults of its own.
macro_rules! dataset_params {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident { $($own:tt)* }
        mean: $mean:expr, std: $std:expr $(,)?
    ) => {
        zskt_api::params! {
            $(#[doc = $doc])*
            pub struct $name {
                $($own)*
                /// Resizes images so that their shorter side has so many pixels, as torchvision's `Resize` does: bilinear, with the pixels
                /// that Pillow gives.
                pub resize: Option<usize> = None => 1..=4096,
                /// Keeps the middle, so many pixels high and wide, as torchvision's `CenterCrop` does, after `resize`. Networks for
                /// ImageNet are usually measured with `resize: 256, center_crop: 224`.
                pub center_crop: Option<usize> = None => 1..=4096,
                /// Mean of each channel, pixels being from 0 to 1: what the network takes for zero. Left out, it is the
                /// teacher's, where that has one, and else the dataset's own.
                pub mean: Option<Vec<f64>> = None => 0.0..=1.0,
                /// Standard deviation of each channel: what the network takes for one. Left out, as `mean`.
                pub std: Option<Vec<f64>> = None => 0.001..=1.0,
                /// Augmentation: pixels of black padding at each side before a random crop to the old size. Only images
                /// that are learnt from are augmented.
                pub crop: usize = 0,
                /// Augmentation: mirrors half of the images left to right.
                pub flip: bool = false,
                /// Only so many random images of each class, drawn afresh for each seed; all of them by default.
                pub per_class: Option<usize> = None => 1..,
            }
        }

        impl $name {
            fn resizing(&self) -> image_formats::Resizing {
                image_formats::Resizing { resize: self.resize, center_crop: self.center_crop }
            }

            fn preprocessing(&self) -> crate::preprocessing::Preprocessing {
                crate::preprocessing::Preprocessing {
                    resizing: self.resizing(),
                    mean: self.mean.clone(),
                    std: self.std.clone(),
                    usual: zskt_api::Normalization { mean: $mean.into(), std: $std.into() },
                    augmentation: zskt_api::Augmentation { crop: self.crop, flip: self.flip },
                    per_class: self.per_class,
                }
            }
        }
    };
}

pub(crate) use dataset_params;

/// The normalization of grey images that is usual where a dataset has none of its own: MNIST's.
const OF_GREY: (f64, f64) = (0.1307, 0.3081);

/// Whether images can be made to have so many channels.
pub(crate) fn checked_channels(channels: Option<usize>) -> Result<(), CheckError> {
    match channels {
        Some(2) => Err(CheckError::parameter("channels", "images have 1 channel, grey, or 3: red, green and blue")),
        _ => Ok(()),
    }
}

/// The parameters every dataset has.
pub(crate) struct Preprocessing {
    /// What is done to images that have been read, all of one size.
    pub(crate) resizing: Resizing,
    pub(crate) mean: Option<Vec<f64>>,
    pub(crate) std: Option<Vec<f64>>,
    /// The normalization that networks are trained with on this dataset.
    pub(crate) usual: Normalization,
    pub(crate) augmentation: Augmentation,
    pub(crate) per_class: Option<usize>,
}

impl Preprocessing {
    /// Of images that are resized as they are read, because files have them in all sizes.
    pub(crate) fn of_resized(self) -> Self {
        Self { resizing: Resizing::default(), ..self }
    }

    /// What a dataset with this header becomes, or which parameter is at fault: `path` where there is no header.
    pub(crate) fn describe(&self, header: Result<ImageHeader, ReadError>) -> Result<DatasetSignature, CheckError> {
        let header = header.map_err(|error| {
            let fault = CheckError::parameter("path", error.message());
            match error.help() {
                Some(help) => fault.help(help),
                None => fault,
            }
        })?;
        let header = header.resized(self.resizing).map_err(|error| {
            let parameter = if matches!(error, ResizeError::CropTooLarge { .. }) { "center_crop" } else { "resize" };
            CheckError::parameter(parameter, error.to_string()).help(error.help())
        })?;
        self.signature(header)
    }

    /// The normalization that the parameters state.
    pub(crate) fn stated(&self) -> Option<Normalization> {
        Normalization::of(self.mean.as_ref(), self.std.as_ref())
    }

    /// The normalization that is usual for its images of so many channels.
    pub(crate) fn usual(&self, channels: usize) -> Normalization {
        match channels {
            1 if self.usual.mean.len() != 1 => Normalization { mean: vec![OF_GREY.0], std: vec![OF_GREY.1] },
            _ => self.usual.clone(),
        }
    }

    fn signature(&self, header: ImageHeader) -> Result<DatasetSignature, CheckError> {
        let ImageHeader { count, channels, height, width, classes } = header;
        for (name, stated) in [("mean", &self.mean), ("std", &self.std)] {
            if let Some(stated) = stated
                && stated.len() != channels
            {
                let reason = format!("{} numbers for images of {channels} channels", stated.len());
                return Err(CheckError::parameter(name, reason).help("give one for each channel"));
            }
        }
        Normalization::check(self.mean.as_deref(), self.std.as_deref())?;
        let crop = self.augmentation.crop;
        if crop >= height.min(width) {
            let reason = format!("a crop of {crop} pixels could move all of a {height}×{width} image out of sight");
            return Err(CheckError::parameter("crop", reason).help("4 is usual for images of 32×32"));
        }
        let mut images = count;
        if let Some(per_class) = self.per_class {
            images = classes.saturating_mul(per_class);
            if images > count {
                let reason = format!("{per_class} images of each of {classes} classes, but there are {count} images");
                return Err(CheckError::parameter("per_class", reason).help("ask for fewer"));
            }
        }
        Ok(DatasetSignature { image: ImageShape::new(channels, height, width), classes, images })
    }

    /// Loaded images as the pipeline wants them.
    pub(crate) fn load(
        &self,
        raw: Result<RawImages, impl Display>,
        context: &BuildContext,
    ) -> Result<Arc<dyn Dataset>> {
        let raw = raw.map_err(|error| Error::new(error.to_string()))?;
        let raw = raw.resized(self.resizing).map_err(|error| Error::new(error.to_string()))?;
        self.signature(raw.header())?;
        let raw_channels = raw.channels;
        let shape = ImageShape::new(raw_channels, raw.height, raw.width);
        let images = ImageSet::new(shape, raw.classes, raw.pixels, raw.labels)?;
        let mut images = images.name_classes(raw.class_names)?;
        if let Some(count) = self.per_class {
            let mut rng = context.streams.named(&format!("{}/subset", context.node));
            images = images.subset(count, &mut rng).context("per_class")?;
        }
        let given = self.stated().or_else(|| context.normalization.clone());
        let Normalization { mean, std } = given.unwrap_or_else(|| self.usual(raw_channels));
        Ok(Arc::new(images.normalize(&mean, &std)?.augment(self.augmentation)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use zskt_api::candle_core::{DType, Device};
    use zskt_api::{BuildContext, Dataset, DatasetSource, Normalization, Precision, RandomStreams, Split};

    use crate::{Cifar10, SyntheticDigits};

    fn context(seed: u64) -> BuildContext {
        BuildContext {
            node: "set".into(),
            device: Device::Cpu,
            precision: Precision::F32,
            streams: RandomStreams::new(seed),
            normalization: None,
        }
    }

    fn digits() -> SyntheticDigits {
        let (resize, center_crop, mean, std) = (None, None, None, None);
        let (crop, flip, per_class) = (0, false, None);
        let (count, size, split, seed) = (300, 12, Split::Train, 0);
        SyntheticDigits { count, size, split, seed, resize, center_crop, mean, std, crop, flip, per_class }
    }

    fn values(dataset: &dyn Dataset, indices: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let batch = dataset.batch(indices, None, DType::F32, &Device::Cpu).expect("a batch");
        let images = batch.images.to_nchw().expect("images").flatten_all().expect("values");
        (images.to_vec1().expect("values"), batch.labels.to_vec1().expect("labels"))
    }

    #[test]
    fn each_colour_is_normalized_by_its_own_constants() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let record = [vec![3], vec![51; 1024], vec![102; 1024], vec![255; 1024]].concat();
        std::fs::write(folder.path().join("test_batch.bin"), record).expect("a file");
        let (crop, flip, per_class) = (0, false, None);
        let path = folder.path().to_path_buf();
        let source = |stated: Option<&Normalization>| Cifar10 {
            path: path.clone(),
            split: Split::Test,
            download: false,
            resize: None,
            center_crop: None,
            mean: stated.map(|stated| stated.mean.clone()),
            std: stated.map(|stated| stated.std.clone()),
            crop,
            flip,
            per_class,
        };
        let usual = Normalization { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2023, 0.1994, 0.2010] };
        let of_teacher = Normalization { mean: vec![0.5, 0.4, 0.3], std: vec![0.5, 0.25, 0.2] };
        let stated = Normalization { mean: vec![0.1, 0.2, 0.3], std: vec![0.5, 0.6, 0.7] };
        for (source, teacher, expected) in [
            (source(None), None, &usual),
            (source(None), Some(&of_teacher), &of_teacher),
            (source(Some(&stated)), Some(&of_teacher), &stated),
        ] {
            let context = BuildContext { normalization: teacher.cloned(), ..context(0) };
            let dataset = source.load(&context).expect("a dataset");
            assert_eq!(dataset.signature(), source.describe().expect("a header"));
            assert_eq!(source.files(), [folder.path().join("test_batch.bin")]);
            let (values, labels) = values(dataset.as_ref(), &[0]);
            assert_eq!(labels, [3]);
            for (channel, pixel) in [0.2, 0.4, 1.0].into_iter().enumerate() {
                let expected = (pixel - expected.mean[channel]) / expected.std[channel];
                let plane = &values[1024 * channel..][..1024];
                assert!(plane.iter().all(|value| (f64::from(*value) - expected).abs() < 1e-5), "channel {channel}");
            }
        }
    }

    #[test]
    fn a_subset_has_as_many_of_each_class_and_depends_on_the_seed_of_the_run() {
        let source = SyntheticDigits { per_class: Some(5), ..digits() };
        let all: Vec<usize> = (0..50).collect();
        let load = |seed| values(source.load(&context(seed)).expect("a dataset").as_ref(), &all);
        let (first, labels) = load(0);
        let mut counts = BTreeMap::new();
        labels.iter().for_each(|label| *counts.entry(*label).or_insert(0) += 1);
        assert_eq!(counts, (0..10).map(|class| (class, 5)).collect());
        assert_eq!(source.describe().expect("a header").images, 50);
        assert_eq!(load(0).0, first);
        assert_ne!(load(1).0, first);
        // Without a subset, the run's seed is of no matter.
        let whole = |seed| values(digits().load(&context(seed)).expect("a dataset").as_ref(), &all);
        assert_eq!(whole(0), whole(1));
    }

    #[test]
    fn images_are_resized_before_anything_else_is_done_to_them() {
        let source = SyntheticDigits { resize: Some(32), center_crop: Some(28), crop: 20, ..digits() };
        let dataset = source.load(&context(0)).expect("a dataset");
        assert_eq!(
            (dataset.signature(), dataset.signature().image.to_string()),
            (source.describe().expect("a header"), "3×28×28".into())
        );
        // Twice as large, each pixel is near the one that it comes from: a quarter of it, and of those beside it.
        let twice = SyntheticDigits { resize: Some(24), ..digits() };
        let [small, large] =
            [digits(), twice].map(|source| values(source.load(&context(0)).expect("a dataset").as_ref(), &[0]).0);
        let at = |image: &[f32], size: usize, y: usize, x: usize| image[y * size + x];
        for (y, x) in [(5, 5), (6, 3), (7, 8)] {
            let mixed = [(0, 0, 9.0), (0, 1, 3.0), (1, 0, 3.0), (1, 1, 1.0)]
                .map(|(down, right, weight)| weight / 16.0 * at(&small, 12, y + down, x + right));
            let found = at(&large, 24, 2 * y + 1, 2 * x + 1);
            // Pixels are rounded twice, and a step of one is 1/255 of 4 standard deviations.
            assert!((found - mixed.iter().sum::<f32>()).abs() < 1.6 * 4.0 / 255.0, "{y} {x}: {found} {mixed:?}");
        }
    }

    #[test]
    fn the_parameter_at_fault_is_named() {
        let fault = |source: &dyn DatasetSource| source.describe().expect_err("a fault");
        let crop = fault(&SyntheticDigits { crop: 12, ..digits() });
        assert_eq!(crop.parameter.as_deref(), Some("crop"), "{crop:?}");
        let few = fault(&SyntheticDigits { per_class: Some(31), ..digits() });
        assert_eq!(few.parameter.as_deref(), Some("per_class"), "{few:?}");
        let half = fault(&SyntheticDigits { std: Some(vec![0.5; 3]), ..digits() });
        assert_eq!(half.parameter.as_deref(), Some("std"), "{half:?}");
        let grey = fault(&SyntheticDigits { mean: Some(vec![0.5]), std: Some(vec![0.5]), ..digits() });
        assert_eq!(grey.message, "1 numbers for images of 3 channels");
        let large = fault(&SyntheticDigits { center_crop: Some(13), ..digits() });
        assert_eq!(large.parameter.as_deref(), Some("center_crop"), "{large:?}");
        let (resize, center_crop, mean, std) = (None, None, None, None);
        let (crop, flip, per_class) = (0, false, None);
        let (path, split, download) = (PathBuf::from("no/such/folder"), Split::Test, false);
        let missing = fault(&Cifar10 { path, split, download, resize, center_crop, mean, std, crop, flip, per_class });
        assert_eq!(missing.parameter.as_deref(), Some("path"), "{missing:?}");
        assert!(missing.message.contains("no/such/folder: cannot be opened: No such file"), "{missing:?}");
    }
}
