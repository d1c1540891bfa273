//! The registry: every plugin that is linked in or loaded, sorted by name.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::plugin_name::{explain, full_plugin_name, is_name_of};
use crate::{
    Architecture, ClassTargets, DatasetSource, Diagnostic, GeneratorArchitecture, Loss, Metric, MetricNode, Name,
    NamedShapes, Optimizer, ParameterInfo, ParameterKind, ParameterType, Params, PluginKind, PortInfo, PortType, Ports,
    Reads, Recognized, Schedule, Stage, StageNode, TeacherSource, TurnNode, TurnPlugin, Value, ValueKind,
};

/// A plugin with its parameters: what a node of the graph is.
#[derive(Clone)]
pub enum PluginInstance {
    /// Makes classifiers.
    Architecture(Arc<dyn Architecture>),
    /// Makes generators.
    Generator(Arc<dyn GeneratorArchitecture>),
    /// Brings a trained classifier.
    Teacher(Arc<dyn TeacherSource>),
    /// Brings labelled images.
    Dataset(Arc<dyn DatasetSource>),
    /// Scores what a classifier gives.
    Loss(Arc<dyn Loss>),
    /// Updates a player on a batch.
    Turn(Arc<dyn TurnNode>),
    /// Does the work.
    Stage(Arc<dyn StageNode>),
    /// Measures.
    Metric(Arc<dyn MetricNode>),
    /// Turns gradients into updates.
    Optimizer(Arc<dyn Optimizer>),
    /// Changes the learning rate.
    Schedule(Arc<dyn Schedule>),
    /// Chooses the classes that made images are to show.
    Targets(Arc<dyn ClassTargets>),
}

/// A plugin as it was read, with its parameters, defaults included.
#[derive(Clone)]
pub struct ParsedPlugin {
    instance: PluginInstance,
    /// What stands before the plugin, for all that hold it.
    boundary: Arc<OnceLock<PluginInstance>>,
    /// It and its parameters as RON text, with the full names of all plugins: it means the same whatever other plugins there are.
    pub ron: String,
    /// The plugins among its parameters.
    pub nested: Vec<NestedPlugin>,
    /// The files and folders among its parameters.
    pub paths: Vec<PathBuf>,
}

/// A plugin that is the parameter of another.
#[derive(Clone)]
pub struct NestedPlugin {
    /// The parameter: `model`, `model.head` for one within that, or `members[1]` for the second of a list.
    pub parameter: String,
    /// What declares the plugin.
    pub registration: &'static PluginRegistration,
    /// The plugin.
    pub parsed: ParsedPlugin,
}

impl ParsedPlugin {
    /// The plugin, or what was put before it.
    pub fn instance(&self) -> &PluginInstance {
        self.boundary.get().unwrap_or(&self.instance)
    }

    /// Puts something of the same kind before the plugin, made of it, which all who hold the plugin call from now on: also the
    /// plugin that it is a parameter of. Only the first counts.
    pub fn put_before(&self, boundary: impl FnOnce(&PluginInstance) -> PluginInstance) {
        self.boundary.get_or_init(|| boundary(&self.instance));
    }

    /// The plugins among its parameters, each followed by those among its own, with the way to each as its parameter.
    pub fn all_nested(&self) -> Vec<NestedPlugin> {
        let mut all = Vec::new();
        for nested in &self.nested {
            all.push(nested.clone());
            all.extend(nested.parsed.all_nested().into_iter().map(|inner| {
                let parameter = format!("{}.{}", nested.parameter, inner.parameter);
                NestedPlugin { parameter, ..inner }
            }));
        }
        all
    }
}

