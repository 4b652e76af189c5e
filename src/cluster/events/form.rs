//! An Event of `events.k8s.io/v1`: where it goes, and what stands in it.

use super::board::{Draft, Update};
use super::{Occasion, Regarding};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The API of Events.
pub(super) const API_VERSION: &str = "events.k8s.io/v1";
/// Who writes.
const CONTROLLER: &str = "pullgate.dev/pullgate";

/// Where the Events of a namespace are.
pub(super) fn path(namespace: &str) -> String {
    format!("/apis/{API_VERSION}/namespaces/{namespace}/events")
}

/// An Event as it is created.
pub(super) fn event(draft: &Draft, instance: &str) -> Value {
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
    json!({
        "apiVersion": API_VERSION, "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "eventTime": micro(*at), "reportingController": CONTROLLER, "reportingInstance": instance,
        "type": "Warning", "reason": reason, "action": action, "regarding": reference(&notice.regarding), "note": notice.note,
    })
}

/// The change that counts repetitions.
pub(super) fn repeated(update: &Update) -> Value {
    let Update { count, last, .. } = update;
    json!({"series": {"count": count, "lastObservedTime": micro(*last)}})
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
