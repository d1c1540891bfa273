//! What the files in a run's folder are called.

use std::path::{Path, PathBuf};

use crate::file_names::{file_name, made_images_file, weights_file};

/// The files of a run, whether they are there or not.
pub struct RunFiles {
    folder: PathBuf,
}

impl RunFiles {
    /// In this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The pipeline as resolved.
    pub fn pipeline(&self) -> PathBuf {
        self.folder.join("pipeline.ron")
    }

    /// What the run was made with.
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    /// What happened, line by line.
    pub fn metrics(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// The same for TensorBoard, which knows its files by the word `tfevents`.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.out.tfevents.zskt")
    }

    /// Where the run can be continued from: the last checkpoint, and the one before it.
    pub fn checkpoints(&self) -> [PathBuf; 2] {
        ["state.safetensors", "previous.safetensors"].map(|name| self.folder.join("checkpoint").join(name))
    }

    /// What the run found; written last, so that it is there exactly when the run is finished.
    pub fn report(&self) -> PathBuf {
        self.folder.join("report.json")
    }

    /// The weights of a trained network.
    pub fn weights(&self, name: &str) -> PathBuf {
        self.folder.join(weights_file(name))
    }

    /// The same and more as a page.
    pub fn page(&self) -> PathBuf {
        self.folder.join("report.html")
    }

    /// The folder with the grids of pseudo-images.
    pub fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    /// A grid of pseudo-images.
    pub fn image(&self, stage: &str, batch: usize) -> PathBuf {
        self.images().join(format!("{}-{batch:07}.png", file_name(stage)))
    }

    /// The folder with what metrics leave.
    pub fn measurements(&self) -> PathBuf {
        self.folder.join("measurements")
    }

    /// The folder with what a metric leaves.
    pub fn measurements_of(&self, metric: &str) -> PathBuf {
        self.measurements().join(file_name(metric))
    }

    /// A picture that a metric gives, of an evaluation of this name.
    pub fn picture(&self, metric: &str, evaluation: &str, picture: &str) -> PathBuf {
        self.measurements_of(metric).join(evaluation).join(format!("{}.png", file_name(picture)))
    }

    /// The images that a turn has made in a stage: a turn may be of several.
    pub fn made_images(&self, stage: &str, turn: &str) -> PathBuf {
        self.folder.join(made_images_file(stage, turn))
    }
}

/// What an evaluation after so many batches of a stage is called, as a folder; `start` where no stage leads to the metric.
pub fn evaluation_name(stage: Option<&str>, batch: usize) -> String {
    stage.map_or_else(|| "start".to_owned(), |stage| format!("{}-{batch:07}", file_name(stage)))
}
