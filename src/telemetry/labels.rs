//! Label values that are a closed list. Each name is written here and nowhere else.

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$more:meta])* $value:ident => $text:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub enum $name {
                $(#[doc = concat!("`", $text, "`.")] $(#[$more])* $value,)*
            }

            impl $name {
                /// Every value.
                pub const ALL: &'static [Self] = &[$(Self::$value),*];

                /// The name in metrics and the log.
                pub fn name(self) -> &'static str {
                    match self {
                        $(Self::$value => $text,)*
                    }
                }
            }
        )*
    };
}

labels! {
    /// Why a request was not reviewed normally: its HTTP (`server::admission`), its content (`review::request`), or a failure of our own.
    BadRequest {
        /// Its object could not be read, and was allowed or denied unread.
        TooLarge => "too_large",
        /// No room was free in time.
        TooMany => "too_many",
        /// It arrived slowly and gave way to others.
        BodySlow => "body_slow",
        BodyTimeout => "body_timeout",
        BodyBroken => "body_broken",
        /// The body is compressed.
        Encoding => "encoding",
        Method => "method",
        Path => "path",
        NotJson => "not_json",
        WrongKind => "wrong_kind",
        WrongVersion => "wrong_version",
        NoRequest => "no_request",
        NoUid => "no_uid",
        WrongOperation => "wrong_operation",
        /// The head of the request: HTTP that cannot be parsed, or is too long.
        Head => "head",
        /// The review took longer than the caller waits.
        AnswerTimeout => "answer_timeout",
        Panicked => "panic",
        Stopping => "stopping",
    }

    /// The outcome of a changed file or policy.
    Reload {
        CertificateReplaced => "certificate_replaced",
        CertificateRefused => "certificate_refused",
        SettingsReplaced => "settings_replaced",
        SettingsRefused => "settings_refused",
        ClientCaReplaced => "client_ca_replaced",
        ClientCaRefused => "client_ca_refused",
        PoliciesReplaced => "policies_replaced",
        PoliciesRefused => "policies_refused",
        PoliciesForbidden => "policies_forbidden",
    }

    /// The outcome of writing a policy's status.
    PolicyStatus {
        Written => "written",
        /// The policy no longer exists, or it has no status.
        Gone => "gone",
        /// It has changed since: the watch will show how.
        Overtaken => "overtaken",
        Forbidden => "forbidden",
        Failed => "failed",
    }

    /// What self-managed certificates failed to do.
    CertificateFailure {
        SecretRead => "secret_read",
        SecretWrite => "secret_write",
        RegistrationRead => "registration_read",
        RegistrationWrite => "registration_write",
        /// The API server's time is far from all others.
        Date => "date",
    }

    /// Why pullgate ended a connection on the webhook port.
    ConnectionEnd {
        ClientRefused => "client_refused",
        HandshakeFailed => "handshake_failed",
        HandshakeTimeout => "handshake_timeout",
        Recycled => "recycled",
        Timeout => "timeout",
    }

    /// Classes of registries, from `registry::servers`, so that host names never become label values.
    HostClass {
        Loopback => "loopback",
        DockerIo => "docker.io",
        GhcrIo => "ghcr.io",
        QuayIo => "quay.io",
        Gcr => "gcr",
        Gar => "gar",
        Ecr => "ecr",
        Acr => "acr",
        K8s => "k8s",
        Mcr => "mcr",
        Other => "other",
    }

    /// The outcome of a registry request, from `registry::exchange`.
    RequestOutcome {
        Ok => "ok",
        NotFound => "not_found",
        Unauthorized => "unauthorized",
        Forbidden => "forbidden",
        ClientError => "client_error",
        RateLimited => "rate_limited",
        ServerError => "server_error",
        Dns => "dns",
        Connect => "connect",
        Timeout => "timeout",
        Tls => "tls",
        Refused => "refused",
        Internal => "internal",
    }

    /// What a registry reports about its pull quota.
    QuotaLevel {
        Low => "low",
        Exhausted => "exhausted",
    }

    /// A cache.
    CacheName {
        Answers => "answers",
        Content => "content",
        Parts => "parts",
        Manifests => "manifests",
        Tokens => "tokens",
        Providers => "providers",
    }

    /// How a cache answered.
    CacheResult {
        Hit => "hit",
        Miss => "miss",
        Joined => "joined",
        Stale => "stale",
    }

    /// Sources of policies.
    PolicySource {
        Cluster => "cluster",
        Files => "files",
    }

    /// The outcome of a Kubernetes Event.
    EventOutcome {
        Written => "written",
        Updated => "updated",
        Repeated => "repeated",
        Limited => "limited",
        Dropped => "dropped",
        Forbidden => "forbidden",
        Gone => "gone",
        Refused => "refused",
        Failed => "failed",
    }

    /// A step of self-managed certificates.
    RenewalStep {
        Keep => "keep",
        Create => "create",
        Leaf => "leaf",
        Follow => "follow",
        Switch => "switch",
        Retire => "retire",
        Repair => "repair",
        Registration => "registration",
    }

    /// The reason for such a step.
    RenewalReason {
        Sound => "sound",
        Absent => "absent",
        Unusable => "unusable",
        Ended => "ended",
        NotYet => "not_yet",
        OtherName => "other_name",
        Unchained => "unchained",
        Due => "due",
        Settled => "settled",
        Differs => "differs",
    }
}

/// Caches, and how each can answer.
pub(super) const CACHE_RESULTS: &[(CacheName, &[CacheResult])] = {
    use CacheResult::{Hit, Joined, Miss, Stale};
    &[
        (CacheName::Answers, &[Hit, Miss, Joined, Stale]),
        (CacheName::Content, &[Hit, Miss]),
        (CacheName::Parts, &[Hit, Miss]),
        (CacheName::Tokens, &[Hit, Miss]),
        (CacheName::Providers, &[Hit, Miss]),
    ]
};

/// Caches with a size.
pub(super) const CACHE_WEIGHTS: &[CacheName] = &[
    CacheName::Tokens,
    CacheName::Answers,
    CacheName::Content,
    CacheName::Parts,
    CacheName::Manifests,
];

/// What may be wrong with a certificate.
const FAULTS: &[RenewalReason] = {
    use RenewalReason::{Absent, Due, Ended, NotYet, OtherName, Unchained, Unusable};
    &[Absent, Unusable, Ended, NotYet, OtherName, Unchained, Due]
};

/// Steps of self-managed certificates that write, and their reasons.
pub(super) const CERTIFICATE_RENEWALS: &[(RenewalStep, &[RenewalReason])] = &[
    (RenewalStep::Create, FAULTS),
    (RenewalStep::Leaf, FAULTS),
    (RenewalStep::Follow, FAULTS),
    (RenewalStep::Switch, &[RenewalReason::Settled]),
    (RenewalStep::Retire, &[RenewalReason::Ended]),
    (RenewalStep::Repair, &[RenewalReason::Unusable]),
    (RenewalStep::Registration, &[RenewalReason::Differs]),
];

/// Status codes that we write ourselves.
pub(super) const CODES: &[u16] = &[200, 400, 404, 405, 408, 413, 415, 500, 503];

/// Whether a list contains this pair.
pub(super) fn holds<A: PartialEq, B: PartialEq>(list: &[(A, &[B])], first: &A, second: &B) -> bool {
    list.iter().any(|(name, others)| name == first && others.contains(second))
}
