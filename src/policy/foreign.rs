//! Fields and values of Kyverno, Gatekeeper and Kubewarden, and their equivalents here (docs/migrating.md).

/// Where a field is written by mistake.
const ANYWHERE: &str = "";

/// Field, the place where it is written (any, if empty), and the way to say it here.
const FIELDS: &[(&str, &str, &str)] = &[
    // Kyverno.
    (
        "excludeResources",
        ANYWHERE,
        "write match.excludeNamespaces, match.excludeKinds, or exempt",
    ),
    (
        "exclude",
        ANYWHERE,
        "write match.excludeNamespaces, match.excludeKinds, or exempt",
    ),
    ("validationFailureAction", ANYWHERE, "write mode: Enforce, Warn or Audit"),
    ("failureAction", ANYWHERE, "write mode: Enforce, Warn or Audit"),
    (
        "validationFailureActionOverrides",
        ANYWHERE,
        "write a second policy with another mode for those namespaces",
    ),
    (
        "failureActionOverrides",
        ANYWHERE,
        "write a second policy with another mode for those namespaces",
    ),
    (
        "background",
        ANYWHERE,
        "`pullgate policy try` and `pullgate check --cluster --live` judge what exists",
    ),
    (
        "rules",
        ANYWHERE,
        "a policy is one rule: write registries, tags, platforms or size here, and a policy for each further rule",
    ),
    (
        "validate",
        ANYWHERE,
        "write what images must comply with: registries, tags, platforms or size",
    ),
    (
        "verifyImages",
        ANYWHERE,
        "signatures are not checked here; for digests write tags.requireDigest: true",
    ),
    (
        "mutateDigest",
        ANYWHERE,
        "pullgate changes no objects: `pullgate pin` writes digests into files",
    ),
    ("verifyDigest", ANYWHERE, "write tags.requireDigest: true"),
    ("imageReferences", ANYWHERE, "write registries.allow or registries.deny"),
    ("pattern", ANYWHERE, "write registries.allow, registries.deny or tags.deny"),
    (
        "anyPattern",
        ANYWHERE,
        "write registries.allow: one of its patterns must match",
    ),
    ("deny", "spec", "write registries.deny or tags.deny"),
    ("allow", "spec", "write registries.allow"),
    ("preconditions", ANYWHERE, "write match"),
    (
        "any",
        ANYWHERE,
        "a list is already \"one of\", and the parts of match must all match: write namespaces and kinds directly",
    ),
    (
        "all",
        ANYWHERE,
        "the parts of match must all match: write namespaces and kinds directly",
    ),
    ("resources", ANYWHERE, "write match.namespaces and match.kinds directly"),
    ("subjects", ANYWHERE, "write exempt.users or exempt.groups"),
    ("clusterRoles", ANYWHERE, "write exempt.users or exempt.groups"),
    ("roles", ANYWHERE, "write exempt.users or exempt.groups"),
    ("exceptions", ANYWHERE, "write exempt"),
    // Gatekeeper.
    (
        "enforcementAction",
        ANYWHERE,
        "write mode: Enforce (deny), Warn (warn) or Audit (dryrun)",
    ),
    ("excludedNamespaces", ANYWHERE, "write match.excludeNamespaces"),
    ("parameters", ANYWHERE, "write registries, tags, platforms or size"),
    ("repos", ANYWHERE, "write registries.allow; a prefix repo/ is repo/**"),
    ("exemptImages", ANYWHERE, "write exempt.images"),
    (
        "labelSelector",
        ANYWHERE,
        "write match.namespaceSelector: objects are not selected by their own labels, which their authors choose",
    ),
    ("scope", ANYWHERE, "leave it out: a policy is about every object with pods"),
    // Kubewarden.
    (
        "module",
        ANYWHERE,
        "there are no modules: write registries, tags, platforms or size",
    ),
    ("settings", ANYWHERE, "write registries, tags, platforms or size"),
    ("mutating", ANYWHERE, "leave it out: pullgate changes no objects"),
    (
        "backgroundAudit",
        ANYWHERE,
        "`pullgate policy try` and `pullgate check --cluster --live` judge what exists",
    ),
    ("policyServer", ANYWHERE, "leave it out: every pullgate serves every policy"),
    ("matchConditions", ANYWHERE, "write match"),
    ("namespaceSelector", "spec", "write match.namespaceSelector"),
    (
        "objectSelector",
        ANYWHERE,
        "write match.namespaceSelector: objects are not selected by their own labels, which their authors choose",
    ),
    // Ours, in the wrong place.
    ("allowed", "spec.registries", "write allow"),
    ("reject", ANYWHERE, "write deny"),
    ("denied", ANYWHERE, "write deny"),
    ("kinds", "spec.exempt", "write match.excludeKinds"),
    ("excludeNamespaces", "spec", "write match.excludeNamespaces"),
    ("excludeKinds", "spec", "write match.excludeKinds"),
    (
        "excludeNamespaces",
        "spec.exempt",
        "write exempt.namespaces, or match.excludeNamespaces",
    ),
    ("excludeKinds", "spec.exempt", "write match.excludeKinds"),
    ("kinds", "spec", "write match.kinds"),
    ("namespaces", "spec", "write match.namespaces"),
    ("namespace", "spec", "write match.namespaces, a list"),
    ("images", "spec", "write registries.allow, registries.deny or exempt.images"),
    (
        "images",
        "spec.match",
        "write registries.allow, registries.deny or exempt.images",
    ),
    ("users", "spec.match", "write exempt.users"),
    ("requireDigest", "spec", "write tags.requireDigest"),
    ("excludeUsers", "spec.match", "write exempt.users"),
    (
        "action",
        "spec",
        "write mode for how far the policy goes, or actions for single findings",
    ),
];

