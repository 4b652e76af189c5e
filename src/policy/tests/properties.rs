use super::*;
use crate::image::Pattern;
use proptest::prelude::*;

/// Any JSON, with the words of the schema among its keys and texts.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "spec",
        "match",
        "namespaces",
        "namespaceSelector",
        "matchLabels",
        "matchExpressions",
        "kinds",
        "registries",
        "allow",
        "deny",
        "tags",
        "requireDigest",
        "platforms",
        "size",
        "max",
        "actions",
        "WillFail",
        "TagNotFound",
        "mode",
        "exempt",
        "images",
        "users",
        "groups",
        "Deny",
        "Audit",
        "a.b/**",
        "**",
        "*",
        "docker.io/library/*",
        "nginx",
        "2Gi",
        "linux/amd64",
        "In",
        "key",
        "operator",
        "values",
        "a.b",
    ]);
    let text = prop_oneof![word.prop_map(str::to_owned), "[a-z*/.:@\\[\\]{} é\\n-]{0,12}", ".{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn pattern_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**", "a*", "*b", "a*b"]), 1..4)
        .prop_map(|parts| format!("r.c/{}", parts.join("/")))
}

fn pattern() -> impl Strategy<Value = Pattern> {
    pattern_text().prop_filter_map("no pattern", |text| Pattern::parse(&text).ok())
}

fn name() -> impl Strategy<Value = String> {
    "r\\.c(/[ab]{1,3}){1,4}"
}

fn spec() -> impl Strategy<Value = Value> {
    let list = || prop::option::of(prop::collection::vec(pattern_text(), 1..3));
    let action = prop::option::of(prop::sample::select(vec!["Deny", "Warn", "Allow"]));
    let mode = prop::sample::select(vec!["Enforce", "Warn", "Audit"]);
    (list(), list(), action.clone(), action, mode, any::<bool>(), any::<bool>()).prop_map(
        |(allow, deny, outlook, cause, mode, digest, asks)| {
            let mut spec = json!({"mode": mode, "tags": {"requireDigest": digest}, "registries": {}, "actions": {}, "match": {}});
            for (key, list) in [("allow", allow), ("deny", deny)] {
                if let Some(list) = list {
                    spec["registries"][key] = list.into();
                }
            }
            for (key, action) in [("WillFail", outlook), ("RegistryNotAllowed", cause)] {
                if let Some(action) = action {
                    spec["actions"][key] = action.into();
                }
            }
            if asks {
                spec["match"] = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
            }
            spec
        },
    )
}

fn compiled(specs: &[Value]) -> Vec<Arc<Policy>> {
    let policies = specs.iter().enumerate();
    policies
        .filter_map(|(at, spec)| Policy::compile(&object(&format!("p{at}"), spec), PolicyLocation::Cluster).ok())
        .map(Arc::new)
        .collect()
}

fn verdicts(matching: &Matching, image: &Reference) -> Vec<(Cause, Arc<str>, Decision)> {
    let mut all: Vec<_> = matching
        .names(image, "shown")
        .into_iter()
        .map(|raised| {
            let decision = matching.decide(&raised.finding, Some(&raised.policy));
            (raised.finding.cause, raised.policy, decision)
        })
        .collect();
    let registry = finding(Cause::TagNotFound, Outlook::WillFail);
    all.push((registry.cause, Arc::from(""), matching.decide(&registry, None)));
    all
}

