//! Images to measure on.

use std::path::Path;

use zskt_api::{
    DatasetSignature, Diagnostic, ImageShape, Normalization, PluginInstance, PluginKind, Registry, Split, fetch_first,
};

use super::teacher::FoundTeacher;
use crate::dataset_at::{DatasetAt, Part, at};
use crate::pipeline::parse_plugin;
use crate::shell_quoting::quoted;
use crate::text_format;

/// Images to measure a teacher and its student on.
pub struct FoundDataset(DatasetAt);

impl FoundDataset {
    /// The test images of a folder or file, those to train on where there are no others, or all of it where it is not split; or the dataset that a plugin with its parameters is.
    ///
    /// # Errors
    /// When no dataset plugin reads it, or several do, or the one that is named does not.
    pub fn find(data: &Path, registry: &Registry) -> Result<Self, Diagnostic> {
        if let Some(problem) = data.to_str().and_then(fetch_first) {
            return Err(problem);
        }
        if let Some(ron) = data.to_str().filter(|text| text.contains('(') && !data.exists()) {
            return Self::named(ron, registry);
        }
        let found = at(data, registry)?;
        let plugin = |dataset: &DatasetAt| dataset.ron.split('(').next().unwrap_or_default().to_owned();
        let mut plugins: Vec<_> = found.iter().map(plugin).collect();
        plugins.dedup();
        if plugins.len() > 1 {
            let message = format!("several dataset plugins read `{}`: {}", data.display(), plugins.join(", "));
            let first = &found[0].ron;
            return Err(
                Diagnostic::global(message).help(format!("name the one that is meant, as in --data {}", quoted(first)))
            );
        }
        // One at least is there.
        found
            .into_iter()
            .next()
            .map(Self)
            .ok_or_else(|| Diagnostic::global(format!("there are no images in `{}`", data.display())))
    }

    fn named(ron: &str, registry: &Registry) -> Result<Self, Diagnostic> {
        let context = |problem: Diagnostic| Diagnostic { span: None, ..problem }.context(format_args!("--data {ron}"));
        let (_, parsed) = parse_plugin(ron, PluginKind::Dataset, registry).map_err(context)?;
        let PluginInstance::Dataset(source) = parsed.instance().clone() else {
            return Err(context(Diagnostic::global("it is not a dataset")));
        };
        let signature = source.describe().map_err(|fault| {
            let problem = context(Diagnostic::global(fault.message));
            Diagnostic { help: fault.help, ..problem }
        })?;
        Ok(Self(DatasetAt { ron: ron.to_owned(), source, signature, part: Part::Stated, resized: None }))
    }

    /// The shape that all images have, if they have one and a generator can make such images: what a teacher takes that takes any.
    pub fn image(&self) -> Option<ImageShape> {
        let image = self.0.signature.image;
        let can_be_made = image.height == image.width && image.height.is_multiple_of(4);
        Some(image).filter(|_| can_be_made && self.0.resized.is_none())
    }

    /// How its images are normalized by a teacher that says nothing of it.
    pub fn normalization(&self) -> Option<Normalization> {
        let channels = self.0.signature.image.channels;
        self.0.source.normalization().or_else(|| self.0.source.usual_normalization(channels))
    }

    /// The images as a teacher can be measured on them: made smaller where they are larger than it takes.
    ///
    /// # Errors
    /// When its classes are others, or its images have other channels or are smaller.
    pub fn made_for(self, teacher: &FoundTeacher, registry: &Registry) -> Result<Self, Diagnostic> {
        let DatasetSignature { classes, image, .. } = self.0.signature;
        let wanted = teacher.image();
        if (classes, image) == (teacher.classes(), wanted) {
            return Ok(self);
        }
        let side = wanted.height;
        let larger = self.0.resized.is_some() || image.height.min(image.width) >= side;
        if larger
            && (classes, image.channels, side) == (teacher.classes(), wanted.channels, wanted.width)
            && let Some(resized) = self.0.resized_to(side, registry)
        {
            return Ok(Self(resized));
        }
        let message = format!(
            "the teacher takes images {wanted} of {} classes, but {} has images {image} of {classes} classes",
            teacher.classes(),
            self.0.ron
        );
        Err(Diagnostic::global(message).help("leave --data out, or give images that the teacher was trained for"))
    }

    /// The plugin with its parameters, as a pipeline has it.
    pub fn ron(&self) -> &str {
        &self.0.ron
    }

    /// What was found, for a person.
    pub fn said(&self) -> String {
        let DatasetSignature { image, classes, images } = self.0.signature;
        let images = text_format::count(images);
        let resized = self.0.resized.as_ref();
        let resized =
            resized.map_or_else(String::new, |reason| format!("; resized to what the teacher takes, for {reason}"));
        let caution = self.caution().map_or_else(String::new, |caution| format!("; {caution}"));
        format!("data     {}: {images} images {image}, {classes} classes{resized}{caution}", self.0.ron)
    }

    /// What a user should know who takes figures on these images for figures on images that the teacher has not seen.
    pub fn caution(&self) -> Option<String> {
        match &self.0.part {
            Part::Split(Split::Train, reason) => {
                let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
                Some(format!("there are no test images{reason}: these may be those that the teacher was trained on"))
            }
            Part::Unsplit => Some("they are not split: some may be those that the teacher was trained on".into()),
            Part::Split(Split::Test, _) | Part::Stated => None,
        }
    }
}
