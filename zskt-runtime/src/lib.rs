//! Reads a pipeline, proves it sound and runs it, with the standard plugins, those that the program links, and those that
//! it loads. A program with plugins of its own is short:
//!
//! ```ignore
//! // Linked for its registrations alone: without a mention the linker would drop it.
//! use my_plugins as _;
//!
//! fn main() -> std::process::ExitCode {
//!     zskt_runtime::main()
//! }
//! ```

mod catalogue;
mod check;
mod checksum;
mod cli;
mod dataset_at;
mod device_request;
#[cfg(test)]
mod documentation;
mod draw;
mod export;
mod file_names;
mod home_folder;
mod input_file;
mod inspect_file;
mod library;
mod multiplications;
mod new_pipeline;
mod parameter_count;
mod pipeline;
mod plan;
mod plugin_calls;
mod report_page;
mod run;
mod runs;
mod scaffold;
mod shell_quoting;
mod stage_figures;
mod sweep;
mod text_format;
mod watch;
mod weights_report;

pub use check::prove;
pub use cli::render;
pub use device_request::DeviceRequest;
pub use draw::{Picture, dot, mermaid, svg};
pub use pipeline::Sources;
pub use plan::{DataFreeProof, Metadata, OutsideReader, Plan, PlanEdge, PlanNode};
pub use run::data_free;
pub use weights_report::{FoundNetwork, RecognizedArchitecture, WeightsReport, weights_report};

use std::process::ExitCode;

#[cfg(feature = "dynamic")]
use zskt_dylib as _;

// Linked for their registrations alone: without a mention the linker would drop them.
use zskt_architectures as _;
use zskt_datasets as _;
use zskt_generators as _;
use zskt_losses as _;
use zskt_metrics as _;
use zskt_optimizers as _;
use zskt_schedules as _;
use zskt_stages as _;
use zskt_targets as _;
use zskt_teachers as _;

/// The crates of zskt's own plugins.
const STANDARD_CRATES: [&str; 10] = [
    "zskt-architectures",
    "zskt-datasets",
    "zskt-generators",
    "zskt-losses",
    "zskt-metrics",
    "zskt-optimizers",
    "zskt-schedules",
    "zskt-targets",
    "zskt-stages",
    "zskt-teachers",
];

/// The program `zskt-run`, with the standard plugins and all others that are linked in.
pub fn main() -> ExitCode {
    cli::execute(std::env::args_os().collect())
}
