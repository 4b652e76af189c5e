//! What a comparison found, and how it is kept.

use crate::cases::Case;
use crate::engine::Opinion;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a node did with a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) end: End,
    /// The kubelet's reason; empty where no kubelet was asked.
    pub(crate) reason: String,
    /// In its own words.
    pub(crate) words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// Pulled (and, where somebody looked, run).
    Pulled,
    /// Pulled, and could not be started.
    NotStarted,
    /// Not pulled.
    NotPulled,
}

/// How what we said and what the node did go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// They agree.
    Agree,
    /// We did not know.
    Unknown,
    /// We said that it fails, and it did not.
    FalseDenial,
    /// We said that it pulls, and it did not.
    Miss,
    /// It failed as we said, for another reason.
    OtherReason,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Unknown => "unknown",
            Self::FalseDenial => "false denial",
            Self::Miss => "miss",
            Self::OtherReason => "reason",
        }
    }
}

/// One case, compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) chapter: String,
    pub(crate) about: String,
    pub(crate) said: Opinion,
    pub(crate) deed: Deed,
    pub(crate) kind: Kind,
    /// Why they disagree, where that is known.
    pub(crate) why: Option<String>,
    /// Whether the node's words are those that we said the kubelet would show; `None` where there are none to compare.
    pub(crate) same_words: Option<bool>,
}

impl Row {
    /// Compares.
    pub(crate) fn new(case: &Case, run: &str, said: Opinion, deed: Deed) -> Self {
        let of_kubelet = run.starts_with("kubelet");
        let today = case.today.as_ref().filter(|_| of_kubelet);
        let end = match today {
            Some(today) if today.pulls => End::Pulled,
            Some(_) => End::NotPulled,
            None => deed.end,
        };
        let kind = compare(
            &said,
            &Deed {
                end,
                reason: if today.is_some() { String::new() } else { deed.reason.clone() },
                ..deed.clone()
            },
        );
        let same_words = match &said.kubelet {
            Some((_, words)) if deed.end == End::NotPulled && !deed.words.is_empty() => {
                Some(gist(&without_addresses(words)) == gist(&without_addresses(&deed.words)))
            }
            Some(_) | None => None,
        };
        let why = match kind {
            _ if today.is_some() => today.map(|today| format!("today's kubelet: {}", today.why)),
            Kind::Miss | Kind::OtherReason => case.explanation(run, kind.name()).map(str::to_owned),
            Kind::Agree | Kind::Unknown | Kind::FalseDenial => None,
        };
        Self {
            case: case.name.clone(),
            chapter: case.chapter.clone(),
            about: case.about.clone(),
            said: Opinion {
                message: without_addresses(&said.message),
                kubelet: said.kubelet.map(|(reason, message)| (reason, without_addresses(&message))),
                ..said
            },
            deed: Deed {
                words: without_addresses(&deed.words),
                ..deed
            },
            kind,
            why,
            same_words,
        }
    }
}

/// What a message comes down to: without gRPC's wrapping, without the prefixes that differ from version to version, and without the
/// scheme, which containerd does not get right (pull-semantics 6.2).
fn gist(words: &str) -> String {
    let mut rest = words.split_once(" desc = ").map_or(words, |(_, rest)| rest);
    if let Some(text) = rest.strip_prefix('[').and_then(|text| text.split_once("] "))
        && text.0.bytes().all(|b| b.is_ascii_alphabetic())
    {
        rest = text.1;
    }
    for prefix in ["failed to pull and unpack image \"", "failed to resolve reference \""] {
        if let Some(text) = rest.strip_prefix(prefix) {
            rest = text.split_once("\": ").map_or(text, |(_, rest)| rest);
        }
    }
    rest.trim_start_matches("failed to resolve image: ")
        .replace("https://", "http://")
        .replace("couldn't parse image reference", "couldn't parse image name")
}

/// One comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) against: String,
    pub(crate) rows: Vec<Row>,
}

/// Holds an opinion against a deed.
pub(crate) fn compare(said: &Opinion, deed: &Deed) -> Kind {
    match (said.outlook.as_str(), deed.end) {
        ("Unknown", _) => Kind::Unknown,
        ("WillFail" | "NotAllowed", End::Pulled | End::NotStarted) => Kind::FalseDenial,
        ("Pulls", End::NotPulled | End::NotStarted) | ("FailsToRun", End::NotPulled) => Kind::Miss,
        // Only a kubelet starts what it pulled, and gives a reason.
        ("FailsToRun", End::Pulled) if !deed.reason.is_empty() => Kind::Miss,
        (_, End::NotPulled) if !same_reason(said, deed) => Kind::OtherReason,
        _ => Kind::Agree,
    }
}

/// Whether the kubelet gives the reason that we said it would.
fn same_reason(said: &Opinion, deed: &Deed) -> bool {
    // The same failure, a moment later.
    let first = |reason: &str| {
        if reason == "ImagePullBackOff" {
            "ErrImagePull".to_owned()
        } else {
            reason.to_owned()
        }
    };
    match &said.kubelet {
        _ if deed.reason.is_empty() => true,
        Some((reason, _)) => first(reason) == first(&deed.reason),
        None => false,
    }
}

/// Where runs are kept until the report is written.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("agreement");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Keeps the runs of one part; not those of some cases only.
pub(crate) fn keep(part: &str, runs: &[Run]) {
    if std::env::var_os("PULLGATE_TEST_CASE").is_some() {
        return;
    }
    std::fs::write(
        folder().join(format!("{part}.json")),
        serde_json::to_vec_pretty(runs).unwrap(),
    )
    .unwrap();
}

/// What one part kept; `None` when it did not run.
#[allow(dead_code, reason = "the kubelet part uses it")]
pub(crate) fn kept(part: &str) -> Option<Vec<Run>> {
    let bytes = std::fs::read(folder().join(format!("{part}.json"))).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// Ports differ from run to run.
pub(crate) fn without_addresses(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("127.0.0.1:") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = &after["127.0.0.1:".len()..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if &after[..digits] == "1" {
            out.push_str("127.0.0.1:1");
        } else {
            out.push_str("REGISTRY");
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}
