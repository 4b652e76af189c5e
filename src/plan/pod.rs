//! What the images of one template have in common, and the result for each: a question to a registry, or an answer without one.

use super::Check;
use super::audience::{self, Holders};
use super::credentials::{OfferedCredentials, PullSecrets};
use super::peers::Peers;
use super::{Admission, AlwaysPull, BeforeAnswer, Next, Plan, PlanSettings, names, settled, written};
use crate::cluster::{Facts, Visible};
use crate::credentials::node::{NodeCredentials, WantedCredentials};
use crate::credentials::{CredentialSource, Fingerprint};
use crate::image::{Platform, Reference, ReferenceError, elsewhere, rewrite};
use crate::limits;
use crate::policy::Matching;
use crate::runtime::Depth;
use crate::runtime::crio::candidates::candidates;
use crate::runtime::crio::short_names;
use crate::runtime::kubelet::Sent;
use crate::runtime::request::Agents;
use crate::runtime::{Pool, Puller, Runtime};
use crate::verdict::Finding;
use crate::verdict::platforms::pullers;
use crate::verdict::platforms::{Audience, Use};
use crate::verdict::review_result::Remark;
use crate::verdict::size::Limit;
use crate::verdict::soften::{Context, Owner, Presence, PresenceRule, Verification};
use crate::workload::pod::{Parameters, PodKind};

use crate::workload::parameter;
use crate::workload::{ImageUse, Later, ObjectId, PullPolicy, Role, StreamTag, Template};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What makes two checks the same: the image, whose credentials are offered in which order (messages name whose), how far to look and for
/// whom.
type Question = (
    Reference,
    Option<Arc<str>>,
    Vec<(Option<CredentialSource>, Fingerprint, Sent)>,
    Depth,
    Arc<[Puller]>,
    Arc<[Pool]>,
);

/// The questions for one object so far.
#[derive(Default)]
pub(super) struct Asked {
    /// Places in [`Plan::checks`].
    known: HashMap<Question, usize>,
    /// Repositories whose credentials were looked for, over all templates.
    repositories: usize,
    /// Images for which other places were thought of.
    short: usize,
}

/// Stands for the registry of a short name that no file completes: no list allows it.
pub(super) const NOWHERE: &str = "no-registry.invalid";

/// For how many images of one object other places are suggested.
const MOST_SHORT: usize = 10;

/// What all images of one template share.
pub(super) struct Pod<'a> {
    template: &'a Template,
    object: &'a ObjectId,
    facts: &'a Facts,
    settings: &'a PlanSettings,
    node: &'a NodeCredentials,
    audience: Arc<Audience>,
    /// Audiences that policies ask for instead.
    asked_for: Vec<(Vec<Platform>, Arc<Audience>)>,
    /// What the nodes hold that it will land on.
    holders: Holders<'a>,
    /// Whom those ask for images before any registry.
    peers: Peers<'a>,
    /// As whom they ask.
    agents: Agents,
    /// The credentials offered to each repository, by name. Computed once, because an object may use one repository many times.
    offered: RefCell<HashMap<String, OfferedCredentials>>,
    /// Those of the last audience.
    pullers: RefCell<Option<Pulling>>,
    pull_secrets: PullSecrets,
    owner: Owner,
    ran: Ran<'a>,
}

/// An audience and its pullers.
type Pulling = (Arc<Audience>, Arc<[Puller]>);

/// What the pods of a template ran before an UPDATE, under the names that nodes see.
#[derive(Default)]
struct Ran<'a> {
    /// Repositories, and an image of each as written.
    repositories: HashMap<String, &'a str>,
    images: HashSet<Reference>,
}

/// A name, as far as it is known.
pub(super) enum Name {
    /// It is the one that nodes will see.
    Known(Reference),
    /// Something replaces it before there are pods; a remark says what.
    Later,
    /// It does not parse, and nothing will replace it.
    Invalid(ReferenceError),
}

