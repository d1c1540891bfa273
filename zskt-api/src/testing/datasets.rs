//! Datasets.

use candle_core::{DType, Device, Tensor};

use super::{build_context, same_bits};
use crate::{Batch, Dataset, DatasetSignature, DatasetSource, Precision, RandomStreams, Result};

/// Images looked at, from the beginning and from the end.
const IMAGES: usize = 8;

pub fn dataset(source: &dyn DatasetSource) -> Result<()> {
    let promised = source.describe()?;
    let DatasetSignature { image, classes, images: count } = promised;
    let load = || source.load(&build_context("dataset", Precision::F32));
    let (dataset, again) = (load()?, load()?);
    let found = dataset.signature();
    promise!(found == promised, "`describe` promises {promised:?}, and what `load` gives says {found:?}");

    let mut indices: Vec<_> = (0..count.min(IMAGES)).chain(count.saturating_sub(IMAGES)..count).collect();
    let batch = indices.len();
    let [images, labels] = tensors(dataset.as_ref(), &indices, None)?;
    let (found, expected) = (images.dims(), [batch, image.channels, image.height, image.width]);
    promise!(found == expected, "{batch} images {image} are promised, and {found:?} given");
    let (found, dtype) = (labels.dims(), labels.dtype());
    promise!(
        found == [batch] && dtype == DType::U32,
        "labels are promised as U32 [{batch}], and are {dtype:?} {found:?}"
    );
    let label = labels.max_all()?.to_scalar::<u32>()?;
    promise!((label as usize) < classes, "{classes} classes are promised, and a label is {label}");
    let same = same_bits([&images, &labels], &tensors(again.as_ref(), &indices, None)?)?;
    promise!(same, "images that are measured on are others the second time");

    indices.reverse();
    let order = Tensor::from_iter((0..batch as u32).rev(), &Device::Cpu)?;
    let reversed = [images.index_select(&order, 0)?, labels.index_select(&order, 0)?];
    let same = same_bits(&reversed, &tensors(dataset.as_ref(), &indices, None)?)?;
    promise!(same, "a batch is not in the order of the indices that were asked for");
    let augmented = || tensors(dataset.as_ref(), &indices, Some("augmentation"));
    let same = same_bits(&augmented()?, &augmented()?)?;
    promise!(same, "images are augmented in another way the second time, with the same random generator");
    let none = tensors(dataset.as_ref(), &[count], None).is_err();
    promise!(none, "{count} images are promised, and there is one of index {count}");
    Ok(())
}

/// The images `[B, C, H, W]` and the labels of a batch.
fn tensors(dataset: &dyn Dataset, indices: &[usize], augment: Option<&str>) -> Result<[Tensor; 2]> {
    let mut rng = augment.map(|name| RandomStreams::new(0).named(name));
    let Batch { images, labels } = dataset.batch(indices, rng.as_mut(), DType::F32, &Device::Cpu)?;
    Ok([images.to_nchw()?, labels])
}
