//! Which kind an object counts as for policies: its root owner's, if ownership is certain.

use super::{Fact, ReviewQuestion};
use crate::ask::{Ask, Missing};
use crate::cluster::Visible;
use crate::policy::{Policies, Requester};
use crate::workload::{Owner, OwnerKind, OwnerReference, Workload};
use std::collections::BTreeSet;

/// The most owners above an object: a Pod, its Job, and the Job's `CronJob`.
const DEEPEST: usize = 2;

/// The kind that an object counts as for `match.kinds` and `match.excludeKinds`: one where it is known, several where it is one of them,
/// none for a bare image.
///
/// An `ownerReference` counts where the requester is the controller that makes what such an owner owns; or where the owner is read, has that
/// UID and names the same images. Otherwise the object counts as what it is: anyone can write an `ownerReference`.
pub fn counts_as(
    workload: &Workload,
    requester: &Requester,
    policies: &Policies,
    ask: &mut Ask<'_, ReviewQuestion>,
) -> Result<Vec<String>, Missing> {
    let mut kind = workload.object.kind.clone();
    if kind.is_empty() {
        return Ok(Vec::new());
    }
    if !policies.mind_kinds() {
        return Ok(vec![kind]);
    }
    // What an update leaves alone is not judged.
    let uses = workload.templates.iter().flat_map(|template| &template.uses);
    let judged = uses.filter(|image| !image.unchanged);
    let mut images: BTreeSet<String> = judged.map(|image| image.image.clone()).collect();
    let mut next = workload.owner.clone();
    let mut made_by_controller = next
        .as_ref()
        .and_then(OwnerReference::owner_kind)
        .is_some_and(|owner| owner.is_made_by(&requester.user));
    for depth in 0..DEEPEST {
        let Some((reference, of)) = next.and_then(|reference| Some((reference.clone(), reference.owner_kind()?))) else {
            break;
        };
        if made_by_controller && of.usual_owner().is_none() {
            return Ok(vec![of.name().to_owned()]);
        }
        match owner(reference.clone(), ask)? {
            Visible::Seen(Some(owner)) if is_the_one(&owner, &reference) && (made_by_controller || names(&owner, &images)) => {
                of.name().clone_into(&mut kind);
                next = owner.owner;
                images = owner.images;
            }
            // Its controller reference says that it exists; its own owner is not known.
            Visible::Seen(_) | Visible::Hidden(_) if made_by_controller => return Ok(one_of(of.name(), of.usual_owner())),
            // The owner was judged by itself, so a reference of its own that cannot be looked at lets nothing through unseen.
            Visible::Hidden(_) if depth > 0 => return Ok(one_of(&kind, Some(of))),
            Visible::Seen(_) | Visible::Hidden(_) => break,
        }
        made_by_controller = false;
    }
    Ok(vec![kind])
}

fn one_of(kind: &str, or: Option<OwnerKind>) -> Vec<String> {
    let or = or.map(|or| or.name().to_owned());
    std::iter::once(kind.to_owned()).chain(or).collect()
}

fn owner(reference: OwnerReference, ask: &mut Ask<'_, ReviewQuestion>) -> Result<Visible<Owner>, Missing> {
    Ok(match ask.get(ReviewQuestion::Owner(reference))? {
        Fact::Owner(owner) => owner,
        Fact::Facts(_) | Fact::NodeCredentials(_) | Fact::Pulls(_) | Fact::Late => {
            Visible::Hidden("the owner could not be read in time".to_owned())
        }
    })
}

fn is_the_one(owner: &Owner, reference: &OwnerReference) -> bool {
    !owner.uid.is_empty() && owner.uid == reference.uid
}

/// Whether the owner names all these images, so that it could run them itself.
fn names(owner: &Owner, images: &BTreeSet<String>) -> bool {
    !images.is_empty() && images.is_subset(&owner.images)
}

#[cfg(test)]
mod tests;
