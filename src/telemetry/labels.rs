//! Label values that are a closed list. Code that counts writes them as texts; builds with debug assertions (the tests) fail on
//! values that are not listed here.

/// Why a request was not a valid AdmissionReview: because of its HTTP (`server::admission`) or its content (`review::request`).
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

/// The outcome of a changed file or policy.
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

/// The outcome of writing a policy's status.
pub(super) const POLICY_STATUSES: &[&str] = &["written", "gone", "overtaken", "forbidden", "failed"];

/// What self-managed certificates failed to do.
pub(super) const CERTIFICATE_FAILURES: &[&str] = &["secret_read", "secret_write", "registration_read", "registration_write"];

/// Why pullgate ended a connection on the webhook port.
pub(super) const CONNECTION_ENDS: &[&str] = &[
    "client_refused",
    "handshake_failed",
    "handshake_timeout",
    "recycled",
    "timeout",
];

/// Classes of registries, from `registry::host`.
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

/// Outcomes of a registry request, from `registry::cause`.
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

/// What a registry reports about its quota.
pub(super) const QUOTA_LEVELS: &[&str] = &["low", "exhausted"];

/// Caches, and how each can answer.
pub(super) const CACHE_RESULTS: &[(&str, &[&str])] = &[
    ("answers", &["hit", "miss", "joined", "stale"]),
    ("content", &["hit", "miss"]),
    ("parts", &["hit", "miss"]),
    ("tokens", &["hit", "miss"]),
    ("providers", &["hit", "miss"]),
];

/// Caches with a size.
pub(super) const CACHE_WEIGHTS: &[&str] = &["tokens", "answers", "content", "parts", "manifests"];

/// Sources of policies.
pub(super) const POLICY_SOURCES: &[&str] = &["cluster", "files"];

/// The outcome of an Event.
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
    ("create", FAULTS),
    ("leaf", FAULTS),
    ("follow", FAULTS),
    ("switch", &["settled"]),
    ("retire", &["ended"]),
    ("repair", &["unusable"]),
    ("registration", &["differs"]),
];

/// Status codes that we write ourselves.
pub(super) const CODES: &[u16] = &[200, 400, 404, 405, 408, 413, 500, 503];

/// Whether a list contains this pair.
pub(super) fn holds(list: &[(&str, &[&str])], first: &str, second: &str) -> bool {
    list.iter().any(|(name, others)| *name == first && others.contains(&second))
}
