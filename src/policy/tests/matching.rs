use super::*;

fn labels(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Whether a policy with this `match` applies to a Deployment in `namespace`.
fn about(matches: &Value, namespace: &str, of: &[(&str, &str)]) -> bool {
    let labels = labels(of);
    let subject = Subject {
        namespace,
        labels: Some(&labels),
        kinds: &["Deployment"],
    };
    let policies = Policies::new(vec![policy("p", &json!({"match": matches}))]);
    !policies
        .matching(&subject, &Requester::default(), circumstances(&Modes::default()))
        .is_empty()
}

#[test]
fn everything_given_must_hold() {
    for (matches, namespace, of, holds) in [
        (json!({}), "x", &[][..], true),
        (json!({"namespaces": ["prod-*"]}), "prod-eu", &[], true),
        (json!({"namespaces": ["prod-*"]}), "prod-", &[], true),
        (json!({"namespaces": ["prod-*"]}), "prod", &[], false),
        (json!({"namespaces": ["prod-*"]}), "my-prod-eu", &[], false),
        (json!({"namespaces": ["a", "*-b"]}), "x-b", &[], true),
        (json!({"namespaces": ["*"]}), "x", &[], true),
        (json!({"kinds": ["Deployment"]}), "x", &[], true),
        (json!({"kinds": ["Pod", "Job"]}), "x", &[], false),
        (json!({"namespaceSelector": {}}), "x", &[], true),
        (
            json!({"namespaceSelector": {"matchLabels": {"a": "1"}}}),
            "x",
            &[("a", "1")],
            true,
        ),
        (
            json!({"namespaceSelector": {"matchLabels": {"a": "1"}}}),
            "x",
            &[("a", "2")],
            false,
        ),
        (
            json!({"namespaceSelector": {"matchLabels": {"a": "1", "b": ""}}}),
            "x",
            &[("a", "1"), ("b", "")],
            true,
        ),
        (
            json!({"namespaceSelector": {"matchLabels": {"a": "1", "b": ""}}}),
            "x",
            &[("a", "1")],
            false,
        ),
        (
            json!({"namespaces": ["x"], "namespaceSelector": {"matchLabels": {"a": "1"}}}),
            "y",
            &[("a", "1")],
            false,
        ),
    ] {
        assert_eq!(about(&matches, namespace, of), holds, "{matches} {namespace} {of:?}");
    }
}

#[test]
fn label_selectors_are_those_of_kubernetes() {
    let one = |operator: &str, values: Value| {
        let mut requirement = json!({"key": "a", "operator": operator});
        if !values.is_null() {
            requirement["values"] = values;
        }
        json!({"namespaceSelector": {"matchExpressions": [requirement]}})
    };
    for (matches, with, other, without) in [
        (one("In", json!(["1", "2"])), true, false, false),
        (one("NotIn", json!(["1"])), false, true, true),
        (one("Exists", Value::Null), true, true, false),
        (one("DoesNotExist", Value::Null), false, false, true),
        (one("DoesNotExist", json!([])), false, false, true),
    ] {
        assert_eq!(about(&matches, "x", &[("a", "1")]), with, "{matches}");
        assert_eq!(about(&matches, "x", &[("a", "3")]), other, "{matches}");
        assert_eq!(about(&matches, "x", &[("b", "1")]), without, "{matches}");
    }
}

#[test]
fn exemptions_take_out_of_their_own_policy_only() {
    let exempt = json!({"registries": {"deny": ["docker.io/**"]},
                        "exempt": {"images": ["nginx", "docker.io/debug/*"], "users": ["system:serviceaccount:ci:*", "jane"], "groups": ["admins"]}});
    let policies = Policies::new(vec![
        policy("a", &exempt),
        policy("b", &json!({"registries": {"deny": ["docker.io/**"]}})),
    ]);
    let out = |user: &str, groups: &[&str], image: &str| -> Vec<String> {
        let requester = Requester {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let matching = policies
            .matching(&SHOP, &requester, circumstances(&Modes::default()))
            .narrowed(&reference(image));
        assert!(matching.modes().any(|(name, _)| &**name == "b"), "b exempts nobody");
        matching.exempting().iter().map(ToString::to_string).collect()
    };
    assert!(out("joe", &["system:authenticated"], "busybox").is_empty());
    assert!(out("", &[], "busybox").is_empty());
    assert_eq!(out("jane", &[], "busybox"), ["a"]);
    assert_eq!(out("system:serviceaccount:ci:deployer", &[], "busybox"), ["a"]);
    assert!(out("system:serviceaccount:cix:deployer", &[], "busybox").is_empty());
    assert_eq!(out("joe", &["x", "admins"], "busybox"), ["a"]);
    assert_eq!(
        out(
            "joe",
            &[],
            "nginx:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        ),
        ["a"]
    );
    assert_eq!(out("joe", &[], "debug/x"), ["a"]);
    assert!(out("joe", &[], "debug/x/y").is_empty());
}

#[test]
fn a_policy_of_a_file_and_one_of_the_cluster_do_not_speak_for_each_other() {
    let compile = |location: PolicyLocation, spec: Value| Arc::new(Policy::compile(&object("same", &spec), location).unwrap());
    let policies = Policies::new(vec![
        compile(
            PolicyLocation::Cluster,
            json!({"mode": "Audit", "registries": {"allow": ["reg.corp/**"]}}),
        ),
        compile(
            PolicyLocation::File("a.yaml:1".to_owned()),
            json!({"tags": {"deny": ["latest"]}}),
        ),
    ]);
    let names: Vec<&str> = policies.iter().map(|policy| &*policy.name).collect();
    assert_eq!(names, ["same", "same (in the cluster)"]);
    let matching = policies.matching(&SHOP, &Requester::default(), circumstances(&Modes::default()));
    let raised = matching.names(&reference("nginx:1"), "nginx:1");
    assert_eq!(raised.len(), 1);
    assert_eq!(
        matching.decide(&raised[0].finding, Some(&raised[0].policy)).verdict,
        Verdict::Allow
    );
}

#[test]
fn the_name_of_a_namespace_is_a_label_that_is_always_known() {
    let name = "kubernetes.io/metadata.name";
    let rule = |selector: Value| {
        let spec = json!({"match": {"namespaceSelector": selector}, "tags": {"deny": ["latest"]}});
        let subject = Subject { labels: None, ..SHOP };
        let matching =
            Policies::new(vec![policy("p", &spec)]).matching(&subject, &Requester::default(), circumstances(&Modes::default()));
        let raised = matching.names(&reference("nginx"), "nginx");
        raised
            .first()
            .map(|raised| matching.decide(&raised.finding, Some(&raised.policy)).verdict)
    };
    let also = |operator: &str, values: &[&str]| json!({"matchLabels": {"env": "prod"}, "matchExpressions": [{"key": name, "operator": operator, "values": values}]});
    assert_eq!(rule(json!({"matchLabels": {name: "shop"}})), Some(Verdict::Deny));
    assert_eq!(rule(json!({"matchLabels": {name: "other"}})), None);
    assert_eq!(rule(also("In", &["shop"])), Some(Verdict::Warn));
    assert_eq!(rule(also("NotIn", &["shop"])), None);
    assert_eq!(rule(json!({})), Some(Verdict::Deny));
}

#[test]
fn an_image_by_itself_has_no_kind_and_is_warned_of() {
    let spec = json!({"match": {"kinds": ["Deployment"]}, "tags": {"deny": ["latest"]}});
    let subject = Subject { kinds: &[], ..SHOP };
    let matching =
        Policies::new(vec![policy("p", &spec)]).matching(&subject, &Requester::default(), circumstances(&Modes::default()));
    let raised = matching.names(&reference("nginx"), "nginx").remove(0);
    assert!(
        raised
            .finding
            .message
            .ends_with("it is not known whether the policy applies, since a bare image has no kind"),
        "{raised:?}"
    );
    assert_eq!(matching.decide(&raised.finding, Some("p")).verdict, Verdict::Warn);
}

#[test]
fn what_is_excluded_is_not_meant() {
    for (matches, namespace, holds) in [
        (json!({"excludeNamespaces": ["kube-*"]}), "shop", true),
        (json!({"excludeNamespaces": ["kube-*"]}), "kube-system", false),
        (
            json!({"namespaces": ["prod-*"], "excludeNamespaces": ["prod-old"]}),
            "prod-eu",
            true,
        ),
        (
            json!({"namespaces": ["prod-*"], "excludeNamespaces": ["prod-old"]}),
            "prod-old",
            false,
        ),
        // A cluster-scoped object is in no namespace.
        (json!({"excludeNamespaces": ["*"]}), "", true),
        (json!({"excludeKinds": ["Job"]}), "shop", true),
        (json!({"excludeKinds": ["Deployment"]}), "shop", false),
        (
            json!({"kinds": ["Deployment"], "excludeKinds": ["Deployment"]}),
            "shop",
            false,
        ),
    ] {
        assert_eq!(about(&matches, namespace, &[]), holds, "{matches} {namespace:?}");
    }
}

#[test]
fn an_exempt_namespace_shows_as_exempt() {
    let policies = [policy(
        "p",
        &json!({"tags": {"deny": ["latest"]}, "exempt": {"namespaces": ["sh*"]}}),
    )];
    let matching = matching(&policies);
    assert!(matching.is_empty());
    assert_eq!(matching.exempting(), [Arc::from("p")]);
}

#[test]
fn an_object_of_one_of_two_kinds_is_at_most_warned_about() {
    let spec = |kinds: Value| json!({"match": kinds, "tags": {"deny": ["latest"]}});
    let verdict = |matches: Value| {
        let policies = Policies::new(vec![policy("p", &spec(matches))]);
        let subject = Subject {
            kinds: &["Job", "CronJob"],
            ..SHOP
        };
        let modes = Modes::default();
        let matching = policies.matching(&subject, &Requester::default(), circumstances(&modes));
        let raised = matching.names(&reference("nginx"), "nginx");
        raised
            .first()
            .map(|raised| matching.decide(&raised.finding, Some("p")).verdict)
    };
    assert_eq!(verdict(json!({"kinds": ["Job", "CronJob"]})), Some(Verdict::Deny));
    assert_eq!(verdict(json!({"kinds": ["Job"]})), Some(Verdict::Warn));
    assert_eq!(verdict(json!({"excludeKinds": ["CronJob"]})), Some(Verdict::Warn));
    assert_eq!(verdict(json!({"excludeKinds": ["Job", "CronJob"]})), None);
    assert_eq!(verdict(json!({"kinds": ["Pod"]})), None);
    assert_eq!(verdict(json!({})), Some(Verdict::Deny));
}

#[test]
fn an_unknown_kind_is_an_error_with_the_nearest_one() {
    for (kind, said) in [
        ("Deploymnt", "did you mean \"Deployment\"?"),
        ("deployments", "did you mean \"Deployment\"?"),
        ("apps/v1/Deployment", "write Deployment, without group and version"),
        ("batch/*/CronJobs", "no wildcards"),
        ("*", "leave the field out"),
        ("Ingress", "add a kind of your own to `workloads`"),
    ] {
        for field in ["kinds", "excludeKinds"] {
            let problems = problems(&json!({"match": {field: [kind]}}));
            assert!(problems.len() == 1 && problems[0].contains(said), "{problems:?}");
        }
    }
}

#[test]
fn policies_about_many_images_are_made_once() {
    let exempt = json!({"registries": {"deny": ["docker.io/**"]}, "exempt": {"images": ["docker.io/debug/*"]}});
    let policies = Policies::new(vec![
        policy("a", &exempt),
        policy("b", &json!({"registries": {"deny": ["docker.io/**"]}})),
    ]);
    let matching = policies.matching(&SHOP, &Requester::default(), circumstances(&Modes::default()));
    let mut narrowing = PerImagePolicies::of(&matching);
    let mut about = |image: &str| narrowing.about(&[reference(image)]);
    assert!(about("busybox").is_same_as(&matching));
    assert!(about("debug/x").is_same_as(&about("debug/y")));
    assert!(!about("debug/x").is_same_as(&matching));
    let both = narrowing.about(&[reference("debug/x"), reference("busybox")]);
    assert!(both.is_same_as(&matching), "exempt is what all of its names are");
}
