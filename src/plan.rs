//! What to settle without a network, and what to ask. Pure: workload + cluster facts + settings → settled findings and
//! de-duplicated checks, and afterwards outcomes → judgements.

mod audience;
mod builds;
mod check;
mod credentials;
mod decide;
mod hints;
mod names;
mod peers;
mod pod;
pub mod pools;
mod settled;

pub use builds::every_build;
pub use check::{Check, Offer};
pub use decide::{decide, denied, doubts};
pub use hints::{hints, offer};
pub use pools::NodePool;

use crate::cluster::{Facts, Visible};
use crate::credentials::node::{NodeCredentials, WantedCredentials};
use crate::credentials::{Credential, RegistryPatterns};
use crate::image::{Platform, Reference, Rewrite};
use crate::limits;
use crate::policy::{Circumstances, Matching, Modes, NAME_LABEL, PerImagePolicies, Policies, Raised, Requester, Subject};
use crate::runtime::containerd::peers::Shared;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::{Depth, Pool, Runtime};
use crate::verdict::image_case::SecretNote;
use crate::verdict::platforms::{Audience, Use};
use crate::verdict::review_result::Remark;
use crate::verdict::size::{Bytes, Limit};
use crate::verdict::soften::{Context, Owner, PresenceRule};
use crate::verdict::{Cause, Finding, Verdict};
use crate::workload::{ImageUse, Kinds, Role, Template, Workload};
use pod::{Asked, Name, Named, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether admission has already settled a Pod's service account and pull secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// `serve`: a Pod that lists no secret has none.
    #[default]
    HasRun,
    /// `check`: it is still to come, for Pods too.
    StillToCome,
}

/// The platforms to judge for where no node says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// The nodes', else those that selectors name, else a guess of linux/amd64 that denies nothing.
    Guess,
    /// The nodes', else those that selectors name, else these.
    Default(Vec<Platform>),
    /// These, whatever the nodes are (`--platform`).
    Exactly(Vec<Platform>),
}

/// The runtimes to judge for where no node says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Runtimes {
    /// Any containerd.
    #[default]
    Guess,
    /// These.
    Default(Vec<Runtime>),
    /// These, whatever the nodes run (`--runtime`).
    Exactly(Vec<Runtime>),
}

/// What the settings say to the plan.
#[derive(Debug, Clone)]
pub struct PlanSettings {
    /// Patterns of registries whose credentials the nodes may hold.
    pub node_credentials: RegistryPatterns,
    /// Platforms where no node is known.
    pub platforms: Platforms,
    /// Runtimes where no node says it.
    pub runtimes: Runtimes,
    /// The pools of nodes; one belongs to the first that selects it.
    pub pools: Arc<[NodePool]>,
    /// What nodes with CRI-O complete short names by, pool by pool, where it is known.
    pub registries_conf: BTreeMap<Pool, Arc<NodeSettings>>,
    /// The registries whose images nodes of k3s give each other, pool by pool, where it is known.
    pub shared: BTreeMap<Pool, Arc<Shared>>,
    /// Whether an `AlwaysPullImages` plugin makes every pull policy `Always`.
    pub assume_always_pull: AlwaysPull,
    /// The node-level docker config: tried after the pod's secrets, as the kubelet does.
    pub docker_config: Arc<Vec<(String, Credential)>>,
    /// The docker config of the user of `check`. It is used where a secret is missing, and proves nothing.
    pub stand_in: Arc<Vec<(String, Credential)>>,
    /// Whether admission has run.
    pub admission: Admission,
    /// Annotations (`key` or `key=value`) that exempt an object.
    pub exempt_annotations: Vec<String>,
    /// The kinds that carry pods.
    pub kinds: Arc<Kinds>,
    /// How far look-ups go.
    pub depth: Depth,
    /// What mutating webhooks will do to the names of images, in order; the first that matches holds.
    pub rewrites: Vec<Rewrite>,
    /// How much an image that is already on a node counts.
    pub presence_rule: PresenceRule,
    /// The mode for findings on which no policy votes.
    pub modes: Modes,
}

