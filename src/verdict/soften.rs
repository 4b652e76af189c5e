//! Context may soften a base outlook, by the one ordered list kept here (contract 2). Nothing hardens it.

use super::{Failure, Outlook};
use crate::image::escape;
use crate::runtime::outcome::{Evidence, hinges_on_credentials, shows_readable};

/// Whether the candidate nodes hold the image already (`IfNotPresent` and `Never`; docs/kubelet.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// Not known to be there, or the policy asks the registry anyway.
    #[default]
    Nowhere,
    /// On some candidates.
    Some(Verification),
    /// On all of them.
    All(Verification),
    /// The name is an image's ID: a node that holds the image starts it, and nodes do not list IDs.
    ById,
}

/// Whether a kubelet that holds an image asks who pulled it before it lets a pod have it (`KubeletEnsureSecretPulledImages`, on by default
/// from 1.35).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// No kubelet of theirs does.
    Never,
    /// Some may.
    Possible,
}

/// What nodes list as present counts for (`nodes.presence`; docs/decisions/0005).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PresenceRule {
    /// It softens whatever the registry says.
    #[default]
    Soften,
    /// Only for images that the namespace may read: no verdict reveals what nodes hold of others' images.
    Hide,
}

impl Presence {
    /// What it comes to, and that as a clause; `None` where it shows nothing.
    pub fn outlook(self) -> Option<Softened> {
        let (outlook, why, verification) = match self {
            Self::Nowhere => return None,
            Self::ById => {
                let why = "runtimes take this name for an image's ID, and a node that holds that image starts it";
                return Some((Outlook::MayFail, why.to_owned()));
            }
            Self::Some(verification) => (Outlook::MayFail, "some candidate nodes hold the image already", verification),
            Self::All(verification) => {
                let outlook = match verification {
                    Verification::Never => Outlook::Pulls,
                    Verification::Possible => Outlook::MayFail,
                };
                (outlook, "every candidate node holds the image already", verification)
            }
        };
        let why = match verification {
            Verification::Never => why.to_owned(),
            Verification::Possible => {
                format!(
                    "{why}; a kubelet from 1.35 on starts it only if no kubelet pulled it with credentials other than the pod's"
                )
            }
        };
        Some((outlook, why))
    }
}

/// Whether nodes that candidates ask for an image before any registry have it (the embedded registry of k3s and RKE2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peers {
    /// No candidate asks another node for it.
    #[default]
    None,
    /// None of them lists it, and all say everything that they hold.
    Lack,
    /// None of them lists it, as far as they say what they hold.
    MayHold,
    /// Some do.
    Hold,
}

/// Who created the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// Nobody, or no controller.
    #[default]
    Nobody,
    /// A controller of a kind that is not judged itself.
    UnjudgedController,
}

/// What is known about one image apart from the registry's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Context {
    /// The nodes may hold credentials for this registry (`nodeCredentials`).
    pub node_credentials: bool,
    /// Why the nodes may hold credentials that could not be learned (a credential provider that failed here), as a clause.
    pub node_unanswered: Option<String>,
    /// An image of the same repository that pods of the object run, though no credential of theirs matches it.
    pub runs: Option<String>,
    /// What the nodes hold.
    pub presence: Presence,
    /// How far that counts.
    pub presence_rule: PresenceRule,
    /// What other nodes have for them.
    pub peers: Peers,
    /// An image volume that no container mounts.
    pub unmounted: bool,
    /// Who owns the object.
    pub owner: Owner,
    /// Why pods may run another image than the one that is written, as a clause (custom kinds).
    pub other_image: Option<&'static str>,
    /// A template lists a secret (or names a service account) that is not there yet, and may still come.
    pub secret_may_come: bool,
    /// What could not be read, as a clause.
    pub hidden: Option<String>,
    /// Why the label that exempts the namespace could not be read, as a clause.
    pub exemption_hidden: Option<String>,
    /// The verdict rests on what the registry had when it last answered.
    pub stale: bool,
}

/// A softened outlook, and the clause that says why.
pub type Softened = (Outlook, String);

/// Applies the list to one failure (`None` for findings that no registry gave). The first rule that lowers the outlook gives the note; later rules may lower it further.
pub fn soften(base: Outlook, failure: Option<&Failure>, context: &Context) -> (Outlook, Vec<String>) {
    let mut outlook = base;
    let mut notes = Vec::new();
    for rule in RULES {
        if let Some((to, why)) = rule(outlook, failure, context)
            && to < outlook
        {
            outlook = to;
            notes.push(why);
        }
    }
    (outlook, notes)
}

type Rule = fn(Outlook, Option<&Failure>, &Context) -> Option<Softened>;

/// In the order of contract 2.
const RULES: &[Rule] = &[
    nobody_mounts_it,
    node_credentials,
    node_unanswered,
    pulled_by_the_nodes,
    present_on_nodes,
    given_by_other_nodes,
    owned_by_a_controller,
    another_image_may_run,
    secret_may_still_come,
    facts_we_may_not_read,
    an_exemption_we_may_not_read,
    pushed_since,
];

