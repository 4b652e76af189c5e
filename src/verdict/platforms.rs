//! Does the image serve the nodes that its pods could land on? (DESIGN 3 `PlatformMismatch`, `ArchitectureMismatch`, `NotAnImage`;
//! pull-semantics 5.5 and 7.4)

use super::evidence::{Content, IndexEntry};
use super::finding::{Finding, Kubelet, Proof};
use super::kubelet::containerd_reference;
use super::{Cause, Outlook};
use crate::image::platform::Fit;
use crate::image::platform::Personality;
use crate::image::{Platform, Reference, escape};
use std::fmt::Write as _;

/// Nodes of one kind among the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their platform.
    pub platform: Platform,
    /// How their runtimes choose from an index.
    pub personalities: Vec<Personality>,
    /// How many admit the pod.
    pub tolerated: usize,
    /// How many would, but for a taint.
    pub tainted: usize,
    /// Their names; filled for DaemonSets only, whose messages name the nodes that they miss.
    pub names: Vec<String>,
}

/// Where the platforms come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Real candidate nodes.
    Nodes,
    /// No such node is known; the selectors name the architectures.
    Selectors,
    /// No such node is known; somebody wrote `defaultPlatforms` or `--platform`.
    Configured,
    /// No such node is known and nobody said anything: a guess, which denies nothing.
    #[default]
    Assumed,
}

/// Everyone who may have to pull the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// By platform; empty when nothing can be said.
    pub groups: Vec<Group>,
    /// Where they come from.
    pub origin: Origin,
    /// Candidate nodes whose platform is not known: they may be served.
    pub unknown: usize,
    /// Whether a DaemonSet puts a pod on each of them.
    pub every: Need,
}

/// How many of the candidates must be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// The scheduler chooses.
    #[default]
    Any,
    /// A DaemonSet.
    Every,
}

/// What uses the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// A container: it must run.
    #[default]
    Container,
    /// An image volume: any content will do.
    Volume,
}

/// The platforms that a manifest serves, for the report.
pub fn served(content: &Content) -> Vec<String> {
    let mut all: Vec<String> = match content {
        Content::Index(entries) => runnable(entries)
            .filter_map(|entry| entry.platform.as_ref())
            .map(name)
            .collect(),
        Content::Image { platform } => platform.iter().map(name).collect(),
        Content::Artifact { .. } | Content::Schema1 => Vec::new(),
    };
    all.dedup();
    all
}

fn name(platform: &Platform) -> String {
    platform.normalized().to_string()
}

/// Entries that are not attestations.
fn runnable(entries: &[IndexEntry]) -> impl Iterator<Item = &IndexEntry> {
    entries
        .iter()
        .filter(|entry| !entry.platform.as_ref().is_some_and(Platform::is_unknown))
}

/// Judges the content for the audience. `None`: nothing to object to.
pub fn judge(content: &Content, reference: &Reference, audience: &Audience, used_by: Use) -> Option<Finding> {
    match content {
        Content::Index(entries) => index(entries, reference, audience, used_by),
        Content::Image {
            platform: Some(platform),
        } if used_by == Use::Container => single(platform, audience),
        Content::Image { .. } => None,
        Content::Artifact { .. } | Content::Schema1 if used_by == Use::Volume => None,
        Content::Artifact { kind, unpack_fails } => Some(artifact(kind, *unpack_fails, audience, reference)),
        Content::Schema1 => Some(schema1(audience, reference)),
    }
}

/// How the groups fare: nodes served for sure, by some runtimes only, and not at all.
#[derive(Default)]
struct Tally {
    yes: usize,
    perhaps: usize,
    no: usize,
    /// The same among those that tolerate the taints.
    tolerated_yes: usize,
    tolerated_perhaps: usize,
    tolerated_no: usize,
    missed: Vec<String>,
    missed_names: Vec<String>,
}

fn tally(audience: &Audience, fit: impl Fn(&Group) -> Fit) -> Tally {
    let mut tally = Tally::default();
    for group in &audience.groups {
        let all = group.tolerated + group.tainted;
        match fit(group) {
            Fit::Yes => {
                tally.yes += all;
                tally.tolerated_yes += group.tolerated;
            }
            Fit::Perhaps => {
                tally.perhaps += all;
                tally.tolerated_perhaps += group.tolerated;
                tally.missed.push(group.platform.to_string());
            }
            Fit::No => {
                tally.no += all;
                tally.tolerated_no += group.tolerated;
                tally.missed.push(group.platform.to_string());
                tally.missed_names.extend(group.names.iter().cloned());
            }
        }
    }
    tally.yes += audience.unknown;
    tally.tolerated_yes += audience.unknown;
    tally.missed.sort();
    tally.missed.dedup();
    tally.missed_names.sort();
    tally
}

