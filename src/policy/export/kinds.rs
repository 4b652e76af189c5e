//! Kinds in an exported policy. The API server sees the requester and what an object says about its owner, but does not read the owner.

use super::{KINDS, quote};
use crate::policy::compiled::Policy;
use crate::workload::OwnerKind;
use crate::workload::owner::CONTROLLER_MANAGER;

/// What an exported policy can say about kinds.
pub(super) struct Said {
    /// Those of [`KINDS`] that the policy is registered for.
    pub(super) kinds: Vec<&'static (&'static str, &'static str, &'static str)>,
    /// Which of their objects it is about, in CEL; `None`: all.
    pub(super) condition: Option<String>,
    /// What it cannot say: a clause each.
    pub(super) left_out: Vec<String>,
}

/// The kinds whose controller makes objects of this kind.
fn makers(kind: &str) -> Vec<OwnerKind> {
    let makes = |owner: &OwnerKind| match owner {
        OwnerKind::Deployment => kind == "ReplicaSet",
        OwnerKind::CronJob => kind == "Job",
        OwnerKind::ReplicaSet
        | OwnerKind::StatefulSet
        | OwnerKind::DaemonSet
        | OwnerKind::ReplicationController
        | OwnerKind::Job => kind == "Pod",
    };
    OwnerKind::ALL.into_iter().filter(makes).collect()
}

/// The kinds that an object made by this owner's controller may count as.
fn counted(owner: OwnerKind) -> impl Iterator<Item = OwnerKind> {
    let above = OwnerKind::ALL
        .into_iter()
        .filter(move |above| owner.usual_owner() == Some(*above));
    std::iter::once(owner).chain(above)
}

pub(super) fn said(policy: &Policy) -> Said {
    if !policy.depends_on_kind() {
        return Said {
            kinds: KINDS.iter().collect(),
            condition: None,
            left_out: Vec::new(),
        };
    }
    let about = |kind: &str| {
        let has = |kinds: &[String]| kinds.iter().any(|known| known == kind);
        policy.kinds.as_deref().is_none_or(has) && !has(&policy.excluded_kinds)
    };
    let mut said = Said {
        kinds: Vec::new(),
        condition: None,
        left_out: Vec::new(),
    };
    let mut parts = Vec::new();
    for row @ (_, _, kind) in KINDS {
        let makers = makers(kind);
        let (judged, passed): (Vec<OwnerKind>, Vec<OwnerKind>) = makers
            .iter()
            .partition(|owner| counted(**owner).all(|kind| about(kind.name())));
        let open = passed.iter().filter(|owner| counted(**owner).any(|kind| about(kind.name())));
        for owner in open {
            let above = owner.usual_owner().map_or("", OwnerKind::name);
            said.left_out.push(format!(
                "{kind}s of {}s (the API server cannot read whether they belong to a {above}: they are left to the webhook)",
                owner.name()
            ));
        }
        if !about(kind) && judged.is_empty() {
            continue;
        }
        said.kinds.push(row);
        if about(kind) && passed.is_empty() {
            continue;
        }
        // An object that a controller made counts as its owner's kind, any other as its own.
        let is = format!("object.kind == {}", quote(kind));
        parts.push(if about(kind) {
            format!("!({is} && {})", made_by(&passed))
        } else {
            format!("({} || !({is}))", made_by(&judged))
        });
    }
    said.condition = (!parts.is_empty()).then(|| parts.join(" && "));
    if policy.excluded_kinds.iter().any(|kind| OwnerKind::named(kind).is_some()) && !said.kinds.is_empty() {
        said.left_out.push(
            "owners of objects that no controller of Kubernetes made (the API server cannot read them: such objects count as what they are)".to_owned(),
        );
    }
    said
}

/// Whether the controller of one of these kinds made the object for such an owner.
fn made_by(owners: &[OwnerKind]) -> String {
    let each = owners.iter().map(|owner| {
        let account = quote(&owner.account());
        format!(
            "o.kind == {} && o.apiVersion == {} && request.userInfo.username in [{}, {account}]",
            quote(owner.name()),
            quote(&owner.api_version()),
            quote(CONTROLLER_MANAGER)
        )
    });
    let any = each.map(|one| format!("({one})")).collect::<Vec<_>>().join(" || ");
    format!(
        "has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller && ({any}))"
    )
}
