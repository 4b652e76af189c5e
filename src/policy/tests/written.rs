use super::*;

#[test]
fn the_policy_of_the_design_is_read() {
    let spec = json!({
        "match": {"namespaces": ["prod-*"], "namespaceSelector": {"matchLabels": {"env": "prod"}}, "kinds": ["Deployment", "StatefulSet", "Pod"]},
        "registries": {"allow": ["registry.corp.example/**", "docker.io/library/*"], "deny": ["docker.io/**"]},
        "tags": {"deny": ["latest", "*-snapshot"], "requireDigest": true},
        "platforms": ["linux/amd64", "linux/arm64"],
        "size": {"max": "2Gi"},
        "actions": {"WillFail": "Deny", "MayFail": "Warn", "FailsToRun": "Warn", "Unknown": "Warn", "RegistryNotAllowed": "Deny"},
        "mode": "Enforce",
        "exempt": {"images": ["registry.corp.example/debug/*"], "users": ["system:serviceaccount:ci:deployer"], "groups": []},
    });
    let read = policy("production", &spec);
    assert_eq!(read.mode(), Mode::Enforce);
    assert_eq!(
        read.places().collect::<Vec<_>>(),
        ["registry.corp.example", "docker.io/library"]
    );
    assert_eq!(policy("p", &json!({})).mode(), Mode::Enforce);
}

#[test]
fn what_cannot_be_meant_is_refused_at_its_place() {
    for (spec, expected) in [
        (
            json!({"registries": {"allow": []}}),
            "spec.registries.allow: an empty list matches nothing: remove the field, or add entries",
        ),
        (
            json!({"registries": {"allow": null}}),
            "spec.registries.allow: no value: set one, or remove the field",
        ),
        (
            json!({"registries": null}),
            "spec.registries: no value: set one, or remove the field",
        ),
        (
            json!({"registries": {"allow": "a/b"}}),
            "spec.registries.allow: expected a list, got text; write it in [ ]",
        ),
        (
            json!({"registries": {"allow": [""]}}),
            "spec.registries.allow[0]: must not be empty",
        ),
        (
            json!({"registries": {"allow": ["a.b/**", "a.b/**"], "deny": ["a.b/**"]}}),
            "spec.registries.allow[0]: \"a.b/**\" allows nothing: the deny list has it too, and on a tie deny wins",
        ),
        (
            json!({"registries": {"allow": ["localhost"]}}),
            "spec.registries.allow[0]: \"localhost\" names no repository; for everything in that registry, write localhost/**",
        ),
        (
            json!({"registries": {"allow": ["localhost:5000"]}}),
            "spec.registries.allow[0]: \"localhost:5000\" names no repository; for everything in that registry, write localhost:5000/**",
        ),
        (
            json!({"registries": {"allow": ["nginx:1.25"]}}),
            "spec.registries.allow[0]: \"nginx:1.25\" has a tag or a digest; a pattern matches names only: docker.io/library/nginx (for tags, use tags.deny)",
        ),
        (
            json!({"registries": {"allow": ["*"]}}),
            "spec.registries.allow[0]: \"*\" matches no image: every name starts with a registry; for all of them, write **",
        ),
        (
            json!({"registries": {"deny": ["docker.io/*"]}}),
            "spec.registries.deny[0]: \"docker.io/*\" matches no image: official images are docker.io/library/NAME; did you mean docker.io/library/*?",
        ),
        (
            json!({"exempt": {"images": ["Reg.corp/A"]}}),
            "spec.exempt.images[0]: \"Reg.corp/A\" matches no image name: write a registry, then lower-case components, such as docker.io/library/*",
        ),
        (
            json!({"tags": {"deny": ["a b"]}}),
            "spec.tags.deny[0]: \"a b\" cannot match anything: tags consist of letters, digits, _, . and -; * matches any text",
        ),
        (
            json!({"tags": {"deny": [":latest"]}}),
            "spec.tags.deny[0]: \":latest\" cannot match anything: tags consist of letters, digits, _, . and -; * matches any text",
        ),
        (
            json!({"tags": {"deny": [" x"]}}),
            "spec.tags.deny[0]: \" x\" is empty or has leading or trailing white space",
        ),
        (json!({"size": {"max": "0"}}), "spec.size.max: with \"0\" no image passes"),
        (json!({"size": {"max": 0}}), "spec.size.max: with \"0\" no image passes"),
        (
            json!({"size": {"max": -1}}),
            "spec.size.max: \"-1\" is not a size; write a Kubernetes quantity such as 2Gi or 500M",
        ),
        (
            json!({"size": {"max": 1.5}}),
            "spec.size.max: expected text or a whole number, got a number",
        ),
        (
            json!({"size": {"max": true}}),
            "spec.size.max: expected text or a whole number, got true or false",
        ),
        (
            json!({"size": {"max": ".5Gi"}}),
            "spec.size.max: \".5Gi\" is not a size; write a Kubernetes quantity such as 2Gi or 500M",
        ),
        (
            json!({"mode": "enforce"}),
            "spec.mode: unknown value \"enforce\"; did you mean \"Enforce\"?",
        ),
        (
            json!({"actions": {"WillFail": "Reject"}}),
            "spec.actions.WillFail: unknown value \"Reject\"; known here: Deny, Warn, Allow",
        ),
        (
            json!({"match": {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["1"]}]}}}),
            "spec.match.namespaceSelector.matchExpressions[0]: Exists and DoesNotExist take no values",
        ),
        (
            json!({"match": {"namespaceSelector": {"matchExpressions": [{"operator": "Exists"}]}}}),
            "spec.match.namespaceSelector.matchExpressions[0]: key is missing",
        ),
        (
            json!({"match": {"namespaceSelector": {"matchLabels": {"a": true}}}}),
            "spec.match.namespaceSelector.matchLabels.a: expected text, got true or false; put it in quotes",
        ),
    ] {
        assert_eq!(problems(&spec)[0], expected, "{spec}");
    }
}