/// What a plugin crate submits of one plugin; [`export!`](crate::export) writes it.
pub struct PluginRegistration {
    /// The name of its struct, by which a pipeline uses it where no other plugin has it, too: unique among the plugins of its crate.
    pub name: &'static str,
    /// Which contract it implements.
    pub kind: PluginKind,
    /// The crate it comes from.
    pub crate_name: &'static str,
    /// That crate's version.
    pub crate_version: &'static str,
    /// The doc comment of its struct.
    pub doc: fn() -> String,
    /// What it declares of its parameters, in order.
    pub parameters: fn() -> Vec<ParameterInfo>,
    /// What it declares of its inputs, in order; nothing but for turns, stages and metrics.
    pub ports: fn() -> Vec<PortInfo>,
    /// What it gives to the nodes after it; nothing for a metric, an optimizer, a schedule and class targets.
    pub output: Option<PortType>,
    /// What it reads from outside; `None` where it does not say.
    pub reads: Option<Reads>,
    /// Of an architecture: with which parameters it has weights of these names and shapes.
    pub recognize: fn(&NamedShapes) -> Option<Recognized>,
    /// Reads `Name(…)`; `None` where that reports problems.
    pub read: fn(&Value, &mut Vec<Diagnostic>) -> Option<ParsedPlugin>,
}

inventory::collect!(PluginRegistration);

