//! Kinds of objects, and the words for errors in reading them.

use crate::workload::OwnerKind;
use kube::api::ApiResource;
use kube::runtime::watcher;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same error is logged at most this often.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Group and version of an `ImagePolicy`.
pub(super) const POLICIES: (&str, &str) = ("pullgate.dev", "v1alpha1");

/// A kind of object that pullgate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Node,
    Namespace,
    ServiceAccount,
    Secret,
    RuntimeClass,
    ImageStream,
    ImagePolicy,
    Owner(OwnerKind),
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::RuntimeClass => "RuntimeClass",
            Self::ImageStream => "ImageStream",
            Self::ImagePolicy => "ImagePolicy",
            Self::Owner(kind) => kind.name(),
        }
    }

    /// As in a URL and in a role.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Node => "nodes",
            Self::Namespace => "namespaces",
            Self::ServiceAccount => "serviceaccounts",
            Self::Secret => "secrets",
            Self::RuntimeClass => "runtimeclasses",
            Self::ImageStream => "imagestreams",
            Self::ImagePolicy => "imagepolicies",
            Self::Owner(kind) => kind.plural(),
        }
    }

    /// What cannot be read, for a clause about one review.
    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Node => "the nodes",
            Self::Namespace => "the namespace",
            Self::ServiceAccount => "the service account",
            Self::Secret => "the pull secret",
            Self::RuntimeClass => "the RuntimeClass",
            Self::ImageStream => "the image stream",
            Self::ImagePolicy => "the policy",
            Self::Owner(_) => "the owner",
        }
    }

    pub(super) fn many(self) -> &'static str {
        match self {
            Self::Node => "Nodes",
            Self::Namespace => "Namespaces",
            Self::ServiceAccount => "ServiceAccounts",
            Self::Secret => "Secrets",
            Self::RuntimeClass => "RuntimeClasses",
            Self::ImageStream => "ImageStreams",
            Self::ImagePolicy => "ImagePolicies",
            Self::Owner(kind) => kind.plural(),
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        let (group, version) = match self {
            Self::Node | Self::Namespace | Self::ServiceAccount | Self::Secret => ("", "v1"),
            Self::RuntimeClass => ("node.k8s.io", "v1"),
            Self::ImageStream => ("image.openshift.io", "v1"),
            Self::ImagePolicy => POLICIES,
            Self::Owner(kind) => (kind.group(), "v1"),
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: match group {
                "" => version.to_owned(),
                group => format!("{group}/{version}"),
            },
            kind: self.name().to_owned(),
            plural: self.plural().to_owned(),
        }
    }
}

/// Why something could not be read.
pub(super) struct Cause {
    /// Whether the API server refused (401, 403): there is no point in asking again soon.
    pub(super) refused: bool,
    /// A clause for users; it names no objects.
    pub(super) clause: String,
}

/// Turns client errors into clauses, and logs them, throttled.
#[derive(Debug, Default)]
pub(super) struct ErrorLog {
    logged: Mutex<HashMap<(Kind, &'static str), Instant>>,
}

impl ErrorLog {
    pub(super) fn explain(&self, kind: Kind, error: &kube::Error) -> Cause {
        let (class, refused, clause) = match error {
            kube::Error::Api(status) if status.code == 403 => {
                let place = match kind {
                    Kind::Node | Kind::Namespace | Kind::RuntimeClass | Kind::ImagePolicy => "",
                    Kind::ServiceAccount | Kind::Secret | Kind::ImageStream | Kind::Owner(_) => " in this namespace",
                };
                ("forbidden", true, format!("pullgate may not read {}{place}", kind.many()))
            }
            kube::Error::Api(status) if status.code == 401 => (
                "unauthorized",
                true,
                "the API server does not accept pullgate's identity".to_owned(),
            ),
            // JSON that is not a Status has no code.
            kube::Error::Api(status) if status.code == 0 => (
                "status",
                false,
                format!("the API server answered with an error when asked for {}", kind.many()),
            ),
            kube::Error::Api(status) => (
                "status",
                false,
                format!("the API server answered {} when asked for {}", status.code, kind.many()),
            ),
            _ => (
                "transport",
                false,
                format!("the API server could not be reached when asked for {}", kind.many()),
            ),
        };
        self.log(kind, class, error);
        Cause { refused, clause }
    }

    pub(super) fn no_answer(&self, kind: Kind) -> String {
        self.log(kind, "silence", &"no answer in time");
        format!("the API server did not answer in time when asked for {}", kind.many())
    }

    pub(super) fn other(&self, kind: Kind, error: &watcher::Error) {
        self.log(kind, "watch", error);
    }

    fn log(&self, kind: Kind, class: &'static str, error: &dyn fmt::Display) {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged
            .get(&(kind, class))
            .is_none_or(|last| now.duration_since(*last) >= LOG_EVERY)
        {
            logged.insert((kind, class), now);
            tracing::warn!(kind = kind.plural(), class, %error, "cannot read from the API server");
        }
    }
}
