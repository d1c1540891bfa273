//! Parameters: declared once with type, documentation, default and range; read from a pipeline with every problem found.

use std::ops::{RangeFrom, RangeInclusive};
use std::path::PathBuf;

use crate::value::{Form, Value, float_to_ron};
use crate::{Problem, nearest};

/// A type that a parameter can have.
pub trait Parameter: Sized {
    /// The type, as documentation names it: `float`, `Train | Test`.
    fn type_name() -> String;

    /// Reads a value, or reports what is wrong with it.
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self>;

    /// The value as RON text.
    fn to_ron(&self) -> String;

    /// The numbers in this value, which a declared range bounds.
    fn numbers(&self) -> Vec<f64> {
        Vec::new()
    }
}

/// What a plugin declares of one parameter.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ParameterInfo {
    /// Its name in a pipeline.
    pub name: &'static str,
    /// Its documentation.
    pub doc: String,
    /// Its type, as documentation names it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its default as RON text; `None` where it must be given.
    pub default: Option<String>,
    /// The range its numbers must lie in, as text.
    pub range: Option<String>,
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
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self>;

    /// Every parameter with its value, defaults included, as RON text.
    fn to_ron(&self) -> String;
}

/// The numbers a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    min: f64,
    max: f64,
    above_min: bool,
}

impl Bounds {
    /// Whether a number is accepted; NaN and the infinities never are.
    pub fn accept(&self, number: f64) -> bool {
        number.is_finite()
            && (if self.above_min { number > self.min } else { number >= self.min })
            && number <= self.max
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (min, max) = (self.min, self.max);
        match (self.above_min, max.is_finite()) {
            (true, false) => write!(f, "above {min}"),
            (true, true) => write!(f, "above {min}, at most {max}"),
            (false, false) => write!(f, "{min} or more"),
            (false, true) => write!(f, "from {min} to {max}"),
        }
    }
}

/// More than `min`, for ranges that exclude their lower end.
pub fn above(min: f64) -> Bounds {
    Bounds { min, max: f64::INFINITY, above_min: true }
}

macro_rules! bounds_from {
    ($($number:ty),*) => {$(
        impl From<RangeInclusive<$number>> for Bounds {
            fn from(range: RangeInclusive<$number>) -> Self {
                Self { min: *range.start() as f64, max: *range.end() as f64, above_min: false }
            }
        }
        impl From<RangeFrom<$number>> for Bounds {
            fn from(range: RangeFrom<$number>) -> Self {
                Self { min: range.start as f64, max: f64::INFINITY, above_min: false }
            }
        }
    )*};
}
bounds_from!(f64, usize);

fn mismatch<T: Parameter>(value: &Value, problems: &mut Vec<Problem>) -> Option<T> {
    let (expected, found) = (T::type_name(), value.describe());
    problems.push(
        Problem::at(value.span, format!("wrong type: expected {expected}, found {found}"))
            .label(format!("expected {expected}")),
    );
    None
}

