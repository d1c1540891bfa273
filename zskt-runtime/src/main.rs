//! `zskt-run`, with the standard plugins.

use std::process::ExitCode;

// Linked for their registrations alone: without a mention the linker would drop them.
use zskt_architectures as _;
use zskt_datasets as _;
use zskt_generators as _;
use zskt_losses as _;
use zskt_metrics as _;
use zskt_optimizers as _;
use zskt_schedules as _;
use zskt_stages as _;
use zskt_teachers as _;

fn main() -> ExitCode {
    zskt_runtime::main()
}
