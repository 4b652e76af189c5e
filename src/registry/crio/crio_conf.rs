//! What `crio.conf` and `crio.conf.d/` say about pulls; everything else is passed over.

use serde::Deserialize;

/// The settings that count here; a later file takes the place of an earlier one, key by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CrioConf {
    /// `enforcing` or `disabled`.
    pub(super) short_name_mode: Option<String>,
    /// Where the node's own credentials are.
    pub(super) global_auth_file: Option<String>,
    /// The folder of those that are for one namespace.
    pub(super) namespaced_auth_dir: Option<String>,
    /// The node's `policy.json`.
    pub(super) signature_policy: Option<String>,
    /// The folder of those that are for one namespace.
    pub(super) signature_policy_dir: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    crio: Crio,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Crio {
    image: Image,
}

/// `[crio.image]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Image {
    short_name_mode: Option<String>,
    global_auth_file: Option<String>,
    namespaced_auth_dir: Option<String>,
    signature_policy: Option<String>,
    signature_policy_dir: Option<String>,
}

/// Line and column behind a text.
fn place(before: &str) -> (usize, usize) {
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

impl CrioConf {
    /// Reads one file. The error begins with line and column.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let (line, column) = place(before);
            format!("{line}:{column}: {}", error.message())
        })?;
        let image = file.crio.image;
        for (kept, read) in [
            (&mut self.short_name_mode, image.short_name_mode),
            (&mut self.global_auth_file, image.global_auth_file),
            (&mut self.namespaced_auth_dir, image.namespaced_auth_dir),
            (&mut self.signature_policy, image.signature_policy),
            (&mut self.signature_policy_dir, image.signature_policy_dir),
        ] {
            if read.is_some() {
                *kept = read;
            }
        }
        match self.short_name_mode.as_deref() {
            None | Some("" | "enforcing" | "disabled") => Ok(()),
            Some(other) => {
                let before = text.find("short_name_mode").and_then(|at| text.get(..at)).unwrap_or_default();
                let (line, column) = place(before);
                Err(format!(
                    "{line}:{column}: short_name_mode {other:?} is neither \"enforcing\" nor \"disabled\""
                ))
            }
        }
    }
}
