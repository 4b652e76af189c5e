//! Findings that need no registry: a name that does not parse, a policy of Never, a secret that fails the whole pod.

use super::audience::{Holders, minor};
use crate::cluster::Facts;
use crate::credentials::ParseError;
use crate::image::{Reference, ReferenceError, escape, escape_as_go, mask_userinfo};
use crate::limits;
use crate::verdict::finding::{Finding, FindingEvidence, Kubelet};
use crate::verdict::soften::{Context, Presence, PresenceRule, soften};
use crate::verdict::{Cause, Outlook};
use crate::workload::StreamTag;
use crate::workload::pod::PodKind;
use crate::workload::{ImageUse, PullPolicy, Role};

fn softened(outlook: Outlook, context: &Context) -> (Outlook, String) {
    let (outlook, notes) = soften(outlook, None, context);
    let notes = notes.iter().fold(String::new(), |all, note| all + "; " + note);
    (outlook, notes)
}

/// A name that does not parse: the kubelet has the identical parser, so this is certain whatever the policy and the nodes
/// (pull-semantics 1.5 and 1.6).
pub(super) fn invalid_name(image: &ImageUse, pod: PodKind, error: &ReferenceError, context: &Context) -> Finding {
    let name = escape_as_go(&mask_userinfo(&image.image));
    let (outlook, notes) = softened(Outlook::WillFail, context);
    let padded = image.image.trim() != image.image && !image.image.trim().is_empty();
    let in_container = !matches!(image.role, Role::Volume | Role::UnmountedVolume);
    let blank = image.image.trim().is_empty() && pod == PodKind::Template && in_container;
    let (message, kubelet) = if blank {
        (
            "the image is blank, and no image trigger fills it in for this container; every pod made from it is refused".to_owned(),
            Kubelet {
                reason: "FailedCreate".to_owned(),
                message: format!(
                    "{}: Invalid value: \"{name}\": must not have leading or trailing whitespace",
                    image.path
                ),
            },
        )
    } else if padded && pod == PodKind::Template && in_container {
        // The API server accepts the template and refuses every pod made from it.
        (
            "the image has leading or trailing white space; the object is accepted, and every pod made from it is refused"
                .to_owned(),
            Kubelet {
                reason: "FailedCreate".to_owned(),
                message: format!(
                    "{}: Invalid value: \"{name}\": must not have leading or trailing whitespace",
                    image.path
                ),
            },
        )
    } else {
        (
            format!("the name does not parse: {}", escape(&error.text)),
            Kubelet {
                reason: "InvalidImageName".to_owned(),
                message: format!(
                    "Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": {}",
                    escape(&error.text)
                ),
            },
        )
    };
    let (fix, suggestions) = match &error.hint {
        Some(hint) => {
            let corrected: Vec<String> = hint.corrected.iter().map(|name| escape(name)).collect();
            let offer = corrected.first().map_or_else(String::new, |name| format!(": {name}"));
            (format!("{}{offer}", hint.advice), corrected)
        }
        None => (
            "write it as [registry[:port]/]repository[:tag][@digest], in lower case".to_owned(),
            Vec::new(),
        ),
    };
    Finding {
        cause: Cause::InvalidImageName,
        outlook,
        message: format!("{message}{notes}"),
        fix,
        kubelet: Some(kubelet),
        evidence: FindingEvidence::default(),
        suggestions,
    }
}