impl Tally {
    /// WillFail when nobody admitted is served, taints ignored; MayFail when only some are, or only nodes whose taints are not
    /// tolerated; `None` when all are.
    fn outlook(&self) -> Option<Outlook> {
        if self.yes + self.perhaps + self.no == 0 {
            None
        } else if self.yes + self.perhaps == 0 {
            Some(Outlook::WillFail)
        } else {
            let some_miss_it = self.tolerated_no + self.tolerated_perhaps > 0;
            let only_tainted = self.tolerated_yes == 0 && self.no + self.perhaps > 0;
            (some_miss_it || only_tainted).then_some(Outlook::MayFail)
        }
    }
}

fn index(entries: &[IndexEntry], reference: &Reference, audience: &Audience, used_by: Use) -> Option<Finding> {
    let runnable: Vec<&IndexEntry> = runnable(entries).collect();
    let fit = |group: &Group| {
        runnable
            .iter()
            .map(|entry| match &entry.platform {
                Some(platform) => group.platform.takes(platform, &group.personalities),
                // Kept by every runtime; only the child's config decides, which this depth does not read.
                None => Fit::Yes,
            })
            .fold(Fit::No, best)
    };
    let tally = tally(audience, fit);
    let has = {
        let served = served(&Content::Index(entries.to_vec()));
        if served.is_empty() {
            "nothing a node could run".to_owned()
        } else {
            format!("only {}", served.join(", "))
        }
    };
    let outlook = if runnable.is_empty() {
        Some(Outlook::WillFail)
    } else {
        tally.outlook()
    }?;
    let outlook = match (audience.origin, used_by) {
        (Origin::Assumed, _) | (_, Use::Volume) => outlook.min(Outlook::MayFail),
        (Origin::Nodes | Origin::Selectors | Origin::Configured, Use::Container) => outlook,
    };
    let wanted = if tally.missed.is_empty() {
        "any".to_owned()
    } else {
        tally.missed.join(", ")
    };
    Some(Finding {
        cause: Cause::PlatformMismatch,
        outlook,
        message: format!("the index offers {has}; {}", who(audience, &tally, outlook)),
        fix: format!("push a build for {wanted}, or select nodes that it serves (nodeSelector kubernetes.io/arch)"),
        kubelet: Some(Kubelet {
            reason: "ErrImagePull".to_owned(),
            message: format!(
                "rpc error: code = NotFound desc = failed to pull and unpack image \"{}\": no match for platform in manifest: not found",
                containerd_reference(reference)
            ),
        }),
        evidence: Proof::default(),
        suggestions: Vec::new(),
    })
}

fn best(one: Fit, other: Fit) -> Fit {
    match (one, other) {
        (Fit::Yes, _) | (_, Fit::Yes) => Fit::Yes,
        (Fit::Perhaps, _) | (_, Fit::Perhaps) => Fit::Perhaps,
        (Fit::No, Fit::No) => Fit::No,
    }
}

/// Who misses it, in words.
fn who(audience: &Audience, tally: &Tally, outlook: Outlook) -> String {
    let missed = tally.missed.join(", ");
    match audience.origin {
        Origin::Nodes => {
            let all = tally.yes + tally.perhaps + tally.no;
            let lacking = tally.no + tally.perhaps;
            let mut text = if outlook == Outlook::WillFail {
                let noun = if all == 1 { "candidate" } else { "candidates" };
                format!("no node that the pods could land on is served ({all} {noun}, {missed})")
            } else if tally.tolerated_yes + tally.tolerated_perhaps == 0 {
                format!("only nodes whose taints are not tolerated are served (missing: {missed})")
            } else {
                format!("{lacking} of {all} candidate nodes are not served, or not by every runtime ({missed})")
            };
            if audience.every == Need::Every && !tally.missed_names.is_empty() {
                const SHOWN: usize = 5;
                let shown: Vec<String> = tally.missed_names.iter().take(SHOWN).map(|name| escape(name)).collect();
                let rest = tally.missed_names.len().saturating_sub(SHOWN);
                let _ = write!(text, "; the DaemonSet misses {}", shown.join(", "));
                if rest > 0 {
                    let _ = write!(text, " and {rest} more");
                }
            }
            text
        }
        Origin::Selectors => format!("the pods select {missed}, and no such node is known"),
        Origin::Configured => format!("the platforms to serve are set to {}", platforms(audience)),
        Origin::Assumed => format!("no node is known, and {} is what is usual", platforms(audience)),
    }
}

