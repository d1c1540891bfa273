//! A program with plugins of its own beside the standard ones; here they are modules, and usually crates: `use plugins as _;`.
//! They are what `plugin new` makes, formatted as third parties' crates are.

use std::process::ExitCode;

#[rustfmt::skip]
#[path = "../src/scaffold/templates/architecture.rs"]
pub mod architecture;
#[rustfmt::skip]
#[path = "../src/scaffold/templates/dataset.rs"]
pub mod dataset;
#[rustfmt::skip]
#[path = "../src/scaffold/templates/generator.rs"]
pub mod generator;
#[rustfmt::skip]
#[path = "../../plugins/example/src/lib.rs"]
pub mod loss;
#[rustfmt::skip]
#[path = "../src/scaffold/templates/metric.rs"]
pub mod metric;
#[rustfmt::skip]
#[path = "../src/scaffold/templates/stage.rs"]
pub mod stage;

fn main() -> ExitCode {
    zskt_runtime::main()
}
