//! What a `RuntimeClass` says about the nodes of its pods (pull-semantics 7.3).

use super::candidates::{Scheduling, Toleration};
use super::json;
use serde_json::Value;

/// A `RuntimeClass` (`node.k8s.io/v1`), reduced to what matters for pulls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RuntimeClass {
    /// `handler`, the name of a runtime on the node.
    pub handler: String,
    /// `scheduling.nodeSelector`, sorted.
    pub node_selector: Vec<(String, String)>,
    /// `scheduling.tolerations`.
    pub tolerations: Vec<Toleration>,
}

impl RuntimeClass {
    /// Reads an object (untyped JSON); invalid fields are ignored.
    pub fn from_json(object: &Value) -> Self {
        let scheduling = object.get("scheduling").unwrap_or(&Value::Null);
        Self {
            handler: json::string(object, "handler"),
            node_selector: json::pairs(scheduling, "nodeSelector"),
            tolerations: json::list(scheduling, "tolerations").iter().map(Toleration::read).collect(),
        }
    }

    /// Whether its containers run in Hyper-V virtual machines: containerd's handlers for that are called `runhcs-wcow-hypervisor`,
    /// with or without a build at the end.
    pub fn is_hyper_v(&self) -> bool {
        self.handler.contains("hypervisor")
    }

    /// What admission makes of a pod's `scheduling` (the `RuntimeClass` plugin's `setScheduling`): selectors and tolerations are added to
    /// the pod's own. The plugin refuses a pod that selects another value for a key; here both must hold, which no node does.
    pub fn merged_into(&self, scheduling: &Scheduling) -> Scheduling {
        let mut merged = scheduling.clone();
        for pair in &self.node_selector {
            if !merged.node_selector.contains(pair) {
                merged.node_selector.push(pair.clone());
            }
        }
        merged.node_selector.sort_unstable();
        merged.tolerations.extend(self.tolerations.iter().cloned());
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::candidates::Spread;
    use serde_json::json;

    #[test]
    fn it_is_merged_as_admission_does() {
        let class = RuntimeClass::from_json(&json!({"handler": "runc", "scheduling": {
            "nodeSelector": {"pool": "arm", "a": "1"}, "tolerations": [{"key": "arch", "value": "arm64", "effect": "NoSchedule"}]}}));
        let pod =
            json!({"nodeSelector": {"b": "2", "pool": "arm"}, "tolerations": [{"operator": "Exists", "effect": "NoExecute"}]});
        let merged = class.merged_into(&Scheduling::read(&pod, Spread::Some));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(merged.node_selector, [pair("a", "1"), pair("b", "2"), pair("pool", "arm")]);
        assert_eq!(merged.tolerations.len(), 2);
        let conflict = class.merged_into(&Scheduling::read(&json!({"nodeSelector": {"pool": "x86"}}), Spread::Some));
        assert!(conflict.candidates(&[]).tolerated.is_empty());
        assert_eq!(conflict.node_selector.len(), 3);
    }

    #[test]
    fn odd_objects_say_nothing() {
        for object in [
            json!(null),
            json!({"handler": 5, "scheduling": []}),
            json!({"scheduling": {"nodeSelector": [], "tolerations": {}}}),
        ] {
            assert_eq!(RuntimeClass::from_json(&object), RuntimeClass::default());
        }
        for (handler, is) in [
            ("runhcs-wcow-hypervisor", true),
            ("runhcs-wcow-hypervisor-20348", true),
            ("runhcs-wcow-process", false),
            ("", false),
        ] {
            assert_eq!(
                RuntimeClass::from_json(&json!({"handler": handler})).is_hyper_v(),
                is,
                "{handler}"
            );
        }
    }
}
