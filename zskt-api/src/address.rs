//! Addresses where a path is expected: files are read, and nothing is fetched.

use crate::problem::Diagnostic;

/// What repositories of Hugging Face are called by its own programs and by timm's.
const HUB_SCHEMES: [&str; 3] = ["hf://", "hf-hub:", "hf_hub:"];

/// What is wrong with a path that is an address, with the command that fetches what lies there; nothing where it is a path.
#[doc(hidden)]
pub fn fetch_first(path: &str) -> Option<Diagnostic> {
    let help = if let Some(place) = HUB_SCHEMES.iter().find_map(|scheme| path.strip_prefix(scheme)) {
        fetch_by(&from_hub(place))
    } else {
        let (scheme, place) = path.split_once("://")?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if scheme.len() < 2 || !scheme.chars().all(is_scheme) {
            return None;
        }
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => fetch_by(&from_web(scheme, place)),
            "file" => format!("give the path alone: `{}`", escaped(place)),
            _ => "fetch it, and give the path of the file".into(),
        }
    };
    Some(Diagnostic::global(format!("`{}` is an address, and zskt reads files", escaped(path))).help(help))
}

fn fetch_by((command, fetched): &(String, String)) -> String {
    format!("fetch it with `{command}`, and give `{fetched}`")
}

/// The command for an address of the web, and what it writes.
fn from_web(scheme: &str, place: &str) -> (String, String) {
    let (host, inside) = place.split_once('/').unwrap_or((place, ""));
    let bare = inside.split(['?', '#']).next().unwrap_or_default();
    let is_file = ["/blob/", "/resolve/", "/raw/"].iter().any(|part| bare.contains(part));
    let is_hub = ["huggingface.co", "hf.co"].contains(&host);
    if is_hub && !is_file && !bare.is_empty() {
        return from_hub(bare);
    }
    // What a browser shows of a file is a page about it.
    let inside = match host {
        _ if is_hub => inside.replacen("/blob/", "/resolve/", 1),
        "github.com" => inside.replacen("/blob/", "/raw/", 1),
        _ => inside.to_owned(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = bare.rsplit('/').next().unwrap_or_default().chars().filter(|c| plain(*c)).collect();
    let name = match name.trim_start_matches(['-', '.']) {
        "" => "fetched",
        name => name,
    };
    (format!("curl -L -o {name} '{scheme}://{}/{}'", escaped(host), escaped(&inside)), name.to_owned())
}

/// The command for a file or all files of a repository of Hugging Face (`org/name/file`, `datasets/org/name`), and what it writes.
fn from_hub(place: &str) -> (String, String) {
    let (kind, place) = match place.strip_prefix("datasets/") {
        Some(place) => (" --repo-type dataset", place),
        None => ("", place),
    };
    let mut parts = place.trim_end_matches('/').splitn(3, '/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    // The oldest repositories are no organization's.
    let (organization, name) = second.map_or((String::new(), first), |name| (format!("{first}/"), name));
    // `org/name@revision`, and `org/name/tree/revision` as the web has it.
    let (name, revision) = name.split_once('@').unwrap_or((name, ""));
    let inside = parts.next().unwrap_or_default();
    let (revision, inside) = match inside.strip_prefix("tree/") {
        Some(shown) => shown.split_once('/').unwrap_or((shown, "")),
        None => (revision, inside),
    };
    let revision = if revision.is_empty() { String::new() } else { format!(" --revision {}", word(revision)) };
    let repository = format!("hf download {}", word(&format!("{organization}{name}")));
    if inside.is_empty() {
        return (format!("{repository}{kind}{revision} --local-dir {}", word(name)), escaped(name));
    }
    (format!("{repository} {}{kind}{revision} --local-dir .", word(inside)), escaped(inside))
}

/// A word as a shell reads it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%@".contains(c);
    let text = escaped(text);
    if text.chars().all(plain) { text } else { format!("'{text}'") }
}

/// Without what would end a quotation or write to a terminal: an address has other names for these.
fn escaped(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"'`\"\\".contains(c);
    let escape = |c: char| c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { escape(c) }).collect()
}

#[cfg(test)]
mod tests {
    use super::fetch_first;

    #[test]
    fn what_is_fetched_is_what_was_meant() {
        for (address, expected) in [
            (
                "https://host/a/ckpt.pth?token=1&x",
                "`curl -L -o ckpt.pth 'https://host/a/ckpt.pth?token=1&x'`, and give `ckpt.pth`",
            ),
            (
                "https://huggingface.co/org/net/blob/main/model.safetensors",
                "`curl -L -o model.safetensors 'https://huggingface.co/org/net/resolve/main/model.safetensors'`",
            ),
            ("https://github.com/a/b/blob/main/n.onnx", "'https://github.com/a/b/raw/main/n.onnx'`"),
            (
                "https://huggingface.co/org/net/tree/v1",
                "`hf download org/net --revision v1 --local-dir net`, and give `net`",
            ),
            ("hf://org/net/sub/file.pt", "`hf download org/net sub/file.pt --local-dir .`, and give `sub/file.pt`"),
            ("hf://datasets/org/set@v2", "`hf download org/set --repo-type dataset --revision v2 --local-dir set`"),
            (
                "hf://datasets/cifar10",
                "`hf download cifar10 --repo-type dataset --local-dir cifar10`, and give `cifar10`",
            ),
            ("hf-hub:timm/resnet18.a1_in1k", "`hf download timm/resnet18.a1_in1k --local-dir resnet18.a1_in1k`"),
            ("https://host/'; rm -rf '", "'https://host/%27;%20rm%20-rf%20%27'`"),
            ("https://host", "`curl -L -o fetched 'https://host/'`"),
            ("file:///home/me/net.pth", "give the path alone: `/home/me/net.pth`"),
            ("s3://bucket/net.pth", "give the path of the file"),
        ] {
            let help = fetch_first(address).and_then(|problem| problem.help).unwrap_or_default();
            assert!(help.contains(expected), "{address}: {help}");
        }
        for path in ["net.pth", "C:\\net.pth", "a://b", "folder:with/colon.pth", "odd name://net.pth", ""] {
            assert_eq!(fetch_first(path), None, "{path}");
        }
    }
}
