//! The images that a turn has made, as a dataset that other programs open.

use std::path::PathBuf;

use image_formats::hugging_face::{Images, write_parquet};
use zskt_api::{Error, ImageShape, Result};

use crate::run::resume::RunDirectory;

/// Writes `pixels`, `[N, C, H, W]`, and the classes that they were made for, where there are any, as `<stage>.<turn>.parquet` into the run's
/// folder,
/// whole or not at all: what `ParquetImages` and the library `datasets` open. Gives the file.
///
/// # Errors
/// When the images are neither grey nor red, green and blue, or the file cannot be written.
pub fn write(
    directory: &RunDirectory,
    stage: &str,
    turn: &str,
    shape: ImageShape,
    pixels: &[u8],
    labels: Option<&[u32]>,
) -> Result<PathBuf> {
    let path = directory.made_images(stage, turn);
    let images = Images::new(pixels, [shape.channels, shape.height, shape.width]);
    let images = images.and_then(|images| labels.map_or(Ok(images), |labels| images.labelled(labels, &[])));
    let images =
        images.map_err(|error| Error::new(format!("cannot write the images of `{turn}` as Parquet: {error}")))?;
    directory.write_with(&path, |file| write_parquet(file, &images))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image_formats::hugging_face::{Selection, read};
    use zskt_api::ImageShape;

    use super::write;
    use crate::run::resume::RunDirectory;

    #[test]
    fn images_are_there_whole_or_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::open(folder.path().to_owned()).unwrap();
        let shape = ImageShape::new(3, 4, 5);
        let (pixels, labels): (Vec<u8>, _) = ((0..240).collect(), [2, 0, 1, 2]);
        let path = write(&directory, "stage", "make/../up", shape, &pixels, Some(&labels)).unwrap();
        assert_eq!(path, folder.path().join("stage.make_.._up.parquet"));
        let before = fs::read(&path).unwrap();
        let error =
            write(&directory, "stage", "make/../up", ImageShape::new(4, 4, 5), &pixels, None).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write the images of `make/../up` as Parquet: the images have 4 ch"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
        let images = read(&path, &Selection::of("train")).unwrap();
        assert_eq!((&images.pixels, &images.labels[..]), (&pixels, &labels[..]));
        write(&directory, "stage", "make/../up", shape, &pixels[..60], None).unwrap();
        assert_ne!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file stays");
    }
}
