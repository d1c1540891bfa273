//! The command line: what can be asked of the program.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use torch_checkpoint::Pattern;

use super::runs::Pruned;
use crate::export;
use crate::new_pipeline::Method;
use crate::scaffold::ScaffoldKind;
use crate::sweep::Engine;

/// Zero-shot knowledge transfer: runs pipelines, and proves them sound before anything trains.
#[derive(Parser)]
#[command(
    name = "zskt-run",
    disable_version_flag = true,
    subcommand_negates_reqs = true,
    override_usage = "zskt-run [OPTIONS] PIPELINE.ron\n       zskt-run --resume DIR\n       zskt-run <COMMAND>",
    after_help = "Exit codes: 0 done; 1 failed while running; 2 a pipeline, parameter or plugin is wrong, and nothing was run; \
                  3 done, but not as the pipeline expects; \
                  124 the budget is used up, and 130 interrupted, both after a checkpoint.\nA pipeline whose name is a command is run as ./NAME."
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
    /// Say which release this is, of which build, and for what machine; with --json as JSON
    #[arg(short = 'V', long)]
    pub version: bool,
}

/// Running a pipeline.
#[derive(Args)]
pub struct RunArguments {
    /// The pipeline to run; with --resume, the one in DIR unless it is given
    #[arg(value_name = "PIPELINE", required_unless_present_any = ["resume", "version"])]
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
    /// Say what the run would take: time, computation and memory, by a few batches of each stage; nothing is kept
    #[arg(long, conflicts_with_all = ["out", "resume"])]
    pub dry: bool,
    /// Stop at a checkpoint once so much time has passed, such as `2h` or `90min`; --resume continues
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub budget: Option<Duration>,
    /// Go on with the run in --out where there is one; one that is finished stays as it is
    #[arg(long = "continue", requires = "out")]
    pub go_on: bool,
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
        let Self { pipeline, overrides, out, resume, go_on, dry, budget, quiet, json } = self;
        [
            (pipeline.is_some(), "PIPELINE"),
            (!overrides.sets.is_empty(), "--set"),
            (out.is_some(), "--out"),
            (resume.is_some(), "--resume"),
            (*go_on, "--continue"),
            (*dry, "--dry"),
            (budget.is_some(), "--budget"),
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

/// Running a pipeline once for each seed and each value of some parameters.
#[derive(Args)]
pub struct SweepArguments {
    /// The pipeline; what its own `sweep: (…)` says is replaced key by key by what is given here
    #[arg(value_name = "PIPELINE", required_unless_present_any = ["resume", "collect"])]
    pub pipeline: Option<PathBuf>,
    /// The seeds: 0..3 (0, 1 and 2), 0..=2 or 0,1,2
    #[arg(long, value_name = "SEEDS")]
    pub seeds: Option<String>,
    /// Change a key in all runs, or give it several values, each with each of the others': node.param=V1,V2; repeatable
    #[arg(long = "set", value_name = "KEY=V1,V2")]
    pub sets: Vec<String>,
    /// Give keys as many values each, which go together, the first with the first; repeatable
    #[arg(long = "zip", value_name = "KEY=V1,V2")]
    pub zips: Vec<String>,
    /// How many run at once; they share the threads. By default one, or one for each device
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Where they run, dealt out in turn: cuda:0,cuda:1 or cpu; a GPU that is named twice is shared by two
    #[arg(long, value_name = "DEVICES", value_delimiter = ',')]
    pub devices: Vec<String>,
    /// The folder of the sweep, instead of one in runs/ that is named after the pipeline and what is swept
    #[arg(long, value_name = "DIR", conflicts_with_all = ["resume", "collect"])]
    pub out: Option<PathBuf>,
    /// Go on with the sweep of this folder: all of its points
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pipeline", "seeds", "sets", "zips", "collect"])]
    pub resume: Option<PathBuf>,
    /// Make the table of what is finished in this folder, wherever it ran; run nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pipeline", "seeds", "sets", "zips", "jobs", "devices", "list", "on", "fail_fast"])]
    pub collect: Option<PathBuf>,
    /// Print a command for each point, and run nothing; each begins its run, goes on with it, or finds it finished
    #[arg(long, conflicts_with_all = ["jobs", "devices", "on", "fail_fast", "quiet", "json"])]
    pub list: bool,
    /// Hand the runs to a program that spreads them, and do not wait for them
    #[arg(long, value_name = "ENGINE", value_enum, conflicts_with_all = ["devices", "fail_fast"])]
    pub on: Option<Engine>,
    /// What else that program is told, as "--time=2:00:00 --gres=gpu:1"
    #[arg(
        long = "engine-options",
        visible_alias = "sbatch",
        value_name = "OPTIONS",
        requires = "on",
        allow_hyphen_values = true
    )]
    pub engine_options: Option<String>,
    /// With --on, wait until all have ended, and make the table
    #[arg(long, requires = "on")]
    pub wait: bool,
    /// Stop all at their checkpoints when one fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Say nothing but the table and what went wrong
    #[arg(long)]
    pub quiet: bool,
    /// Say everything on standard output as JSON, one object a line, each with its point
    #[arg(long)]
    pub json: bool,
    /// Plugins from elsewhere.
    #[command(flatten)]
    pub libraries: Libraries,
}