impl PlanSettings {
    /// Where nothing is written, and no registry is one of the nodes'.
    pub fn bare(admission: Admission) -> Self {
        Self {
            node_credentials: RegistryPatterns::default(),
            platforms: Platforms::Guess,
            runtimes: Runtimes::default(),
            pools: Arc::default(),
            registries_conf: BTreeMap::new(),
            shared: BTreeMap::new(),
            assume_always_pull: AlwaysPull::AsWritten,
            docker_config: Arc::default(),
            stand_in: Arc::default(),
            admission,
            exempt_annotations: Vec::new(),
            kinds: Arc::default(),
            depth: Depth::Manifest,
            rewrites: Vec::new(),
            presence_rule: PresenceRule::default(),
            modes: Modes::default(),
        }
    }
}

/// `assumeAlwaysPull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlwaysPull {
    /// The written policy holds.
    #[default]
    AsWritten,
    /// Every pod pulls every time.
    Assumed,
}

/// The plan for one object.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The namespace of the object.
    pub namespace: &'a str,
    /// Every image use, in the order of the object's fields.
    pub images: Vec<Planned<'a>>,
    /// What to ask the registries, each question once.
    pub checks: Vec<Check>,
    /// The repositories of the checks, for whoever gets node-level credentials for them.
    pub wanted: BTreeSet<WantedCredentials>,
}

/// One image use, planned.
#[derive(Debug)]
pub struct Planned<'a> {
    /// The use.
    pub image: &'a ImageUse,
    /// Its template.
    pub template: &'a Template,
    /// The reference that nodes will see, where it parses.
    pub reference: Option<Reference>,
    /// What to say about the name.
    pub remark: Option<Remark>,
    /// The policies that are about it.
    pub policies: Matching,
    /// What their name rules object to, until it is decided.
    pub raised: Vec<Raised>,
    /// What comes next.
    pub next: Next,
    /// Where to look if it is not there: registries of the policies' allow lists, for a name that has no registry.
    pub elsewhere: Vec<Check>,
}

/// What comes next for an image.
#[derive(Debug)]
pub enum Next {
    /// An UPDATE left it as it was, a controller of a judged kind made the object, or a parameter stands for the image: allowed without a
    /// look.
    Skipped,
    /// Something of the set of files gives it another name later, which is not known: `Unknown`, with a remark.
    Later,
    /// Settled without a network.
    Settled(Vec<Finding>),
    /// Ask the registry.
    Ask {
        /// Index into [`Plan::checks`].
        check: usize,
        /// What its judgement depends on beside the answer.
        known: Box<BeforeAnswer>,
    },
}

/// What is known about an image before the registry answers.
#[derive(Debug)]
pub struct BeforeAnswer {
    /// What may soften the outlook.
    pub context: Context,
    /// About the pull secrets.
    pub secrets: Vec<SecretNote>,
    /// The nodes that have to pull it.
    pub audience: Arc<Audience>,
    /// What uses it.
    pub used_by: Use,
    /// A finding that stops the pull before it starts, unless the nodes hold the image; here where `nodes.presence` is `hide`.
    pub malformed_secret: Option<Finding>,
    /// The largest that a policy admits.
    pub size_limit: Option<Limit>,
}

/// The policies that are about an object. Labels of a namespace that need not be complete, or that may not be read, are not known; the one
/// that every namespace has by itself always is (`kubernetes.io/metadata.name`).
pub fn matching(
    workload: &Workload,
    facts: &Facts,
    policies: &Policies,
    requester: &Requester,
    kinds: &[String],
    circumstances: Circumstances<'_>,
) -> Matching {
    let namespace = workload.object.namespace.as_str();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let labels = labels(workload, facts);
    let subject = Subject {
        namespace,
        labels: labels.as_deref(),
        kinds: &kinds,
    };
    policies.matching(&subject, requester, circumstances)
}

/// The labels of the object's namespace, with the one that every namespace has; `None` if they are not known.
pub fn labels(workload: &Workload, facts: &Facts) -> Option<Vec<(String, String)>> {
    let namespace = workload.object.namespace.as_str();
    let written = match &facts.namespace {
        Visible::Seen(Some(namespace)) => Some(namespace.labels.clone()),
        Visible::Seen(None) if facts.complete => Some(Vec::new()),
        Visible::Seen(None) | Visible::Hidden(_) => None,
    };
    // The pods of an object that has no namespace live in one that is not known.
    written.filter(|_| !namespace.is_empty()).map(|mut labels| {
        if !labels.iter().any(|(key, _)| key == NAME_LABEL) {
            labels.push((NAME_LABEL.to_owned(), namespace.to_owned()));
        }
        labels
    })
}