macro_rules! registration {
    ($(#[$doc:meta])* $function:ident: $contract:path, $kind:ident, $ports:expr, $output:expr) => {
        registration!($(#[$doc])* $function: $contract, $kind, $ports, $output, |_| None);
    };
    ($(#[$doc:meta])* $function:ident: $contract:path, $kind:ident, $ports:expr, $output:expr, $recognize:expr) => {
        $(#[$doc])*
        pub const fn $function<T: $contract + Params + 'static>(
            crate_name: &'static str,
            crate_version: &'static str,
        ) -> Self {
            Self {
                name: T::NAME,
                kind: PluginKind::$kind,
                crate_name,
                crate_version,
                doc: T::doc,
                parameters: T::parameters,
                ports: $ports,
                output: $output,
                reads: None,
                recognize: $recognize,
                read: |value, problems| {
                    let plugin = T::read(value, problems)?;
                    let (ron, nested, paths) = (plugin.to_ron(), plugin.nested(), plugin.paths());
                    let (instance, boundary) = (PluginInstance::$kind(Arc::new(plugin)), Arc::default());
                    Some(ParsedPlugin { instance, boundary, ron, nested, paths })
                },
            }
        }
    };
}

impl PluginRegistration {
    registration!(#[doc = "Of an [`Architecture`]."] architecture: Architecture, Architecture, Vec::new, Some(PortType::Classifier), T::recognize);
    registration!(#[doc = "Of a [`GeneratorArchitecture`]."] generator: GeneratorArchitecture, Generator, Vec::new, Some(PortType::Generator));
    registration!(#[doc = "Of a [`TeacherSource`]."] teacher: TeacherSource, Teacher, Vec::new, Some(PortType::Classifier));
    registration!(#[doc = "Of a [`DatasetSource`]."] dataset: DatasetSource, Dataset, Vec::new, Some(PortType::Dataset));
    registration!(#[doc = "Of a [`Loss`]."] loss: Loss, Loss, Vec::new, Some(PortType::Loss));
    registration!(#[doc = "Of a [`TurnPlugin`]."] turn: TurnPlugin, Turn, <T as TurnPlugin>::Inputs::ports, Some(PortType::Turn));
    registration!(#[doc = "Of a [`Stage`]."] stage: Stage, Stage, <T as Stage>::Inputs::ports, Some(T::OUTPUT));
    registration!(#[doc = "Of a [`Metric`]."] metric: Metric, Metric, <T as Metric>::Inputs::ports, None);
    registration!(#[doc = "Of an [`Optimizer`]."] optimizer: Optimizer, Optimizer, Vec::new, None);
    registration!(#[doc = "Of a [`Schedule`]."] schedule: Schedule, Schedule, Vec::new, None);
    registration!(#[doc = "Of [`ClassTargets`]."] targets: ClassTargets, Targets, Vec::new, None);

    /// The name that no other plugin has: its crate's and its own, `cifar_resnets::ResNet18`.
    pub fn full_name(&self) -> String {
        full_plugin_name(self.crate_name, self.name)
    }

    /// Declares what the plugin reads from outside.
    #[must_use]
    pub const fn reading(mut self, reads: Reads) -> Self {
        self.reads = Some(reads);
        self
    }
}

/// Registers plugins: `export! { reads: none; loss: KlDivergence, CrossEntropy; metric: Accuracy }`, with the kinds
/// `architecture`, `generator`, `teacher`, `dataset`, `loss`, `turn`, `stage`, `metric`, `optimizer`, `schedule`, `targets`.
///
/// `reads` declares what all of them [read from outside](Reads): `none`, `files` or `network`. Where it is left out, a pipeline that
/// uses them for training is not called proven to be data-free, for what they read is not known.
#[macro_export]
macro_rules! export {
    (reads: $reads:ident; $($kind:ident: $($plugin:ty),+ $(,)?);+ $(;)?) => {
        $($($crate::inventory::submit! {
            $crate::PluginRegistration::$kind::<$plugin>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
                .reading($crate::__reads!($reads))
        })+)+
    };
    ($($kind:ident: $($plugin:ty),+ $(,)?);+ $(;)?) => {
        $($($crate::inventory::submit! {
            $crate::PluginRegistration::$kind::<$plugin>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        })+)+
    };
}

/// Every plugin there is, sorted by name.
pub struct Registry {
    plugins: Vec<&'static PluginRegistration>,
}

impl Registry {
    /// The plugins of this program.
    ///
    /// # Errors
    /// When two plugins share their full name: both origins are named.
    pub fn get() -> Result<&'static Self, Diagnostic> {
        static REGISTRY: OnceLock<Result<Registry, Diagnostic>> = OnceLock::new();
        REGISTRY.get_or_init(|| Self::collect(inventory::iter::<PluginRegistration>)).as_ref().map_err(Clone::clone)
    }

    fn collect(registrations: impl IntoIterator<Item = &'static PluginRegistration>) -> Result<Self, Diagnostic> {
        let mut plugins: Vec<_> = registrations.into_iter().collect();
        plugins.sort_by_cached_key(|plugin| (plugin.name, plugin.full_name(), plugin.crate_version));
        if let Some(pair) = plugins.windows(2).find(|pair| is_name_of(&pair[0].full_name(), pair[1])) {
            let message = format!(
                "two plugins are called `{}`: one from {} {}, one from {} {}",
                pair[0].full_name(),
                pair[0].crate_name,
                pair[0].crate_version,
                pair[1].crate_name,
                pair[1].crate_version
            );
            return Err(Diagnostic::global(message)
                .help("leave one of the crates out, or give it another name in its Cargo.toml"));
        }
        Ok(Self { plugins })
    }

    /// All plugins, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &'static PluginRegistration> + '_ {
        self.plugins.iter().copied()
    }

    /// The plugin of this name, short or full; nothing where there is none, or where several share the short one.
    pub fn find(&self, name: &str) -> Option<&'static PluginRegistration> {
        let mut named = self.named(name);
        let first = named.next();
        if named.next().is_some() { None } else { first }
    }

    /// All plugins of this name: several may share a short one.
    pub fn named<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'static PluginRegistration> + 'n {
        self.iter().filter(move |plugin| is_name_of(name, plugin))
    }

    /// The shortest name that means a plugin and no other: its own where it is the only one of that name, otherwise its full name.
    pub fn shortest_name(&self, plugin: &PluginRegistration) -> String {
        if self.find(plugin.name).is_some() { plugin.name.to_owned() } else { plugin.full_name() }
    }

    /// Says why a name means no plugin of these kinds: there is none, or there are several, with their full names.
    pub fn explain(&self, name: &Name, kinds: &[PluginKind]) -> Diagnostic {
        explain(name, kinds, self)
    }

    /// Reads `Name(…)` as a plugin of one of these kinds, or reports what is wrong.
    pub fn read(
        &self,
        value: &Value,
        kinds: &[PluginKind],
        problems: &mut Vec<Diagnostic>,
    ) -> Option<(&'static PluginRegistration, ParsedPlugin)> {
        let expected = kinds.iter().map(PluginKind::to_string).collect::<Vec<_>>().join(" or ");
        let expected_one = crate::with_article(&expected);
        let ValueKind::Named { name: Some(name), .. } = &value.kind else {
            problems.push(
                Diagnostic::at(value.span, format!("expected {expected_one}, found {}", value.describe()))
                    .label("expected `Name(…)`"),
            );
            return None;
        };
        let Some(plugin) = self.find(&name.text) else {
            problems.push(self.explain(name, kinds));
            return None;
        };
        if !kinds.contains(&plugin.kind) {
            let of_kind = self.iter().filter(|other| kinds.contains(&other.kind));
            let all: Vec<_> = of_kind.map(|other| self.shortest_name(other)).collect();
            problems.push(
                Diagnostic::at(
                    name.span,
                    format!("expected {expected_one}, but `{}` is of kind {}", name.text, plugin.kind),
                )
                .label(format!("expected {expected_one}"))
                .help(format!("plugins of kind {expected}: {}", all.join(", "))),
            );
            return None;
        }
        let mut parsed = (plugin.read)(value, problems)?;
        // A plugin knows no crate but its own, and writes its short name.
        parsed.ron = full_plugin_name(plugin.crate_name, &parsed.ron);
        Some((plugin, parsed))
    }
}

/// A plugin as the parameter of another: it computes as the plugin does, and remembers how it was written.
pub struct Nested<T: ?Sized> {
    plugin: Arc<T>,
    registration: &'static PluginRegistration,
    parsed: Arc<ParsedPlugin>,
}

/// A contract whose plugins can be parameters of others.
pub trait NestedContract {
    #[doc(hidden)]
    fn of(instance: &PluginInstance) -> Option<&Arc<Self>>;
}

impl<T: NestedContract + ?Sized> Nested<T> {
    /// A handle of the plugin, for what outlives the parameters.
    pub fn plugin(&self) -> Arc<T> {
        Arc::clone(self.current())
    }

    fn current(&self) -> &Arc<T> {
        T::of(self.parsed.instance()).unwrap_or(&self.plugin)
    }
}

impl<T: ?Sized> Clone for Nested<T> {
    fn clone(&self) -> Self {
        Self { plugin: Arc::clone(&self.plugin), registration: self.registration, parsed: Arc::clone(&self.parsed) }
    }
}

impl<T: NestedContract + ?Sized> std::ops::Deref for Nested<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.current()
    }
}

macro_rules! nested {
    ($($contract:ident: $kind:ident),*) => {$(
        impl NestedContract for dyn $contract {
            fn of(instance: &PluginInstance) -> Option<&Arc<Self>> {
                match instance {
                    PluginInstance::$kind(plugin) => Some(plugin),
                    _ => None,
                }
            }
        }

        impl ParameterType for Nested<dyn $contract> {
            fn kind() -> ParameterKind {
                ParameterKind::Plugin(PluginKind::$kind)
            }
            fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
                match Registry::get() {
                    Ok(registry) => {
                        let (registration, parsed) = registry.read(value, &[PluginKind::$kind], problems)?;
                        let plugin = Arc::clone(<dyn $contract>::of(&parsed.instance)?);
                        Some(Self { plugin, registration, parsed: Arc::new(parsed) })
                    }
                    Err(problem) => {
                        problems.push(Diagnostic { span: Some(value.span), ..problem });
                        None
                    }
                }
            }
            fn to_ron(&self) -> String {
                self.parsed.ron.clone()
            }
            fn paths(&self) -> Vec<PathBuf> {
                Vec::new()
            }
            fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)> {
                vec![(self.registration, &self.parsed)]
            }
        }
    )*};
}
nested!(
    Architecture: Architecture, GeneratorArchitecture: Generator, TeacherSource: Teacher, DatasetSource: Dataset,
    Loss: Loss, Optimizer: Optimizer, Schedule: Schedule, ClassTargets: Targets
);
