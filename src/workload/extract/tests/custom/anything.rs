//! Any JSON where a kind keeps its pods: extraction never panics.

use super::*;

/// JSON whose keys are those that the extractor looks for, with anything below them.
fn object_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:/@ .]{0,12}".prop_map(Value::from),
        "\\{\\{[a-z.]{0,6}\\}\\}|\\$\\([a-z]{0,3}\\)".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "template",
        "templates",
        "steps",
        "inline",
        "dag",
        "tasks",
        "taskSpec",
        "container",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "sidecars",
        "volumes",
        "containerDisk",
        "imagePullSecret",
        "imagePullPolicy",
        "image",
        "reference",
        "name",
        "imagePullSecrets",
        "serviceAccountName",
        "podSpecPatch",
        "nodeName",
        "nodeSelector",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "tolerations",
        "os",
        "annotations",
        "ownerReferences",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Kinds with the path below which anything may stand: a row of the tables above, cut off somewhere.
fn anywhere() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let built_in = [
        ("v1", "Pod", "spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("v1", "ReplicationController", "spec.template.spec"),
        ("apps/v1", "Deployment", "spec.template.spec"),
        ("apps/v1", "DaemonSet", "spec.template.spec"),
        ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ];
    let rows: Vec<(&str, &str, &str)> = built_in
        .into_iter()
        .chain(
            POD_SPECS
                .iter()
                .chain(IMAGES)
                .map(|(api, kind, path, _)| (*api, *kind, *path)),
        )
        .collect();
    (prop::sample::select(rows), any::<prop::sample::Index>()).prop_map(|((api, kind, path), cut)| {
        let steps: Vec<&str> = path.split('.').collect();
        (api, kind, steps[..=cut.index(steps.len())].join("."))
    })
}

proptest! {
    #[test]
    fn extracting_never_panics((api_version, kind, path) in anywhere(), metadata in object_like(), inner in object_like(), old in object_like()) {
        let mut object = object(api_version, kind, &[(&path, inner)]);
        object["metadata"] = metadata;
        if let Ok(workload) = extract(&object, None, "ns") {
            for template in &workload.templates {
                let scheduling = &template.needs.scheduling;
                let _ = (scheduling.candidates(&[crate::workload::Node::from_json(&old)]), scheduling.named_platforms());
            }
            prop_assert_eq!(extract(&object, Some(&object), "ns"), Err(Skip::Unchanged));
        }
        let _ = extract(&object, Some(&old), "ns");
        let mut before = super::object(api_version, kind, &[(&path, old)]);
        before["apiVersion"] = json!("v0");
        let _ = extract(&object, Some(&before), "ns");
        let _ = extract(&before, Some(&object), "ns");
    }
}
