//! The three forms of an Event, the newest first.

use super::board::{Draft, Update};
use super::{Occasion, Regarding};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The API group of Events of their own.
pub(super) const GROUP: &str = "events.k8s.io";
/// Who writes.
const CONTROLLER: &str = "pullgate.dev/pullgate";

/// A form of Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `events.k8s.io/v1`, from Kubernetes 1.19 on.
    V1,
    /// `events.k8s.io/v1beta1`.
    V1Beta1,
    /// The core group's.
    Core,
}

impl Form {
    /// The best of the versions that the API server has of the group.
    pub(super) fn of(versions: &[String]) -> Self {
        let has = |version: &str| versions.iter().any(|has| *has == format!("{GROUP}/{version}"));
        if has("v1") {
            Self::V1
        } else if has("v1beta1") {
            Self::V1Beta1
        } else {
            Self::Core
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "events.k8s.io/v1",
            Self::V1Beta1 => "events.k8s.io/v1beta1",
            Self::Core => "v1",
        }
    }

    /// Where the Events of a namespace are.
    pub(super) fn path(self, namespace: &str) -> String {
        let root = match self {
            Self::V1 | Self::V1Beta1 => "/apis/",
            Self::Core => "/api/",
        };
        format!("{root}{}/namespaces/{namespace}/events", self.api_version())
    }

    /// An Event as it is created.
    pub(super) fn event(self, draft: &Draft, instance: &str) -> Value {
        let Draft {
            namespace,
            name,
            at,
            notice,
            ..
        } = draft;
        let (reason, action) = match notice.occasion {
            Occasion::Denied => ("ImagesDenied", "Deny"),
            Occasion::Unknown => ("ImagesUnknown", "Admit"),
        };
        let regarding = reference(&notice.regarding);
        let (kind, metadata) = ("Event", json!({"name": name, "namespace": namespace}));
        match self {
            Self::V1 | Self::V1Beta1 => json!({
                "apiVersion": self.api_version(), "kind": kind, "metadata": metadata,
                "eventTime": micro(*at), "reportingController": CONTROLLER, "reportingInstance": instance,
                "type": "Warning", "reason": reason, "action": action, "regarding": regarding, "note": notice.note,
            }),
            Self::Core => json!({
                "apiVersion": self.api_version(), "kind": kind, "metadata": metadata,
                "firstTimestamp": seconds(*at), "lastTimestamp": seconds(*at), "count": 1, "source": {"component": "pullgate"},
                "reportingComponent": CONTROLLER, "reportingInstance": instance,
                "type": "Warning", "reason": reason, "action": action, "involvedObject": regarding, "message": notice.note,
            }),
        }
    }

    /// The change that counts repetitions.
    pub(super) fn repeated(self, update: &Update) -> Value {
        let Update { count, last, .. } = update;
        match self {
            Self::V1 | Self::V1Beta1 => json!({"series": {"count": count, "lastObservedTime": micro(*last)}}),
            Self::Core => json!({"count": count, "lastTimestamp": seconds(*last)}),
        }
    }
}

fn reference(regarding: &Regarding) -> Value {
    let Regarding {
        api_version,
        kind,
        namespace,
        name,
        uid,
    } = regarding;
    let mut reference = json!({"apiVersion": api_version, "kind": kind, "name": name});
    for (key, value) in [("namespace", namespace), ("uid", uid)] {
        if !value.is_empty() {
            reference[key] = value.as_str().into();
        }
    }
    reference
}

fn micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
