//! Where an index is: a folder, or an https address, that the user names.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use zskt_api::Diagnostic;

use crate::{home_folder, input_file, text_format};

/// Names the index where the command line does not.
pub const VARIABLE: &str = "ZSKT_PLUGIN_INDEX";

/// The file of an index.
pub const FILE: &str = "index.json";

/// How long nothing may come before a connection counts as broken.
const IDLE: Duration = Duration::from_secs(60);

/// A folder or an address that an index and its packages are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexPlace {
    /// A folder.
    Folder(PathBuf),
    /// An address that ends with `/`.
    Address(String),
}

impl IndexPlace {
    /// The place that the command line names, or else the environment; there is no other.
    ///
    /// # Errors
    /// When neither does, or it cannot be the place of an index.
    pub fn named(given: Option<&str>) -> Result<Self, Diagnostic> {
        let of_environment = env::var(VARIABLE).ok().filter(|place| !place.is_empty());
        match given.map(ToOwned::to_owned).or(of_environment) {
            Some(place) => Self::parse(&place),
            None => Err(Diagnostic::global("no index of packages is named").help(format!(
                "--index FOLDER or --index https://…, or the same in {VARIABLE}; a package's file is added without one: `zskt-run plugin add \
                 FILE.zskt`"
            ))),
        }
    }

    fn parse(place: &str) -> Result<Self, Diagnostic> {
        let place = place.strip_suffix(FILE).filter(|rest| rest.is_empty() || rest.ends_with('/')).unwrap_or(place);
        if !place.contains("://") {
            return Ok(Self::Folder(if place.is_empty() { ".".into() } else { place.into() }));
        }
        let wrong = |why: &str| Diagnostic::global(format!("`{}` {why}", text_format::one_line(place)));
        let address: Uri = place.parse().map_err(|_| wrong("is not an address"))?;
        if address.query().is_some() || place.contains('#') {
            return Err(
                wrong("is not the address of a folder").help("an index is an address that files' names are put after")
            );
        }
        if address.scheme_str() != Some("https") && !is_this_machine(&address) {
            return Err(wrong("is not an https address").help("what comes by another could be changed on its way"));
        }
        Ok(Self::Address(format!("{}/", place.trim_end_matches('/'))))
    }

    /// Opens a file of the index.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(&self, name: &str) -> Result<Box<dyn Read>, Diagnostic> {
        let shown = self.shown(name);
        let unreadable = |reason: String| Diagnostic::global(format!("cannot read {shown}: {reason}"));
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let opened: io::Result<(File, u64)> = input_file::open(&path);
                let (file, _) = opened.map_err(|error| Diagnostic {
                    help: home_folder::hint(&path),
                    ..unreadable(text_format::reason(&error))
                })?;
                Ok(Box::new(file))
            }
            Self::Address(address) => {
                let is_https = |scheme: &str| scheme.eq_ignore_ascii_case("https");
                let https_only = address.split_once("://").is_some_and(|(scheme, _)| is_https(scheme));
                let config = Agent::config_builder()
                    .https_only(https_only)
                    .timeout_connect(Some(Duration::from_secs(30)))
                    .timeout_recv_response(Some(IDLE))
                    .timeout_per_read(Some(IDLE));
                let agent = Agent::new_with_config(config.build());
                let response =
                    agent.get(&shown).call().map_err(|error| unreadable(text_format::one_line(&error.to_string())))?;
                Ok(Box::new(response.into_body().into_reader()))
            }
        }
    }

    /// A file of the index, for messages.
    pub fn shown(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Address(address) => format!("{address}{name}"),
        }
    }
}

/// Whether an address leads to no other machine, on the way to which something could be changed.
fn is_this_machine(address: &Uri) -> bool {
    address.scheme_str() == Some("http") && matches!(address.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::IndexPlace;

    #[test]
    fn an_index_is_a_folder_or_an_address_that_nobody_can_change_on_its_way() {
        let parse = |place: &str| IndexPlace::parse(place).map_err(|problem| problem.message);
        assert_eq!(parse("plugins/index.json"), Ok(IndexPlace::Folder("plugins/".into())));
        assert_eq!(parse("index.json"), Ok(IndexPlace::Folder(".".into())));
        let address = Ok(IndexPlace::Address("https://example.org/zskt/".into()));
        for same in ["https://example.org/zskt", "https://example.org/zskt/", "https://example.org/zskt/index.json"] {
            assert_eq!(parse(same), address);
        }
        assert!(parse("http://127.0.0.1:8000/x").is_ok());
        for wrong in
            ["http://example.org/", "file:///etc", "ftp://localhost/", "http://localhost.example.org/", "https://a/?b="]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
