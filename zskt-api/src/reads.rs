//! What a plugin reads from outside, as it declares it: the data-free proof names it.

use std::fmt;

/// What a plugin reads from outside of the run, itself and by what it calls: anything but its parameters, its inputs, the
/// plugins among its parameters, and the run's random streams. [`export!`](crate::export) declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// Nothing.
    None,
    /// Files of this machine.
    Files,
    /// Other machines, and perhaps files.
    Network,
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing",
            Self::Files => "files",
            Self::Network => "the network, and files",
        })
    }
}

/// The value that a word of `export!` stands for.
#[doc(hidden)]
#[macro_export]
macro_rules! __reads {
    (none) => {
        $crate::Reads::None
    };
    (files) => {
        $crate::Reads::Files
    };
    (network) => {
        $crate::Reads::Network
    };
}