fn platforms(audience: &Audience) -> String {
    audience
        .groups
        .iter()
        .map(|group| group.platform.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn single(platform: &Platform, audience: &Audience) -> Option<Finding> {
    let tally = tally(audience, |group| group.platform.takes(platform, &group.personalities));
    // No runtime compares the config of a single manifest: the pull works, and the container does not start.
    let outlook = match tally.outlook()? {
        Outlook::WillFail => Outlook::FailsToRun,
        other => other,
    };
    Some(Finding {
        cause: Cause::ArchitectureMismatch,
        outlook,
        message: format!(
            "the image is built for {} (a single manifest, which runtimes pull without a look); {}",
            escape(&platform.normalized().to_string()),
            who(audience, &tally, outlook)
        ),
        fix: format!(
            "push an index that has {}, or select nodes of that platform",
            tally.missed.join(", ")
        ),
        kubelet: Some(Kubelet {
            reason: "CrashLoopBackOff".to_owned(),
            message: "exec format error".to_owned(),
        }),
        evidence: Proof::default(),
        suggestions: Vec::new(),
    })
}

fn artifact(kind: &str, unpack_fails: bool, audience: &Audience, reference: &Reference) -> Finding {
    // containerd up to 1.6 fails on every artifact, later ones by their client on those that unpack in part (pull-semantics 5.6).
    let all = |known: &[Personality]| {
        let within = |group: &Group| group.personalities.iter().all(|one| known.contains(one));
        audience.unknown == 0 && !audience.groups.is_empty() && audience.groups.iter().all(within)
    };
    let some_old = audience
        .groups
        .iter()
        .any(|group| group.personalities == [Personality::ContainerdOld]);
    let fails =
        all(&[Personality::ContainerdOld]) || (unpack_fails && all(&[Personality::ContainerdOld, Personality::ContainerdClient]));
    let outlook = if fails {
        Outlook::WillFail
    } else if unpack_fails || some_old {
        Outlook::MayFail
    } else {
        Outlook::FailsToRun
    };
    Finding {
        cause: Cause::NotAnImage,
        outlook,
        message: if kind.is_empty() {
            "this is no container image but an artifact".to_owned()
        } else {
            format!("this is no container image but an artifact ({})", escape(kind))
        },
        fix: "use the image that the artifact belongs to; a chart or an artifact cannot run".to_owned(),
        kubelet: (outlook != Outlook::FailsToRun).then(|| Kubelet {
            reason: "ErrImagePull".to_owned(),
            message: format!(
                "failed to pull and unpack image \"{}\": failed to unpack image on snapshotter overlayfs: mismatched image rootfs and manifest layers",
                containerd_reference(reference)
            ),
        }),
        evidence: Proof::default(),
        suggestions: Vec::new(),
    }
}

fn schema1(audience: &Audience, reference: &Reference) -> Finding {
    // Only containerd from 2.1 on has the transfer service as one of its ways to pull, and refuses schema 1 by either of them.
    let refuses = |group: &Group| group.personalities == [Personality::ContainerdClient, Personality::ContainerdTransfer];
    let all_refuse = audience.unknown == 0 && !audience.groups.is_empty() && audience.groups.iter().all(refuses);
    Finding {
        cause: Cause::NotAnImage,
        outlook: if all_refuse { Outlook::WillFail } else { Outlook::MayFail },
        message: "this is a Docker schema 1 manifest; containerd 2.1 and later refuse it".to_owned(),
        fix: "push the image again with a current tool (schema 2 or OCI)".to_owned(),
        kubelet: Some(Kubelet {
            reason: "ErrImagePull".to_owned(),
            message: format!(
                "rpc error: code = InvalidArgument desc = failed to pull and unpack image \"{}\": schema 1 image manifests are no longer supported: invalid argument",
                containerd_reference(reference)
            ),
        }),
        evidence: Proof::default(),
        suggestions: Vec::new(),
    }
}