/// Plans one object. `node` are the answers for [`Plan::wanted`] of a plan made before; `matching` are the policies that are about it.
pub fn plan<'a>(
    workload: &'a Workload,
    facts: &Facts,
    settings: &PlanSettings,
    node: &NodeCredentials,
    matching: &Matching,
) -> Plan<'a> {
    let mut plan = Plan {
        namespace: &workload.object.namespace,
        images: Vec::with_capacity(workload.templates.iter().map(|template| template.uses.len()).sum()),
        checks: Vec::new(),
        wanted: BTreeSet::new(),
    };
    let mut asked = Asked::default();
    let ownership = ownership(workload, &settings.kinds);
    let mut narrowing = PerImagePolicies::of(matching);
    let mut room = limits::FINDINGS_PER_OBJECT;
    for template in &workload.templates {
        let owner = match ownership {
            Ownership::Other => Owner::UnjudgedController,
            Ownership::None | Ownership::Judged => Owner::Nobody,
        };
        let mut pod = Pod::of(template, &workload.object, facts, settings, node, owner);
        for image in &template.uses {
            // A person adds a debug container to a pod; it is never in the template that was judged.
            let judged_with_owner = |image: &ImageUse| ownership == Ownership::Judged && image.role != Role::Ephemeral;
            let (name, remark) = pod.name(image);
            // Policies vote on a name that does not parse, too; none can exempt it by its name.
            let as_nodes_have_it = match &name {
                Name::Known(name) => pod.names(image, name, remark.as_ref()),
                Name::Later | Name::Invalid(_) => Vec::new(),
            };
            let matching = narrowing.about(&as_nodes_have_it);
            // An image that an UPDATE leaves alone is held against no name rule; one of a controlled object is: anyone can write an
            // ownerReference (contract 6).
            let mut raised = match &name {
                Name::Known(_) if !image.unchanged => raised(&matching, &as_nodes_have_it, written(image, remark.as_ref()), room),
                Name::Known(_) | Name::Later | Name::Invalid(_) => Vec::new(),
            };
            let stream = pod.unknown_stream(image);
            let mut next = match &name {
                _ if image.unchanged => Next::Skipped,
                _ if judged_with_owner(image) && raised.is_empty() => Next::Skipped,
                _ if judged_with_owner(image) || !may_ask(&matching, &raised) => Next::Settled(Vec::new()),
                Name::Known(_) | Name::Invalid(_) if remark.is_none() && stream.is_some() => {
                    let finding = stream.as_ref().map(settled::filled_in);
                    Next::Settled(finding.into_iter().collect())
                }
                // In `serve`, a template whose controller or injector fills in the image is allowed silently; in `check` that would be no
                // proof.
                Name::Later if settings.admission == Admission::HasRun => Next::Skipped,
                Name::Later => Next::Later,
                Name::Known(_) if Reference::is_whole_image_id(written(image, remark.as_ref())) => {
                    Next::Settled(vec![pod.image_id(image)])
                }
                Name::Invalid(error) => {
                    let finding = settled::invalid_name(image, template.kind, error, &pod.context(image));
                    Next::Settled(vec![finding])
                }
                Name::Known(reference) => {
                    let size_limit = matching.size_max().map(|(bytes, policy)| Limit {
                        bytes: Bytes(bytes),
                        policy,
                    });
                    let audience = pod.audience_of(&matching);
                    let also = pod.tried_out(&matching);
                    let named = Named {
                        image,
                        reference,
                        remark: remark.as_ref(),
                        size_limit: size_limit.as_ref(),
                        also: &also,
                    };
                    pod.plan(named, audience, &mut plan, &mut asked)
                }
            };
            room = tell(&mut raised, &mut next, &matching, room);
            let elsewhere = match (&name, &next) {
                (Name::Known(reference), Next::Ask { .. }) if remark.is_none() && is_short(&image.image) => {
                    pod.elsewhere(reference, &matching, &mut asked)
                }
                _ => Vec::new(),
            };
            plan.images.push(Planned {
                image,
                template,
                reference: match name {
                    Name::Known(reference) => Some(reference),
                    Name::Later | Name::Invalid(_) => None,
                },
                remark,
                policies: matching,
                raised,
                next,
                elsewhere,
            });
        }
    }
    plan
}

