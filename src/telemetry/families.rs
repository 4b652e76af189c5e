//! The metric families, their labels and their help texts.

use super::labels::{
    self, BadRequest, CertificateFailure, ConnectionEnd, EventOutcome, HostClass, PolicySource, PolicyStatus, QuotaLevel, Reload,
    RequestOutcome,
};
use super::recent::LastHour;
use super::{log, process};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReviewLabels {
    pub(super) verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FindingLabels {
    pub(super) cause: &'static str,
    pub(super) outlook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VoteLabels {
    pub(super) policy: String,
    pub(super) cause: &'static str,
    pub(super) verdict: &'static str,
    pub(super) enforced: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DefaultLabels {
    pub(super) mode: &'static str,
    pub(super) cause: &'static str,
    pub(super) verdict: &'static str,
    pub(super) enforced: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PolicyLabels {
    pub(super) policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) group: String,
    pub(super) kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RenewalLabels {
    pub(super) step: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) host_class: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LevelLabels {
    pub(super) level: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CacheLabels {
    pub(super) cache: &'static str,
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WeightLabels {
    pub(super) cache: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SourceLabels {
    pub(super) source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabels {
    pub(super) code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutlookLabels {
    pub(super) outlook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}

/// Creates a series, at 0.
pub(super) fn zero<S: Clone + Eq + Hash, M: Default>(family: &Family<S, M>, labels: &S) {
    drop(family.get_or_create(labels));
}

#[derive(Debug)]
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) build: Family<BuildLabels, Gauge>,
    pub(super) reviews: Family<ReviewLabels, Counter>,
    pub(super) review_seconds: Histogram,
    pub(super) deadlines_hit: Counter,
    pub(super) images: Family<OutlookLabels, Counter>,
    pub(super) findings: Family<FindingLabels, Counter>,
    pub(super) skipped: Family<ReasonLabels, Counter>,
    pub(super) votes: Family<VoteLabels, Counter>,
    pub(super) by_default: Family<DefaultLabels, Counter>,
    pub(super) exemptions: Family<PolicyLabels, Counter>,
    pub(super) policy_names: Mutex<HashSet<String>>,
    /// When counting began.
    pub(super) began: Instant,
    /// Reviews that each policy denied in the last hour.
    pub(super) denied: Mutex<LastHour>,
    pub(super) unknown_kinds: Family<KindLabels, Counter>,
    pub(super) unknown_kind_names: Mutex<HashSet<(String, String)>>,
    pub(super) bad_requests: Family<ReasonLabels, Counter>,
    pub(super) panics: Counter,
    pub(super) registry_requests: Family<RequestLabels, Counter>,
    pub(super) registry_seconds: Histogram,
    pub(super) pull_quota: Family<LevelLabels, Counter>,
    pub(super) cache: Family<CacheLabels, Counter>,
    pub(super) cache_weight: Family<WeightLabels, Gauge>,
    pub(super) reloads: Family<ReasonLabels, Counter>,
    pub(super) policies: Family<SourceLabels, Gauge>,
    pub(super) policies_refused: Family<SourceLabels, Gauge>,
    pub(super) enforced_days: Family<PolicyLabels, Gauge>,
    pub(super) exemption_days: Family<PolicyLabels, Gauge>,
    pub(super) policy_statuses: Family<ReasonLabels, Counter>,
    pub(super) events: Family<OutcomeLabels, Counter>,
    pub(super) certificate_expiry: Gauge,
    pub(super) certificate_lifetime: Gauge,
    pub(super) certificate_authority_expiry: Gauge,
    pub(super) certificate_renewals: Family<RenewalLabels, Counter>,
    pub(super) certificate_failures: Family<ReasonLabels, Counter>,
    pub(super) connections: Gauge,
    pub(super) api_server_silence: Gauge,
    pub(super) node_pools_empty: Gauge,
    pub(super) nodes_in_several_pools: Gauge,
    pub(super) connection_ends: Family<ReasonLabels, Counter>,
    pub(super) responses: Family<CodeLabels, Counter>,
    pub(super) log_lines_lost: Counter,
}

impl Families {
    /// Registers every family, and creates the series whose labels are known here.
    pub(super) fn register() -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(process::Process::begin()));
        let registry = root.sub_registry_with_prefix("pullgate");
        let buckets = || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let mut families = Self {
            build: Family::default(),
            reviews: Family::default(),
            review_seconds: buckets(),
            deadlines_hit: Counter::default(),
            images: Family::default(),
            findings: Family::default(),
            skipped: Family::default(),
            votes: Family::default(),
            by_default: Family::default(),
            exemptions: Family::default(),
            policy_names: Mutex::default(),
            began: Instant::now(),
            denied: Mutex::default(),
            unknown_kinds: Family::default(),
            unknown_kind_names: Mutex::default(),
            bad_requests: Family::default(),
            panics: Counter::default(),
            registry_requests: Family::default(),
            registry_seconds: buckets(),
            pull_quota: Family::default(),
            cache: Family::default(),
            cache_weight: Family::default(),
            reloads: Family::default(),
            policies: Family::default(),
            policies_refused: Family::default(),
            enforced_days: Family::default(),
            exemption_days: Family::default(),
            policy_statuses: Family::default(),
            events: Family::default(),
            certificate_expiry: Gauge::default(),
            certificate_lifetime: Gauge::default(),
            certificate_authority_expiry: Gauge::default(),
            certificate_renewals: Family::default(),
            certificate_failures: Family::default(),
            connections: Gauge::default(),
            api_server_silence: Gauge::default(),
            node_pools_empty: Gauge::default(),
            nodes_in_several_pools: Gauge::default(),
            connection_ends: Family::default(),
            responses: Family::default(),
            log_lines_lost: log::dropped(),
            registry: Registry::default(),
        };
        registry.register("build_info", "The running version; always 1", families.build.clone());
        registry.register("reviews", "Reviews answered, by verdict", families.reviews.clone());
        registry.register_with_unit(
            "review_duration",
            "Time to answer a review",
            Unit::Seconds,
            families.review_seconds.clone(),
        );
        registry.register(
            "review_deadlines_hit",
            "Reviews that used up their time: anything not known by then counts as Unknown",
            families.deadlines_hit.clone(),
        );
        registry.register(
            "images",
            "Images judged, by outlook; without those skipped because of an update, a controller, a parameter or an exemption",
            families.images.clone(),
        );
        registry.register("findings", "Findings, by cause and outlook", families.findings.clone());
        registry.register(
            "skipped",
            "Reviews allowed without judging, and exemptions, by reason",
            families.skipped.clone(),
        );
        registry.register(
            "unknown_kinds",
            "Reviews of objects whose kind pullgate does not know, by group and kind",
            families.unknown_kinds.clone(),
        );
        registry.register(
            "policy_decisions",
            "Findings decided by a policy, with the verdict and the verdict if every policy were enforced",
            families.votes.clone(),
        );
        registry.register(
            "default_decisions",
            "Findings on which no policy voted, by the settings' mode, with the verdict and the verdict if that mode were Enforce",
            families.by_default.clone(),
        );
        registry.register(
            "policy_exemptions",
            "Reviews exempt from a policy, by policy",
            families.exemptions.clone(),
        );
        registry.register(
            "bad_requests",
            "Requests that were refused, or answered without reading their object, by reason",
            families.bad_requests.clone(),
        );
        registry.register(
            "panics",
            "Reviews and look-ups that panicked; a review is then answered with an error, an image counts as Unknown",
            families.panics.clone(),
        );
        registry.register(
            "registry_requests",
            "Requests to registries and their token servers, by host class and outcome",
            families.registry_requests.clone(),
        );
        registry.register_with_unit(
            "registry_request_duration",
            "Duration of a registry request",
            Unit::Seconds,
            families.registry_seconds.clone(),
        );
        registry.register(
            "registry_low_quota_answers",
            "Successful registry answers reporting that the pull quota is low (a tenth or less) or exhausted, by level",
            families.pull_quota.clone(),
        );
        registry.register(
            "cache_requests",
            "Cache look-ups, by cache and result",
            families.cache.clone(),
        );
        registry.register_with_unit(
            "cache_weight",
            "Approximate size of the caches of registry answers, by cache; cache.maxBytes limits their sum",
            Unit::Bytes,
            families.cache_weight.clone(),
        );
        registry.register(
            "reloads",
            "Reloads of certificates, settings and policies, by outcome",
            families.reloads.clone(),
        );
        registry.register("policies", "Policies in force, by source", families.policies.clone());
        registry.register(
            "policies_refused",
            "Policies whose newest version is invalid, by source",
            families.policies_refused.clone(),
        );
        registry.register(
            "policy_enforced_days_left",
            "Days until a policy with enforceFrom is enforced, counting a started day; 0 once it is enforced",
            families.enforced_days.clone(),
        );
        registry.register(
            "policy_exemption_days_left",
            "Days until the next of a policy's exemptions ends, counting a started day",
            families.exemption_days.clone(),
        );
        registry.register(
            "policy_status_writes",
            "Attempts to write the status of a policy in the cluster, by outcome",
            families.policy_statuses.clone(),
        );
        registry.register(
            "events",
            "Kubernetes Events about reviews, by outcome: written, updated (a count), repeated, limited, dropped, forbidden, gone, refused, failed",
            families.events.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "Expiry of the served certificate (Unix time)",
            Unit::Seconds,
            families.certificate_expiry.clone(),
        );
        registry.register_with_unit(
            "certificate_lifetime",
            "Lifetime of the served certificate, from its start to its expiry",
            Unit::Seconds,
            families.certificate_lifetime.clone(),
        );
        registry.register_with_unit(
            "certificate_authority_expiry_timestamp",
            "Expiry of the CA of self-managed certificates (Unix time); 0 if there is none",
            Unit::Seconds,
            families.certificate_authority_expiry.clone(),
        );
        registry.register(
            "certificate_renewals",
            "Writes of self-managed certificates to the Secret and the registration, by step and reason",
            families.certificate_renewals.clone(),
        );
        registry.register(
            "certificate_failures",
            "Failed reads and writes of self-managed certificates, by reason",
            families.certificate_failures.clone(),
        );
        registry.register(
            "connections",
            "Open connections on the webhook port",
            families.connections.clone(),
        );
        registry.register(
            "api_server_silence_seconds",
            "Time since the API server last sent anything",
            families.api_server_silence.clone(),
        );
        registry.register(
            "node_pools_empty",
            "Pools in the settings' nodePools that have no node",
            families.node_pools_empty.clone(),
        );
        registry.register(
            "nodes_in_several_pools",
            "Nodes that more than one of the settings' nodePools selects",
            families.nodes_in_several_pools.clone(),
        );
        registry.register(
            "connection_ends",
            "Connections on the webhook port that pullgate ended, by reason",
            families.connection_ends.clone(),
        );
        registry.register(
            "responses",
            "HTTP answers on the webhook port, by status code",
            families.responses.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines dropped because the log was not read fast enough",
            families.log_lines_lost.clone(),
        );
        families.registry = root;
        families.begin();
        families
    }

    /// Creates every series whose labels are known here, at 0.
    fn begin(&self) {
        let all = self;
        let version = env!("CARGO_PKG_VERSION");
        all.build.get_or_create(&BuildLabels { version }).set(1);
        let reasons = |family: &Family<ReasonLabels, Counter>, reasons: &mut dyn Iterator<Item = &'static str>| {
            reasons.for_each(|reason| zero(family, &ReasonLabels { reason }));
        };
        reasons(&all.bad_requests, &mut BadRequest::ALL.iter().map(|reason| reason.name()));
        reasons(&all.reloads, &mut Reload::ALL.iter().map(|reason| reason.name()));
        reasons(
            &all.policy_statuses,
            &mut PolicyStatus::ALL.iter().map(|reason| reason.name()),
        );
        reasons(
            &all.certificate_failures,
            &mut CertificateFailure::ALL.iter().map(|reason| reason.name()),
        );
        reasons(
            &all.connection_ends,
            &mut ConnectionEnd::ALL.iter().map(|reason| reason.name()),
        );
        for host_class in HostClass::ALL.iter().map(|class| class.name()) {
            for outcome in RequestOutcome::ALL.iter().map(|outcome| outcome.name()) {
                zero(&all.registry_requests, &RequestLabels { host_class, outcome });
            }
        }
        for level in QuotaLevel::ALL.iter().map(|level| level.name()) {
            zero(&all.pull_quota, &LevelLabels { level });
        }
        for (cache, results) in labels::CACHE_RESULTS {
            for result in results.iter().map(|result| result.name()) {
                zero(
                    &all.cache,
                    &CacheLabels {
                        cache: cache.name(),
                        result,
                    },
                );
            }
        }
        for cache in labels::CACHE_WEIGHTS.iter().map(|cache| cache.name()) {
            zero(&all.cache_weight, &WeightLabels { cache });
        }
        for source in PolicySource::ALL.iter().map(|source| source.name()) {
            zero(&all.policies, &SourceLabels { source });
            zero(&all.policies_refused, &SourceLabels { source });
        }
        for outcome in EventOutcome::ALL.iter().map(|outcome| outcome.name()) {
            zero(&all.events, &OutcomeLabels { outcome });
        }
        for (step, reasons) in labels::CERTIFICATE_RENEWALS {
            for reason in reasons.iter().map(|reason| reason.name()) {
                zero(
                    &all.certificate_renewals,
                    &RenewalLabels {
                        step: step.name(),
                        reason,
                    },
                );
            }
        }
        for code in labels::CODES {
            zero(&all.responses, &CodeLabels { code: *code });
        }
    }
}
