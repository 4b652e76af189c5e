//! Metric families (named `pullgate_*`, except for the process's own) and the log subscriber. No label takes values that a user of
//! the cluster can choose. If the values are a closed list, every series exists from the start, at 0: to `increase()` and `rate()`,
//! a series that appears at 1 has not increased.

mod families;
mod labels;
pub mod log;
mod process;
mod recent;

pub use labels::{
    BadRequest, CacheName, CacheResult, CertificateFailure, ConnectionEnd, EventOutcome, HostClass, PolicySource, PolicyStatus,
    QuotaLevel, Reload, RenewalReason, RenewalStep, RequestOutcome,
};

use families::{
    CacheLabels, CodeLabels, DefaultLabels, Families, FindingLabels, KindLabels, LevelLabels, OutcomeLabels, OutlookLabels,
    PolicyLabels, ReasonLabels, RenewalLabels, RequestLabels, ReviewLabels, SourceLabels, VoteLabels, WeightLabels, zero,
};
use prometheus_client::encoding::text;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How many policies metrics tell apart in the life of a process.
const POLICY_NAMES: usize = 1_000;

/// All metrics. Cheap to clone; one per process.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every family.
    pub fn new() -> Self {
        Self(Arc::new(Families::register()))
    }

    /// Creates, at 0, the series whose labels are known only to the code that counts them: verdicts, outlooks, pairs of cause and
    /// outlook, and reasons for not judging.
    pub fn begin_reviews(
        &self,
        verdicts: impl IntoIterator<Item = &'static str>,
        outlooks: impl IntoIterator<Item = &'static str>,
        findings: impl IntoIterator<Item = (&'static str, &'static str)>,
        skips: impl IntoIterator<Item = &'static str>,
    ) {
        for verdict in verdicts {
            zero(&self.0.reviews, &ReviewLabels { verdict });
        }
        for outlook in outlooks {
            zero(&self.0.images, &OutlookLabels { outlook });
        }
        for (cause, outlook) in findings {
            zero(&self.0.findings, &FindingLabels { cause, outlook });
        }
        for reason in skips {
            zero(&self.0.skipped, &ReasonLabels { reason });
        }
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

    /// A review used up its time.
    pub fn deadline_hit(&self) {
        self.0.deadlines_hit.inc();
    }

    /// An image was judged.
    pub fn image(&self, outlook: &'static str) {
        self.0.images.get_or_create(&OutlookLabels { outlook }).inc();
    }

    /// A finding was reported.
    pub fn finding(&self, cause: &'static str, outlook: &'static str) {
        self.0.findings.get_or_create(&FindingLabels { cause, outlook }).inc();
    }

    /// A review, or one of its images, was allowed without judging.
    pub fn skipped(&self, reason: &'static str) {
        self.0.skipped.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A review was about an object of a kind that is not known. Returns whether it is the first of its kind: admins choose by the webhook's
    /// registration which kinds are sent, but whoever reaches the port may send any, so those beyond the limit share one label.
    pub fn unknown_kind(&self, group: &str, kind: &str) -> bool {
        const KINDS: usize = 50;
        const LONGEST: usize = 100;
        let is_name =
            |text: &str| text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        let mut name = (group.to_owned(), kind.to_owned());
        let mut names = self.0.unknown_kind_names.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !names.contains(&name);
        let counted = is_name(group) && is_name(kind) && (!new || names.len() < KINDS);
        if counted {
            names.insert(name.clone());
        } else {
            name = (String::new(), "(others)".to_owned());
        }
        drop(names);
        let (group, kind) = name;
        self.0.unknown_kinds.get_or_create(&KindLabels { group, kind }).inc();
        counted && new
    }

    /// The name of a policy as a label. Admins of the cluster write policies, so their names may be labels; but in case a program
    /// keeps creating new ones, those beyond the limit share one label.
    fn policy_label(&self, policy: &str) -> String {
        let mut names = self.0.policy_names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.contains(policy) {
            if names.len() >= POLICY_NAMES {
                return "(others)".to_owned();
            }
            names.insert(policy.to_owned());
        }
        policy.to_owned()
    }

    /// A policy decided on a finding.
    pub fn vote(&self, policy: &str, cause: &'static str, verdict: &'static str, enforced: &'static str) {
        let policy = self.policy_label(policy);
        let labels = VoteLabels {
            policy,
            cause,
            verdict,
            enforced,
        };
        self.0.votes.get_or_create(&labels).inc();
    }

    /// A policy denied a review.
    pub fn denied_by(&self, policy: &str) {
        let policy = self.policy_label(policy);
        let mut denied = self.0.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.count(policy, self.0.began.elapsed());
    }

    /// How many reviews a policy denied in the last hour.
    pub fn denied_last_hour(&self, policy: &str) -> u64 {
        let mut denied = self.0.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.sum(policy, self.0.began.elapsed())
    }

    /// A finding on which no policy voted was decided by the default, in the settings' mode.
    pub fn by_default(&self, mode: &'static str, cause: &'static str, verdict: &'static str, enforced: &'static str) {
        let labels = DefaultLabels {
            mode,
            cause,
            verdict,
            enforced,
        };
        self.0.by_default.get_or_create(&labels).inc();
    }

    /// An exemption removed a policy from a review.
    pub fn exempted(&self, policy: &str) {
        let policy = self.policy_label(policy);
        self.0.exemptions.get_or_create(&PolicyLabels { policy }).inc();
    }

    /// A request was not a valid AdmissionReview.
    pub fn bad_request(&self, reason: BadRequest) {
        let reason = reason.name();
        self.0.bad_requests.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A handler or a look-up panicked.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// A request to a registry ended.
    pub fn registry_request(&self, host_class: HostClass, outcome: RequestOutcome, took: Duration) {
        let (host_class, outcome) = (host_class.name(), outcome.name());
        self.0
            .registry_requests
            .get_or_create(&RequestLabels { host_class, outcome })
            .inc();
        self.0.registry_seconds.observe(took.as_secs_f64());
    }

    /// A successful answer said that little of the pull quota is left.
    pub fn pull_quota(&self, level: QuotaLevel) {
        let level = level.name();
        self.0.pull_quota.get_or_create(&LevelLabels { level }).inc();
    }

    /// A cache was used.
    pub fn cache(&self, cache: CacheName, result: CacheResult) {
        self.caches(cache, result, 1);
    }

    /// A cache was used several times.
    pub fn caches(&self, cache: CacheName, result: CacheResult, times: usize) {
        debug_assert!(
            labels::holds(labels::CACHE_RESULTS, &cache, &result),
            "{cache:?} with {result:?} has no series"
        );
        let (cache, result) = (cache.name(), result.name());
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        self.0.cache.get_or_create(&CacheLabels { cache, result }).inc_by(times);
    }

    /// The size of a cache, in bytes.
    pub fn cache_weight(&self, cache: CacheName, bytes: u64) {
        let cache = cache.name();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.cache_weight.get_or_create(&WeightLabels { cache }).set(bytes);
    }

    /// The outcome of a reload.
    pub fn reload(&self, reason: Reload) {
        let reason = reason.name();
        self.0.reloads.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// How many policies of a source are in force, and how many are invalid in their newest version.
    pub fn policies(&self, source: PolicySource, holding: usize, refused: usize) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let labels = SourceLabels { source: source.name() };
        self.0.policies.get_or_create(&labels).set(count(holding));
        self.policies_refused(source, refused);
    }

    /// How many policies of a source are invalid in their newest version; the last good one stays in force. For files, counts bad
    /// files.
    pub fn policies_refused(&self, source: PolicySource, refused: usize) {
        let source = source.name();
        let gauge = self.0.policies_refused.get_or_create(&SourceLabels { source });
        gauge.set(i64::try_from(refused).unwrap_or(i64::MAX));
    }

    /// How many days are left, by policy: until it is enforced, and until the first of its exemptions ends. Policies that are not named
    /// have no such days.
    pub fn days_left<'a>(&self, policies: impl Iterator<Item = (&'a str, Option<i64>, Option<i64>)>) {
        let (enforced, exemption) = (&self.0.enforced_days, &self.0.exemption_days);
        enforced.clear();
        exemption.clear();
        for (policy, until_enforced, until_end) in policies {
            for (family, days) in [(enforced, until_enforced), (exemption, until_end)] {
                if let Some(days) = days {
                    let policy = self.policy_label(policy);
                    family.get_or_create(&PolicyLabels { policy }).set(days);
                }
            }
        }
    }

    /// The outcome of writing a policy's status.
    pub fn policy_status(&self, reason: PolicyStatus) {
        let reason = reason.name();
        self.0.policy_statuses.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The outcome of a Kubernetes Event.
    pub fn event(&self, outcome: EventOutcome) {
        let outcome = outcome.name();
        self.0.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// The expiry of the served certificate, in Unix seconds, and its lifetime, in seconds.
    pub fn certificate_expiry(&self, at: i64, lifetime: i64) {
        self.0.certificate_expiry.set(at);
        self.0.certificate_lifetime.set(lifetime);
    }

    /// The expiry of the CA of self-managed certificates, in Unix seconds; 0 for none.
    pub fn certificate_authority_expiry(&self, at: i64) {
        self.0.certificate_authority_expiry.set(at);
    }

    /// Self-managed certificates performed a step.
    pub fn certificate_renewal(&self, step: RenewalStep, reason: RenewalReason) {
        debug_assert!(
            labels::holds(labels::CERTIFICATE_RENEWALS, &step, &reason),
            "{step:?} for {reason:?} has no series"
        );
        let (step, reason) = (step.name(), reason.name());
        self.0
            .certificate_renewals
            .get_or_create(&RenewalLabels { step, reason })
            .inc();
    }

    /// Self-managed certificates failed to read or write.
    pub fn certificate_failure(&self, reason: CertificateFailure) {
        let reason = reason.name();
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

    /// Pools of the settings that have no node, and nodes that more than one of them selects.
    pub fn node_pools(&self, empty: usize, claimed_twice: usize) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.node_pools_empty.set(count(empty));
        self.0.nodes_in_several_pools.set(count(claimed_twice));
    }

    /// How long ago the API server was last heard of.
    pub fn api_server_silence(&self, silence: Duration) {
        let seconds = i64::try_from(silence.as_secs()).unwrap_or(i64::MAX);
        self.0.api_server_silence.set(seconds);
    }

    /// pullgate ended a connection.
    pub fn connection_ended(&self, reason: ConnectionEnd) {
        let reason = reason.name();
        self.0.connection_ends.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A request on the webhook port was answered, with one of the codes that we write ourselves.
    pub fn responded(&self, code: http::StatusCode) {
        debug_assert!(labels::CODES.contains(&code.as_u16()), "{code} is not in the closed list");
        self.0.responses.get_or_create(&CodeLabels { code: code.as_u16() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_closed_labels_are_there_from_the_start() {
        let text = Metrics::new().encode();
        for line in [
            concat!("pullgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            r#"pullgate_bad_requests_total{reason="not_json"} 0"#,
            r#"pullgate_registry_requests_total{host_class="docker.io",outcome="rate_limited"} 0"#,
            r#"pullgate_registry_low_quota_answers_total{level="low"} 0"#,
            r#"pullgate_cache_requests_total{cache="answers",result="hit"} 0"#,
            r#"pullgate_reloads_total{reason="settings_refused"} 0"#,
            r#"pullgate_policies_refused{source="cluster"} 0"#,
            r#"pullgate_policy_status_writes_total{reason="failed"} 0"#,
            r#"pullgate_events_total{outcome="written"} 0"#,
            r#"pullgate_certificate_renewals_total{step="leaf",reason="due"} 0"#,
            r#"pullgate_certificate_failures_total{reason="secret_read"} 0"#,
            r#"pullgate_connection_ends_total{reason="handshake_failed"} 0"#,
            r#"pullgate_responses_total{code="503"} 0"#,
            "pullgate_panics_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    /// Values differ between scrapes, so each is checked against its minimum.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_told_of_by_the_usual_names() {
        let text = Metrics::new().encode();
        for (name, least) in [
            ("process_start_time_seconds", 1_700_000_000.0),
            ("process_cpu_seconds_total", 0.0),
            ("process_resident_memory_bytes", 1e6),
            ("process_virtual_memory_bytes", 1e6),
            ("process_open_fds", 3.0),
            ("process_max_fds", 3.0),
        ] {
            let line = text
                .lines()
                .find(|line| line.split(' ').next() == Some(name))
                .unwrap_or_else(|| panic!("{name} is not in\n{text}"));
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= least, "{line}");
        }
        assert!(text.contains("# TYPE process_cpu_seconds counter"), "{text}");
    }

    #[test]
    fn policies_that_come_and_go_do_not_make_metrics_grow_for_ever() {
        let metrics = Metrics::new();
        for n in 0..POLICY_NAMES * 2 {
            metrics.vote(&format!("p{n}"), "TagNotFound", "Deny", "Deny");
            metrics.exempted(&format!("p{n}"));
        }
        let text = metrics.encode();
        let lines = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(lines("pullgate_policy_decisions_total{"), POLICY_NAMES + 1);
        assert_eq!(lines("pullgate_policy_exemptions_total{"), POLICY_NAMES + 1);
        assert!(text.contains("policy=\"(others)\""));
    }
}
