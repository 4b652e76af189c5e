//! The values of labels, where they are a closed list. Those who count write them as texts; a build with debug assertions (the tests)
//! stops at one that is not listed here.

/// Why a request was no usable AdmissionReview: of its HTTP (`server::admission`), of its content (`review::request`).
pub(super) const BAD_REQUESTS: &[&str] = &[
    "too_large",
    "too_many",
    "body_timeout",
    "body_broken",
    "method",
    "path",
    "not_json",
    "wrong_kind",
    "wrong_version",
    "no_request",
    "no_uid",
    "wrong_operation",
];

/// What came of a changed file or policy.
pub(super) const RELOADS: &[&str] = &[
    "certificate_replaced",
    "certificate_refused",
    "settings_replaced",
    "settings_refused",
    "client_ca_replaced",
    "client_ca_refused",
    "policies_replaced",
    "policies_refused",
    "policies_forbidden",
];

/// What came of a policy's status.
pub(super) const POLICY_STATUSES: &[&str] = &["written", "gone", "overtaken", "forbidden", "failed"];

/// What self-managed certificates could not do.
pub(super) const CERTIFICATE_FAILURES: &[&str] = &["secret_read", "secret_write", "registration_read", "registration_write"];

/// Why a connection on the webhook port ended by our doing.
pub(super) const CONNECTION_ENDS: &[&str] = &[
    "client_refused",
    "handshake_failed",
    "handshake_timeout",
    "recycled",
    "timeout",
];

/// Registries, as `registry::host` sorts them.
pub(super) const HOST_CLASSES: &[&str] = &[
    "loopback",
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr",
    "gar",
    "ecr",
    "acr",
    "k8s",
    "mcr",
    "other",
];

/// How a request to a registry ended, as `registry::cause` sorts it.
pub(super) const REQUEST_OUTCOMES: &[&str] = &[
    "ok",
    "not_found",
    "unauthorized",
    "forbidden",
    "client_error",
    "rate_limited",
    "server_error",
    "dns",
    "connect",
    "timeout",
    "tls",
    "refused",
    "internal",
];

/// What a registry says of its quota.
pub(super) const QUOTA_LEVELS: &[&str] = &["low", "exhausted"];

/// Caches, and how each can answer.
pub(super) const CACHE_RESULTS: &[(&str, &[&str])] = &[
    ("answers", &["hit", "miss", "joined", "stale"]),
    ("content", &["hit", "miss"]),
    ("parts", &["hit", "miss"]),
    ("tokens", &["hit", "miss"]),
    ("providers", &["hit", "miss"]),
];

/// Caches that are weighed.
pub(super) const CACHE_WEIGHTS: &[&str] = &["tokens", "answers", "content", "parts", "manifests"];

/// Where policies come from.
pub(super) const POLICY_SOURCES: &[&str] = &["cluster", "files"];

/// What came of an Event.
pub(super) const EVENT_OUTCOMES: &[&str] = &[
    "written",
    "updated",
    "repeated",
    "limited",
    "dropped",
    "forbidden",
    "gone",
    "refused",
    "failed",
];

const FAULTS: &[&str] = &["absent", "unusable", "ended", "not_yet", "other_name", "unchained", "due"];

/// Steps of self-managed certificates, and their reasons.
pub(super) const CERTIFICATE_RENEWALS: &[(&str, &[&str])] = &[
    ("anew", FAULTS),
    ("leaf", FAULTS),
    ("follow", FAULTS),
    ("switch", &["settled"]),
    ("retire", &["ended"]),
    ("tend", &["unusable"]),
    ("registration", &["differs"]),
];

/// The status codes that we write ourselves.
pub(super) const CODES: &[u16] = &[200, 400, 404, 405, 408, 413, 500, 503];

/// Whether a list holds such a pair.
pub(super) fn holds(list: &[(&str, &[&str])], first: &str, second: &str) -> bool {
    list.iter().any(|(name, others)| *name == first && others.contains(&second))
}
