//! Which kinds carry pod templates, and where (pull-semantics 3.1).

use super::pod::PodKind;

/// Where a kind keeps its `PodSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Dotted path of the `PodSpec` (`spec.template.spec`).
    pub pod_spec: &'static str,
    /// Pod or template.
    pub pod: PodKind,
}

const fn template(group: &'static str, kind: &'static str, pod_spec: &'static str) -> Kind {
    Kind {
        group,
        kind,
        pod_spec,
        pod: PodKind::Template,
    }
}

/// The built-in kinds. The version is not looked at (batch/v1beta1 `CronJob`s have the same shape).
pub const BUILT_IN: &[Kind] = &[
    Kind {
        group: "",
        kind: "Pod",
        pod_spec: "spec",
        pod: PodKind::Pod,
    },
    template("", "PodTemplate", "template.spec"),
    template("", "ReplicationController", "spec.template.spec"),
    template("apps", "ReplicaSet", "spec.template.spec"),
    template("apps", "Deployment", "spec.template.spec"),
    template("apps", "StatefulSet", "spec.template.spec"),
    template("apps", "DaemonSet", "spec.template.spec"),
    template("batch", "Job", "spec.template.spec"),
    template("batch", "CronJob", "spec.jobTemplate.spec.template.spec"),
];

/// The built-in kind of an `apiVersion` and `kind`, if it is one.
pub fn find(api_version: &str, kind: &str) -> Option<&'static Kind> {
    // The core group writes its version alone.
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    BUILT_IN.iter().find(|known| known.group == group && known.kind == kind)
}