/// What the name rules object to in any of the names that nodes make of an image; only the severest where there is no `room` for all.
fn raised(matching: &Matching, names: &[Reference], shown: &str, room: usize) -> Vec<Raised> {
    let mut all: Vec<Raised> = Vec::new();
    for name in names {
        let mut objections = matching.objections(name, shown);
        if objections.len() > room {
            objections = matching.severest(&objections).into_iter().collect();
        }
        for objection in objections {
            let mut raised = objection.raise(name, shown);
            if name.domain() == pod::NOWHERE {
                raised.finding.message = format!(
                    "the name has no registry, and CRI-O nodes do not complete it, as far as their registries.conf is known: {}",
                    raised.finding.message
                );
            }
            let known = |known: &Raised| (&known.policy, known.finding.cause) == (&raised.policy, raised.finding.cause);
            if !all.iter().any(known) {
                all.push(raised);
            }
        }
    }
    // Kept for tens of thousands of images, perhaps.
    all.shrink_to_fit();
    all
}

/// Where there is `room` for what was found of one image, takes it. Else what was settled is left out where a name rule's finding is answered
/// no less severely, and no words are kept: an object may have tens of thousands of images, each with an essay. Returns the room that is left.
fn tell(raised: &mut [Raised], next: &mut Next, matching: &Matching, room: usize) -> usize {
    let settled = match next {
        Next::Settled(findings) => findings,
        Next::Skipped | Next::Later | Next::Ask { .. } => &mut Vec::new(),
    };
    if let Some(left) = room.checked_sub(raised.len() + settled.len()) {
        return left;
    }
    let weight = |finding: &Finding, by: Option<&str>| {
        let decision = matching.decide(finding, by);
        (decision.verdict, decision.enforced)
    };
    let severest = raised
        .iter()
        .map(|raised| weight(&raised.finding, Some(&raised.policy)))
        .max();
    settled.retain(|finding| severest.is_none_or(|severest| weight(finding, None) > severest));
    let all = raised.iter_mut().map(|raised| &mut raised.finding).chain(settled);
    all.for_each(Finding::forget_words);
    0
}

/// The name as people wrote it: in the object, or where a tool takes it from.
fn written<'a>(image: &'a ImageUse, remark: Option<&'a Remark>) -> &'a str {
    match remark {
        Some(Remark::Named { name, .. }) => name,
        Some(Remark::Rewritten(_) | Remark::FilledIn { .. }) | None => &image.image,
    }
}

/// Whether the registry may be asked: not where a name rule denies (contract 5). Where all that is missing is a digest, the registry is
/// allowed, and is asked for the digest to write.
fn may_ask(matching: &Matching, raised: &[Raised]) -> bool {
    let denies = |raised: &Raised| matching.decide(&raised.finding, Some(&raised.policy)).verdict == Verdict::Deny;
    !raised
        .iter()
        .any(|raised| raised.finding.cause != Cause::DigestRequired && denies(raised))
}

/// Whose object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// No credential.
    None,
    /// Of a controller whose own object is judged: denying here would only loop.
    Judged,
    /// Of another controller.
    Other,
}

fn ownership(workload: &Workload, kinds: &Kinds) -> Ownership {
    match &workload.controller {
        None => Ownership::None,
        Some((api_version, kind)) if kinds.judged_for_sure(api_version, kind) => Ownership::Judged,
        Some(_) => Ownership::Other,
    }
}

/// A name without a registry (`nginx`, `team/app`), as written.
fn is_short(image: &str) -> bool {
    match image.split_once('/') {
        None => true,
        Some((first, _)) => !first.contains(['.', ':']) && first != "localhost" && !first.bytes().any(|b| b.is_ascii_uppercase()),
    }
}

#[cfg(test)]
mod tests;
