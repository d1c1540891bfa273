//! The macros that declare parameters and their types.

/// Declares a plugin's parameters: one struct with documentation, defaults (`= …`) and ranges (`=> …`): `a..=b`, `a..b` without b,
/// `a..`, and `above(a)`.
///
/// ```
/// zskt_api::params! {
///     /// Kullback–Leibler divergence of the student's belief from the teacher's.
///     pub struct Example {
///         /// Softmax temperature: above 1 smooths both beliefs.
///         pub temperature: f64 = 1.0 => zskt_api::above(0.0),
///         /// Layers, all told.
///         pub depth: usize => 1..=1000,
///         /// How much of the last step is kept.
///         pub momentum: f64 = 0.0 => 0.0..1.0,
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
                    $crate::ParameterInfo::new::<$type>(
                        stringify!($field),
                        $crate::params::join_doc(&[$($field_doc),*]),
                        {
                            #[allow(unused_mut, unused_assignments, clippy::allow_attributes)]
                            let mut default: Option<$type> = None;
                            $( default = Some($default); )?
                            default
                        }
                        .as_ref(),
                        $crate::__bounds!($($range)?),
                    )
                ),*]
            }

            #[allow(unused_variables, clippy::allow_attributes)]
            fn read(value: &$crate::Value, problems: &mut Vec<$crate::Diagnostic>) -> Option<Self> {
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

            fn nested(&self) -> Vec<$crate::NestedPlugin> {
                #[allow(unused_mut, clippy::allow_attributes)]
                let mut nested = Vec::new();
                $( $crate::params::add_nested(stringify!($field), &self.$field, &mut nested); )*
                nested
            }

            fn paths(&self) -> Vec<std::path::PathBuf> {
                #[allow(unused_mut, clippy::allow_attributes)]
                let mut paths = Vec::new();
                $( paths.extend($crate::ParameterType::paths(&self.$field)); )*
                paths
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
            fn kind() -> $crate::ParameterKind {
                $crate::ParameterKind::Choice(vec![$(stringify!($variant)),*])
            }
            fn read(value: &$crate::Value, problems: &mut Vec<$crate::Diagnostic>) -> Option<Self> {
                $crate::params::read_choice(value, vec![$((stringify!($variant), Self::$variant)),*], problems)
            }
            $crate::__neither_plugins_nor_paths!();
            fn to_ron(&self) -> String {
                match self { $( Self::$variant => stringify!($variant).into(), )* }
            }
        }
    };
}

/// Of a type whose values hold neither plugins nor paths.
#[doc(hidden)]
#[macro_export]
macro_rules! __neither_plugins_nor_paths {
    () => {
        fn plugins(&self) -> Vec<(&'static $crate::PluginRegistration, &$crate::ParsedPlugin)> {
            Vec::new()
        }
        fn paths(&self) -> Vec<std::path::PathBuf> {
            Vec::new()
        }
    };
}
