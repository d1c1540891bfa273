//! Labelled images in memory, normalized and augmented as they are asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Tensor};
use rand::seq::SliceRandom;

use crate::augmentation::Augmentation;
use crate::error::{Error, Result};
use crate::feature_map::FeatureMap;
use crate::ops::Shift;
use crate::random::StreamRng;
use crate::shape::ImageShape;

/// Some images of a dataset.
pub struct Batch {
    /// `[B, C, H, W]`, normalized.
    pub images: FeatureMap,
    /// Class of each image, `u32` `[B]`.
    pub labels: Tensor,
}

/// Labelled 8-bit images in memory: what most dataset plugins load into.
pub struct ImageSet {
    shape: ImageShape,
    classes: usize,
    class_names: Vec<String>,
    pixels: Vec<u8>,
    labels: Vec<u32>,
    scale: Vec<f64>,
    shift: Vec<f64>,
    augmentation: Augmentation,
    /// What a GPU has been given and keeps: a set that is measured on again and again is there once.
    resident: Mutex<HashMap<Resident, [Tensor; 2]>>,
}

/// Bytes of images that stay on a GPU at most: its memory is for training.
const MOST_RESIDENT: usize = 1 << 30;

/// Images one after the other that lie on a GPU: the first, how many, and how.
type Resident = (usize, usize, DType, DeviceLocation);

impl ImageSet {
    /// Images from `pixels` `[N, C, H, W]` and one label each.
    ///
    /// # Errors
    /// When the lengths disagree, or a label is no class.
    pub fn new(shape: ImageShape, classes: usize, pixels: Vec<u8>, labels: Vec<u32>) -> Result<Self> {
        let expected = labels.len() * shape.channels * shape.height * shape.width;
        if pixels.len() != expected {
            return Err(Error::new(format!(
                "{} images {shape} need {expected} bytes, found {}",
                labels.len(),
                pixels.len()
            )));
        }
        if let Some((index, label)) = labels.iter().enumerate().find(|(_, label)| **label as usize >= classes) {
            return Err(Error::new(format!("image {index} has label {label}, but there are {classes} classes")));
        }
        let (scale, shift) = (vec![1.0 / 255.0; shape.channels], vec![0.0; shape.channels]);
        Ok(Self {
            shape,
            classes,
            class_names: Vec::new(),
            pixels,
            labels,
            scale,
            shift,
            augmentation: Augmentation::default(),
            resident: Mutex::default(),
        })
    }

    /// Normalizes channel c as (x − mean) / std, with x from 0 to 1.
    ///
    /// # Errors
    /// When there is not one mean and one standard deviation per channel.
    pub fn normalize(mut self, mean: &[f64], std: &[f64]) -> Result<Self> {
        if mean.len() != self.shape.channels || std.len() != self.shape.channels {
            let channels = self.shape.channels;
            return Err(Error::new(format!("normalization needs {channels} means and standard deviations")));
        }
        self.scale = std.iter().map(|std| 1.0 / (255.0 * std)).collect();
        self.shift = mean.iter().zip(std).map(|(mean, std)| -mean / std).collect();
        Ok(self)
    }

    /// Says what the classes are called, in the order of their numbers; without names, nobody knows.
    ///
    /// # Errors
    /// When there is not one name for each class.
    pub fn name_classes(mut self, names: Vec<String>) -> Result<Self> {
        if !names.is_empty() && names.len() != self.classes {
            return Err(Error::new(format!("{} names for {} classes", names.len(), self.classes)));
        }
        self.class_names = names;
        Ok(self)
    }

    /// Augments images that are learnt from.
    #[must_use]
    pub fn augment(mut self, augmentation: Augmentation) -> Self {
        self.augmentation = augmentation;
        self
    }

