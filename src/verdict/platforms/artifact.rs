//! Things that are not images (contract 3 `NotAnImage`; pull-semantics 5.6).

use crate::image::platform::IndexRules;
use crate::image::{Reference, escape};
use crate::runtime::Runtime;
use crate::runtime::containerd::PullPath;
use crate::runtime::content::Unpack;
use crate::verdict::audience::{Audience, Group};
use crate::verdict::finding::{Finding, FindingEvidence, Kubelet};
use crate::verdict::kubelet::{self, newest_path};
use crate::verdict::{Cause, Outlook};

/// The manifest under the image's name is an artifact's.
pub(super) fn whole(kind: &str, unpack: Unpack, audience: &Audience, reference: &Reference) -> Finding {
    // containerd up to 1.6 fails on every artifact with layers, later ones by their client on those that unpack in part (pull-semantics 5.6).
    let all = |known: &[IndexRules]| {
        let within = |group: &Group| group.index_rules().iter().all(|one| known.contains(one));
        audience.unknown == 0 && !audience.groups.is_empty() && audience.groups.iter().all(within)
    };
    let some_old = audience
        .groups
        .iter()
        .any(|group| group.index_rules() == [IndexRules::ContainerdOld]);
    let refuses = |runtime: &Runtime| matches!(runtime, Runtime::Crio(crio) if crio.refuses(kind));
    let mut runtimes = audience.groups.iter().flat_map(|group| &group.runtimes).peekable();
    let outlook = match unpack {
        _ if audience.unknown == 0 && runtimes.peek().is_some() && runtimes.clone().all(refuses) => Outlook::WillFail,
        _ if runtimes.any(refuses) => Outlook::MayFail,
        Unpack::Foreign if all(&[IndexRules::ContainerdOld]) => Outlook::WillFail,
        Unpack::Foreign if some_old => Outlook::MayFail,
        Unpack::Nothing | Unpack::Foreign => Outlook::FailsToRun,
        Unpack::Partly if all(&[IndexRules::ContainerdOld, IndexRules::ContainerdClient]) => Outlook::WillFail,
        Unpack::Partly => Outlook::MayFail,
    };
    finding(kind, outlook, reference, newest_path(audience))
}

/// The manifest of an image volume is an artifact's. CRI-O mounts its files; containerd takes it for an image, and mounts an empty folder or
/// nothing (docs/kubelet.md).
pub(super) fn mounted(unpack: Unpack, audience: &Audience) -> Option<Finding> {
    let all_crio = !audience.groups.is_empty() && audience.groups.iter().all(|group| group.index_rules() == [IndexRules::CriO]);
    if all_crio {
        return None;
    }
    let (outlook, what, kubelet) = match unpack {
        Unpack::Nothing | Unpack::Foreign => (Outlook::Pulls, "containerd mounts an empty folder in its place", None),
        Unpack::Partly => (
            Outlook::MayFail,
            "containerd cannot unpack it, as its config names no layers",
            Some(Kubelet {
                reason: "CreateContainerError".to_owned(),
                message: "failed to mount image volume: ImageVolumeMountFailed: failed to unpack image volume: \
                          mismatched image rootfs and manifest layers"
                    .to_owned(),
            }),
        ),
    };
    Some(Finding {
        cause: Cause::NotAnImage,
        outlook,
        message: format!("the volume's image is an artifact; {what}, and only CRI-O mounts its files"),
        fix: "push the files as the layers of an image (FROM scratch), or mount it on nodes with CRI-O".to_owned(),
        kubelet,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    })
}

/// What nodes get, in words.
pub(super) fn finding(kind: &str, outlook: Outlook, reference: &Reference, path: Option<PullPath>) -> Finding {
    Finding {
        cause: Cause::NotAnImage,
        outlook,
        message: if kind.is_empty() {
            "this is an artifact, not a container image".to_owned()
        } else {
            format!("this is an artifact ({}), not a container image", escape(kind))
        },
        fix: "use the image that the artifact belongs to; a chart or an artifact cannot run".to_owned(),
        kubelet: kubelet::artifact(path, reference).filter(|_| outlook != Outlook::FailsToRun),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

pub(super) fn schema1(audience: &Audience, reference: &Reference) -> Finding {
    // Only containerd from 2.1 on has the transfer service as one of its ways to pull, and refuses schema 1 by either of them.
    let refuses = |group: &Group| group.index_rules() == [IndexRules::ContainerdClient, IndexRules::ContainerdTransfer];
    let all_refuse = audience.unknown == 0 && !audience.groups.is_empty() && audience.groups.iter().all(refuses);
    Finding {
        cause: Cause::NotAnImage,
        outlook: if all_refuse { Outlook::WillFail } else { Outlook::MayFail },
        message: "this is a Docker schema 1 manifest; containerd 2.1 and later refuse it".to_owned(),
        fix: "push the image again with a current tool (schema 2 or OCI)".to_owned(),
        kubelet: kubelet::schema1(newest_path(audience), reference),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}
