//! An Event of `events.k8s.io/v1`: its path and its fields.

use super::correlator::{NewEvent, SeriesUpdate};
use super::{EventReason, Regarding};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The API of Events.
pub(super) const API_VERSION: &str = "events.k8s.io/v1";
/// The reporting controller.
const CONTROLLER: &str = "pullgate.dev/pullgate";

/// The path of a namespace's Events.
pub(super) fn path(namespace: &str) -> String {
    format!("/apis/{API_VERSION}/namespaces/{namespace}/events")
}

/// A new Event.
pub(super) fn event(new: &NewEvent, instance: &str) -> Value {
    let NewEvent {
        namespace,
        name,
        at,
        event,
        ..
    } = new;
    let (reason, action) = match event.reason {
        EventReason::Denied => ("ImagesDenied", "Deny"),
        EventReason::Unknown => ("ImagesUnknown", "Admit"),
    };
    json!({
        "apiVersion": API_VERSION, "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "eventTime": micro(*at), "reportingController": CONTROLLER, "reportingInstance": instance,
        "type": "Warning", "reason": reason, "action": action, "regarding": reference(&event.regarding), "note": event.note,
    })
}

/// The patch that counts repetitions.
pub(super) fn repeated(update: &SeriesUpdate) -> Value {
    let SeriesUpdate { count, last, .. } = update;
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
