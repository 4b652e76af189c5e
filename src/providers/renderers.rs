//! Helm and kustomize, for `check --render` and `check -k`. They run on the user's machine, and only because the user asked for it. Their
//! input may be a stranger's, so they run without other programs, without configuration and without a network.

use super::run::{Bounds, Ended, run};
use crate::credentials::helper::Exit;
use crate::limits;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Bytes of their standard error that are kept: the last line says why they failed.
const COMPLAINTS: u64 = 64 << 10;
/// The Kubernetes version that charts are rendered for.
const KUBERNETES: &str = "1.34.0";
/// Nobody listens here: a tool that tries to fetch something is refused at once.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A program that renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renderer {
    /// `helm`.
    Helm(PathBuf),
    /// `kustomize`.
    Kustomize(PathBuf),
    /// `kubectl`, with its built-in kustomize.
    Kubectl(PathBuf),
}

/// Why nothing was rendered; a clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrendered(pub String);

impl Renderer {
    /// Helm, if it is in PATH.
    pub fn helm() -> Option<Self> {
        in_path("helm").map(Self::Helm)
    }

    /// kustomize, or kubectl, if one is in PATH.
    pub fn kustomize() -> Option<Self> {
        in_path("kustomize")
            .map(Self::Kustomize)
            .or_else(|| in_path("kubectl").map(Self::Kubectl))
    }

    /// Renders the chart in a folder as this release, with further arguments (values, namespace). `home` is a folder of its own.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn chart(&self, release: &str, chart: &Path, arguments: Vec<OsString>, home: &Path) -> Result<String, Unrendered> {
        // Helm's default is the version that it was built with, and a very old one if it was built by `go install`.
        let mut all: Vec<OsString> = vec!["template".into(), "--kube-version".into(), KUBERNETES.into()];
        all.extend(arguments);
        all.extend(["--".into(), release.into(), chart.into()]);
        self.run(all, home).await
    }

    /// Builds the kustomization in a folder.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn overlay(&self, folder: &Path, home: &Path) -> Result<String, Unrendered> {
        let verb = match self {
            Self::Helm(_) | Self::Kustomize(_) => "build",
            Self::Kubectl(_) => "kustomize",
        };
        self.run(vec![verb.into(), folder.into()], home).await
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Helm(_) => "helm",
            Self::Kustomize(_) => "kustomize",
            Self::Kubectl(_) => "kubectl",
        }
    }

    async fn run(&self, arguments: Vec<OsString>, home: &Path) -> Result<String, Unrendered> {
        let (Self::Helm(program) | Self::Kustomize(program) | Self::Kubectl(program)) = self;
        let bounds = Bounds {
            time: limits::RENDERING,
            output: limits::RENDERED,
            complaints: COMPLAINTS,
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(home).env_clear().env("HOME", home);
        // No git, no ssh, no post-renderer, no shell.
        command.env("PATH", home.join("no-programs"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(name, NOWHERE);
        }
        let ended = run(command, super::run::Belongs::ToUs, Vec::new(), bounds).await;
        let ended = ended.map_err(|fault| Unrendered(format!("{}: {}", self.name(), fault.clause())))?;
        match ended.exit {
            Exit::Succeeded => String::from_utf8(ended.printed)
                .map_err(|_| Unrendered(format!("{}: what it printed is not UTF-8 text", self.name()))),
            Exit::Failed => Err(Unrendered(format!("{}: {}", self.name(), why(&ended)))),
        }
    }
}

/// Why it failed, as it says itself.
fn why(ended: &Ended) -> String {
    match cause(&String::from_utf8_lossy(&ended.complained)) {
        "" => ended.status.clone(),
        cause => shortened(cause),
    }
}

/// The last line that says something, without what every message begins with.
fn cause(complaint: &str) -> &str {
    let mut lines = complaint.lines().map(str::trim).filter(|line| {
        let advice = ["Use --debug", "WARNING", "# Warning"];
        line.contains(char::is_alphanumeric) && !advice.iter().any(|advice| line.starts_with(advice))
    });
    let last = lines.next_back().unwrap_or_default();
    // As kubectl logs it: E1201 10:16:54.244093 19097 run.go:72] "command failed" err="…"
    let logged = last.split_once("\"command failed\" err=").map_or(last, |(_, error)| error);
    let logged = logged
        .strip_prefix('"')
        .and_then(|quoted| quoted.strip_suffix('"'))
        .unwrap_or(logged);
    let error = ["Error:", "error:", "`:"]
        .iter()
        .find_map(|prefix| logged.strip_prefix(prefix));
    error.unwrap_or(logged).trim()
}

/// A long message without its middle: it begins with what was being done and ends with the cause.
fn shortened(text: &str) -> String {
    const BEGINNING: usize = 100;
    const END: usize = 300;
    let length = text.chars().count();
    if length <= BEGINNING + END {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(BEGINNING).collect();
    let end: String = text.chars().skip(length - END).collect();
    format!("{beginning} … {end}")
}

/// The program of this name in the first folder of PATH that has it.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        // A folder that is not absolute depends on where the command runs: the repository could name the program.
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_why_it_failed() {
        for (complaint, is) in [
            (
                "Error: no template \"x\"\n\nUse --debug flag to render out invalid YAML\n",
                "no template \"x\"",
            ),
            (
                "# Warning: 'bases' is deprecated.\nerror: accumulating resources: no such file\n",
                "accumulating resources: no such file",
            ),
            (
                "E1201 10:16:54.244093   19097 run.go:72] \"command failed\" err=\"accumulating resources: no such file\"\n",
                "accumulating resources: no such file",
            ),
            (
                "E1201 10:16:54.2  1 run.go:72] \"command failed\" err=<\n\ttrouble configuring: `\n\tpaths:\n\t- a.yaml\n\t`: lstat a.yaml: no such file\n >\n",
                "lstat a.yaml: no such file",
            ),
            ("\n", ""),
        ] {
            assert_eq!(cause(complaint), is);
        }
    }
}
