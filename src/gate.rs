//! The one orchestrator: uses → plan → gather → decide. The only place where order, deadline and concurrency meet; both faces call it.

use crate::cluster::{Cluster, Facts, Object, Visible};
use crate::config::{Live, PolicyStore};
use crate::credentials::node::{NodeCredentials, Provided};
use crate::engine::LookUps;
use crate::image::Reference;
use crate::limits;
use crate::plan::Check;
use crate::plan::{self, Next, Settings, decide, doubts, hints, offer};
use crate::policy::{Matching, Requester};
use crate::providers::Providers;
use crate::verdict::Judgement;
use crate::verdict::answer::{Answer, Exemption, Judged, Look, Standing};
use crate::workload::{Kinds, Workload};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// The label on a namespace that takes everything in it out of pullgate's hands.
pub const IGNORE_LABEL: (&str, &str) = ("pullgate.dev/ignore", "true");

/// What the settings file decides: how registries are asked, and how answers are read.
#[derive(Debug)]
pub struct Engine {
    /// The door to the registries, with its caches.
    pub registry: LookUps,
    /// What the plan needs to know.
    pub settings: Settings,
    /// Who gets the credentials that only a node has.
    pub providers: Providers,
}

/// The gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    engine: Live<Engine>,
    policies: PolicyStore,
    cluster: Cluster,
}

impl Gate {
    /// Puts the doors together. The engine and the policies may be replaced while reviews run.
    pub fn new(engine: Live<Engine>, policies: PolicyStore, cluster: Cluster) -> Self {
        Self {
            engine,
            policies,
            cluster,
        }
    }

    /// The kinds that are judged, as the settings have them now.
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.engine.load().settings.kinds)
    }

    /// Judges one object that `requester` asks for. Ends at `deadline` at the latest; what is not known by then is `Unknown`.
    pub async fn judge(&self, workload: &Workload, requester: &Requester, deadline: Instant) -> Answer {
        let (engine, policies) = (self.engine.load(), self.policies.load());
        let settings = &engine.settings;
        if let Some(exempt) = annotation(workload, settings) {
            return Answer::exempt(passed_over(workload), exempt);
        }
        let namespace = &workload.object.namespace;
        let mut facts = self.cluster.facts(namespace, &workload.templates, deadline).await;
        let mut read_again: BTreeSet<Object> = BTreeSet::new();
        // A second look at the cluster can bring one more secret to light (a service account that lists it), never more.
        const ROUNDS: usize = 3;
        let mut round = 0;
        let mut node = NodeCredentials::default();
        loop {
            if ignored(&facts) {
                return Answer::exempt(passed_over(workload), Exemption::Namespace);
            }
            round += 1;
            let jury = plan::jury(workload, &facts, &policies, requester);
            let mut plan = plan::plan_with(workload, &facts, settings, &node, &jury);
            let mut learned = false;
            for (wanted, provided) in engine.providers.ask(node.unasked(&plan.wanted), deadline).await {
                learned |= provided != Provided::default();
                node.insert(wanted, provided);
            }
            if learned {
                plan = plan::plan_with(workload, &facts, settings, &node, &jury);
            }
            let outcomes = engine.registry.gather(&plan.checks, deadline).await;
            let mut judgements = decide(&plan, &outcomes);
            let doubtful: Vec<Object> = doubts(&plan, &judgements, &facts)
                .into_iter()
                .filter(|object| read_again.insert(object.clone()))
                .collect();
            if !doubtful.is_empty() && round < ROUNDS {
                let fresh = self
                    .cluster
                    .reread(&facts, namespace, &workload.templates, &doubtful, deadline)
                    .await;
                if changed(&facts, &fresh) {
                    facts = fresh;
                    continue;
                }
            }
            look_elsewhere(&engine.registry, &plan, &mut judgements, deadline).await;
            let checks = plan.checks.len();
            let standing = standing(&jury, &plan);
            let images = plan
                .images
                .into_iter()
                .zip(judgements)
                .map(|(planned, judgement)| Judged {
                    image: planned.image.clone(),
                    reference: planned.reference,
                    remark: planned.remark,
                    judgement,
                    look: match planned.next {
                        Next::PassedOver => Look::PassedOver,
                        Next::Settled(_) | Next::Ask { .. } => Look::Taken,
                    },
                })
                .collect();
            return Answer {
                images,
                exempt: None,
                policies: standing,
                checks,
            };
        }
    }
}

/// Looks for names without a registry in the registries of the policies' allow lists. It is for a better fix only, so it may not take long.
async fn look_elsewhere(registry: &LookUps, plan: &plan::Plan<'_>, judgements: &mut [Judgement], deadline: Instant) {
    let asked = hints(plan, judgements);
    if asked.is_empty() {
        return;
    }
    let checks: Vec<Check> = asked.iter().map(|(_, check)| check.clone()).collect();
    let outcomes = registry
        .gather(&checks, deadline.min(Instant::now() + limits::ELSEWHERE))
        .await;
    offer(judgements, &asked, &outcomes);
}

/// The policies that were about the object or one of its images, and those that an exemption has taken out.
fn standing(jury: &Matching, plan: &plan::Plan<'_>) -> Standing {
    let exempting = plan.images.iter().flat_map(|planned| planned.jury.exempting());
    let exempting: BTreeSet<Arc<str>> = jury.exempting().iter().chain(exempting).cloned().collect();
    Standing {
        matching: jury.modes().map(|(name, mode)| (Arc::clone(name), mode.name())).collect(),
        exempting: exempting.into_iter().collect(),
    }
}

/// Whether anything that a judgement could rest on differs.
fn changed(before: &Facts, after: &Facts) -> bool {
    before.namespace != after.namespace || before.service_accounts != after.service_accounts || before.secrets != after.secrets
}

fn ignored(facts: &Facts) -> bool {
    match &facts.namespace {
        Visible::Seen(Some(namespace)) => namespace
            .labels
            .iter()
            .any(|(key, value)| (key.as_str(), value.as_str()) == IGNORE_LABEL),
        Visible::Seen(None) | Visible::Hidden(_) => false,
    }
}

fn annotation(workload: &Workload, settings: &Settings) -> Option<Exemption> {
    settings.exempt_annotations.iter().find_map(|wanted| {
        let (key, value) = wanted
            .split_once('=')
            .map_or((wanted.as_str(), None), |(key, value)| (key, Some(value)));
        workload
            .annotations
            .iter()
            .any(|(k, v)| k == key && value.is_none_or(|value| v == value))
            .then(|| Exemption::Annotation(wanted.clone()))
    })
}

fn passed_over(workload: &Workload) -> Vec<Judged> {
    workload
        .templates
        .iter()
        .flat_map(|template| &template.uses)
        .map(|image| Judged {
            image: image.clone(),
            reference: Reference::parse(&image.image).ok(),
            remark: None,
            judgement: Judgement::allowed(),
            look: Look::PassedOver,
        })
        .collect()
}
