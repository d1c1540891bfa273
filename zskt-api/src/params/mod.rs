//! Parameters: declared once with type, documentation, default and range; read from a pipeline with every problem found.

mod macros;

use std::collections::HashMap;
use std::fmt;
use std::ops::{Range, RangeFrom, RangeInclusive};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::value::{Value, ValueKind, float_to_ron};
use crate::{Diagnostic, NestedPlugin, ParsedPlugin, PluginKind, PluginRegistration, Span, fetch_first, nearest_name};

/// A type that a parameter can have.
pub trait ParameterType: Sized {
    /// What its values are.
    fn kind() -> ParameterKind;

    /// Reads a value, or reports what is wrong with it.
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self>;

    /// The value as RON text.
    fn to_ron(&self) -> String;

    /// The numbers in this value, which a declared range bounds.
    fn numbers(&self) -> Vec<f64> {
        Vec::new()
    }

    /// The plugins in this value, at its own level: what is left out is hidden from the data-free proof.
    fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)>;

    /// The files and folders in this value.
    fn paths(&self) -> Vec<PathBuf>;
}

/// What the values of a parameter are. As text it is the type that messages and documentation name: `float`, `[float; 3]`,
/// `Train | Test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Float,
    /// Text in quotes.
    Text,
    /// A file or a folder, in quotes.
    Path,
    /// One of these names.
    Choice(Vec<&'static str>),
    /// A plugin of this kind with its parameters.
    Plugin(PluginKind),
    /// Such a value, or `None`.
    Optional(Box<ParameterKind>),
    /// A list of such values, as long as the user likes.
    List(Box<ParameterKind>),
    /// This many of such values.
    Array(Box<ParameterKind>, usize),
    /// A type of a plugin's own, by the name that messages give it.
    Custom(String),
}

impl ParameterKind {
    /// Whether a text is such a value.
    pub fn is_textual(&self) -> bool {
        match self {
            Self::Text | Self::Path => true,
            Self::Optional(inner) => inner.is_textual(),
            _ => false,
        }
    }
}

impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Integer => f.write_str("integer"),
            Self::Float => f.write_str("float"),
            Self::Text => f.write_str("text"),
            Self::Path => f.write_str("path"),
            Self::Choice(names) => f.write_str(&names.join(" | ")),
            Self::Plugin(kind) => kind.fmt(f),
            Self::Optional(inner) => write!(f, "{inner} | None"),
            Self::List(element) => write!(f, "[{element}, …]"),
            Self::Array(element, count) => write!(f, "[{element}; {count}]"),
            Self::Custom(name) => f.write_str(name),
        }
    }
}

impl Serialize for ParameterKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a plugin declares of one parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParameterInfo {
    /// What a pipeline calls it.
    pub name: &'static str,
    /// What a user must know to choose a value.
    pub doc: String,
    /// What its values are; in JSON as text.
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    /// Its default as RON text; `None` where it must be given.
    pub default: Option<String>,
    /// The range its numbers must lie in; in JSON as text.
    #[serde(rename = "range")]
    pub bounds: Option<Bounds>,
    /// A number of the default that is out of this range: a fault of the plugin, and not of who leaves the parameter out.
    #[serde(skip)]
    pub outside: Option<f64>,
}

impl ParameterInfo {
    /// Of a parameter of this type; used by [`params!`](crate::params!).
    pub fn new<T: ParameterType>(name: &'static str, doc: String, default: Option<&T>, bounds: Option<Bounds>) -> Self {
        let outside =
            bounds.and_then(|bounds| default.into_iter().flat_map(T::numbers).find(|number| !bounds.accept(*number)));
        Self { name, doc, kind: T::kind(), default: default.map(T::to_ron), bounds, outside }
    }

    /// What is wrong with the declaration itself, if anything.
    pub fn fault(&self) -> Option<String> {
        let (number, bounds) = self.outside.zip(self.bounds)?;
        Some(format!("the default of `{}` is out of its own range: expected {bounds}, found {number}", self.name))
    }
}

/// The parameters of one plugin; written by [`params!`](crate::params!).
pub trait Params: Sized {
    /// The plugin's name in a pipeline.
    const NAME: &'static str;

    /// The plugin's documentation.
    fn doc() -> String;

    /// Its parameters in the order of declaration.
    fn parameters() -> Vec<ParameterInfo>;

    /// Reads `Name(field: value, …)`; every unknown, missing, mistyped or out-of-range field is reported.
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self>;

    /// Every parameter with its value, defaults included, as RON text.
    fn to_ron(&self) -> String;

    /// The plugins among its parameters, defaults included.
    fn nested(&self) -> Vec<NestedPlugin>;

    /// The files and folders among its parameters.
    fn paths(&self) -> Vec<PathBuf>;
}