#[test]
fn a_size_without_a_unit_needs_no_quotes() {
    let bare = policy("p", &json!({"size": {"max": 1_048_576}}));
    let quoted = policy("p", &json!({"size": {"max": "1048576"}}));
    assert_eq!((bare.size_max, quoted.size_max), (Some(1 << 20), Some(1 << 20)));
    for (what, schema) in [
        ("CRD", schema::spec().clone()),
        ("file", schema::json_schema()["properties"]["spec"].clone()),
    ] {
        let max = &schema["properties"]["size"]["properties"]["max"];
        let either = max["x-kubernetes-int-or-string"] == true || max["type"] == json!(["integer", "string"]);
        assert!(
            either && max["pattern"].is_string() && max["description"].is_string(),
            "{what}: {max}"
        );
        assert_eq!(
            max["type"].is_null(),
            what == "CRD",
            "a structural schema has the one or the other: {max}"
        );
    }
}

#[test]
fn the_object_itself_is_held_against_its_form() {
    let all = |object: Value| {
        let problems = Policy::compile(&object, PolicyLocation::Cluster).expect_err("a problem");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        all(json!({"kind": "Pod", "spec": {"x": 1}})),
        ["kind: expected ImagePolicy, got \"Pod\""]
    );
    assert_eq!(
        all(json!({"sepc": {}})),
        [
            "kind: expected ImagePolicy",
            "apiVersion: expected pullgate.dev/v1alpha1, got \"\"",
            "metadata.name: a policy needs a name: messages refer to it",
            "sepc: unknown field \"sepc\"; did you mean \"spec\"?",
            "spec: a policy needs a spec",
        ]
    );
    for (name, good) in [
        ("a", true),
        ("a.b-c", true),
        ("A", false),
        ("-a", false),
        ("a..b", false),
        ("a_b", false),
        ("a\nb", false),
    ] {
        assert_eq!(
            Policy::compile(&object(name, &json!({})), PolicyLocation::Cluster).is_ok(),
            good,
            "{name:?}"
        );
    }
    for odd in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"metadata": []}),
        json!({"spec": []}),
    ] {
        assert!(Policy::compile(&odd, PolicyLocation::Cluster).is_err());
    }
    let text = Policy::compile(&json!("x"), PolicyLocation::Cluster).unwrap_err();
    assert_eq!(text.len(), 1, "said once: {text:?}");
    // Fields that the API server adds are ignored.
    let mut from_cluster = object("p", &json!({"mode": "Warn"}));
    from_cluster["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    from_cluster["status"] = json!({"conditions": []});
    assert!(Policy::compile(&from_cluster, PolicyLocation::Cluster).is_ok());
}

#[test]
fn what_the_schema_refuses_hides_nothing_else() {
    let spec = json!({
        "registries": {"allow": ["a b"], "dney": ["x"]}, "mode": "x", "size": {"max": "x"}, "tags": {"deny": [1, "a b"]},
        "match": {"namespaceSelector": {"matchLabels": {"a.b/c": 1, "a": "1"}, "matchExpressions": [{"key": "a", "operator": "In"}]}},
    });
    let paths: Vec<String> = problems(&spec)
        .iter()
        .map(|problem| problem.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.match.namespaceSelector.matchExpressions[0]",
            "spec.match.namespaceSelector.matchLabels.a.b/c",
            "spec.mode",
            "spec.registries.allow[0]",
            "spec.registries.dney",
            "spec.size.max",
            "spec.tags.deny[0]",
            "spec.tags.deny[1]",
        ]
    );
}

