//! The kind `ImagePolicy`, and policies that are about one namespace.

use super::kubectl::{LONG, Namespace, Output, eventually, kubectl};
use pullgate::policy::schema::crd;
use serde_json::{Value, json};

/// Whether the cluster had the kind before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    /// It had; it is brought up to date, and stays.
    Before,
    /// It is new.
    Now,
}

/// Installs the kind as the chart does.
pub(crate) fn install() -> Installed {
    const NAME: &str = "imagepolicies.pullgate.dev";
    let known = kubectl(
        &["get", "customresourcedefinition", NAME, "--ignore-not-found", "-o", "name"],
        "",
    )
    .done();
    let crd = crd().to_string();
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &crd).done();
    let wait = [
        "wait",
        "--for=condition=established",
        "--timeout=120s",
        "customresourcedefinition",
        NAME,
    ];
    kubectl(&wait, "").done();
    // Established, and known to whoever asks: that takes a moment more.
    eventually("the kind", LONG, || {
        kubectl(&["get", "imagepolicies"], "").is_done().then_some(())
    });
    if known.stdout.trim().is_empty() {
        Installed::Now
    } else {
        Installed::Before
    }
}

/// A policy of the cluster that is about one namespace; it goes when this is dropped.
pub(crate) struct Policy {
    /// Its name.
    pub(crate) name: String,
    namespace: String,
}

impl Policy {
    /// A policy for this namespace, which is not applied yet.
    pub(crate) fn of(namespace: &Namespace) -> Self {
        // Its start installs the kind.
        super::gate();
        Self {
            name: namespace.name.clone(),
            namespace: namespace.name.clone(),
        }
    }

    /// Applies it with this spec, whose `match` is the namespace by name.
    pub(crate) fn apply(&self, mut spec: Value) -> Output {
        spec["match"]["namespaces"] = json!([self.namespace]);
        let object = json!({
            "apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": self.name}, "spec": spec,
        });
        kubectl(&["apply", "-f", "-"], &object.to_string())
    }

    /// The condition `Accepted`, once it is about this generation.
    pub(crate) fn accepted(&self, generation: i64) -> Value {
        eventually("the policy's status", LONG, || {
            let output = kubectl(&["get", "imagepolicy", &self.name, "-o", "json"], "").done();
            let object: Value = serde_json::from_str(&output.stdout).unwrap();
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions
                .into_iter()
                .find(|condition| condition["type"] == "Accepted" && condition["observedGeneration"] == generation)
        })
    }

    /// Deletes it.
    pub(crate) fn delete(&self) {
        kubectl(&["delete", "imagepolicy", &self.name, "--ignore-not-found"], "").done();
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        kubectl(&["delete", "imagepolicy", &self.name, "--ignore-not-found"], "");
    }
}
