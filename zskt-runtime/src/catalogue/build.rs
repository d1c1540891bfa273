//! For which build of zskt a package is.

use serde::{Deserialize, Serialize};
use zskt_api::Diagnostic;

use crate::library;

/// A build of zskt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version of the release, with `+cuda` where it computes on GPUs.
    pub release: String,
    /// The SHA-256 sum of its image, which decides: a release that somebody built otherwise has another.
    pub image: String,
    /// The machine, as Rust calls it.
    pub target: String,
}

impl Build {
    /// The build of this program.
    ///
    /// # Errors
    /// When this program loads no libraries.
    pub fn ours() -> Result<Self, Diagnostic> {
        let image = library::image_sum()?.to_owned();
        let target = zskt_api::build_id::DESCRIPTION.lines().find_map(|line| line.strip_prefix("target: "));
        let target = target.unwrap_or_default().to_owned();
        let features = if cfg!(feature = "cuda") { "+cuda" } else { "" };
        Ok(Self { release: format!("{}{features}", library::RELEASE), image, target })
    }

    /// Why what is for this build is not for the program's own, if it is not: in words after "it is".
    pub fn misfit(&self, ours: &Self) -> Option<String> {
        if self.target != ours.target {
            return Some(format!("for {}, and this zskt-run is for {}", self.target, ours.target));
        }
        if self.release != ours.release {
            return Some(format!("for zskt {}, and this is zskt {}", self.release, ours.release));
        }
        (self.image != ours.image).then(|| {
            let [theirs, own] = [&self.image, &ours.image].map(|image| image.get(..16).unwrap_or(image));
            format!("for another build of zskt {} (image {theirs}, and this one's is {own})", self.release)
        })
    }
}