/// An image and the name that nodes will see.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) image: &'a ImageUse,
    pub(super) reference: &'a Reference,
    pub(super) remark: Option<&'a Remark>,
    /// The largest that an enforced policy admits.
    pub(super) size_limit: Option<&'a Limit>,
    /// What policies ask for that are not enforced.
    pub(super) also: &'a TriedOut,
}

/// The demands of policies that are not enforced. They are looked up, and change nothing that applies without them.
#[derive(Default)]
pub(super) struct TriedOut {
    pullers: Vec<Puller>,
    sizes: bool,
}

impl<'a> Pod<'a> {
    /// Found out once a template: a cluster may have thousands of nodes, and an object hundreds of images.
    pub(super) fn of(
        template: &'a Template,
        object: &'a ObjectId,
        facts: &'a Facts,
        settings: &'a PlanSettings,
        node: &'a NodeCredentials,
        owner: Owner,
    ) -> Self {
        let (scheduling, doubt) = audience::scheduling(template, facts, settings.admission);
        let candidates = scheduling.candidates(&facts.nodes);
        let audience = Audience {
            doubt,
            ..audience::audience(&scheduling, &candidates, settings)
        };
        let mut pod = Self {
            audience: Arc::new(audience),
            asked_for: Vec::new(),
            peers: Peers::of(&candidates, &facts.nodes, settings),
            agents: audience::agents(&candidates, settings),
            holders: Holders::new(candidates, template.uses.len()),
            offered: RefCell::default(),
            pullers: RefCell::default(),
            pull_secrets: PullSecrets::of(template, facts, settings.admission),
            owner,
            template,
            object,
            facts,
            settings,
            node,
            ran: Ran::default(),
        };
        for image in &template.ran {
            if let (Name::Known(reference), _) = pod.name(image) {
                pod.ran.repositories.entry(reference.name()).or_insert(&image.image);
                pod.ran.images.insert(reference);
            }
        }
        pod
    }

    /// The pullers of an audience, which most images share.
    fn pullers_of(&self, audience: &Arc<Audience>) -> Arc<[Puller]> {
        let mut last = self.pullers.borrow_mut();
        match &*last {
            Some((known, pullers)) if Arc::ptr_eq(known, audience) => Arc::clone(pullers),
            _ => {
                let pullers = Arc::from(pullers(audience));
                *last = Some((Arc::clone(audience), Arc::clone(&pullers)));
                pullers
            }
        }
    }

    /// The nodes that have to pull an image, unless a policy names platforms instead.
    pub(super) fn audience_of(&mut self, matching: &Matching) -> Arc<Audience> {
        match matching.platforms() {
            None => Arc::clone(&self.audience),
            Some(platforms) => self.asked_for(platforms),
        }
    }

    /// What policies ask for that are not enforced.
    pub(super) fn tried_out(&mut self, matching: &Matching) -> TriedOut {
        let mut tried = TriedOut::default();
        for demand in matching.demands().into_iter().filter(|demand| !demand.enforced) {
            tried.sizes |= demand.size_max.is_some();
            if let Some(platforms) = demand.platforms {
                tried.pullers.extend(pullers(&self.asked_for(platforms)));
            }
        }
        tried
    }

    /// The audience of these platforms.
    fn asked_for(&mut self, mut platforms: Vec<Platform>) -> Arc<Audience> {
        platforms.sort();
        platforms.dedup();
        if let Some((_, audience)) = self.asked_for.iter().find(|(known, _)| *known == platforms) {
            return Arc::clone(audience);
        }
        let audience = Arc::new(audience::of_policy(
            &self.template.needs.scheduling,
            &platforms,
            &self.audience,
        ));
        self.asked_for.push((platforms, Arc::clone(&audience)));
        audience
    }

