//! Metric families (all begin with `pullgate_`) and the log subscriber. No labels that a user of the cluster can choose.

pub mod log;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    cause: &'static str,
    outlook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RenewalLabels {
    step: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    host_class: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u16,
}

/// All metrics. Cheap to clone; one per process.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    reviews: Family<ReviewLabels, Counter>,
    review_seconds: Histogram,
    findings: Family<FindingLabels, Counter>,
    skipped: Family<ReasonLabels, Counter>,
    bad_requests: Family<ReasonLabels, Counter>,
    panics: Counter,
    registry_requests: Family<RequestLabels, Counter>,
    registry_seconds: Histogram,
    cache: Family<CacheLabels, Counter>,
    reloads: Family<ReasonLabels, Counter>,
    certificate_expiry: Gauge,
    certificate_authority_expiry: Gauge,
    certificate_renewals: Family<RenewalLabels, Counter>,
    certificate_failures: Family<ReasonLabels, Counter>,
    connections: Gauge,
    connection_ends: Family<ReasonLabels, Counter>,
    responses: Family<CodeLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every family.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pullgate");
        let buckets = || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let families = Families {
            reviews: Family::default(),
            review_seconds: buckets(),
            findings: Family::default(),
            skipped: Family::default(),
            bad_requests: Family::default(),
            panics: Counter::default(),
            registry_requests: Family::default(),
            registry_seconds: buckets(),
            cache: Family::default(),
            reloads: Family::default(),
            certificate_expiry: Gauge::default(),
            certificate_authority_expiry: Gauge::default(),
            certificate_renewals: Family::default(),
            certificate_failures: Family::default(),
            connections: Gauge::default(),
            connection_ends: Family::default(),
            responses: Family::default(),
            registry: Registry::default(),
        };
        registry.register("reviews", "Reviews answered, by verdict", families.reviews.clone());
        registry.register_with_unit(
            "review_duration",
            "Time to answer a review",
            Unit::Seconds,
            families.review_seconds.clone(),
        );
        registry.register("findings", "Findings, by cause and outlook", families.findings.clone());
        registry.register(
            "skipped",
            "Reviews allowed without judging, and exemptions, by reason",
            families.skipped.clone(),
        );
        registry.register(
            "bad_requests",
            "Requests that were not a usable AdmissionReview, by reason",
            families.bad_requests.clone(),
        );
        registry.register("panics", "Handlers that panicked", families.panics.clone());
        registry.register(
            "registry_requests",
            "Requests to registries and their token servers, by host class and outcome",
            families.registry_requests.clone(),
        );
        registry.register_with_unit(
            "registry_request_duration",
            "Time of one registry request",
            Unit::Seconds,
            families.registry_seconds.clone(),
        );
        registry.register(
            "cache_requests",
            "Cache look-ups, by cache and result",
            families.cache.clone(),
        );
        registry.register(
            "reloads",
            "Reloads of certificates and settings, by outcome",
            families.reloads.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the served certificate ends (Unix time)",
            Unit::Seconds,
            families.certificate_expiry.clone(),
        );
        registry.register_with_unit(
            "certificate_authority_expiry_timestamp",
            "When the CA of a self-managed certificate ends (Unix time); 0 where none is known",
            Unit::Seconds,
            families.certificate_authority_expiry.clone(),
        );
        registry.register(
            "certificate_renewals",
            "Writes to the Secret and the registration by self-managed certificates, by step and reason",
            families.certificate_renewals.clone(),
        );
        registry.register(
            "certificate_failures",
            "What self-managed certificates could not read or write, by reason",
            families.certificate_failures.clone(),
        );
        registry.register(
            "connections",
            "Open connections on the webhook port",
            families.connections.clone(),
        );
        registry.register(
            "connection_ends",
            "Connections on the webhook port that did not end by themselves, by reason",
            families.connection_ends.clone(),
        );
        registry.register(
            "responses",
            "HTTP answers on the webhook port, by status code",
            families.responses.clone(),
        );
        Self(Arc::new(Families { registry, ..families }))
    }

    /// The text exposition.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.0.registry) {
            Ok(()) => out,
            Err(_) => String::new(),
        }
    }

    /// A review was answered.
    pub fn review(&self, verdict: &'static str, took: Duration) {
        self.0.reviews.get_or_create(&ReviewLabels { verdict }).inc();
        self.0.review_seconds.observe(took.as_secs_f64());
    }

    /// A finding was reported.
    pub fn finding(&self, cause: &'static str, outlook: &'static str) {
        self.0.findings.get_or_create(&FindingLabels { cause, outlook }).inc();
    }

    /// A review, or an image of it, was allowed without judging.
    pub fn skipped(&self, reason: &'static str) {
        self.0.skipped.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A request was no usable AdmissionReview.
    pub fn bad_request(&self, reason: &'static str) {
        self.0.bad_requests.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A handler panicked.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// A request to a registry ended. `host_class` comes from a closed list, never from a user.
    pub fn registry_request(&self, host_class: &'static str, outcome: &'static str, took: Duration) {
        self.0
            .registry_requests
            .get_or_create(&RequestLabels { host_class, outcome })
            .inc();
        self.0.registry_seconds.observe(took.as_secs_f64());
    }

    /// A cache was asked: `hit`, `miss`, `joined` or `stale`.
    pub fn cache(&self, cache: &'static str, result: &'static str) {
        self.0.cache.get_or_create(&CacheLabels { cache, result }).inc();
    }

    /// A reload was tried.
    pub fn reload(&self, reason: &'static str) {
        self.0.reloads.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The served certificate's end, in Unix seconds.
    pub fn certificate_expiry(&self, at: i64) {
        self.0.certificate_expiry.set(at);
    }

    /// The end of the CA of self-managed certificates, in Unix seconds; 0 for none.
    pub fn certificate_authority_expiry(&self, at: i64) {
        self.0.certificate_authority_expiry.set(at);
    }

    /// A step of self-managed certificates was written; both from closed lists.
    pub fn certificate_renewal(&self, step: &'static str, reason: &'static str) {
        self.0
            .certificate_renewals
            .get_or_create(&RenewalLabels { step, reason })
            .inc();
    }

    /// Self-managed certificates could not: `secret_read`, `secret_write`, `registration_read`, `registration_write`.
    pub fn certificate_failure(&self, reason: &'static str) {
        self.0.certificate_failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A connection was opened on the webhook port.
    pub fn connection_opened(&self) {
        self.0.connections.inc();
    }

    /// A connection ended.
    pub fn connection_closed(&self) {
        self.0.connections.dec();
    }

    /// A connection ended for a reason of ours, from a closed list: `handshake_failed`, `handshake_timeout`, `recycled`, `timeout`.
    pub fn connection_ended(&self, reason: &'static str) {
        self.0.connection_ends.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A request on the webhook port was answered. Only codes that we write ourselves occur.
    pub fn responded(&self, code: http::StatusCode) {
        self.0.responses.get_or_create(&CodeLabels { code: code.as_u16() }).inc();
    }
}
