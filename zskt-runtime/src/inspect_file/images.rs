//! Images: which dataset plugin reads them, how many there are, and what they look like.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device};
use serde_json::json;
use zskt_api::{
    BuildContext, Diagnostic, Error, Normalization, ParameterType, Precision, RandomStreams, Result, Split,
};

use super::Request;
use crate::dataset_at::{DatasetAt, Part};
use crate::run::image_grid::{self, Scale};
use crate::text_format;

/// Images in a picture of samples.
const SAMPLES: usize = 64;

/// What a folder or file of images holds, split by split.
///
/// # Errors
/// When the picture cannot be written.
pub fn describe(request: &Request<'_>, found: &[DatasetAt]) -> std::result::Result<String, Diagnostic> {
    if let Some(picture) = request.samples {
        let written = found.first().map_or(Ok(()), |dataset| write_samples(dataset, picture));
        written.map_err(|error| Diagnostic::global(format!("cannot show samples: {error}")))?;
    }
    if request.json {
        let entry = |dataset: &DatasetAt| {
            let signature = &dataset.signature;
            let image = [signature.image.channels, signature.image.height, signature.image.width];
            let split = match &dataset.part {
                Part::Split(split, _) => Some(split.to_ron()),
                Part::Unsplit | Part::Stated => None,
            };
            json!({
                "plugin": dataset.ron,
                "split": split,
                "images": signature.images,
                "image": image,
                "classes": signature.classes,
            })
        };
        return Ok(format!("{:#}\n", json!({ "datasets": found.iter().map(entry).collect::<Vec<_>>() })));
    }
    let mut out = String::new();
    for DatasetAt { ron, signature, part, resized, .. } in found {
        let images = text_format::count(signature.images);
        out += &format!("{ron}\n  {images} images {}, {} classes\n", signature.image, signature.classes);
        if let Some(reason) = resized {
            out += &format!("  resized, for {reason}\n");
        }
        match part {
            Part::Split(Split::Test, Some(reason)) => out += &format!("  there is no other split: {reason}\n"),
            Part::Split(Split::Train, Some(reason)) => out += &format!("  there are no test images: {reason}\n"),
            Part::Unsplit => out += "  not split: these are all images, whatever `split` says\n",
            Part::Split(_, None) | Part::Stated => {}
        }
    }
    if let Some(picture) = request.samples {
        out += &format!("the first {SAMPLES} are in {}\n", picture.display());
    }
    Ok(out)
}

fn write_samples(dataset: &DatasetAt, picture: &Path) -> Result<()> {
    let context = BuildContext {
        node: "samples".into(),
        device: Device::Cpu,
        precision: Precision::F32,
        streams: RandomStreams::new(0),
        normalization: Some(Normalization::identity(dataset.signature.image.channels)),
    };
    let loaded = dataset.source.load(&context)?;
    let indices: Vec<usize> = (0..dataset.signature.images.min(SAMPLES)).collect();
    let grid = image_grid::grid(&loaded.batch(&indices, None, DType::F32, &Device::Cpu)?.images, Scale::Unit)?;
    let refused =
        |failure: std::io::Error| Error::new(format!("{}: {}", picture.display(), text_format::reason(&failure)));
    let mut file = OpenOptions::new().write(true).create_new(true).open(picture).map_err(refused)?;
    file.write_all(&grid.png).map_err(refused)
}