proptest! {
    #[test]
    fn no_document_panics(value in any_json(), spec in any_json()) {
        let _ = Policy::compile(&value, PolicyLocation::Cluster);
        let _ = cases::PolicyTest::read(&value);
        let policy = Policy::compile(&object("p", &spec), PolicyLocation::Cluster);
        if let Ok(policy) = policy {
            let matching = matching(&[Arc::new(policy)]);
            let _ = verdicts(&matching.narrowed(&reference("nginx")), &reference("nginx"));
        }
    }

    #[test]
    fn no_text_panics(text in "(apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: \\{name: a\\}\nspec:\n)?[-a-z:{}\\[\\]*&<!|>#%. \n'0-9,?~\"/]{0,80}") {
        for document in crate::yaml::documents(&text).documents {
            for problem in Policy::compile(&document.value, PolicyLocation::Cluster).err().into_iter().flatten() {
                let (line, column) = document.place_of(&problem.path);
                prop_assert!(line >= 1 && column >= 1);
            }
        }
    }

    #[test]
    fn specificity_is_a_total_preorder(a in pattern(), b in pattern(), c in pattern()) {
        let (a, b, c) = (a.specificity(), b.specificity(), c.specificity());
        prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
        prop_assert!(!(a <= b && b <= c) || a <= c);
        prop_assert_eq!(a == b, a <= b && b <= a);
    }

    #[test]
    fn a_covering_pattern_matches_whatever_the_other_does(wide in pattern(), narrow in pattern(), name in name()) {
        prop_assert!(wide.covers(&wide));
        if wide.covers(&narrow) && narrow.matches(&name) {
            prop_assert!(wide.matches(&name), "{} covers {}, and not {}", wide, narrow, name);
        }
    }

    #[test]
    fn on_a_tie_the_image_is_refused(allow in pattern_text(), deny in pattern_text(), name in name()) {
        let spec = json!({"registries": {"allow": [allow], "deny": [deny]}});
        let patterns = (Pattern::parse(&allow), Pattern::parse(&deny));
        let ((Ok(allow), Ok(deny)), Ok(policy)) = (patterns, Policy::compile(&object("p", &spec), PolicyLocation::Cluster)) else { return Ok(()) };
        let passes = matching(&[Arc::new(policy)]).names(&reference(&format!("{name}:1")), "x").is_empty();
        let expected = allow.matches(&name) && !(deny.matches(&name) && deny.specificity() >= allow.specificity());
        prop_assert_eq!(passes, expected);
    }

    #[test]
    fn an_allow_pattern_that_is_said_to_allow_nothing_allows_nothing(allow in pattern_text(), deny in pattern_text(), name in name()) {
        let spec = json!({"registries": {"allow": [allow], "deny": [deny]}});
        let (Ok(allow), Ok(deny)) = (Pattern::parse(&allow), Pattern::parse(&deny)) else { return Ok(()) };
        if Policy::compile(&object("p", &spec), PolicyLocation::Cluster).is_err() && allow.matches(&name) {
            prop_assert!(deny.matches(&name) && deny.specificity() >= allow.specificity(), "{} {}", allow, deny);
        }
    }

    #[test]
    fn the_order_of_policies_does_not_matter(specs in prop::collection::vec(spec(), 0..5), by in 0_usize..5, name in name(), known in any::<bool>()) {
        let mut policies = compiled(&specs);
        let image = reference(&format!("{name}:1"));
        let matching_of = |policies: &[Arc<Policy>]| if known { matching(policies) } else { unsure(policies) };
        let before = verdicts(&matching_of(&policies), &image);
        policies.reverse();
        let length = policies.len().max(1);
        policies.rotate_left(by % length);
        prop_assert_eq!(before, verdicts(&matching_of(&policies), &image));
    }

    #[test]
    fn what_is_done_is_never_more_than_what_would_be_and_audit_alone_adds_nothing(specs in prop::collection::vec(spec(), 0..5), name in name(), known in any::<bool>()) {
        let image = reference(&format!("{name}:1"));
        let matching_of = |policies: &[Arc<Policy>]| if known { matching(policies) } else { unsure(policies) };
        for (_, _, decision) in verdicts(&matching_of(&compiled(&specs)), &image) {
            prop_assert!(decision.verdict <= decision.enforced);
        }
        let audit: Vec<Value> = specs.iter().cloned().map(|mut spec| {
            spec["mode"] = "Audit".into();
            spec["match"] = json!({});
            spec
        }).collect();
        let acts = audit.iter().any(|spec| spec["actions"].get("WillFail").is_some());
        for (cause, _, decision) in verdicts(&matching(&compiled(&audit)), &image) {
            // If no policy has an action for it, the default applies.
            let default = cause == Cause::TagNotFound && !(acts && compiled(&audit).len() == audit.len());
            if default && !acts {
                prop_assert_eq!(decision.verdict, Verdict::Deny);
            } else if !default {
                prop_assert_eq!(decision.verdict, Verdict::Allow);
            }
        }
    }

    #[test]
    fn where_labels_are_not_known_policies_deny_nothing_of_their_own(specs in prop::collection::vec(spec(), 0..5), name in name()) {
        let image = reference(&format!("{name}:1"));
        let asking: Vec<Value> = specs.iter().cloned().map(|mut spec| {
            spec["match"] = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
            spec
        }).collect();
        for (cause, _, decision) in verdicts(&unsure(&compiled(&asking)), &image) {
            // The default's denial of what will fail stays as it is.
            let own = cause != Cause::TagNotFound;
            prop_assert_eq!(decision.verdict == Verdict::Deny, !own);
        }
    }
}