/// An image that OpenShift fills in by a tag that is not known here.
pub(super) fn filled_in(tag: &StreamTag) -> Finding {
    Finding {
        cause: Cause::InvalidImageName,
        outlook: Outlook::Unknown,
        message: format!(
            "{} fills it in, and pullgate does not know with which image",
            escape(&tag.to_string())
        ),
        fix: "check it together with its ImageStream, with its status (oc get imagestream -o yaml)".to_owned(),
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

/// An image's ID (`sha256:` and 64 hexadecimal digits): a node that holds that image starts it. Where a runtime has to pull it, it asks
/// Docker Hub for a tag of a repository called sha256, which is not there; we do not (pull-semantics 2.2).
pub(super) fn image_id(image: &ImageUse, policy: PullPolicy, context: &Context) -> Finding {
    let (cause, base, what) = match policy {
        PullPolicy::Always => (
            Cause::TagNotFound,
            Outlook::WillFail,
            "and imagePullPolicy is Always, so nodes ask a registry for it, and no registry knows images by their IDs",
        ),
        PullPolicy::IfNotPresent => (
            Cause::TagNotFound,
            Outlook::MayFail,
            "which a node starts if it holds that image, and cannot pull from any registry",
        ),
        PullPolicy::Never => (
            Cause::NeverPulled,
            Outlook::Unknown,
            "imagePullPolicy is Never, and whether the nodes hold that image is not known",
        ),
    };
    let (outlook, notes) = softened(base, context);
    let name = escape(&image.image);
    Finding {
        cause,
        outlook,
        message: format!("the name is the ID of an image, {what}{notes}"),
        fix: "name the image by its repository and digest, as in REPOSITORY@sha256:DIGEST (the ID is not the digest)".to_owned(),
        kubelet: Some(match policy {
            PullPolicy::Never => Kubelet {
                reason: "ErrImageNeverPull".to_owned(),
                message: format!("Container image \"{name}\" is not present with pull policy of Never"),
            },
            // What a registry would answer is not known, and so the words after the reason are not.
            PullPolicy::Always | PullPolicy::IfNotPresent => Kubelet {
                reason: "ErrImagePull".to_owned(),
                message: "ErrImagePull".to_owned(),
            },
        }),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

/// `imagePullPolicy: Never`: no registry is asked; `image` is what the pod will say, and the nodes hold the image or they do not. Nodes do
/// not list the IDs of images. `None` where it is sure that they start it.
pub(super) fn never_pulled(image: &str, reference: &Reference, holders: &Holders<'_>, context: &Context) -> Option<Finding> {
    let presence = match context.presence_rule {
        PresenceRule::Soften if !Reference::is_image_id(image) => holders.presence(reference),
        PresenceRule::Soften | PresenceRule::Hide => Presence::Nowhere,
    };
    let (outlook, what) = match presence.outlook() {
        Some((Outlook::Pulls, _)) => return None,
        Some((outlook, why)) => (outlook, why),
        None if context.presence_rule == PresenceRule::Soften
            && holders.surely_lack(reference)
            && !Reference::is_image_id(image) =>
        {
            (
                Outlook::MayFail,
                "no node that the pods could land on holds the image".to_owned(),
            )
        }
        None => (Outlook::Unknown, "whether the nodes hold the image is not known".to_owned()),
    };
    let (outlook, notes) = softened(outlook, context);
    Some(Finding {
        cause: Cause::NeverPulled,
        outlook,
        message: format!("imagePullPolicy is Never; {what}{notes}"),
        fix: "load the image onto the nodes, or set imagePullPolicy to IfNotPresent".to_owned(),
        kubelet: Some(Kubelet {
            reason: "ErrImageNeverPull".to_owned(),
            message: format!(
                "Container image \"{}\" is not present with pull policy of Never",
                escape(&mask_userinfo(image))
            ),
        }),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    })
}

/// More images than are looked up for one object.
pub(super) fn one_too_many(reference: &Reference) -> Finding {
    Finding {
        cause: Cause::Timeout,
        outlook: Outlook::Unknown,
        message: format!(
            "pullgate looks up {} images of one object, and this one is beyond that limit",
            limits::LOOK_UPS_PER_OBJECT
        ),
        fix: "split the object, or check its images with `pullgate check --image`".to_owned(),
        kubelet: None,
        evidence: FindingEvidence {
            host: Some(reference.registry().to_owned()),
            ..FindingEvidence::default()
        },
        suggestions: Vec::new(),
    }
}

/// A secret of a usable type that the kubelet's parser refuses: it aborts the pulls of every image of the pod (pull-semantics 4.3).
pub(super) fn malformed_secret(secret: &str, error: &ParseError, namespace: &str, facts: &Facts, context: &Context) -> Finding {
    let (outlook, notes) = softened(Outlook::WillFail, context);
    let entry = error
        .entry
        .as_ref()
        .map_or_else(String::new, |entry| format!(" (entry \"{}\")", escape(entry)));
    // Kubelets up to 1.32 report it as ErrImagePull; later ones put the text itself where the reason stands.
    let old = facts
        .nodes
        .iter()
        .any(|node| minor(&node.kubelet).is_some_and(|minor| minor < 33));
    let reason = if old { "ErrImagePull".to_owned() } else { escape(&error.text) };
    Finding {
        cause: Cause::PullSecretMalformed,
        outlook,
        message: format!(
            "pull secret \"{}\" cannot be parsed{entry}: {}; it stops the pull of every image of the pod{notes}",
            escape(secret),
            escape(&error.text)
        ),
        fix: format!(
            "create secret \"{}\" in namespace \"{}\" again (kubectl create secret docker-registry)",
            escape(secret),
            escape(namespace)
        ),
        kubelet: Some(Kubelet {
            reason,
            message: escape(&error.text),
        }),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}
