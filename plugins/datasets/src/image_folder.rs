//! Folders of images.

use std::path::PathBuf;
use std::sync::Arc;

use image_formats::image_folder;
use zskt_api::{BuildContext, CheckError, Dataset, DatasetSignature, DatasetSource, Normalization, Result, choice};

use crate::preprocessing::{checked_channels, dataset_params};

choice! {
    /// Which part of a folder of images.
    pub enum FolderSplit {
        /// Images to learn from: `train`.
        Train,
        /// Images to choose settings by: `val`, `valid` or `validation`.
        Validation,
        /// Images to measure on: `test`, or those to choose settings by where there are no others.
        Test,
    }
}

dataset_params! {
    /// A folder for each class with PNGs or JPEGs in it, as torchvision's `ImageFolder` reads them: the classes are the names of
    /// the folders, sorted. Images are of one size, or become it by `resize` and `center_crop`. As there, images are not turned by their EXIF data, and a split that lacks a class keeps the numbers of the others.
    /// Its own normalization is ImageNet's, mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]; of grey images MNIST's.
    pub struct ImageFolder {
        /// The folder of the classes, or one with `train`, `val`, `test` in it, each with the folders of the classes.
        pub path: PathBuf,
        /// Which images. Where `path` is the folder of the classes, without splits, each of them is all the images: what is trained
        /// and what is measured on are then the same, unless two folders are named.
        pub split: FolderSplit,
        /// 1 makes all images grey, 3 makes all red, green and blue; left out, they have the channels of the first one.
        pub channels: Option<usize> = None => 1..=3,
    }
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
}

impl DatasetSource for ImageFolder {
    fn normalization(&self) -> Option<Normalization> {
        self.preprocessing().stated()
    }

    fn usual_normalization(&self, channels: usize) -> Option<Normalization> {
        Some(self.preprocessing().usual(channels))
    }

    fn describe(&self) -> Result<DatasetSignature, CheckError> {
        checked_channels(self.channels)?;
        self.preprocessing().of_resized().describe(image_folder::header(
            &self.path,
            self.split.official(),
            self.channels,
            self.resizing(),
        ))
    }

    fn load(&self, context: &BuildContext) -> Result<Arc<dyn Dataset>> {
        self.preprocessing()
            .of_resized()
            .load(image_folder::read(&self.path, self.split.official(), self.channels, self.resizing()), context)
    }

    fn files(&self) -> Vec<PathBuf> {
        image_folder::folder(&self.path, self.split.official()).into_iter().collect()
    }

    fn is_unsplit(&self) -> bool {
        image_folder::has_splits(&self.path).is_ok_and(|splits| !splits)
    }
}

impl FolderSplit {
    /// The split as the folders have it.
    fn official(self) -> image_folder::Split {
        match self {
            Self::Train => image_folder::Split::Train,
            Self::Validation => image_folder::Split::Validation,
            Self::Test => image_folder::Split::Test,
        }
    }
}