fn credential_failure(failure: Option<&Failure>) -> bool {
    failure.is_some_and(hinges_on_credentials)
}

// The kubelet pulls it before the first container starts, writes an event if that fails, and goes on (docs/kubelet.md).
fn nobody_mounts_it(_: Outlook, _: Option<&Failure>, context: &Context) -> Option<Softened> {
    context.unmounted.then(|| {
        (
            Outlook::Pulls,
            "no container mounts this volume: its pods run anyway, and the kubelet only writes an event".to_owned(),
        )
    })
}

fn node_credentials(_: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    (context.node_credentials && credential_failure(failure)).then(|| {
        (
            Outlook::Unknown,
            "the nodes may hold credentials for this registry".to_owned(),
        )
    })
}

// This says nothing about what nodes hold: a failing plugin does not permit us to reveal that (see `present_on_nodes`).
fn node_unanswered(_: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    let why = context.node_unanswered.as_ref()?;
    credential_failure(failure).then(|| (Outlook::Unknown, why.clone()))
}

// The namespace's own knowledge, and all there is of it: nothing that nodes list (docs/decisions/0005).
fn pulled_by_the_nodes(_: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    let image = context.runs.as_ref()?;
    credential_failure(failure).then(|| {
        let why = format!(
            "but pods of this object already run {}, and none of their pull secrets matches it: the nodes seem to hold credentials of their own",
            escape(image)
        );
        (Outlook::Unknown, why)
    })
}

fn present_on_nodes(outlook: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    // An image that does not start after a pull does not start if it is already on the node.
    if outlook == Outlook::FailsToRun {
        return None;
    }
    // Where it is to be hidden, an image that this namespace may not read must not be betrayed by what nodes hold; of an ID nothing is
    // known of them.
    let hidden = context.presence_rule == PresenceRule::Hide
        && context.presence != Presence::ById
        && failure.is_some_and(|failure| !shows_readable(failure))
        && !context.node_credentials;
    if hidden { None } else { context.presence.outlook() }
}

// Whatever the registry says of an image: a node asks the others first.
fn given_by_other_nodes(outlook: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    let failure = failure?;
    // The kubelet fails before anybody is asked.
    if matches!(failure.evidence, Evidence::CredentialNotText { .. }) {
        return None;
    }
    // What nodes hold of others' images is not revealed.
    let hidden = context.presence_rule == PresenceRule::Hide && !shows_readable(failure) && !context.node_credentials;
    let peers = match context.peers {
        Peers::None => return None,
        Peers::Lack | Peers::MayHold | Peers::Hold if hidden => Peers::MayHold,
        peers => peers,
    };
    match peers {
        Peers::None | Peers::Lack => None,
        // What may fail is not unknown for that.
        Peers::MayHold if outlook <= Outlook::MayFail => None,
        Peers::MayHold => Some((
            Outlook::Unknown,
            "candidate nodes ask each other for images first (the embedded registry of k3s), and one of them may hold it"
                .to_owned(),
        )),
        Peers::Hold => Some((
            Outlook::MayFail,
            "candidate nodes ask each other for images first (the embedded registry of k3s), and at least one node holds it"
                .to_owned(),
        )),
    }
}

fn owned_by_a_controller(_: Outlook, _: Option<&Failure>, context: &Context) -> Option<Softened> {
    match context.owner {
        Owner::Nobody => None,
        Owner::UnjudgedController => Some((
            Outlook::MayFail,
            "a controller owns this object and would only try again".to_owned(),
        )),
    }
}

fn another_image_may_run(_: Outlook, _: Option<&Failure>, context: &Context) -> Option<Softened> {
    context.other_image.map(|why| (Outlook::MayFail, why.to_owned()))
}

fn secret_may_still_come(_: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    (context.secret_may_come && credential_failure(failure)).then(|| {
        (
            Outlook::MayFail,
            "what is missing (a secret or service account) may still be created before the pods are".to_owned(),
        )
    })
}

fn facts_we_may_not_read(_: Outlook, failure: Option<&Failure>, context: &Context) -> Option<Softened> {
    let why = context.hidden.as_ref()?;
    credential_failure(failure).then(|| (Outlook::Unknown, why.clone()))
}

// Not about the pull, but about whether anybody wants it judged: what an admin exempted is never denied (docs/decisions/0008).
fn an_exemption_we_may_not_read(_: Outlook, _: Option<&Failure>, context: &Context) -> Option<Softened> {
    let why = context.exemption_hidden.as_ref()?;
    Some((
        Outlook::Unknown,
        format!("pullgate does not know whether the namespace is exempt: {why}"),
    ))
}

// An old answer stands in so that what pulls need not wait for the registry. Nothing is denied because of it (docs/operations.md).
fn pushed_since(_: Outlook, _: Option<&Failure>, context: &Context) -> Option<Softened> {
    context.stale.then(|| {
        (
            Outlook::Unknown,
            "the registry had this when it last answered, and may have something else by now".to_owned(),
        )
    })
}