    /// The same path and tag in the registries of the policies' allow lists, with the pod's own credentials only.
    pub(super) fn elsewhere(&self, reference: &Reference, matching: &Matching, asked: &mut Asked) -> Vec<Check> {
        let places = matching.places();
        if places.is_empty() || asked.short >= MOST_SHORT {
            return Vec::new();
        }
        asked.short += 1;
        let allowed = |there: &Reference| matching.names(there, &there.to_string()).is_empty();
        let there = elsewhere(reference, &places).into_iter().filter(allowed);
        let check = |there: Reference| Check {
            credentials: self.pull_secrets.own(&there.name()),
            reference: there,
            namespace: Arc::from(""),
            short: None,
            depth: Depth::Manifest,
            pullers: Arc::default(),
            agents: Agents::default(),
            peers_only: Arc::default(),
        };
        there.map(check).collect()
    }

    /// What softens every finding about an image of this template.
    pub(super) fn context(&self, image: &ImageUse) -> Context {
        Context {
            unmounted: image.role == Role::UnmountedVolume,
            presence_rule: self.settings.presence_rule,
            owner: self.owner,
            other_image: match image.later.as_deref() {
                Some(Later::Named {
                    otherwise: Some(why), ..
                }) => Some(why),
                _ => self.template.nature.other_image,
            },
            exemption_hidden: match &self.facts.namespace {
                // Without a cluster this cannot be known, and whoever runs pullgate that way knows it.
                Visible::Hidden(why) if self.facts.complete => Some(why.clone()),
                Visible::Hidden(_) | Visible::Seen(_) => None,
            },
            ..Context::default()
        }
    }

    /// The name that nodes will see. A Pod in `serve` has already been through mutating webhooks.
    pub(super) fn name(&self, image: &ImageUse) -> (Name, Option<Remark>) {
        let filled_in = |what: &str, by: String| {
            let what = what.to_owned();
            (Name::Later, Some(Remark::FilledIn { what, by }))
        };
        let (streams, namespace) = (&self.facts.image_streams, self.object.namespace.as_str());
        let filled = match image.stream.as_deref() {
            Some(tag) => streams.image(namespace, tag),
            None if self.template.kind == PodKind::Template => streams.looked_up(namespace, &image.image),
            None => None,
        };
        if let Some(filled) = filled
            && let Ok(reference) = Reference::parse(filled)
        {
            return (Name::Known(reference), Some(Remark::Rewritten(filled.to_owned())));
        }
        let (text, named) = match image.later.as_deref() {
            Some(Later::FilledIn { what, by }) => return filled_in(what, by.clone()),
            Some(Later::Named { name, by, .. }) => {
                let (name, by) = (name.clone(), by.clone());
                (name.clone(), Some(Remark::Named { name, by }))
            }
            None => (image.image.clone(), None),
        };
        let reference = match Reference::parse(&text) {
            Ok(reference) => reference,
            Err(error) => {
                let parameter = match self.template.nature.parameters {
                    Parameters::FilledIn => parameter::of(&text, &self.object.api_version, &self.object.kind),
                    Parameters::Literal => None,
                };
                return match parameter {
                    Some((what, by)) => filled_in(what, by),
                    None => (Name::Invalid(error), named),
                };
            }
        };
        let admitted = self.template.kind == PodKind::Pod && self.settings.admission == Admission::HasRun;
        if !admitted && names::injected(&text, image, self.template, self.facts) {
            return filled_in(&text, "Istio's injector".to_owned());
        }
        if admitted {
            return (Name::Known(reference), named);
        }
        match rewrite(&self.settings.rewrites, &reference) {
            Some(rewritten) => {
                let remark = Remark::Rewritten(rewritten.to_string());
                (Name::Known(rewritten), Some(remark))
            }
            None => (Name::Known(reference), named),
        }
    }