/// The numbers a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    min: f64,
    max: f64,
    above_min: bool,
    below_max: bool,
}

impl Bounds {
    /// The smallest number that is accepted; `None` where there is none, for every number above the limit is.
    pub fn smallest(&self) -> Option<f64> {
        (!self.above_min).then_some(self.min)
    }

    /// Whether a number is accepted; NaN and the infinities never are.
    pub fn accept(&self, number: f64) -> bool {
        number.is_finite()
            && (if self.above_min { number > self.min } else { number >= self.min })
            && (if self.below_max { number < self.max } else { number <= self.max })
    }
}

impl Serialize for Bounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (self.min, self.max);
        match (self.above_min, max.is_finite()) {
            (true, false) => write!(f, "above {min}"),
            (false, false) => write!(f, "{min} or more"),
            (true, true) => write!(f, "above {min}, at most {max}"),
            (false, true) if self.below_max => write!(f, "from {min}, below {max}"),
            (false, true) => write!(f, "from {min} to {max}"),
        }
    }
}

/// More than `min`, for ranges that exclude their lower end.
pub fn above(min: f64) -> Bounds {
    Bounds { min, max: f64::INFINITY, above_min: true, below_max: false }
}

macro_rules! bounds_from {
    ($($number:ty),*) => {$(
        impl From<RangeInclusive<$number>> for Bounds {
            fn from(range: RangeInclusive<$number>) -> Self {
                Self { min: *range.start() as f64, max: *range.end() as f64, above_min: false, below_max: false }
            }
        }
        impl From<Range<$number>> for Bounds {
            fn from(range: Range<$number>) -> Self {
                Self { min: range.start as f64, max: range.end as f64, above_min: false, below_max: true }
            }
        }
        impl From<RangeFrom<$number>> for Bounds {
            fn from(range: RangeFrom<$number>) -> Self {
                Self { min: range.start as f64, max: f64::INFINITY, above_min: false, below_max: false }
            }
        }
    )*};
}
bounds_from!(f64, usize);