/// Plugins from elsewhere.
#[derive(Args)]
pub struct Libraries {
    /// Load the plugins of a library, a file or an installed package, which runs its code; repeatable. ZSKT_PLUGIN_PATH names more
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
    /// Make, build, check, pack and install libraries of plugins
    Plugin {
        /// What to do.
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Run a pipeline for several seeds and values of parameters, and make a table: mean ± standard deviation over the seeds
    Sweep(Box<SweepArguments>),
    /// Write a pipeline for a teacher's file: its architecture is recognized, a student chosen
    New {
        /// The teacher: a file of weights, a folder with one, or an ONNX file
        #[arg(long, value_name = "FILE")]
        teacher: PathBuf,
        /// Which network of the file, where it has several
        #[arg(long)]
        key: Option<String>,
        /// Weights of the file that the teacher is without: a regular expression that matches all of a name; repeatable
        #[arg(long, value_name = "REGEX", value_parser = Pattern::new)]
        ignore: Vec<Pattern>,
        /// The output with the logits, where an ONNX model has several
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
        /// Images to measure on: a folder or file that a dataset plugin reads, or such a plugin with its parameters
        #[arg(long, value_name = "FOLDER|PLUGIN(…)")]
        data: Option<PathBuf>,
        /// The student's architecture, as `LeNet` or `WideResNet(depth: 16, widen_factor: 1)`
        #[arg(long, value_name = "ARCH")]
        student: Option<String>,
        /// The mean of its training images in each channel, of pixels from 0 to 1, where its file does not tell
        #[arg(long, value_name = "M,…", value_delimiter = ',', requires = "std")]
        mean: Option<Vec<f64>>,
        /// Their standard deviation
        #[arg(long, value_name = "S,…", value_delimiter = ',', requires = "mean")]
        std: Option<Vec<f64>>,
        /// How the student learns, instead of by what is recommended for such a teacher
        #[arg(long, value_enum)]
        method: Option<Method>,
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
        /// The node that made the network, instead of the student's; a teacher comes from its file
        #[arg(long, value_name = "NODE")]
        network: Option<String>,
        /// Take the best weights that a stage kept of it (`keep: Best("METRIC")`), instead of the last
        #[arg(long)]
        best: bool,
        /// The file to write, instead of one in the working directory that is named like the network
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Have an ONNX model normalize images itself: it then takes numbers from 0 to 1
        #[arg(long, alias = "with-normalisation")]
        with_normalization: bool,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// Write what a run found as a page, report.html; of several runs, or a folder of runs, a page that compares them
    Report {
        /// Folders of runs, be they finished or not, or folders with such folders
        #[arg(value_name = "RUN", required = true)]
        runs: Vec<PathBuf>,
        /// The file to write, instead of report.html in the folder (of several, in the working directory)
        #[arg(long, value_name = "FILE.html")]
        to: Option<PathBuf>,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// List, show, compare, check and remove the runs that there are
    Runs {
        /// What to do; without it, list
        #[command(subcommand)]
        command: Option<RunsCommand>,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
    /// Show a run in the terminal while it goes on, from another shell
    #[command(after_help = "Keys: q leave (the run goes on); tab, arrows other curves; l logarithmic scale")]
    Watch {
        /// The run's folder
        #[arg(value_name = "RUN")]
        run: PathBuf,
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
    /// Print what completes this program's command line in a shell
    #[command(
        after_help = "For this shell alone: source <(zskt-run completions bash). For all: share/ of a release, docs/install.md."
    )]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write pages for `man`, and the reference of plugins and commands as Markdown, into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Plugins from elsewhere.
        #[command(flatten)]
        libraries: Libraries,
    },
}

/// What can be done with runs.
#[derive(Subcommand)]
pub enum RunsCommand {
    /// All runs: their state and figures, and the parameters in which they differ
    List {
        /// Runs, and folders of runs; without any, runs/
        #[arg(value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// The best first by a figure, such as accuracy.top1, which its metric says the better way of, else the largest; or by a parameter
        #[arg(long, value_name = "KEY")]
        sort: Option<String>,
        /// The smallest first
        #[arg(long, requires = "sort")]
        ascending: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// All that is known of a run: state, figures, what it was made with and how, files and their sums
    Show {
        /// The run's folder
        #[arg(value_name = "RUN")]
        run: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Runs side by side: the parameters in which they differ, and what each found
    Diff {
        /// The runs' folders
        #[arg(value_name = "RUN", required = true, num_args = 2..)]
        runs: Vec<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Whether the files of runs are what was written, and those that were read what they were; exit code 1 where one is not
    Verify {
        /// Runs, and folders of runs
        #[arg(value_name = "RUN", required = true)]
        runs: Vec<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make room: say what would be removed, or with --yes remove it; never what a run did not write
    Prune {
        /// Runs, and folders of runs; without any, runs/
        #[arg(value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// What to remove; repeatable
        #[arg(long, value_enum, required = true)]
        what: Vec<Pruned>,
        /// Only of runs that began so long ago, as `30d`
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        older_than: Option<Duration>,
        /// Only say what would be removed, as without --yes
        #[arg(long, conflicts_with = "yes")]
        dry: bool,
        /// Remove it
        #[arg(long)]
        yes: bool,
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
        /// Make a program that has the plugin linked in, of zskt's sources: a folder, or the URL of a git repository, `URL#TAG`
        #[arg(long, value_name = "SOURCE")]
        linked: Option<String>,
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
        /// The library, or the name of an installed package
        #[arg(value_name = "LIB|NAME")]
        library: PathBuf,
    },
    /// Build a crate and pack its library with all that belongs to it, as a file that others add
    Package {
        /// The crate's folder
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// The SDK to compile against, instead of the one beside this program
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
        /// Put it into this folder and its index, instead of the working directory
        #[arg(long, value_name = "FOLDER")]
        index: Option<PathBuf>,
        /// Let it take the place of another of its version in the index
        #[arg(long, requires = "index")]
        replace: bool,
    },
    /// Install a package, for pipelines to use by its name; none of its code is run
    Add {
        /// A package's file, or its name in an index: `cifar-resnets`, or `cifar-resnets@0.1.0`
        #[arg(value_name = "FILE|NAME")]
        package: String,
        /// Where the index is that has the name, a folder or an https address; ZSKT_PLUGIN_INDEX names one for all commands
        #[arg(long, value_name = "FOLDER|URL")]
        index: Option<String>,
        /// Let it take the place of another of its version that is installed
        #[arg(long)]
        replace: bool,
    },
    /// List the packages of an index, those for other releases of zskt too
    Search {
        /// Words that all occur in a package's name, description or plugins
        #[arg(value_name = "WORD")]
        words: Vec<String>,
        /// Where the index is, a folder or an https address; ZSKT_PLUGIN_INDEX names one for all commands
        #[arg(long, value_name = "FOLDER|URL")]
        index: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the packages that are installed
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an installed package
    Remove {
        /// Its name: `cifar-resnets`, or `cifar-resnets@0.1.0` for one version of several
        #[arg(value_name = "NAME")]
        package: String,
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
                | Command::Report { libraries, .. }
                | Command::Inspect { libraries, .. }
                | Command::Manual { libraries, .. }
                | Command::Runs { libraries, .. },
            ) => &libraries.paths,
            Some(Command::Sweep(arguments)) => &arguments.libraries.paths,
            Some(Command::Plugin { .. } | Command::Watch { .. } | Command::Completions { .. }) | None => &[],
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
