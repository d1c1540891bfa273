//! The command line: what can be asked of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::export;
use crate::new_pipeline::Method;
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
        /// Refuse what would be run with a warning
        #[arg(long)]
        deny_warnings: bool,
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
    /// Write a pipeline for a teacher's file: its architecture is recognized, a student chosen
    New {
        /// The teacher: a file of weights, a folder with one, or an ONNX file
        #[arg(long, value_name = "FILE")]
        teacher: PathBuf,
        /// Which network of the file, where it has several
        #[arg(long)]
        key: Option<String>,
        /// Images to measure on: a folder or file that a dataset plugin reads, or such a plugin with its parameters
        #[arg(long, value_name = "FOLDER|PLUGIN(…)")]
        data: Option<PathBuf>,
        /// The student's architecture, as `LeNet` or `WideResNet(depth: 16, widen_factor: 1)`
        #[arg(long, value_name = "ARCH")]
        student: Option<String>,
        /// How the student learns
        #[arg(long, value_enum, default_value_t = Method::Abm)]
        method: Method,
        /// The file to write, instead of one that is named like the teacher's
        #[arg(long, value_name = "PIPELINE")]
        to: Option<PathBuf>,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// Write a network of a run as a file for other programs
    Export {
        /// The run's folder, be it finished or not
        #[arg(value_name = "RUN")]
        run: PathBuf,
        /// How it is written
        #[arg(long, value_enum)]
        format: export::Format,
        /// The node that made the network, instead of the student's
        #[arg(long, value_name = "NODE")]
        network: Option<String>,
        /// Take the best weights that a stage kept of it (`keep: Best("METRIC")`), instead of the last
        #[arg(long)]
        best: bool,
        /// The file to write, instead of one in the working directory that is named like the network
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Have an ONNX model normalize images itself: it then takes numbers from 0 to 1
        #[arg(long, alias = "with-normalization")]
        with_normalisation: bool,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// Show a plugin (its parameters, inputs, output and documentation), or what a file of weights or a folder of images holds
    Inspect {
        /// The plugin's name, or a file or folder
        #[arg(value_name = "PLUGIN|FILE")]
        name: PathBuf,
        /// Of a file of weights, only what lies under this key
        #[arg(long)]
        key: Option<String>,
        /// Of images, write a picture of the first ones
        #[arg(long, value_name = "FILE.png")]
        samples: Option<PathBuf>,
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
                | Command::New { libraries, .. }
                | Command::Export { libraries, .. }
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