    /// The tag of an image stream that fills an image in, or may: the stream is not known.
    pub(super) fn unknown_stream(&self, image: &ImageUse) -> Option<StreamTag> {
        let local = || {
            let streams = &self.facts.image_streams;
            streams.hidden(&self.object.namespace, &image.image)
        };
        let is_template = self.template.kind == PodKind::Template;
        image.stream.as_deref().cloned().or_else(|| local().filter(|_| is_template))
    }

    /// The ID of an image that a node holds or does not: no registry is asked.
    pub(super) fn image_id(&self, image: &ImageUse) -> Finding {
        settled::image_id(image, self.policy(image), &self.context(image))
    }

    fn policy(&self, image: &ImageUse) -> PullPolicy {
        match self.settings.assume_always_pull {
            AlwaysPull::Assumed => PullPolicy::Always,
            AlwaysPull::AsWritten => image.pull_policy,
        }
    }

    /// What the candidate nodes make of a name: for a short one, CRI-O's have rules of their own.
    pub(super) fn names(&self, image: &ImageUse, reference: &Reference, remark: Option<&Remark>) -> Vec<Reference> {
        let short = short_names::written(&image.image).filter(|_| remark.is_none());
        let (Some(short), false) = (short, self.audience.groups.is_empty()) else {
            return vec![reference.clone()];
        };
        let mut names: Vec<Reference> = Vec::new();
        let mut add = |name: Reference| {
            if !names.contains(&name) {
                names.push(name);
            }
        };
        for setup in self.audience.setups() {
            let Runtime::Crio(crio) = setup.runtime else {
                add(reference.clone());
                continue;
            };
            let known = self.settings.registries_conf.get(&setup.pool);
            let completed = known.and_then(|node| candidates(&node.registries, crio.version, short, reference).ok());
            match completed {
                Some(completed) => completed.into_iter().for_each(&mut add),
                None => reference
                    .with_name(&format!("{NOWHERE}/{}", reference.path()))
                    .into_iter()
                    .for_each(&mut add),
            }
        }
        names
    }

