//! What a comparison found, and how it is kept.

use crate::cases::Case;
use crate::engine::Opinion;
use crate::requests::{Difference, Masks};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

    /// Whether they disagree.
    pub(crate) fn is_wrong(self) -> bool {
        matches!(self, Self::FalseDenial | Self::Miss | Self::OtherReason)
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
    /// Why they disagree, where that is a fact and no mistake.
    pub(crate) why: Option<String>,
    /// What we have wrong, where it is known that we have.
    pub(crate) known_wrong: Option<String>,
    /// Whether the node's words are those that we said the kubelet would show; `None` where there are none to compare.
    pub(crate) same_words: Option<bool>,
    /// How what it asked and what we asked differ.
    pub(crate) requests: Vec<Difference>,
}

impl Row {
    /// Compares. Ports differ from run to run, and from ours to theirs: the masks are those of the registries that each asked.
    pub(crate) fn new(
        case: &Case,
        run: &str,
        (said, ours): (Opinion, &Masks),
        (deed, theirs): (Deed, &Masks),
        requests: Vec<Difference>,
    ) -> Self {
        let kind = compare(&said, &deed);
        let words = steady(&theirs.mask(&deed.words));
        let masked = |text: &str| steady(&ours.mask(text));
        let predicted = said.kubelet.clone().map(|(reason, message)| (reason, masked(&message)));
        let same_words = match &predicted {
            Some((_, predicted)) if deed.end == End::NotPulled && !words.is_empty() => Some(is_as_predicted(predicted, &words)),
            Some(_) | None => None,
        };
        let why = match kind {
            Kind::Miss | Kind::OtherReason => case.explanation(run, kind.name()).map(str::to_owned),
            Kind::Agree | Kind::Unknown | Kind::FalseDenial => None,
        };
        Self {
            case: case.name.clone(),
            chapter: case.chapter.clone(),
            about: case.about.clone(),
            known_wrong: known_wrong(run).get(&case.name).cloned().filter(|_| kind.is_wrong()),
            said: Opinion {
                message: masked(&said.message),
                kubelet: predicted,
                ..said
            },
            deed: Deed { words, ..deed },
            kind,
            why,
            same_words,
            requests,
        }
    }

    /// Whether nothing excuses that they disagree.
    pub(crate) fn is_bad(&self) -> bool {
        let excused = self.known_wrong.is_some() || (self.why.is_some() && self.kind != Kind::FalseDenial);
        self.kind.is_wrong() && !excused
    }
}

/// What we are known to have wrong in a run, by case: `known-wrong.yaml`, which is about CRI-O alone.
pub(crate) fn known_wrong(run: &str) -> &'static BTreeMap<String, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Group {
        why: String,
        cases: Vec<String>,
    }
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    static KNOWN: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    if !run.starts_with("CRI-O") {
        return &NONE;
    }
    KNOWN.get_or_init(|| {
        let groups: Vec<Group> = serde_saphyr::from_str(include_str!("known-wrong.yaml")).unwrap();
        let mut known = BTreeMap::new();
        for group in groups {
            for case in group.cases {
                let twice = known.insert(case.clone(), group.why.clone());
                assert!(twice.is_none(), "known-wrong.yaml has {case} twice");
            }
        }
        known
    })
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

/// Whether a text is the predicted one, in which `...` stands for what cannot be known beforehand.
fn is_as_predicted(predicted: &str, words: &str) -> bool {
    let Some((first, rest)) = predicted.split_once("...") else {
        return predicted == words;
    };
    let Some(mut left) = words.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split("...").collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// What is the same in every run: without the ports of clients, and without the folders into which containerd unpacks.
fn steady(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let is_folder = word.contains("/tmpmounts/");
        if is_folder {
            "FOLDER:".to_owned()
        } else {
            without_ports(word)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Without the ports of clients.
fn without_ports(text: &str) -> String {
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
            out.push_str("127.0.0.1:PORT");
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}

#[test]
fn what_cannot_be_known_is_not_compared() {
    for (predicted, words, same) in [
        ("a b", "a b", true),
        ("a b", "a b c", false),
        ("a ... c", "a b c", true),
        ("a ... c", "a b d", false),
        ("a ...", "a b c", true),
        ("x ...", "a b c", false),
        ("a ...: b ...: c", "a 1: b 2: c", true),
        ("a ...: b ...: c", "a 1: c", false),
    ] {
        assert_eq!(is_as_predicted(predicted, words), same, "{predicted}, {words}");
    }
}
