use super::*;
use crate::cluster::EventFilter;
use crate::image::{Pattern, Rewrite};
use crate::net::{Cidr, Reach};
use crate::policy::{Mode, Modes, Subject};
use crate::registry::{K3sFile, Proxy};
use crate::runtime::containerd::k3s::DefaultEndpoint;
use crate::runtime::crio::Crio;
use crate::runtime::{Depth, Runtime};
use crate::telemetry::log::Level;
use crate::verdict::soften::PresenceRule;
use crate::workload::selector::{NodeSelector, Requirement};
use crate::workload::{Configured, Route, Scope};
use std::path::Path;
use std::time::Duration;

fn read(yaml: &str) -> Result<Settings, String> {
    Settings::from_bytes(Path::new("/etc/pullgate/config.yaml"), yaml.as_bytes()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(yaml: &str, expect: &[&str]) {
    let lines = read(yaml).expect_err("must be refused");
    assert_eq!(lines.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn nothing_given_is_the_defaults() {
    for yaml in ["", "# only a comment\n", "---\n", "{}", "registries:\nnetwork: {}\ncache:\n"] {
        assert_eq!(read(yaml), Ok(Settings::default()), "{yaml:?}");
    }
    let defaults = Settings::default();
    assert!(defaults.node_credentials.contains(&"*.pkg.dev".to_owned()));
    assert_eq!(defaults.cache.max_bytes, 67_108_864);
    assert_eq!(defaults.cache.max_stale, Duration::from_hours(24));
    assert_eq!(defaults.default_platforms, None);
    assert_eq!((defaults.log_level, defaults.events), (None, EventFilter::All));
}

#[test]
fn everything_supported_is_read() {
    let settings = read(
        r#"
registries:
  hostsDir: /etc/containerd/certs.d:certs.d
  registriesConf: containers
  nodeCredentials: ["*"]
  dockerConfig: config.json
  userAgent: containerd/2.1.4
  credentialProviders: {config: providers.yaml, binDir: /opt/providers}
  rewrites: [{match: "docker.io/**", to: "harbor.corp/dockerhub/**"}, {match: quay.io/a/b, to: harbor.corp/b}]
network: {allow: [10.0.0.0/8, "fd00::/8", 192.168.7.9]}
proxy: {https: "http://user:hunter2@proxy.corp:3128", noProxy: [.corp, 10.0.0.0/8]}
secrets: {access: cluster}
depth: manifest
exemptAnnotations: [example.com/skip]
assumeAlwaysPull: true
nodes: {presence: hide}
cache: {maxBytes: 128MiB, maxStale: 90m}
workloads:
  - {group: example.com, kind: App, podSpecs: [spec.template.spec, "spec.sets[*].pod"], images: [spec.tool.image]}
  - {group: argoproj.io, kind: Rollout}
  - {group: example.com, kind: Fleet, podSpecs: [spec.pod], scope: Cluster}
log: {level: debug}
events: denied
defaultRuntimes: [crio@1.33.2]
nodePools:
  - name: gpu
    selector: {matchLabels: {pool: gpu}, matchExpressions: [{key: spot, operator: DoesNotExist}]}
    registries: {registriesConf: gpu}
  - selector: {pool: edge}
    registries: {hostsDir: "edge:/etc/certs.d"}
  - selector: {pool: k3s}
    registries: {k3sRegistries: registries.yaml, disableDefaultEndpoint: true}
"#,
    )
    .unwrap();
    let requirement = |key: &str, operator: &str, values: &[&str]| Requirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let pool = |name: &str, requirements, registries| NodePool {
        name: name.to_owned(),
        selector: NodeSelector(requirements),
        registries,
    };
    let cidr = |address: &str, prefix| Cidr {
        address: address.parse().unwrap(),
        prefix,
    };
    let rule = |from: &str, to: &str| Rewrite::new(Pattern::parse(from).unwrap(), to).unwrap();
    let routes = |texts: &[&str]| texts.iter().map(|text| Route::parse(text).unwrap()).collect();
    let workload = |group: &str, kind: &str, pod_specs: &[&str], images: &[&str]| Configured {
        group: group.to_owned(),
        kind: kind.to_owned(),
        pod_specs: routes(pod_specs),
        images: routes(images),
        scope: (kind == "Fleet").then_some(Scope::Cluster),
    };
    let allow = vec![cidr("10.0.0.0", 8), cidr("fd00::", 8), cidr("192.168.7.9", 32)];
    assert_eq!(
        settings,
        Settings {
            node_credentials: vec!["*".to_owned()],
            hosts_dirs: vec!["/etc/containerd/certs.d".into(), "/etc/pullgate/certs.d".into()],
            user_agent: Some(http::HeaderValue::from_static("containerd/2.1.4")),
            docker_config: Some("/etc/pullgate/config.json".into()),
            credential_providers: Some(CredentialProviders {
                config: "/etc/pullgate/providers.yaml".into(),
                bin_dir: "/opt/providers".into(),
            }),
            network_allow: allow.clone(),
            proxy: Some(Proxy::new("http://user:hunter2@proxy.corp:3128", &[".corp", "10.0.0.0/8"]).unwrap()),
            secret_access: SecretAccess::Cluster,
            depth: Depth::Manifest,
            default_platforms: None,
            exempt_annotations: vec!["example.com/skip".to_owned()],
            assume_always_pull: true,
            presence_rule: PresenceRule::Hide,
            cache: Cache {
                max_bytes: 128 << 20,
                max_stale: Duration::from_mins(90)
            },
            rewrites: vec![
                rule("docker.io/**", "harbor.corp/dockerhub/**"),
                rule("quay.io/a/b", "harbor.corp/b")
            ],
            workloads: vec![
                workload(
                    "example.com",
                    "App",
                    &["spec.template.spec", "spec.sets[*].pod"],
                    &["spec.tool.image"]
                ),
                workload("argoproj.io", "Rollout", &[], &[]),
                workload("example.com", "Fleet", &["spec.pod"], &[]),
            ],
            log_level: Some(Level::Debug),
            events: EventFilter::Denied,
            registries_conf: Some("/etc/pullgate/containers".into()),
            k3s: None,
            default_runtimes: Some(vec![Runtime::Crio(Crio::of_node("1.33.2"))]),
            modes: Modes::default(),
            node_pools: vec![
                pool(
                    "gpu",
                    vec![requirement("pool", "In", &["gpu"]), requirement("spot", "DoesNotExist", &[])],
                    PoolRegistries::RegistriesConf("/etc/pullgate/gpu".into())
                ),
                pool(
                    "pool=edge",
                    vec![requirement("pool", "In", &["edge"])],
                    PoolRegistries::HostsDirs(vec!["/etc/pullgate/edge".into(), "/etc/certs.d".into()])
                ),
                pool(
                    "pool=k3s",
                    vec![requirement("pool", "In", &["k3s"])],
                    PoolRegistries::K3s(K3sFile {
                        path: "/etc/pullgate/registries.yaml".into(),
                        default_endpoint: DefaultEndpoint::Disabled,
                    })
                ),
            ],
        }
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
    let serve = settings.registry(Frontend::Serve);
    assert_eq!((&serve.hosts_dirs, &serve.proxy), (&settings.hosts_dirs, &settings.proxy));
    assert_eq!(serve.reach, Reach::Listed(allow));
    assert_eq!(serve.cache_bytes, 128 << 20);
    assert_eq!(serve.max_stale, Duration::from_mins(90));
    assert_eq!(settings.registry(Frontend::Check).reach, Reach::Everything);
}

#[test]
fn default_platforms_absent_empty_and_given() {
    assert_eq!(read("{}").unwrap().default_platforms, None);
    assert_eq!(read("defaultPlatforms: []").unwrap().default_platforms, Some(vec![]));
    let given = read("defaultPlatforms: [linux/amd64, linux/arm64]")
        .unwrap()
        .default_platforms
        .unwrap();
    assert_eq!(
        given.iter().map(|p| p.architecture.as_str()).collect::<Vec<_>>(),
        ["amd64", "arm64"]
    );
    let error = read("defaultPlatforms:\n  - linux/amd64\n  - linux/amd 64\n").unwrap_err();
    assert!(error.starts_with("/etc/pullgate/config.yaml:3:5: "), "{error}");
}

#[test]
fn the_mode_is_one_word_or_a_list_by_namespace() {
    let of = |text: &str, labels: &[(&str, &str)]| {
        let labels: Vec<(String, String)> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        read(text).unwrap().modes.of(&Subject {
            namespace: "shop",
            labels: Some(&labels),
            kinds: &["Pod"],
        })
    };
    assert_eq!(of("{}", &[]), Mode::Enforce);
    assert_eq!(of("mode: Warn", &[]), Mode::Warn);
    let list = "mode:\n- namespaceSelector: {matchLabels: {rollout: done}}\n  mode: Enforce\n- mode: Audit\n";
    assert_eq!(
        (of(list, &[("rollout", "done")]), of(list, &[])),
        (Mode::Enforce, Mode::Audit)
    );
    for (text, said) in [
        ("mode: warn", "1:7: unknown value \"warn\"; did you mean \"Warn\"?"),
        ("mode:\n- mode: Deny", "2:9: unknown value \"Deny\""),
        (
            "mode:\n- {mode: Warn, namespaceSelectr: {}}",
            "2:16: unknown key \"namespaceSelectr\"; did you mean \"namespaceSelector\"?",
        ),
        (
            "mode:\n- namespaceSelector: {matchExpressions: [{key: a, operator: In}]}\n  mode: Warn",
            "2:3: namespaceSelector.matchExpressions[0]: In and NotIn need values",
        ),
        ("mode: 5", "1:7: unknown value \"5\""),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(&format!("/etc/pullgate/config.yaml:{said}")), "{error}");
    }
}

#[test]
fn one_way_to_say_what_k3s_nodes_are_told() {
    let file = read("registries: {k3sRegistries: r.yaml}\n").unwrap().k3s.unwrap();
    assert_eq!(
        (file.path, file.default_endpoint),
        ("/etc/pullgate/r.yaml".into(), DefaultEndpoint::Asked)
    );
    refused(
        "registries:\n  hostsDir: a\n  k3sRegistries: b\n",
        &["/etc/pullgate/config.yaml:3:18: k3s writes the hosts.toml tree itself; give one of hostsDir and k3sRegistries"],
    );
    refused(
        "registries: {disableDefaultEndpoint: true}\n",
        &["/etc/pullgate/config.yaml: disableDefaultEndpoint belongs to k3sRegistries"],
    );
}

#[test]
fn a_pool_needs_nodes_a_name_of_its_own_and_one_way() {
    refused(
        "nodePools:\n  - {selector: {}, registries: {hostsDir: a}}\n  - {selector: {a: b}, registries: {hostsDir: a, registriesConf: b}}\n",
        &[
            "/etc/pullgate/config.yaml:2:16: a pool needs a selector with at least one label; settings for every node belong in registries",
            "/etc/pullgate/config.yaml:3:36: a pool needs one of hostsDir, registriesConf and k3sRegistries",
        ],
    );
    refused(
        "nodePools:\n  - {name: a, selector: {a: b}, registries: {hostsDir: a}}\n  - {name: a, selector: {a: c}, registries: {hostsDir: a}}\n",
        &["/etc/pullgate/config.yaml:3:12: two pools are called \"a\""],
    );
    refused(
        "nodePools:\n  - selector: {matchExpressions: [{key: a, operator: In}]}\n    registries: {hostsDir: a}\n    name: x\n",
        &["/etc/pullgate/config.yaml:2:15: In on \"a\" needs values"],
    );
    refused(
        "defaultRuntimes: [docker, crio@latest]",
        &[
            "/etc/pullgate/config.yaml:1:19: \"docker\" is not a container runtime known here; write containerd or crio, with or without \
             @VERSION",
            "/etc/pullgate/config.yaml:1:27: \"crio@latest\" has no version behind its @; write one as crio@1.36.3",
        ],
    );
}

#[test]
fn an_absolute_docker_config_stays() {
    let settings = read("registries: {dockerConfig: /var/lib/kubelet/config.json}").unwrap();
    assert_eq!(settings.docker_config, Some("/var/lib/kubelet/config.json".into()));
}

#[test]
fn unknown_keys_are_errors_with_a_place_and_the_nearest_known_key() {
    refused(
        "registries:\n  nodeCredential: []\n",
        &["/etc/pullgate/config.yaml:2:3: unknown key \"nodeCredential\"; did you mean \"nodeCredentials\"?"],
    );
    refused(
        "cache:\n  max_bytes: 1\n",
        &["/etc/pullgate/config.yaml:2:3: unknown key \"max_bytes\"; did you mean \"maxBytes\"?"],
    );
    refused(
        "network: {}\nblue: 1\n",
        &[
            "/etc/pullgate/config.yaml:2:1: unknown key \"blue\"; known here: mode, registries, network, proxy, secrets, depth, \
             defaultPlatforms, defaultRuntimes, nodePools, exemptAnnotations, assumeAlwaysPull, nodes, cache, workloads, log, events",
        ],
    );
    refused(
        "secrets:\n  access: gte\n",
        &["/etc/pullgate/config.yaml:2:11: unknown value \"gte\"; did you mean \"get\"?"],
    );
    refused(
        "log:\n  level: debg\n",
        &["/etc/pullgate/config.yaml:2:10: unknown value \"debg\"; did you mean \"debug\"?"],
    );
    refused(
        "events: off\n",
        &["/etc/pullgate/config.yaml:1:9: unknown value \"off\"; known here: all, denied, none"],
    );
}

#[test]
fn everything_wrong_is_reported_at_once_and_in_order() {
    refused(
        "cache:\n  maxBytes: lots\n  maxStale: 1 day\nnetwork:\n  allow:\n    - 10.0.0.0/8\n    - 10.1.2.3/8\n    - 169.254.0.0/16\n    - \
         10.0.0.0/33\n    - corp\n",
        &[
            "/etc/pullgate/config.yaml:2:13: \"lots\" is not a size; write a whole number and a unit, as 64MiB",
            "/etc/pullgate/config.yaml:3:13: \"1 day\" is not a duration; write a number and a unit, as 500ms, 10s, 5m or 24h",
            "/etc/pullgate/config.yaml:7:7: \"10.1.2.3/8\" has bits set beyond its prefix; did you mean 10.0.0.0/8?",
            "/etc/pullgate/config.yaml:8:7: \"169.254.0.0/16\" is link-local; look-ups never reach such addresses",
            "/etc/pullgate/config.yaml:9:7: \"10.0.0.0/33\" has a prefix longer than 32 bits",
            "/etc/pullgate/config.yaml:10:7: \"corp\" is not an address range; write it as 10.0.0.0/8 or fd00::/8",
        ],
    );
    refused(
        "exemptAnnotations: [a=b c, \"\", \"a b\", \"=x\"]\n",
        &[
            "/etc/pullgate/config.yaml:1:28: \"\" is neither an annotation's name nor name=value",
            "/etc/pullgate/config.yaml:1:32: \"a b\" is neither an annotation's name nor name=value",
            "/etc/pullgate/config.yaml:1:39: \"=x\" is neither an annotation's name nor name=value",
        ],
    );
    refused(
        "registries:\n  nodeCredentials: [\"https://gcr.io\", \"\", \"a b\"]\n",
        &[
            "/etc/pullgate/config.yaml:2:21: \"https://gcr.io\" has a scheme; write the host alone",
            "/etc/pullgate/config.yaml:2:39: must not be empty",
            "/etc/pullgate/config.yaml:2:43: \"a b\" contains white space",
        ],
    );
}

#[test]
fn every_depth() {
    for (yaml, depth) in [
        ("depth: manifest\n", Depth::Manifest),
        ("depth: config\n", Depth::Config),
        ("depth: layers\n", Depth::Layers),
    ] {
        assert_eq!(read(yaml).unwrap().depth, depth);
    }
    // `sizes` is an internal depth that the settings may not set.
    refused(
        "depth: sizes\n",
        &["/etc/pullgate/config.yaml:1:8: unknown value \"sizes\"; known here: manifest, config, layers"],
    );
}

#[test]
fn a_rewrite_needs_both_sides() {
    refused(
        "registries:\n  rewrites: [{match: \"docker.io/**\"}]\n",
        &["/etc/pullgate/config.yaml:2:15: missing field `to`"],
    );
}

#[test]
fn proxies() {
    for yaml in ["proxy: {}\n", "proxy: {noProxy: [a]}\n", "proxy:\n"] {
        assert_eq!(read(yaml).unwrap().proxy, None, "{yaml}");
    }
    for url in ["proxy:3128", "socks5://proxy", "http://", "https://user:hunter2@"] {
        refused(
            &format!("proxy: {{https: \"{url}\"}}\n"),
            &["/etc/pullgate/config.yaml:1:16: a proxy's URL begins with http:// or https:// and names a host"],
        );
    }
    refused(
        "proxy: {https: \"http://proxy\", noProxy: [\"\", \"http://a\"]}\n",
        &[
            "/etc/pullgate/config.yaml:1:42: must not be empty",
            "/etc/pullgate/config.yaml:1:46: \"http://a\" has a scheme; write the host alone",
        ],
    );
    for entry in ["10.0.0.0/99", "r.example:x", "r.example:99999", "."] {
        refused(
            &format!("proxy: {{https: \"http://proxy\", noProxy: [\"{entry}\"]}}\n"),
            &[&format!(
                "/etc/pullgate/config.yaml:1:42: \"{entry}\" matches nothing; write a domain, an address, a range (10.0.0.0/8) or *, with or \
                 without a port"
            )],
        );
    }
}

#[test]
fn rewrites_and_workloads_are_checked_where_they_stand() {
    refused(
        "registries:\n  rewrites:\n    - {match: \"nginx\", to: \"harbor.corp//x\"}\n    - {match: \"docker.io/**\", to: harbor.corp/x}\n",
        &[
            "/etc/pullgate/config.yaml:3:15: names are matched as a whole: write \"nginx\" as docker.io/library/nginx",
            "/etc/pullgate/config.yaml:3:28: a pattern cannot have empty components: no leading, trailing or double /",
            "/etc/pullgate/config.yaml:4:35: \"harbor.corp/x\" lacks the ** of docker.io/**: write it there too",
        ],
    );
    refused(
        "workloads:\n  - {group: argoproj.io/v1alpha1, kind: Rollout}\n  - {kind: rollout, podSpecs: [\"spec.a[0]\", \"spec a\"]}\n  - {group: \
         Apps, kind: X}\n",
        &[
            "/etc/pullgate/config.yaml:2:13: write the group without a version: argoproj.io",
            "/etc/pullgate/config.yaml:3:12: \"rollout\" is not a kind; write it as in manifests: Rollout",
            "/etc/pullgate/config.yaml:3:32: \"spec.a[0]\": indexes are not supported; write [*] for every element",
            "/etc/pullgate/config.yaml:3:45: \"spec a\" is not a path; write it as spec.template.spec, spec.tasks[*].template.spec or \
             spec.sets.*.spec",
            "/etc/pullgate/config.yaml:4:13: \"Apps\" is not an API group",
        ],
    );
    refused(
        "workloads:\n  - {group: apps, kind: Deployment, podSpecs: [spec]}\n  - {kind: Thing}\n  - {group: a.b, kind: C, images: [spec.i]}\n  - \
         {group: a.b, kind: C, podSpecs: [spec]}\n",
        &[
            "/etc/pullgate/config.yaml:2:25: Deployment (apps) is built into Kubernetes and already checked",
            "/etc/pullgate/config.yaml:3:12: pullgate does not know Thing: set podSpecs or images to say where its images are",
            "/etc/pullgate/config.yaml:5:24: C (a.b) appears twice",
        ],
    );
}

#[test]
fn broken_yaml_has_a_place_too() {
    let error = read("network: [unclosed\n").unwrap_err();
    assert!(error.starts_with("/etc/pullgate/config.yaml:"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let error = read("network: {}\nnetwork: {}\n").unwrap_err();
    assert!(
        error.starts_with("/etc/pullgate/config.yaml:2:1: "),
        "a key given twice is an error: {error}"
    );
    let error = read("assumeAlwaysPull: 7\n").unwrap_err();
    assert!(error.starts_with("/etc/pullgate/config.yaml:1:19: "), "{error}");
    let binary = Settings::from_bytes(Path::new("x"), &[0xff, 0xfe, 0x00]).unwrap_err();
    assert_eq!(binary.to_string(), "x: the file is not UTF-8 text");
    let missing = Settings::read(Path::new("/nonexistent/config.yaml")).unwrap_err();
    assert!(
        missing.to_string().starts_with("/nonexistent/config.yaml: No such file"),
        "{missing}"
    );
}

#[test]
fn what_the_reader_refuses_is_said_for_people() {
    for (yaml, place, text) in [
        (
            "depth: config\ndepth: layers\n",
            "2:1",
            "duplicate mapping key: depth not allowed here",
        ),
        (
            "---\ndepth: config\n---\ndepth: layers\n",
            "4:1",
            "only single YAML document expected",
        ),
        ("[]\n", "1:1", "expected `key: value`"),
        ("network: {allow: 10.0.0.0/8}\n", "1:18", "expected a list, such as [a, b]"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.contains(place) && error.contains(text), "{yaml}: {error}");
    }
}

#[test]
fn sizes() {
    for (text, expect) in [
        ("0", 0),
        ("1048576", 1 << 20),
        ("64MiB", 64 << 20),
        ("2Gi", 2 << 30),
        ("500 MB", 500_000_000),
        ("1k", 1000),
        ("7B", 7),
    ] {
        assert_eq!(values::bytes(text), Ok(expect), "{text}");
    }
    for text in [
        "",
        "MiB",
        "-1",
        "1.5MiB",
        "99999999999999999999",
        "18446744073709551615KiB",
        "1XB",
    ] {
        assert!(values::bytes(text).is_err(), "{text}");
    }
}

#[test]
fn durations() {
    for (text, millis) in [
        ("0", 0),
        ("10s", 10_000),
        ("500ms", 500),
        ("1m30s", 90_000),
        ("1.5h", 5_400_000),
        (".5s", 500),
        ("24h", 86_400_000),
        ("1d", 86_400_000),
        ("2562047h", 9_223_369_200_000),
    ] {
        assert_eq!(values::duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    assert_eq!(values::duration("1.0000000001s"), Ok(Duration::from_secs(1)));
    for text in [
        "",
        "10",
        "s",
        "-1s",
        "1x",
        "1s ",
        "1..5s",
        ".",
        "1 s",
        "99999999999999999999s",
        "10s!",
        "١s",
    ] {
        let ok = text == "1s ";
        assert_eq!(values::duration(text).is_ok(), ok, "{text}");
    }
}

#[test]
fn ranges() {
    for (text, expect) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ] {
        let range = values::cidr(text).unwrap();
        assert_eq!(format!("{}/{}", range.address, range.prefix), expect);
    }
    for text in [
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0/8",
        "fe80::/10",
        "169.254.169.254",
        "10.0.0.0/8/8",
    ] {
        assert!(values::cidr(text).is_err(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC*") {
        let _ = values::bytes(&text);
        let _ = values::duration(&text);
        let _ = values::cidr(&text);
    }

    #[test]
    fn numbers_of_any_length_are_read_or_refused(text in "[0-9.]{0,40}(ns|us|ms|s|m|h|d)") {
        let _ = values::duration(&text);
    }
}

mod files {
    use super::super::*;
    use crate::telemetry::Metrics;
    use std::time::Duration;

    #[tokio::test]
    async fn a_set_reports_each_change_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "one").unwrap();
        std::fs::write(&b, "two").unwrap();
        let mut set = FileSet::new(vec![a.clone(), b.clone()]);
        assert_eq!(set.poll().await, Some(Ok(vec![b"one".to_vec(), b"two".to_vec()])));
        assert_eq!(set.poll().await, None);
        std::fs::write(&a, "onet").unwrap();
        std::fs::write(&b, "wo").unwrap();
        assert_eq!(set.poll().await, Some(Ok(vec![b"onet".to_vec(), b"wo".to_vec()])));
        std::fs::remove_file(&b).unwrap();
        let error = set.poll().await.unwrap().unwrap_err();
        assert!(error.contains(&b.display().to_string()), "{error}");
        assert_eq!(set.poll().await, None, "the same failure is reported once");
    }

    /// Long enough for a look at the files and the wait for them to settle. The clock is paused: it moves on only when every task
    /// waits, reads of files included.
    async fn looked() {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    /// The kubelet's way: `config.yaml` points into `..data`, which is swapped.
    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_applied_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for (version, text) in [
            ("1", "assumeAlwaysPull: false"),
            ("2", "assumeAlwaysPull: true"),
            ("3", "assumeAlwaysPul: false"),
            ("4", ""),
        ] {
            std::fs::create_dir(dir.path().join(version)).unwrap();
            std::fs::write(dir.path().join(version).join("config.yaml"), text).unwrap();
        }
        let swap = |version: &str| {
            let new = dir.path().join("new");
            std::os::unix::fs::symlink(version, &new).unwrap();
            std::fs::rename(new, dir.path().join("..data")).unwrap();
        };
        swap("1");
        let file = dir.path().join("config.yaml");
        std::os::unix::fs::symlink("..data/config.yaml", &file).unwrap();

        let live = Live::new(Settings::read(&file).unwrap());
        let metrics = Metrics::new();
        let target = live.clone();
        let again = ReloadTrigger::new(());
        let task = tokio::spawn(watch_settings(
            file,
            live.load().as_ref().clone(),
            metrics.clone(),
            again.subscribe(),
            move |settings, _| {
                target.store(settings.clone());
                Ok(())
            },
        ));
        let count = |reason: &str| {
            let prefix = format!("pullgate_reloads_total{{reason=\"{reason}\"}} ");
            metrics
                .encode()
                .lines()
                .find_map(|l| l.strip_prefix(&prefix).and_then(|n| n.parse::<u32>().ok()))
        };
        looked().await;
        swap("2");
        looked().await;
        assert!(live.load().assume_always_pull);
        swap("3");
        looked().await;
        assert!(live.load().assume_always_pull, "the last good settings hold");
        looked().await;
        assert_eq!((count("settings_refused"), count("settings_replaced")), (Some(1), Some(1)));
        again.send_replace(());
        looked().await;
        assert_eq!(count("settings_refused"), Some(2), "said again when somebody asks");
        // A full disk leaves an empty file.
        swap("4");
        looked().await;
        assert!(
            live.load().assume_always_pull,
            "an empty file does not stand for the defaults"
        );
        assert_eq!((count("settings_refused"), count("settings_replaced")), (Some(3), Some(1)));
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn named_files_are_watched_and_settings_that_wait_for_one_are_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.yaml");
        let (here, to_come) = (dir.path().join("here.json"), dir.path().join("to-come.json"));
        std::fs::write(&here, "one").unwrap();
        std::fs::write(&file, "registries: {dockerConfig: here.json}").unwrap();
        let now = Settings::read(&file).unwrap();
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(watch_settings(
            file.clone(),
            now,
            Metrics::new(),
            ReloadTrigger::new(()).subscribe(),
            move |settings, changed| {
                let read = std::fs::read_to_string(settings.docker_config.as_ref().unwrap()).map_err(|error| error.to_string());
                said.send((changed, read.clone().ok())).unwrap();
                read.map(drop)
            },
        ));
        // In one step: nobody reads half of it.
        let write = |to: &std::path::Path, text: &str| {
            let new = to.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, to).unwrap();
        };
        // The task looks at the files as they are when it starts: until it has, nothing is a change.
        looked().await;
        let mut next = async || {
            let waited = tokio::time::timeout(Duration::from_mins(1), heard.recv()).await;
            waited.expect("a call in a minute").unwrap()
        };
        write(&here, "two");
        assert_eq!(next().await, (Changed::NamedFile, Some("two".to_owned())));
        write(&file, "registries: {dockerConfig: to-come.json}");
        assert_eq!(next().await, (Changed::Settings, None));
        write(&here, "three");
        assert_eq!(
            next().await,
            (Changed::NamedFile, Some("three".to_owned())),
            "what holds is kept fresh"
        );
        write(&to_come, "four");
        assert_eq!(next().await, (Changed::Settings, Some("four".to_owned())));
        task.abort();
    }
}

#[test]
fn a_user_agent_is_one_line_of_visible_characters() {
    for text in ["\"\"", "\"a\\nb\"", "\"größe\""] {
        let error = read(&format!("registries:\n  userAgent: {text}\n")).unwrap_err();
        assert!(error.contains(":2:14: a User-Agent is one line"), "{text}: {error}");
    }
}
