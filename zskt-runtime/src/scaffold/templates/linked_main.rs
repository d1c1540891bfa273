//! `zskt-run`, with the plugins of this crate beside the standard ones.

// Linked for its registrations alone: without a mention the linker would drop it.
use example as _;

fn main() -> std::process::ExitCode {
    zskt_runtime::main()
}
