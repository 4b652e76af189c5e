//! What became of pods: read from the status that the kubelet writes.

use crate::support::kubectl::{Namespace, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs.
    Runs,
    /// Its image was not pulled.
    PullFails,
    /// Its image was pulled, and it could not be started, or ended at once.
    StartFails,
}

/// What the kubelet says of a container.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The end of it.
    pub(crate) fate: Fate,
    /// `ErrImagePull` and so on, or the state's name.
    pub(crate) reason: String,
    /// The message beside it.
    pub(crate) message: String,
}

/// Reads a container's state; `None` while it is not settled.
fn read(state: &Value) -> Option<Seen> {
    let seen = |fate, at: &Value, otherwise: &str| {
        let text = |key: &str, otherwise: &str| at[key].as_str().unwrap_or(otherwise).to_owned();
        Some(Seen {
            fate,
            reason: text("reason", otherwise),
            message: text("message", ""),
        })
    };
    if state["running"].is_object() {
        return seen(Fate::Runs, &state["running"], "Running");
    }
    if state["terminated"].is_object() {
        return seen(Fate::StartFails, &state["terminated"], "Terminated");
    }
    let waiting = &state["waiting"];
    match waiting["reason"].as_str()? {
        "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" | "CreateContainerError" | "CreateContainerConfigError" | "RunContainerError" | "StartError" => {
            seen(Fate::StartFails, waiting, "")
        }
        // ErrImagePull, ImagePullBackOff, InvalidImageName, ErrImageNeverPull, ImageInspectError, and whatever newer ones there are.
        _ => seen(Fate::PullFails, waiting, ""),
    }
}

/// Polls without news after which it is settled; for some seconds, a container that was just started may end at once.
const QUIET: u32 = 10;
/// The same while something is not as it should be. A busy kubelet tells late that a container has ended, and tries without a pull secret
/// that it could not read within a second: the attempt after that, ten to twenty seconds later, has it.
const QUIET_IN_DOUBT: u32 = 200;

/// Waits until every pod's container is settled. A pull that failed is reported by its first attempt, which names the reason.
pub(crate) fn wait_for_all(namespace: &Namespace, expected: &BTreeMap<&str, Fate>) -> BTreeMap<String, Seen> {
    let mut first: BTreeMap<String, Seen> = BTreeMap::new();
    let mut polls_since_last = 0;
    eventually("what the kubelet does with every pod", Duration::from_mins(6), || {
        for pod in namespace.list("pods") {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let Some(seen) = read(&pod["status"]["containerStatuses"][0]["state"]) else {
                continue;
            };
            match first.get(&name) {
                // "Back-off pulling image" says less than the attempt before it did.
                Some(before) if before.fate == seen.fate && seen.reason == "ImagePullBackOff" => {}
                Some(before) if before.fate == seen.fate && before.reason == seen.reason => {}
                _ => {
                    first.insert(name, seen);
                    polls_since_last = 0;
                }
            }
        }
        polls_since_last += 1;
        let as_expected = expected
            .iter()
            .all(|(name, fate)| first.get(*name).is_some_and(|seen| seen.fate == *fate));
        let quiet = if as_expected { QUIET } else { QUIET_IN_DOUBT };
        (first.len() == expected.len() && polls_since_last > quiet).then_some(())
    });
    name_the_reasons(namespace, &mut first);
    first
}

/// Where only the back-off was seen, the events tell what the attempt said; where a start failed, the log may.
fn name_the_reasons(namespace: &Namespace, seen: &mut BTreeMap<String, Seen>) {
    let events = namespace.list("events");
    for (name, seen) in seen.iter_mut() {
        if seen.reason == "ImagePullBackOff" {
            let attempt = events.iter().find_map(|event| {
                let message = event["message"].as_str()?;
                (event["involvedObject"]["name"] == name.as_str() && message.starts_with("Failed to pull image")).then_some(message)
            });
            if let Some(message) = attempt {
                message.clone_into(&mut seen.message);
            }
        } else if seen.fate == Fate::StartFails && seen.message.is_empty() {
            namespace.kubectl(&["logs", name]).stdout.trim().clone_into(&mut seen.message);
        }
    }
}
