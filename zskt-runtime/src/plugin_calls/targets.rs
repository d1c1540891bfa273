//! Class targets are as many as asked for, and classes.

use std::sync::Arc;

use zskt_api::{CheckError, ClassTargets, StreamRng};

use super::boundary::Boundary;
use super::violation::end_run;

/// Class targets whose classes are looked at.
pub struct CheckedTargets {
    boundary: Boundary,
    inner: Arc<dyn ClassTargets>,
}

impl CheckedTargets {
    /// Wraps class targets.
    pub fn new(boundary: Boundary, inner: Arc<dyn ClassTargets>) -> Self {
        Self { boundary, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl ClassTargets for CheckedTargets {
    fn check(&self) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check())
    }

    fn draw(&self, count: usize, classes: usize, rng: &mut StreamRng) -> Vec<u32> {
        let drawn = self.boundary.plugin.call(|| self.inner.draw(count, classes, rng));
        if drawn.len() != count {
            let declared = format!("has to draw the classes of {count} images");
            end_run(self.boundary.violation(declared, format_args!("drew {}", drawn.len())));
        }
        if let Some(class) = drawn.iter().find(|class| **class as usize >= classes) {
            let declared = format!("has to draw classes below {classes}");
            end_run(self.boundary.violation(declared, format_args!("drew {class}")));
        }
        drawn
    }
}
