//! The forms of `index.json` and `manifest.json`. What is added to a form is ignored by those who do not know it; what would be misread without
//! being known makes another form, which older programs refuse.

use serde::Deserialize;
use zskt_api::Diagnostic;

/// The form that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// Checks that a file is of a form that is read, before anything else of it is looked at: a newer one may have anything else.
///
/// # Errors
/// When it is of a form that is not read, or says none.
pub fn check(json: &[u8]) -> Result<(), Diagnostic> {
    #[derive(Deserialize)]
    struct Form {
        format: u64,
    }
    let Form { format } = serde_json::from_slice(json)
        .map_err(|error| Diagnostic::global(format!("it does not say its form ({error})")))?;
    match format {
        0 => Err(Diagnostic::global("it is of form 0, which there is not")),
        _ if format <= u64::from(FORMAT) => Ok(()),
        _ => {
            let problem =
                Diagnostic::global(format!("it is of form {format}, and this zskt-run reads forms to {FORMAT}"));
            Err(problem.help("a newer zskt-run reads it"))
        }
    }
}
