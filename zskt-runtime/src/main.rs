//! `zskt-run`, with the standard plugins.

use std::process::ExitCode;

fn main() -> ExitCode {
    zskt_runtime::main()
}