    /// Adds images `[N, C, H, W]` and one label each behind those there are, and lets the oldest go of which there are more than
    /// `capacity`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn append(&mut self, pixels: Vec<u8>, labels: Vec<u32>, capacity: Option<usize>) -> Result<()> {
        let added = Self::new(self.shape, self.classes, pixels, labels)?;
        self.pixels.extend(added.pixels);
        self.labels.extend(added.labels);
        let surplus = capacity.map_or(0, |capacity| self.len().saturating_sub(capacity));
        self.pixels.drain(..surplus * self.image_bytes());
        self.labels.drain(..surplus);
        self.resident = Mutex::default();
        Ok(())
    }

    /// Keeps `count` random images of each class.
    ///
    /// # Errors
    /// When a class has fewer.
    pub fn subset(mut self, count: usize, rng: &mut StreamRng) -> Result<Self> {
        let mut keep: Vec<usize> = Vec::with_capacity(count * self.classes);
        for class in 0..self.classes {
            let mut of_class: Vec<usize> =
                (0..self.labels.len()).filter(|index| self.labels[*index] as usize == class).collect();
            if of_class.len() < count {
                let found = of_class.len();
                return Err(Error::new(format!("class {class} has {found} images, fewer than the {count} asked for")));
            }
            of_class.shuffle(rng);
            keep.extend(&of_class[..count]);
        }
        keep.sort_unstable();
        let size = self.image_bytes();
        self.pixels = keep.iter().flat_map(|index| &self.pixels[index * size..][..size]).copied().collect();
        self.labels = keep.iter().map(|index| self.labels[*index]).collect();
        Ok(self)
    }

    /// Consecutive images and their labels on a GPU, where they stay.
    fn resident(&self, indices: &[usize], dtype: DType, device: &Device) -> Result<[Tensor; 2]> {
        let key = (indices.first().copied().unwrap_or_default(), indices.len(), dtype, device.location());
        if let Some(kept) = self.resident.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(kept.clone());
        }
        let prepared = self.prepared(indices, &[], dtype, device)?;
        let mut resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |[images, _]: &[Tensor; 2]| images.elem_count() * images.dtype().size_in_bytes();
        if resident.values().map(bytes).sum::<usize>() + bytes(&prepared) <= MOST_RESIDENT {
            resident.insert(key, prepared.clone());
        }
        Ok(prepared)
    }

    fn image_bytes(&self) -> usize {
        self.shape.channels * self.shape.height * self.shape.width
    }
}

impl ImageSet {
    /// The shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// What the classes are called, in the order of their numbers; empty where nobody knows.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Classes its labels name.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What is done to an image each time it is learnt from.
    pub fn augmentation(&self) -> Augmentation {
        self.augmentation
    }

    /// The bytes of all images, `[N, C, H, W]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The images of these indices in this order, each moved and mirrored by its own shift, with black where nothing of it is.
    ///
    /// # Errors
    /// When an index is out of range, or the device fails.
    pub fn shifted(&self, indices: &[usize], shifts: &[Shift], dtype: DType, device: &Device) -> Result<Batch> {
        let [images, labels] = self.prepared(indices, shifts, dtype, device)?;
        Ok(Batch { images: FeatureMap::from_channels_last(&images)?, labels })
    }

    /// The images of these indices in this order; augmented when there is a random generator to do it with.
    ///
    /// # Errors
    /// When an index is out of range or the device fails.
    pub fn batch(
        &self,
        indices: &[usize],
        augment: Option<&mut StreamRng>,
        dtype: DType,
        device: &Device,
    ) -> Result<Batch> {
        // Who learns brings randomness; who measures comes again.
        let measured = augment.is_none() && indices.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        if measured && !device.is_cpu() {
            let [images, labels] = self.resident(indices, dtype, device)?;
            return Ok(Batch { images: FeatureMap::from_channels_last(&images)?, labels });
        }
        let augment = augment.filter(|_| self.augmentation != Augmentation::default());
        let shifts = augment.map(|rng| self.augmentation.draw(indices.len(), rng));
        self.shifted(indices, &shifts.unwrap_or_default(), dtype, device)
    }
}

