//! Which images an object's pods ran before an UPDATE, according to the object's own status (docs/decisions/0005).
//!
//! The namespace can know this: if none of its own credentials could have pulled an image, a node pulled it with its own. Whoever
//! can forge a status only softens their own denials.

use super::pod::PodKind;
use super::{ImageUse, PullPolicy, Role, Template, Workload, json};
use serde_json::Value;
use std::collections::HashSet;

impl Workload {
    /// Treats `object`, which it was read from, as existing: its pods run the images that it names.
    pub fn recall(&mut self, object: &Value) {
        let before = self.templates.clone();
        recall(&mut self.templates, object, &before);
    }
}

/// Records for each of the templates `new` what its pods ran while the object was `old`, with the templates `before`. Only if pull
/// secrets and service account are the same, because they decide which credentials were used.
pub(super) fn recall(new: &mut [Template], old: &Value, before: &[Template]) {
    // With several templates, it is not known which one's pods are ready.
    let [before] = before else { return };
    let ran: Vec<&ImageUse> = match before.kind {
        PodKind::Pod => {
            let started = started(old);
            let has_started = |image: &&ImageUse| started.contains(&(image.role, image.name.as_str()));
            before.uses.iter().filter(has_started).collect()
        }
        PodKind::Template if one_was_ready(old) => before.uses.iter().collect(),
        PodKind::Template => Vec::new(),
    };
    // An image that is never pulled got there another way; a volume that no container mounts may have failed unnoticed.
    let pulled = |image: &&&ImageUse| image.pull_policy != PullPolicy::Never && image.role != Role::UnmountedVolume;
    let ran: Vec<ImageUse> = ran.iter().filter(pulled).map(|image| (*image).clone()).collect();
    for template in new {
        let (a, b) = (&before.needs, &template.needs);
        let same =
            before.nature.key == template.nature.key && a.pull_secrets == b.pull_secrets && a.service_account == b.service_account;
        if same {
            template.ran.clone_from(&ran);
        }
    }
}

/// The containers of a Pod that were started from the image in its spec.
fn started(pod: &Value) -> HashSet<(Role, &str)> {
    let status = pod.get("status").unwrap_or(&Value::Null);
    // Kubelets before 1.33 do not report the generation.
    if status.get("observedGeneration").is_some() && !is_about(pod, status) {
        return HashSet::new();
    }
    let lists = [
        ("initContainerStatuses", Role::Init),
        ("containerStatuses", Role::Container),
        ("ephemeralContainerStatuses", Role::Ephemeral),
    ];
    let of_list = |(list, role)| {
        let all = json::list(status, list).iter().filter(|container| has_started(container));
        all.filter_map(move |container| Some((role, json::non_empty(container, "name")?)))
    };
    lists.into_iter().flat_map(of_list).collect()
}

/// A container that is waiting for its image can only have the ID of an earlier one; a crashing one has its image.
fn has_started(container: &Value) -> bool {
    let Some(state) = container.get("state") else { return false };
    let is = |name: &str| state.get(name).is_some_and(Value::is_object);
    let crashes = || json::at(state, "waiting.reason").and_then(Value::as_str) == Some("CrashLoopBackOff");
    json::non_empty(container, "imageID").is_some() && (is("running") || is("terminated") || crashes())
}

/// Whether at least one pod of the current template has certainly been ready (for a Job: has succeeded).
fn one_was_ready(object: &Value) -> bool {
    let Some(status) = object.get("status") else { return false };
    let number = |field: &str| status.get(field).and_then(Value::as_u64).unwrap_or_default();
    let group = json::text(object, "apiVersion")
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    // Ready pods are counted whatever their template: if there are more than there can be old ones, an updated one is among them.
    let among_updated = |all: &str, updated: &str, ready: &str| {
        let (all, updated, ready) = (number(all), number(updated), number(ready));
        updated > 0 && ready.saturating_add(updated) > all
    };
    match (group, json::text(object, "kind").unwrap_or_default()) {
        // A Job's template does not change.
        ("batch", "Job") => number("succeeded") > 0 || number("ready") > 0,
        ("batch", "CronJob") => json::non_empty(status, "lastSuccessfulTime").is_some(),
        // Their pods stay when the template changes, and the status does not tell them apart.
        ("apps", "ReplicaSet") | ("", "ReplicationController") => is_about(object, status) && number("readyReplicas") > 0,
        _ => {
            is_about(object, status)
                && (among_updated("replicas", "updatedReplicas", "readyReplicas")
                    || among_updated("currentNumberScheduled", "updatedNumberScheduled", "numberReady"))
        }
    }
}

/// Whether the status is up to date: not from before the controller saw the object's last change.
fn is_about(object: &Value, status: &Value) -> bool {
    // Argo Rollouts write it as text.
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let generation = json::at(object, "metadata.generation").and_then(number);
    generation.is_some() && generation == status.get("observedGeneration").and_then(number)
}

#[cfg(test)]
mod tests;