/// Value of `mode`, and ours.
const MODES: &[(&str, &str)] = &[
    ("deny", "Enforce"),
    ("warn", "Warn"),
    ("dryrun", "Audit"),
    ("protect", "Enforce"),
    ("monitor", "Audit"),
    ("block", "Enforce"),
];

/// The message about a field that other tools have; `path` is what it was written in.
pub(super) fn field(path: &str, key: &str) -> Option<String> {
    let place = path.split('[').next().unwrap_or(path);
    let fits = |of: &&(&str, &str, &str)| of.0 == key && (of.1 == ANYWHERE || of.1 == place);
    let (_, _, ours) = FIELDS.iter().find(fits)?;
    Some(format!("unknown field {key:?}: {ours}"))
}

/// The message about a value that other tools have.
pub(super) fn value(path: &str, text: &str) -> Option<String> {
    let (_, ours) = MODES.iter().find(|(theirs, _)| path == "spec.mode" && *theirs == text)?;
    Some(format!("unknown value {text:?}: write {ours}"))
}

/// The hint for a list entry that is an object in other tools: Gatekeeper's `kinds`, Kyverno's and Kubewarden's rules.
pub(super) fn entry(path: &str) -> Option<&'static str> {
    let list = path.split('[').next().unwrap_or(path);
    matches!(list, "spec.match.kinds" | "spec.match.excludeKinds")
        .then_some("; write the names of kinds: [Deployment, StatefulSet]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PolicyLocation};
    use serde_json::{Value, json};

    fn problems(spec: &Value) -> Vec<String> {
        let object = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
        let problems = Policy::compile(&object, PolicyLocation::Cluster).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_field_of_another_tool_names_our_way() {
        for (spec, said) in [
            (
                json!({"validationFailureAction": "Enforce"}),
                "spec.validationFailureAction: unknown field \"validationFailureAction\": write mode",
            ),
            (
                json!({"excludeResources": {}}),
                "match.excludeNamespaces, match.excludeKinds, or exempt",
            ),
            (json!({"match": {"any": []}}), "spec.match.any: unknown field \"any\""),
            (
                json!({"match": {"excludedNamespaces": ["a"]}}),
                "write match.excludeNamespaces",
            ),
            (json!({"enforcementAction": "dryrun"}), "Audit (dryrun)"),
            (json!({"exempt": {"kinds": ["Job"]}}), "write match.excludeKinds"),
            (json!({"module": "x"}), "there are no modules"),
            (json!({"mode": "dryrun"}), "spec.mode: unknown value \"dryrun\": write Audit"),
            (
                json!({"match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}}),
                "write the names of kinds",
            ),
        ] {
            let problems = problems(&spec);
            assert!(problems.len() == 1 && problems[0].contains(said), "{spec}: {problems:?}");
        }
    }

    #[test]
    fn no_field_of_ours_is_taken_for_another_tools() {
        let spec = super::super::schema::spec();
        for (field, place, _) in FIELDS.iter().filter(|(_, place, _)| *place != ANYWHERE) {
            let pointer = place.strip_prefix("spec").unwrap_or_default().replace('.', "/properties/");
            let there = spec.pointer(&format!("{pointer}/properties"));
            assert!(there.is_some_and(|there| there.get(field).is_none()), "{place}.{field}");
        }
    }
}
