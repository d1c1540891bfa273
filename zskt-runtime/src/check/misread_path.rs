//! Paths that are not what was written: `~` stays as it is, and `\t` in a path of Windows is a tab.

use std::path::Path;

use zskt_api::{CheckError, Value, ValueKind};

use crate::home_folder;
use crate::pipeline::WRITE_PATHS;

/// Says so, where that is likely what is wrong with a parameter, and keeps control characters out of the message.
pub fn explain(value: &Value, fault: &mut CheckError) {
    let ValueKind::Text(text) = &value.kind else { return };
    if text.contains(char::is_control) {
        let escapes = [('\t', "a tab"), ('\n', "a line feed"), ('\r', "a carriage return"), ('\0', "a NUL")];
        let read = escapes.iter().filter(|(escape, _)| text.contains(*escape));
        let read: Vec<_> =
            read.map(|(escape, name)| format!("`{}` was read as {name}", escape.escape_default())).collect();
        fault.message = fault.message.replace(text, &text.escape_debug().to_string());
        fault.help = Some(format!("{}: {WRITE_PATHS}", read.join(", ")));
    } else if let Some(hint) = home_folder::hint(Path::new(text)) {
        fault.help = Some(hint);
    }
}