impl ImageSet {
    /// Images `[B, H, W, C]`, normalized, and their labels. Where there are no shifts, images stay where they are.
    fn prepared(&self, indices: &[usize], shifts: &[Shift], dtype: DType, device: &Device) -> Result<[Tensor; 2]> {
        let ImageShape { channels, height, width } = self.shape;
        let label = |index: &usize| {
            self.labels.get(*index).copied().ok_or_else(|| Error::new(format!("there is no image {index}")))
        };
        let labels = indices.iter().map(label).collect::<Result<Vec<_>>>()?;
        let (count, shape) = (indices.len(), (indices.len(), height, width, channels));
        let images = if dtype == DType::F64 {
            Tensor::from_vec(self.numbers(indices, shifts, |number| number), shape, device)?
        } else {
            Tensor::from_vec(self.numbers(indices, shifts, |number| number as f32), shape, device)?.to_dtype(dtype)?
        };
        Ok([images, Tensor::from_vec(labels, count, device)?])
    }

    /// The normalized numbers of images, `[B, H, W, C]`.
    fn numbers<T: Copy + Default>(&self, indices: &[usize], shifts: &[Shift], convert: impl Fn(f64) -> T) -> Vec<T> {
        let ImageShape { channels, height, width } = self.shape;
        let (plane, size) = (height * width, self.image_bytes());
        let mut values = vec![T::default(); indices.len() * size];
        let shifts = shifts.iter().copied().chain(std::iter::repeat(Shift::default()));
        for ((index, shift), out) in indices.iter().zip(shifts).zip(values.chunks_exact_mut(size.max(1))) {
            let pixels = &self.pixels[index * size..][..size];
            let Shift { down, right, flip } = shift;
            for y in 0..height {
                let from_y = y.wrapping_add_signed(-down);
                for x in 0..width {
                    let column = if flip { width - 1 - x } else { x };
                    let from_x = column.wrapping_add_signed(-right);
                    for c in 0..channels {
                        // Outside the image, as PyTorch's crop pads it, the pixel is black.
                        let inside = from_y < height && from_x < width;
                        let pixel = if inside { pixels[c * plane + from_y * width + from_x] } else { 0 };
                        out[(y * width + x) * channels + c] = convert(f64::from(pixel) * self.scale[c] + self.shift[c]);
                    }
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::{Augmentation, ImageSet};
    use crate::{ImageShape, RandomStreams};

    fn set() -> ImageSet {
        // Two images of two channels, 1×2.
        ImageSet::new(ImageShape::new(2, 1, 2), 2, vec![0, 255, 51, 102, 255, 255, 0, 0], vec![0, 1]).unwrap()
    }

    #[test]
    fn normalization_is_per_channel_and_in_units_of_the_standard_deviation() {
        let set = set().normalize(&[0.5, 0.0], &[0.25, 1.0]).unwrap();
        let batch = set.batch(&[1, 0], None, DType::F64, &Device::Cpu).unwrap();
        let images = batch.images.to_nchw().unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let expected = [2.0, 2.0, 0.0, 0.0, -2.0, 2.0, 0.2, 0.4];
        assert!(images.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{images:?}");
        assert_eq!(batch.labels.to_vec1::<u32>().unwrap(), [1, 0]);
    }

    #[test]
    fn what_an_accelerator_keeps_is_given_once() {
        let (set, cpu) = (set(), Device::Cpu);
        let [first, second] = [0, 0].map(|_| set.resident(&[0, 1], DType::F32, &cpu).unwrap());
        assert_eq!(first[0].id(), second[0].id());
        let other = set.resident(&[1], DType::F32, &cpu).unwrap();
        assert_eq!(other[1].to_vec1::<u32>().unwrap(), [1]);
    }

    #[test]
    fn a_crop_moves_the_image_and_pads_with_black() {
        let set = set().augment(Augmentation { crop: 1, flip: true });
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            let mut rng = RandomStreams::new(0).at("augment", index);
            let batch = set.batch(&[0], Some(&mut rng), DType::F32, &Device::Cpu).unwrap();
            let image = batch.images.to_nchw().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            seen.insert(image.iter().map(|value| (value * 255.0).round() as u8).collect::<Vec<_>>());
        }
        // Row moved out: black. Row in place: columns moved by −1, 0, 1, each also mirrored.
        let expected = [
            [0, 0, 0, 0],
            [0, 255, 51, 102],
            [255, 0, 102, 51],
            [0, 0, 0, 51],
            [0, 0, 51, 0],
            [255, 0, 102, 0],
            [0, 255, 0, 102],
        ];
        assert_eq!(seen, expected.iter().map(|image| image.to_vec()).collect());
    }
}
