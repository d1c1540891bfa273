//! The command line: what can be asked of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scaffold::ScaffoldKind;

/// Zero-shot knowledge transfer: runs pipelines, and proves them sound before anything trains.
#[derive(Parser)]
#[command(
    name = "zskt-run",
    version,
    subcommand_negates_reqs = true,
    override_usage = "zskt-run [OPTIONS] PIPELINE.ron\n       zskt-run --resume DIR\n       zskt-run <COMMAND>",
    after_help = "Exit codes: 0 done; 1 failed while running; 2 a pipeline, parameter or plugin is wrong, and nothing was run; \
                  130 interrupted, after a checkpoint.\nA pipeline whose name is a command is run as ./NAME."
)]
pub struct Cli {
    /// What to do instead of running a pipeline.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run, and how.
    #[command(flatten)]
    pub run: RunArguments,
    /// Plugins from elsewhere.
    #[command(flatten)]
    pub libraries: Libraries,
}

/// Running a pipeline.
#[derive(Args)]
pub struct RunArguments {
    /// The pipeline to run; with --resume, the one in DIR unless it is given
    #[arg(value_name = "PIPELINE", required_unless_present = "resume")]
    pub pipeline: Option<PathBuf>,
    /// Changes to the pipeline.
    #[command(flatten)]
    pub overrides: Overrides,
    /// The run's directory, instead of a new one in runs/
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Continue the interrupted run of this directory
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Say nothing but the results and what went wrong
    #[arg(long)]
    pub quiet: bool,
    /// Say everything on standard output as JSON, one object a line; errors stay text on standard error
    #[arg(long)]
    pub json: bool,
}

impl RunArguments {
    /// Something that was given to run a pipeline, if anything was.
    pub fn given(&self) -> Option<&'static str> {
        let Self { pipeline, overrides, out, resume, quiet, json } = self;
        [
            (pipeline.is_some(), "PIPELINE"),
            (!overrides.sets.is_empty(), "--set"),
            (out.is_some(), "--out"),
            (resume.is_some(), "--resume"),
            (*quiet, "--quiet"),
            (*json, "--json"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}

/// Changes to a pipeline.
#[derive(Args)]
pub struct Overrides {
    /// Change a parameter, a node or a setting: node.param=VALUE, node=Plugin(…), seed=1; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// Plugins from elsewhere.
#[derive(Args)]
pub struct Libraries {
    /// Load the plugins of a library, which runs its code; repeatable. ZSKT_PLUGIN_PATH names more
    #[arg(long = "plugin", value_name = "LIB")]
    pub paths: Vec<PathBuf>,
}

/// What to do instead of running a pipeline.
#[derive(Subcommand)]
pub enum Command {
    /// Prove pipelines sound without running them
    Validate {
        /// The pipelines
        #[arg(value_name = "PIPELINE", required = true)]
        pipelines: Vec<PathBuf>,
        /// Changes to them.
        #[command(flatten)]
        overrides: Overrides,
        /// Do not look at the files that parameters name
        #[arg(long)]
        skip_files: bool,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// Draw a pipeline: shapes, parameter counts, and which edges carry gradients
    Graph {
        /// The pipeline
        #[arg(value_name = "PIPELINE")]
        pipeline: PathBuf,
        /// Changes to it.
        #[command(flatten)]
        overrides: Overrides,
        /// How to draw it
        #[arg(long, value_enum, default_value_t = Format::Mermaid)]
        format: Format,
        /// Do not look at the files that parameters name
        #[arg(long)]
        skip_files: bool,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// List the plugins there are
    Plugins {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// Make, build and check libraries of plugins
    Plugin {
        /// What to do.
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Show a plugin: its parameters, inputs, output and documentation
    Inspect {
        /// The plugin's name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
}

/// What can be done with a third party's plugins.
#[derive(Subcommand)]
pub enum PluginCommand {
    /// Make a crate with one plugin, its test and a pipeline that uses it, in a new folder
    New {
        /// The crate's name; `tiny-net` holds a plugin `TinyNet`
        name: String,
        /// What the plugin is
        #[arg(long, value_enum)]
        kind: ScaffoldKind,
        /// The SDK to compile against, instead of the one beside this program
        #[arg(long, value_name = "DIR", conflicts_with = "linked")]
        sdk: Option<PathBuf>,
        /// Make a program that has the plugin linked in, from zskt's sources in DIR
        #[arg(long, value_name = "DIR")]
        linked: Option<PathBuf>,
    },
    /// Build a crate against the SDK of this program
    Build {
        /// The crate's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// The SDK to compile against, instead of the one beside this program
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Say whether a library would be loaded, what it contains, and if not, what differs; none of its code is run
    Check {
        /// The library
        #[arg(value_name = "LIB")]
        library: PathBuf,
    },
}

impl Cli {
    /// The libraries to load, named before or after the command.
    pub fn libraries(&self) -> Vec<PathBuf> {
        let of_command: &[PathBuf] = match &self.command {
            Some(
                Command::Validate { libraries, .. }
                | Command::Graph { libraries, .. }
                | Command::Plugins { libraries, .. }
                | Command::Inspect { libraries, .. },
            ) => &libraries.paths,
            Some(Command::Plugin { .. }) | None => &[],
        };
        [&self.libraries.paths, of_command].concat()
    }
}

/// How a pipeline is drawn.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// A Mermaid flowchart, which GitHub shows
    Mermaid,
    /// Graphviz
    Dot,
    /// A picture
    Svg,
}