impl Parameter for bool {
    fn type_name() -> String {
        "bool".into()
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match value.form {
            Form::Bool(flag) => Some(flag),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        self.to_string()
    }
}

impl Parameter for f64 {
    fn type_name() -> String {
        "float".into()
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match value.form {
            Form::Float(number) if !number.is_finite() => {
                let problem = Problem::at(value.span, format!("expected a finite number, found {number}"));
                problems.push(problem.label("expected a finite number"));
                None
            }
            Form::Float(number) => Some(number),
            Form::Integer(number) => Some(number as Self),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        float_to_ron(*self)
    }
    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
}

impl Parameter for usize {
    fn type_name() -> String {
        "integer".into()
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match value.form {
            // Sizes beyond 2^53 would lose their meaning in ranges and reports.
            Form::Integer(number) if (0..=1 << 53).contains(&number) => Some(number as Self),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        self.to_string()
    }
    fn numbers(&self) -> Vec<f64> {
        vec![*self as f64]
    }
}

impl Parameter for String {
    fn type_name() -> String {
        "text".into()
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match &value.form {
            Form::Text(text) => Some(text.clone()),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        format!("{self:?}")
    }
}

impl Parameter for PathBuf {
    fn type_name() -> String {
        "path".into()
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match &value.form {
            Form::Text(text) => Some(text.into()),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        format!("{:?}", self.to_string_lossy())
    }
}

impl<T: Parameter> Parameter for Option<T> {
    fn type_name() -> String {
        format!("{} | None", T::type_name())
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match &value.form {
            Form::Named { name: Some(name), fields, items } if fields.is_empty() => {
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
}

impl<T: Parameter> Parameter for Vec<T> {
    fn type_name() -> String {
        format!("[{}, …]", T::type_name())
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        let Form::List(items) = &value.form else { return mismatch(value, problems) };
        let read: Vec<_> = items.iter().map(|item| T::read(item, problems)).collect();
        read.into_iter().collect()
    }
    fn to_ron(&self) -> String {
        format!("[{}]", self.iter().map(T::to_ron).collect::<Vec<_>>().join(", "))
    }
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(T::numbers).collect()
    }
}

impl<T: Parameter, const N: usize> Parameter for [T; N] {
    fn type_name() -> String {
        format!("[{}; {N}]", T::type_name())
    }
    fn read(value: &Value, problems: &mut Vec<Problem>) -> Option<Self> {
        match &value.form {
            Form::List(items) if items.len() == N => Vec::read(value, problems)?.try_into().ok(),
            _ => mismatch(value, problems),
        }
    }
    fn to_ron(&self) -> String {
        format!("[{}]", self.iter().map(T::to_ron).collect::<Vec<_>>().join(", "))
    }
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(T::numbers).collect()
    }
}

/// Reads one of a closed set of names; used by [`choice!`](crate::choice).
pub fn read_choice<T: Parameter>(
    value: &Value,
    choices: Vec<(&'static str, T)>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let Form::Named { name: Some(found), fields, items } = &value.form else { return mismatch(value, problems) };
    if !fields.is_empty() || !items.is_empty() {
        return mismatch(value, problems);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    if let Some((_, choice)) = choices.into_iter().find(|(name, _)| *name == found.text) {
        return Some(choice);
    }
    let mut problem = Problem::at(value.span, format!("expected {}, found `{}`", T::type_name(), found.text))
        .label(format!("expected {}", T::type_name()));
    if let Some(near) = nearest(&found.text, names) {
        problem = problem.help(format!("did you mean `{near}`?"));
    }
    problems.push(problem);
    None
}

/// Reports every way in which the fields of `Name(…)` differ from the declared parameters, except for their values.
pub fn check_fields(plugin: &str, value: &Value, parameters: &[ParameterInfo], problems: &mut Vec<Problem>) {
    let Form::Named { fields, items, .. } = &value.form else {
        problems.push(Problem::at(value.span, format!("expected `{plugin}(…)`, found {}", value.describe())));
        return;
    };
    for item in items {
        problems.push(
            Problem::at(item.span, format!("`{plugin}` takes its parameters by name"))
                .label("expected `name: value`")
                .help(usage(plugin, parameters)),
        );
    }
    for (index, (name, _)) in fields.iter().enumerate() {
        if let Some((first, _)) = fields[..index].iter().find(|(earlier, _)| earlier.text == name.text) {
            problems.push(
                Problem::at(name.span, format!("parameter `{}` of `{plugin}` is given twice", name.text))
                    .related(first.span, "first given here"),
            );
        }
        if !parameters.iter().any(|parameter| parameter.name == name.text) {
            let near = nearest(&name.text, parameters.iter().map(|parameter| parameter.name));
            problems.push(
                Problem::at(name.span, format!("`{plugin}` has no parameter `{}`", name.text))
                    .label(near.map_or("unknown parameter".into(), |near| format!("did you mean `{near}`?")))
                    .help(usage(plugin, parameters)),
            );
        }
    }
    for parameter in parameters.iter().filter(|parameter| parameter.default.is_none()) {
        if items.is_empty() && !fields.iter().any(|(name, _)| name.text == parameter.name) {
            problems.push(
                Problem::at(value.span, format!("`{plugin}` needs the parameter `{}`", parameter.name))
                    .label(format!("missing `{}: {}`", parameter.name, parameter.type_name))
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
pub fn read_field<T: Parameter>(
    value: &Value,
    field: &str,
    bounds: Option<Bounds>,
    problems: &mut Vec<Problem>,
) -> Result<Option<T>, ()> {
    let Form::Named { fields, .. } = &value.form else { return Err(()) };
    let Some((_, value)) = fields.iter().find(|(name, _)| name.text == field) else { return Ok(None) };
    let read = T::read(value, problems).ok_or(())?;
    if let Some(bounds) = bounds
        && let Some(number) = read.numbers().into_iter().find(|number| !bounds.accept(*number))
    {
        problems.push(
            Problem::at(value.span, format!("`{field}` is out of range: expected {bounds}, found {number}"))
                .label(format!("expected {bounds}")),
        );
        return Err(());
    }
    Ok(Some(read))
}

/// Joins the lines of a doc comment.
pub fn join_doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Declares a plugin's parameters: one struct with documentation, defaults (`= …`) and ranges (`=> …`).
///
/// ```
/// zskt_api::params! {
///     /// Kullback–Leibler divergence of the student's belief from the teacher's.
///     pub struct Example {
///         /// Softmax temperature: above 1 smooths both beliefs.
///         pub temperature: f64 = 1.0 => zskt_api::above(0.0),
///         /// Layers, all told.
///         pub depth: usize => 1..=1000,
///     }
/// }
/// ```
#[macro_export]
macro_rules! params {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                pub $field:ident : $type:ty $(= $default:expr)? $(=> $range:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl $crate::Params for $name {
            const NAME: &'static str = stringify!($name);

            fn doc() -> String {
                $crate::params::join_doc(&[$($doc),*])
            }

            fn parameters() -> Vec<$crate::ParameterInfo> {
                vec![$(
                    $crate::ParameterInfo {
                        name: stringify!($field),
                        doc: $crate::params::join_doc(&[$($field_doc),*]),
                        type_name: <$type as $crate::ParameterType>::type_name(),
                        default: {
                            #[allow(unused_mut, unused_assignments, clippy::allow_attributes)]
                            let mut default: Option<$type> = None;
                            $( default = Some($default); )?
                            default.map(|default| $crate::ParameterType::to_ron(&default))
                        },
                        range: $crate::__bounds!($($range)?).map(|bounds| bounds.to_string()),
                    }
                ),*]
            }

            #[allow(unused_variables, clippy::allow_attributes)]
            fn read(value: &$crate::Value, problems: &mut Vec<$crate::Problem>) -> Option<Self> {
                let before = problems.len();
                $crate::params::check_fields(stringify!($name), value, &<Self as $crate::Params>::parameters(), problems);
                $(
                    let $field = match $crate::params::read_field::<$type>(
                        value, stringify!($field), $crate::__bounds!($($range)?), problems,
                    ) {
                        Ok(Some(read)) => Some(read),
                        Ok(None) => {
                            #[allow(unused_mut, unused_assignments, clippy::allow_attributes)]
                            let mut default: Option<$type> = None;
                            $( default = Some($default); )?
                            default
                        }
                        Err(()) => None,
                    };
                )*
                if problems.len() > before {
                    return None;
                }
                Some(Self { $( $field: $field?, )* })
            }

            fn to_ron(&self) -> String {
                let fields: Vec<String> = vec![$(
                    format!("{}: {}", stringify!($field), $crate::ParameterType::to_ron(&self.$field))
                ),*];
                format!("{}({})", stringify!($name), fields.join(", "))
            }
        }
    };
}

/// The declared range of a parameter, if any.
#[doc(hidden)]
#[macro_export]
macro_rules! __bounds {
    () => {
        None::<$crate::Bounds>
    };
    ($range:expr) => {
        Some($crate::Bounds::from($range))
    };
}

/// Declares a parameter type that is one of a few names.
///
/// ```
/// zskt_api::choice! {
///     /// Which part of a dataset.
///     pub enum Part {
///         /// Images to learn from.
///         Train,
///         /// Images to measure on.
///         Test,
///     }
/// }
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $( $(#[doc = $variant_doc:literal])* $variant:ident ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $variant_doc])* $variant, )* }

        impl $crate::ParameterType for $name {
            fn type_name() -> String {
                [$(stringify!($variant)),*].join(" | ")
            }
            fn read(value: &$crate::Value, problems: &mut Vec<$crate::Problem>) -> Option<Self> {
                $crate::params::read_choice(value, vec![$((stringify!($variant), Self::$variant)),*], problems)
            }
            fn to_ron(&self) -> String {
                match self { $( Self::$variant => stringify!($variant).into(), )* }
            }
        }
    };
}