    pub(super) fn plan(&self, named: Named<'_>, audience: Arc<Audience>, plan: &mut Plan<'_>, asked: &mut Asked) -> Next {
        let Named {
            image,
            reference,
            remark,
            size_limit,
            also,
        } = named;
        let rewritten = matches!(remark, Some(Remark::Rewritten(_)));
        let policy = self.policy(image);
        if policy == PullPolicy::Never {
            let shown = if rewritten {
                &reference.to_string()
            } else {
                written(image, remark)
            };
            let finding = settled::never_pulled(shown, reference, &self.holders, &self.context(image));
            return Next::Settled(finding.into_iter().collect());
        }
        let name = reference.name();
        let patterns = &self.settings.node_credentials;
        let node_credentials =
            patterns.matches(&name) || self.holders.may_read_classes() && patterns.matches_only_with_older_go(&name);
        let presence = match policy {
            PullPolicy::Always | PullPolicy::Never => Presence::Nowhere,
            PullPolicy::IfNotPresent if !rewritten && Reference::is_image_id(written(image, remark)) => Presence::ById,
            PullPolicy::IfNotPresent => match self.holders.presence(reference) {
                // Where its pods run, the image is, though a node lists no more than its 50 largest; and they have it by the same secrets.
                Presence::Nowhere if self.ran.images.contains(reference) => Presence::Some(Verification::Never),
                presence => presence,
            },
        };
        // If nodes' image lists may not be revealed, they count only once the registry has shown that the namespace may read the image.
        let ask_first =
            self.settings.presence_rule == PresenceRule::Hide && matches!(presence, Presence::Some(_) | Presence::All(_));
        let known_presence = if ask_first { Presence::Nowhere } else { presence };
        let malformed_secret = self.pull_secrets.malformed.as_ref().map(|(secret, error)| {
            let context = Context {
                presence: known_presence,
                ..self.context(image)
            };
            settled::malformed_secret(secret, error, plan.namespace, self.facts, &context)
        });
        let malformed_secret = match malformed_secret {
            Some(finding) if !ask_first => return Next::Settled(vec![finding]),
            other => other,
        };
        let too_many = || Next::Settled(vec![settled::one_too_many(reference)]);
        let known = self.offered.borrow().get(&name).cloned();
        let offered = match known {
            Some(offered) => offered,
            None if asked.repositories >= limits::LOOK_UPS_PER_OBJECT => return too_many(),
            None => {
                asked.repositories += 1;
                let wanted = WantedCredentials {
                    registry: reference.domain().to_owned(),
                    stand_in: self.pull_secrets.stand_in(&name, self.settings),
                    name,
                };
                let mut offered = self.pull_secrets.offers(&wanted, self.settings, self.node.get(&wanted));
                if self.holders.may_read_classes() {
                    let with_older_go = || self.pull_secrets.matched_with_older_go(&wanted.name, self.settings);
                    offered.hidden = offered.hidden.or_else(with_older_go);
                }
                for offer in offered.offers.iter_mut().filter(|offer| !offer.credential.is_text()) {
                    offer.sent = self.holders.send_what_is_no_text();
                }
                self.offered.borrow_mut().insert(wanted.name.clone(), offered.clone());
                plan.wanted.insert(wanted);
                offered
            }
        };
        let OfferedCredentials {
            offers: credentials,
            notes: secrets,
            hidden,
            unanswered,
        } = offered;
        // With a credential that matches, the runtime does not turn to what it holds itself (pull-semantics 4.5).
        let alone = credentials.is_empty() && hidden.is_none();
        let runs = self
            .ran
            .repositories
            .get(&reference.name())
            .filter(|_| alone)
            .map(|image| (*image).to_owned());
        let context = Context {
            node_credentials,
            node_unanswered: unanswered,
            runs,
            presence,
            peers: self.peers.have(reference, self.settings),
            secret_may_come: self.pull_secrets.may_come,
            hidden,
            ..self.context(image)
        };
        let depth = match size_limit {
            None if !also.sizes => self.settings.depth,
            Some(_) | None => self.settings.depth.max(Depth::Sizes),
        };
        let mut pullers = self.pullers_of(&audience);
        if !also.pullers.is_empty() {
            let all: BTreeSet<&Puller> = pullers.iter().chain(&also.pullers).collect();
            pullers = all.into_iter().cloned().collect();
        }
        let for_crio = pullers.iter().any(|puller| matches!(puller.runtime, Runtime::Crio(_)));
        let short = || short_names::written(written(image, remark)).map(Arc::from);
        let short = if for_crio && !rewritten { short() } else { None };
        let peers_only = self.peers.only(reference, self.settings);
        let key = (
            reference.clone(),
            short.clone(),
            credentials
                .iter()
                .map(|offer| (offer.source.clone(), offer.credential.fingerprint(), offer.sent))
                .collect(),
            depth,
            Arc::clone(&pullers),
            Arc::clone(&peers_only),
        );
        let check = match asked.known.get(&key) {
            Some(check) => *check,
            None if plan.checks.len() >= limits::LOOK_UPS_PER_OBJECT => return too_many(),
            None => {
                plan.checks.push(Check {
                    reference: reference.clone(),
                    namespace: Arc::from(plan.namespace),
                    short,
                    credentials,
                    depth,
                    pullers,
                    agents: self.agents,
                    peers_only,
                });
                asked.known.insert(key, plan.checks.len() - 1);
                plan.checks.len() - 1
            }
        };
        let used_by = match image.role {
            Role::Init | Role::Container | Role::Ephemeral => Use::Container,
            Role::Volume | Role::UnmountedVolume => Use::Volume,
        };
        let known = BeforeAnswer {
            context,
            secrets,
            audience,
            used_by,
            malformed_secret,
            size_limit: size_limit.cloned(),
        };
        Next::Ask {
            check,
            known: Box::new(known),
        }
    }
}