fn mismatch<T: ParameterType>(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<T> {
    let (expected, found) = (T::kind(), value.describe());
    problems.push(
        Diagnostic::at(value.span, format!("wrong type: expected {expected}, found {found}"))
            .label(format!("expected {expected}")),
    );
    None
}

impl ParameterType for bool {
    fn kind() -> ParameterKind {
        ParameterKind::Bool
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.kind {
            ValueKind::Bool(flag) => Some(flag),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        self.to_string()
    }
    crate::__neither_plugins_nor_paths!();
}

impl ParameterType for f64 {
    fn kind() -> ParameterKind {
        ParameterKind::Float
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.kind {
            ValueKind::Float(number) if !number.is_finite() => {
                let problem = Diagnostic::at(value.span, format!("expected a finite number, found {number}"));
                problems.push(problem.label("expected a finite number"));
                None
            }
            ValueKind::Float(number) => Some(number),
            ValueKind::Integer(number) => Some(number as Self),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        float_to_ron(*self)
    }
    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
    crate::__neither_plugins_nor_paths!();
}

impl ParameterType for usize {
    fn kind() -> ParameterKind {
        ParameterKind::Integer
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.kind {
            // Sizes beyond 2^53 would lose their meaning in ranges and reports.
            ValueKind::Integer(number) if (0..=1 << 53).contains(&number) => Some(number as Self),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        self.to_string()
    }
    fn numbers(&self) -> Vec<f64> {
        vec![*self as f64]
    }
    crate::__neither_plugins_nor_paths!();
}

impl ParameterType for String {
    fn kind() -> ParameterKind {
        ParameterKind::Text
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match &value.kind {
            ValueKind::Text(text) => Some(text.clone()),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        format!("{self:?}")
    }
    crate::__neither_plugins_nor_paths!();
}

impl ParameterType for PathBuf {
    fn kind() -> ParameterKind {
        ParameterKind::Path
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match &value.kind {
            ValueKind::Text(text) => {
                let Some(problem) = fetch_first(text) else { return Some(text.into()) };
                problems.push(Diagnostic { span: Some(value.span), ..problem.label("expected a path") });
                None
            }
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        format!("{:?}", self.to_string_lossy())
    }
    fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)> {
        Vec::new()
    }
    fn paths(&self) -> Vec<PathBuf> {
        vec![self.clone()]
    }
}

impl<T: ParameterType> ParameterType for Option<T> {
    fn kind() -> ParameterKind {
        ParameterKind::Optional(Box::new(T::kind()))
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match &value.kind {
            ValueKind::Named { name: Some(name), fields, items } if fields.is_empty() => {
                match (name.text.as_str(), &items[..]) {
                    ("None", []) => Some(None),
                    ("Some", [inner]) => T::read(inner, problems).map(Some),
                    _ => T::read(value, problems).map(Some),
                }
            }
            _ => T::read(value, problems).map(Some),
        }
    }
    fn to_ron(&self) -> String {
        self.as_ref().map_or_else(|| "None".into(), T::to_ron)
    }
    fn numbers(&self) -> Vec<f64> {
        self.as_ref().map(T::numbers).unwrap_or_default()
    }
    fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)> {
        self.as_ref().map(T::plugins).unwrap_or_default()
    }
    fn paths(&self) -> Vec<PathBuf> {
        self.as_ref().map(T::paths).unwrap_or_default()
    }
}

impl<T: ParameterType> ParameterType for Vec<T> {
    fn kind() -> ParameterKind {
        ParameterKind::List(Box::new(T::kind()))
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        let ValueKind::List(items) = &value.kind else { return mismatch(value, problems) };
        let read: Vec<_> = items.iter().map(|item| T::read(item, problems)).collect();
        read.into_iter().collect()
    }
    fn to_ron(&self) -> String {
        format!("[{}]", self.iter().map(T::to_ron).collect::<Vec<_>>().join(", "))
    }
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(T::numbers).collect()
    }
    fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)> {
        self.iter().flat_map(T::plugins).collect()
    }
    fn paths(&self) -> Vec<PathBuf> {
        self.iter().flat_map(T::paths).collect()
    }
}

impl<T: ParameterType, const N: usize> ParameterType for [T; N] {
    fn kind() -> ParameterKind {
        ParameterKind::Array(Box::new(T::kind()), N)
    }
    fn read(value: &Value, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        match &value.kind {
            ValueKind::List(items) if items.len() == N => Vec::read(value, problems)?.try_into().ok(),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        format!("[{}]", self.iter().map(T::to_ron).collect::<Vec<_>>().join(", "))
    }
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(T::numbers).collect()
    }
    fn plugins(&self) -> Vec<(&'static PluginRegistration, &ParsedPlugin)> {
        self.iter().flat_map(T::plugins).collect()
    }
    fn paths(&self) -> Vec<PathBuf> {
        self.iter().flat_map(T::paths).collect()
    }
}

/// Reads one of a closed set of names; used by [`choice!`](crate::choice).
pub fn read_choice<T: ParameterType>(
    value: &Value,
    choices: Vec<(&'static str, T)>,
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    let ValueKind::Named { name: Some(found), fields, items } = &value.kind else { return mismatch(value, problems) };
    if !fields.is_empty() || !items.is_empty() {
        return mismatch(value, problems);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    if let Some((_, choice)) = choices.into_iter().find(|(name, _)| *name == found.text) {
        return Some(choice);
    }
    let mut problem = Diagnostic::at(value.span, format!("expected {}, found `{}`", T::kind(), found.text))
        .label(format!("expected {}", T::kind()));
    if let Some(near) = nearest_name(&found.text, names) {
        problem = problem.help(format!("did you mean `{near}`?"));
    }
    problems.push(problem);
    None
}

/// Reports every way in which the fields of `Name(…)` differ from the declared parameters, except for their values, and defaults that
/// their own ranges refuse.
pub fn check_fields(plugin: &str, value: &Value, parameters: &[ParameterInfo], problems: &mut Vec<Diagnostic>) {
    let ValueKind::Named { fields, items, .. } = &value.kind else {
        problems.push(Diagnostic::at(value.span, format!("expected `{plugin}(…)`, found {}", value.describe())));
        return;
    };
    for item in items {
        problems.push(
            Diagnostic::at(item.span, format!("`{plugin}` takes its parameters by name"))
                .label("expected `name: value`")
                .help(usage(plugin, parameters)),
        );
    }
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for (name, _) in fields {
        let first = *seen.entry(&name.text).or_insert(name.span);
        if first != name.span {
            problems.push(
                Diagnostic::at(name.span, format!("parameter `{}` of `{plugin}` is given twice", name.text))
                    .related(first, "first given here"),
            );
        }
        if !parameters.iter().any(|parameter| parameter.name == name.text) {
            let near = nearest_name(&name.text, parameters.iter().map(|parameter| parameter.name));
            problems.push(
                Diagnostic::at(name.span, format!("`{plugin}` has no parameter `{}`", name.text))
                    .label(near.map_or("unknown parameter".into(), |near| format!("did you mean `{near}`?")))
                    .help(usage(plugin, parameters)),
            );
        }
    }
    let is_given = |parameter: &ParameterInfo| fields.iter().any(|(name, _)| name.text == parameter.name);
    for parameter in parameters.iter().filter(|parameter| !is_given(parameter)) {
        if let Some(fault) = parameter.fault() {
            let problem = Diagnostic::at(value.span, format!("`{plugin}`: {fault}"));
            let help = format!("give `{}` a value here; its author mends the default", parameter.name);
            problems.push(problem.label(format!("`{}` is not set; default used", parameter.name)).help(help));
        }
    }
    for parameter in parameters.iter().filter(|parameter| parameter.default.is_none()) {
        if items.is_empty() && !is_given(parameter) {
            problems.push(
                Diagnostic::at(value.span, format!("`{plugin}` needs the parameter `{}`", parameter.name))
                    .label(format!("missing `{}: {}`", parameter.name, parameter.kind))
                    .help(parameter.doc.clone()),
            );
        }
    }
}

fn usage(plugin: &str, parameters: &[ParameterInfo]) -> String {
    if parameters.is_empty() {
        return format!("`{plugin}` takes no parameters");
    }
    let names: Vec<_> = parameters.iter().map(|parameter| parameter.name).collect();
    format!("`{plugin}` takes: {}", names.join(", "))
}

/// Reads one declared field of `Name(…)`: `Err` when it is there and wrong, `Ok(None)` when it is not there.
#[expect(clippy::result_unit_err, reason = "what is wrong is in `problems`")]
pub fn read_field<T: ParameterType>(
    value: &Value,
    field: &str,
    bounds: Option<Bounds>,
    problems: &mut Vec<Diagnostic>,
) -> Result<Option<T>, ()> {
    let ValueKind::Named { fields, .. } = &value.kind else { return Err(()) };
    let Some((_, value)) = fields.iter().find(|(name, _)| name.text == field) else { return Ok(None) };
    let read = T::read(value, problems).ok_or(())?;
    if let Some(bounds) = bounds
        && let Some(number) = read.numbers().into_iter().find(|number| !bounds.accept(*number))
    {
        let problem =
            Diagnostic::at(value.span, format!("`{field}` is out of range: expected {bounds}, found {number}"))
                .label(format!("expected {bounds}"));
        let is_of_pixels = matches!(field, "mean" | "std") && bounds.max <= 1.0 && number > 1.0;
        problems.push(if is_of_pixels {
            problem.help("if it is of pixels from 0 to 255, divide it by 255")
        } else {
            problem
        });
        return Err(());
    }
    Ok(Some(read))
}

/// Adds the plugins that a parameter's value has in it; used by [`params!`](crate::params!). Those of a list are told apart by their
/// places: `members[0]`.
pub fn add_nested<T: ParameterType>(parameter: &str, value: &T, nested: &mut Vec<NestedPlugin>) {
    let is_list = matches!(T::kind(), ParameterKind::List(_) | ParameterKind::Array(..));
    let plugins = value.plugins().into_iter().enumerate();
    nested.extend(plugins.map(|(place, (registration, parsed))| NestedPlugin {
        parameter: if is_list { format!("{parameter}[{place}]") } else { parameter.to_owned() },
        registration,
        parsed: parsed.clone(),
    }));
}

/// Joins the lines of a doc comment.
pub fn join_doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Params, above};
    use crate::{Name, Span, Value, ValueKind};

    crate::params! {
        /// A default that its own range refuses.
        pub struct Faulty {
            /// A factor.
            pub weight: f64 = -1.0 => 0.0..,
            /// Two more.
            pub others: [f64; 2] = [0.5, 1.0] => 0.0..=1.0,
        }
    }

    #[test]
    fn a_default_out_of_its_own_range_is_told_where_it_is_used() {
        let span = Span::default();
        let read = |fields| {
            let (mut problems, name) = (Vec::new(), Some(Name { text: "Faulty".into(), span }));
            let kind = ValueKind::Named { name, fields, items: Vec::new() };
            let read = Faulty::read(&Value { kind, span }, &mut problems);
            (read.is_some(), problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>())
        };
        let said = "`Faulty`: the default of `weight` is out of its own range: expected 0 or more, found -1";
        assert_eq!(read(Vec::new()), (false, vec![said.into()]));
        let one = Value { kind: ValueKind::Float(1.0), span };
        let weight = Name { text: "weight".into(), span };
        assert_eq!(read(vec![(weight, one)]), (true, Vec::new()));
    }

    #[test]
    fn a_range_without_its_end_takes_all_below_it() {
        let bounds = Bounds::from(0.0..1.0);
        assert!(bounds.accept(0.0) && bounds.accept(1.0_f64.next_down()) && !bounds.accept(1.0));
        let texts = [bounds, (0.0..=1.0).into(), (1..).into(), above(0.0)].map(|bounds: Bounds| bounds.to_string());
        assert_eq!(texts, ["from 0, below 1", "from 0 to 1", "1 or more", "above 0"]);
    }
}