#[test]
fn many_refusals_in_one_list_hide_nothing_beside_them() {
    let said = problems(&json!({
        "registries": {"allow": [1, "a b", null, ""], "deny": [2]}, "mode": "x", "size": {"max": "2GB"}, "platforms": ["linux"],
        "match": {"namespaceSelector": {"matchExpressions": [
            {"key": "", "operator": "Is", "bad": 1}, {"key": "a", "operator": "Exists", "values": ["x"]}]}},
        "actions": {"a[b": "Deny"},
    }));
    for expected in [
        "spec.actions.a[b: unknown field",
        "spec.match.namespaceSelector.matchExpressions[0].bad: unknown field",
        "spec.match.namespaceSelector.matchExpressions[0].key: must not be empty",
        "spec.match.namespaceSelector.matchExpressions[0].operator: unknown value",
        "spec.match.namespaceSelector.matchExpressions[1]: Exists and DoesNotExist take no values",
        "spec.mode: unknown value",
        "spec.platforms[0]: \"linux\" is not a platform",
        "spec.registries.allow[0]: expected text",
        "spec.registries.allow[1]: \"a b\" contains white space",
        "spec.registries.allow[2]: no value",
        "spec.registries.allow[3]: must not be empty",
        "spec.registries.deny[0]: expected text",
        "spec.size.max: \"2GB\" is not a size",
    ] {
        let with = said.iter().filter(|problem| problem.starts_with(expected));
        assert_eq!(with.count(), 1, "{expected} in {said:#?}");
    }
    assert_eq!(said.len(), 13, "{said:#?}");
}

#[test]
fn the_crd_is_structural_and_says_what_the_checks_say() {
    let crd = schema::crd();
    let text = crd.to_string();
    assert!(text.contains("x-kubernetes-validations") && !text.contains("nullable") && crd.get("status").is_none());
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        (&version["name"], &version["subresources"]["status"]),
        (&json!("v1alpha1"), &json!({}))
    );
    // Every field is described, and has a type.
    let mut bare = Vec::new();
    each(&version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", &mut bare);
    assert_eq!(bare, Vec::<String>::new());
    assert_eq!(
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["mode"]["default"],
        json!("Enforce")
    );
}

fn each(schema: &Value, path: &str, bare: &mut Vec<String>) {
    let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
    if schema["description"].as_str().is_none_or(str::is_empty) || !typed {
        bare.push(path.to_owned());
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        each(below, &format!("{path}.{key}"), bare);
    }
}

#[test]
fn a_selector_that_selects_nothing_is_a_mistake() {
    let selects = |selector: Value| {
        Policy::compile(
            &object("p", &json!({"match": {"namespaceSelector": selector}})),
            PolicyLocation::Cluster,
        )
        .is_ok()
    };
    let list = |all: &[(&str, &[&str])]| {
        let all: Vec<Value> = all
            .iter()
            .map(|(operator, values)| {
                let mut one = json!({"key": "env", "operator": operator});
                if !values.is_empty() {
                    one["values"] = json!(values);
                }
                one
            })
            .collect();
        json!({"matchExpressions": all})
    };
    for sound in [
        list(&[("In", &["a", "b"]), ("NotIn", &["a"])]),
        list(&[("DoesNotExist", &[]), ("NotIn", &["a"])]),
        list(&[("Exists", &[]), ("NotIn", &["a"])]),
        json!({}),
    ] {
        assert!(selects(sound.clone()), "{sound}");
    }
    for dead in [
        list(&[("In", &["a"]), ("NotIn", &["a"])]),
        list(&[("In", &["a"]), ("In", &["b"])]),
        list(&[("Exists", &[]), ("DoesNotExist", &[])]),
        json!({"matchLabels": {"env": "a"}, "matchExpressions": [{"key": "env", "operator": "In", "values": ["b"]}]}),
    ] {
        assert!(!selects(dead.clone()), "{dead}");
    }
    assert_eq!(
        problems(&json!({"match": {"namespaceSelector": list(&[("In", &["a"]), ("NotIn", &["a"])])}})),
        ["spec.match.namespaceSelector: it selects nothing: its requirements on env contradict each other"]
    );
}
