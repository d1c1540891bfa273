//! What a zskt plugin is, as zskt-run has it: the code lies in the program's own library.
//!
//! A plugin is a struct of parameters ([`params!`]) that implements the contract of its kind ([`Architecture`],
//! [`GeneratorArchitecture`], [`TeacherSource`], [`DatasetSource`], [`Loss`], [`TurnPlugin`], [`Stage`], [`Metric`],
//! [`Optimizer`], [`Schedule`], [`ClassTargets`]) and is registered by [`export!`]. What it computes with is in [`tensor`] (feature maps,
//! gradients, differentiable operations in [`ops`]) and [`nn`] (layers and their weights).

// Found by its path, not by a dependency.
#[doc(hidden)]
pub extern crate zskt_dylib;

pub use zskt_dylib::zskt_api::*;
// Parts of `tensor` and dependencies, by the names that plugins have for them: rustdoc shows them only where they are said.
#[doc(no_inline)]
pub use zskt_dylib::zskt_api::{candle_core, candle_nn, nn, ops};

/// The SHA-256 sum of the program's library.
#[doc(hidden)]
pub const IMAGE_SUM: &str = include_str!("../image.sha256");

/// The release that the program is of.
#[doc(hidden)]
pub const RELEASE: &str = include_str!("../release");

/// With another image, this is another crate, and all that depend on it are compiled anew.
const _: Option<&str> = option_env!("CARGO_PKG_DESCRIPTION");

/// Registers plugins: `export! { reads: none; loss: KlDivergence, CrossEntropy; metric: Accuracy }`, with the kinds
/// `architecture`, `generator`, `teacher`, `dataset`, `loss`, `turn`, `stage`, `metric`, `optimizer`, `schedule`, `targets`. A crate says
/// it once.
///
/// `reads` declares what all of them [read from outside](Reads): `none`, `files` or `network`. Where it is left out, a pipeline that
/// uses them for training is not called proven to be data-free, for what they read is not known.
///
/// The library then also says what it was compiled against and what it contains.
#[macro_export]
macro_rules! export {
    ($($plugins:tt)*) => {
        $crate::zskt_dylib::zskt_api::export! { $($plugins)* }
        $crate::zskt_dylib::describe_library! { $crate::RELEASE, $crate::IMAGE_SUM; $($plugins)* }
    };
}
