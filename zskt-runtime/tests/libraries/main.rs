//! Libraries of third parties: made outside of the workspace with a released SDK, loaded, and refused.

#![cfg(all(feature = "dynamic", target_os = "linux"))]

mod catalogue;
mod crates;
mod gradients;
mod other_builds;
mod refusals;
mod registered_plugins;
mod release;
mod scaffolds;
