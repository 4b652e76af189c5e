use super::*;

fn set(kind: &str, list: &str, sets: &Value) -> Value {
    let group = if kind == "ImageContentSourcePolicy" {
        "operator.openshift.io/v1alpha1"
    } else {
        "config.openshift.io/v1"
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": "x"}, "spec": {list: sets}})
}

fn digests(sets: &Value) -> Value {
    set("ImageDigestMirrorSet", "imageDigestMirrors", sets)
}

fn tags(sets: &Value) -> Value {
    set("ImageTagMirrorSet", "imageTagMirrors", sets)
}

fn image(sources: &Value) -> Value {
    json!({"apiVersion": "config.openshift.io/v1", "kind": "Image", "metadata": {"name": "cluster"}, "spec": {"registrySources": sources}})
}

fn told(objects: &[Value]) -> Result<OperatorConfig, String> {
    let mut all = Objects::default();
    for object in objects {
        assert!(all.add(object), "{object}");
    }
    all.operator_config()
}

/// `prefix [insecure] [blocked]: mirror (digest-only) …`
fn shown(objects: &[Value]) -> Vec<String> {
    let flag = |is: bool, name: &'static str| if is { name } else { "" };
    let mirror = |mirror: &Mirror| {
        let by = match mirror.asked_for {
            AskedFor::All => "all",
            AskedFor::Digests => "digests",
            AskedFor::Tags => "tags",
        };
        format!(" {}({by}{})", mirror.location, flag(mirror.insecure, ", insecure"))
    };
    let registries = told(objects).unwrap().conf.registries;
    let of = |one: &Registry| {
        let flags = [flag(one.insecure, " insecure"), flag(one.blocked, " blocked")].concat();
        let mirrors: String = one.mirrors.iter().map(mirror).collect();
        format!("{}{flags}:{mirrors}", one.prefix)
    };
    registries.iter().map(of).collect()
}

#[test]
fn mirrors_are_for_digests_or_for_tags() {
    let icsp = set(
        "ImageContentSourcePolicy",
        "repositoryDigestMirrors",
        &json!([{"source": "a.example/x", "mirrors": ["z.example/x"]}]),
    );
    assert_eq!(
        shown(&[
            digests(&json!([{"source": "a.example", "mirrors": ["m.example/a", "n.example"]}])),
            tags(&json!([{"source": "a.example", "mirrors": ["t.example"], "mirrorSourcePolicy": "NeverContactSource"}])),
            icsp,
        ]),
        [
            "a.example blocked: m.example/a(digests) n.example(digests) t.example(tags)",
            "a.example/x: z.example/x(digests)"
        ]
    );
    assert!(!Objects::default().add(&json!({"apiVersion": "v1", "kind": "Pod"})));
    // The source alone is no mirror.
    assert_eq!(
        shown(&[digests(
            &json!([{"source": "a", "mirrors": ["a"]}, {"source": "b", "mirrors": []}])
        )]),
        [""; 0]
    );
}

#[test]
fn sets_of_one_source_are_merged_by_preference() {
    let merge = |lists: &[&[&str]]| {
        let sets: Vec<Value> = lists
            .iter()
            .map(|mirrors| json!({"source": "s", "mirrors": mirrors}))
            .collect();
        let told = told(&[digests(&json!(sets))]).unwrap();
        let mirrors = told.conf.registries[0].mirrors.iter().map(|mirror| mirror.location.clone());
        mirrors.collect::<Vec<_>>()
    };
    assert_eq!(merge(&[&["b", "c"], &["a", "b"]]), ["a", "b", "c"]);
    assert_eq!(merge(&[&["b"], &["a"]]), ["a", "b"]);
    // The source before others stays there.
    assert_eq!(merge(&[&["s", "a"]]), ["s", "a"]);
    assert_eq!(merge(&[&["a", "s", "b"]]), ["a", "s", "b"]);
    // A circle is opened at its first name.
    assert_eq!(merge(&[&["a", "b"], &["b", "a"]]), ["a", "b"]);
}

#[test]
fn flags_go_down_to_more_precise_entries() {
    assert_eq!(
        shown(&[
            digests(&json!([
                {"source": "a.example/team", "mirrors": ["m.example:5000/team"]},
                {"source": "b.example", "mirrors": ["m.example/b"]}
            ])),
            image(
                &json!({"insecureRegistries": ["a.example", "m.example:5000", "*.b.test"], "blockedRegistries": ["b.example/x", "y.b.test"]})
            ),
        ]),
        [
            "*.b.test insecure:",
            "a.example insecure:",
            "a.example/team insecure: m.example:5000/team(digests, insecure)",
            "b.example: m.example/b(digests)",
            // With the mirrors of what it is part of.
            "b.example/x blocked: m.example/b/x(digests)",
            "m.example:5000 insecure:",
            "y.b.test insecure blocked:",
        ]
    );
}

#[test]
fn search_registries_and_the_policy() {
    let usual = told(&[]).unwrap();
    assert_eq!(
        (usual.conf.search.as_slice(), usual.policy),
        (&SEARCH.map(str::to_owned)[..], None)
    );
    assert!(usual.conf.tries_all);
    let own = told(&[image(
        &json!({"containerRuntimeSearchRegistries": ["s.example"], "blockedRegistries": ["b.example"]}),
    )])
    .unwrap();
    assert_eq!(own.conf.search, ["s.example"]);
    let policy = own.policy.unwrap();
    assert_eq!(policy["default"][0]["type"], "insecureAcceptAnything");
    assert_eq!(policy["transports"]["docker"]["b.example"][0]["type"], "reject");
    let policy = told(&[image(&json!({"allowedRegistries": ["a.example"]}))])
        .unwrap()
        .policy
        .unwrap();
    assert_eq!(policy["default"][0]["type"], "reject");
    assert_eq!(
        policy["transports"]["docker"]["a.example"][0]["type"],
        "insecureAcceptAnything"
    );
}

#[test]
fn what_the_operator_refuses() {
    for (object, why) in [
        (
            image(&json!({"blockedRegistries": ["a.*.example"]})),
            "\"a.*.example\" in blockedRegistries is not a registry, a repository or *.domain",
        ),
        (
            image(&json!({"insecureRegistries": [""]})),
            "\"\" in insecureRegistries is not a registry, a repository or *.domain",
        ),
        (
            image(&json!({"allowedRegistries": ["a"], "blockedRegistries": ["b"]})),
            "only one of allowedRegistries and blockedRegistries may be given",
        ),
        (
            tags(&json!([{"source": "*.example", "mirrors": ["m"]}])),
            "\"*.example\" cannot be the source of mirrors, nor a mirror",
        ),
    ] {
        assert_eq!(told(&[object]).unwrap_err(), why);
    }
}

// The table of `TestScopeIsNestedInsideScope`.
#[test]
fn what_lies_within_a_scope() {
    for (name, scope, expected) in [
        ("quay.io", "example.com", false),
        ("quay.io", "quay.io", true),
        ("quay.io:443", "quay.io", false),
        ("quay.io.example.com", "quay.io", false),
        ("quay.io2", "quay.io", false),
        ("quay.io/ns1", "quay.io", true),
        ("quay.io/ns1/ns2/ns3", "quay.io", true),
        ("bar/example.foo", "*.foo", false),
        ("example/bar.foo/quay.io", "*.foo", false),
        ("example/bar.foo:400", "*.foo", false),
        ("foo.example.com", "*.example.com", true),
        ("*.foo.example.com", "*.example.com", true),
        ("foo.example.com/bar", "*.example.com", true),
        ("foo.registry.com", "*.example.com", false),
        ("foo.example.com", "**.example.com", false),
        ("foo.example.com", "*.example.com/foo/bar", false),
        ("foo.example.com:443/bar/baz", "*.example.com", true),
        ("foo.example.com:443/bar/baz", "*.example.com/bar/baz", false),
        ("foo.example.com", "*example.com", false),
    ] {
        assert_eq!(is_within(name, scope), expected, "{name} {scope}");
    }
}
