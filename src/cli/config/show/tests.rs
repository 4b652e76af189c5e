//! What `config show` prints.

use super::*;
use std::path::Path;

fn files(all: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in all {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn settings(folder: &Path) -> Settings {
    Settings::read(&folder.join("settings.yaml")).unwrap()
}

fn node(name: &str, runtime: &str, pool: &str) -> Node {
    Node::from_json(&json!({
        "metadata": {"name": name, "labels": {"pool": pool}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": runtime}},
    }))
}

/// What is printed, without the folder and the kubelet's part, and with runs of spaces as one.
#[track_caller]
fn shown(folder: &Path, node: Option<&str>, pool: Option<&str>, nodes: &[Node]) -> Vec<String> {
    let whose = Whose { node, pool, image: None };
    let text = routes(whose, &settings(folder), nodes, None).unwrap().text();
    assert!(!text.contains("hunter2"), "no secret may be printed: {text}");
    let text = text.replace(&format!("{}/", folder.display()), "");
    let (text, _) = text.split_once("the pod's credentials, as the kubelet").unwrap();
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn a_node_with_k3s() {
    let folder = files(&[
        (
            "settings.yaml",
            "nodePools:\n- name: edge\n  selector: {pool: edge}\n  registries: {k3sRegistries: registries.yaml, disableDefaultEndpoint: true}\n",
        ),
        (
            "registries.yaml",
            "mirrors:\n  docker.io:\n    endpoint:\n      - \"https://mirror.example:5000\"\n    rewrite:\n      \"^team/\": \"proj/\"\n  quay.io:\n\
             configs:\n  mirror.example:5000:\n    auth: {username: u, password: hunter2}\n    tls: {ca_file: ca.pem}\n",
        ),
    ]);
    let nodes = [
        node("a", "containerd://2.1.5-k3s1", "edge"),
        node("b", "containerd://2.4.2", "other"),
    ];
    assert_eq!(
        shown(folder.path(), Some("a"), None, &nodes),
        [
            "node a: pool edge (pool=edge), k3sRegistries registries.yaml, containerd 2.1.5-k3s1",
            "docker.io registries.yaml:2",
            "1. https://mirror.example:5000/v2, ca ca.pem, rewrites \"^team/\" to \"proj/\"; credential: the pod's, else that of \
             configs[\"mirror.example:5000\"] in line 9 registries.yaml:4",
            "the registry itself is not asked (disableDefaultEndpoint)",
            "before all of them, other nodes, where the node has the embedded registry (label p2p.k3s.cattle.io/enabled)",
            "mirror.example:5000 registries.yaml:9",
            "1. https://mirror.example:5000/v2, ca ca.pem; credential: the pod's, else that of configs[\"mirror.example:5000\"] in line 9 \
             registries.yaml:9",
            "quay.io registries.yaml:7",
            "1. the registry itself; credential: the pod's",
            "instead, other nodes alone, where the node has the embedded registry (label p2p.k3s.cattle.io/enabled): disableDefaultEndpoint",
            "every other registry",
            "1. the registry itself; credential: the pod's",
        ]
    );
    assert_eq!(
        shown(folder.path(), Some("b"), None, &nodes),
        [
            "node b: of no pool, containerd 2.4.2",
            "every registry",
            "1. the registry itself; credential: the pod's"
        ]
    );
    let unknown = |node, pool| {
        let whose = Whose { node, pool, image: None };
        routes(whose, &settings(folder.path()), &nodes, None)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(unknown(Some("c"), None), "there is no node \"c\"; known: a, b");
    assert_eq!(unknown(None, Some("x")), "the settings have no node pool \"x\"; known: edge");
}

#[test]
fn a_pool_with_cri_o() {
    let folder = files(&[
        (
            "settings.yaml",
            "defaultRuntimes: [crio@1.36.3]\nnodePools:\n- name: gpu\n  selector: {pool: gpu}\n  registries: {registriesConf: gpu}\n",
        ),
        (
            "gpu/registries.conf",
            "unqualified-search-registries = ['a.example', 'b.example']\n[[registry]]\nlocation = 'quay.io'\nblocked = true\n\
             [[registry.mirror]]\nlocation = 'mirror.example/quay'\npull-from-mirror = 'digest-only'\n",
        ),
        (
            "gpu/registries.conf.d/10-short.conf",
            "[aliases]\n'app' = 'quay.io/team/app'\n",
        ),
        (
            "gpu/auth.json",
            "{\n  \"auths\": {\n    \"mirror.example/quay\": {\"auth\": \"dTpodW50ZXIy\"}\n  }\n}\n",
        ),
        (
            "gpu/policy.json",
            "{\"default\": [{\"type\": \"reject\"}],\n \"transports\": {\"docker\": {\n  \"quay.io\": [{\"type\": \"insecureAcceptAnything\"}]}}}\n",
        ),
    ]);
    assert_eq!(
        shown(folder.path(), None, Some("gpu"), &[]),
        [
            "pool gpu: pool=gpu, registriesConf gpu, CRI-O 1.36.3",
            "short names",
            "app is quay.io/team/app gpu/registries.conf.d/10-short.conf:2",
            "others fail: of several search registries (a.example, b.example) none is taken gpu/registries.conf:1",
            "quay.io gpu/registries.conf:2",
            "1. mirror.example/quay, for digests only; credential: the node's, key \"mirror.example/quay\" gpu/registries.conf:5",
            "2. the registry itself is blocked gpu/registries.conf:2",
            "every other registry",
            "1. the registry itself; credential: the pod's, else the node's for that HOST:PORT",
            "the node's credentials gpu/auth.json",
            "\"mirror.example/quay\" of auths gpu/auth.json:3",
            "what may run (policy.json) gpu/policy.json",
            "quay.io: insecureAcceptAnything gpu/policy.json:3",
            "all others: reject gpu/policy.json:1",
        ]
    );
}

#[test]
fn nodes_of_no_pool_with_a_tree() {
    let folder = files(&[
        ("settings.yaml", "registries: {hostsDir: certs.d}\n"),
        (
            "certs.d/docker.io/hosts.toml",
            "server = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.example\"]\n  capabilities = [\"pull\"]\n  skip_verify = true\n\
             [host.\"https://mirror.example\".header]\n  x-token = [\"hunter2\"]\n",
        ),
        ("certs.d/r.example_5000_/ca.crt", ""),
        ("certs.d/broken.example/hosts.toml", "[host\n"),
    ]);
    assert_eq!(
        shown(folder.path(), None, None, &[node("a", "containerd://2.4.2", "x")]),
        [
            "nodes of no pool: by registries, containerd 2.4.2",
            "broken.example certs.d/broken.example",
            "hosts.toml is not used: certs.d/broken.example/hosts.toml:1:6: unclosed table, expected `]`",
            "1. the registry itself; credential: the pod's",
            "docker.io certs.d/docker.io/hosts.toml",
            "1. https://mirror.example/v2, for content and digests only, certificate not checked, with header x-token; credential: the \
             pod's certs.d/docker.io/hosts.toml:3",
            "2. https://registry-1.docker.io/v2; credential: the pod's certs.d/docker.io/hosts.toml:1",
            "r.example:5000 certs.d/r.example_5000_",
            "1. the registry itself, ca ca.crt; credential: the pod's",
            "every other registry",
            "1. the registry itself; credential: the pod's",
        ]
    );
}

/// What is printed for one image, likewise.
#[track_caller]
fn shown_for(folder: &Path, node: &str, image: &str, nodes: &[Node]) -> Vec<String> {
    let whose = Whose {
        node: Some(node),
        pool: None,
        image: Some(image),
    };
    let routes = routes(whose, &settings(folder), nodes, None).unwrap();
    let json = routes.json().to_string();
    assert!(!json.contains("hunter2"), "no secret may be printed: {json}");
    let text = routes.text().replace(&format!("{}/", folder.display()), "");
    let (text, _) = text.split_once("the pod's credentials, as the kubelet").unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn one_image_by_k3s() {
    let folder = files(&[
        (
            "settings.yaml",
            "registries: {k3sRegistries: registries.yaml, disableDefaultEndpoint: true}\n",
        ),
        (
            "registries.yaml",
            "mirrors:\n  docker.io:\n    endpoint: [\"https://m.example:5000/prefix\", docker.io]\n    rewrite:\n      \"^library/(.*)\": \"hub/$1\"\n      \"nginx$\": other\n\
             \x20 quay.io:\n  \"*\":\n    endpoint: [m.example]\n\
             configs:\n  m.example:5000:\n    auth: {username: u, password: hunter2}\n  own.example:\n    auth: {username: u, password: hunter2}\n",
        ),
    ]);
    let nodes = [
        node("a", "containerd://2.1.5-k3s1", "x"),
        node("up", "containerd://2.4.2", "x"),
    ];
    let mirror = "https://m.example:5000/prefix";
    assert_eq!(
        shown_for(folder.path(), "a", "nginx:1.27", &nodes),
        [
            "docker.io/library/nginx:1.27 registries.yaml:2".to_owned(),
            format!(
                "1. {mirror}/hub/nginx/manifests/1.27 or {mirror}/library/other/manifests/1.27, rewritten; credential: the pod's, else that of \
                 configs[\"m.example:5000\"] in line 11 registries.yaml:3"
            ),
            "2. https://registry-1.docker.io/v2/hub/nginx/manifests/1.27 or https://registry-1.docker.io/v2/library/other/manifests/1.27, \
             rewritten; credential: the pod's registries.yaml:3"
                .to_owned(),
            "the registry itself is not asked (disableDefaultEndpoint)".to_owned(),
            "before all of them, other nodes, where the node has the embedded registry (label p2p.k3s.cattle.io/enabled)".to_owned(),
        ]
    );
    assert_eq!(
        shown_for(folder.path(), "a", "quay.io/team/app:v1", &nodes),
        [
            "quay.io/team/app:v1 registries.yaml:8",
            "1. https://m.example/v2/team/app/manifests/v1; credential: the pod's registries.yaml:9",
            "the registry itself is not asked (disableDefaultEndpoint)",
            "instead, other nodes alone, where the node has the embedded registry (label p2p.k3s.cattle.io/enabled): disableDefaultEndpoint",
        ]
    );
    // A registry with a credential gets its own folder, so `*` does not apply to it.
    assert_eq!(
        shown_for(folder.path(), "a", "own.example/app:v1", &nodes),
        [
            "own.example/app:v1 registries.yaml:13",
            "1. https://own.example/v2/app/manifests/v1; credential: the pod's, else that of configs[\"own.example\"] in line 13 \
             registries.yaml:13",
        ]
    );
}

#[test]
fn one_image_by_cri_o() {
    let folder = files(&[
        ("settings.yaml", "registries: {registriesConf: crio}\n"),
        (
            "crio/registries.conf",
            "unqualified-search-registries = ['a.example']\n[[registry]]\nprefix = '*.corp.example'\ninsecure = true\n\
             [[registry]]\nprefix = 'a.example/team'\nlocation = 'b.example:5000/x'\nblocked = true\n\
             [[registry.mirror]]\nlocation = 'm.example/y'\npull-from-mirror = 'tag-only'\n\
             [[registry]]\nlocation = 'c.example'\nblocked = true\n[aliases]\n'app' = 'a.example/team/app'\n",
        ),
        (
            "crio/auth.json",
            "{\"auths\": {\"m.example/y\": {\"auth\": \"dTpodW50ZXIy\"}}}\n",
        ),
        ("crio/policy.json", "{\"default\": [{\"type\": \"reject\"}]}\n"),
    ]);
    let nodes = [node("a", "cri-o://1.36.3", "x")];
    let rejects = "policy.json rejects it, once the manifest is found";
    assert_eq!(
        shown_for(folder.path(), "a", "app:v1", &nodes),
        [
            "a.example/team/app:v1 crio/registries.conf:5",
            "\"app:v1\" is an alias of it crio/registries.conf:16",
            "1. https://m.example/v2/y/app/manifests/v1; credential: the node's, key \"m.example/y\" crio/registries.conf:9",
            "2. https://b.example:5000/v2/x/app/manifests/v1; credential: none crio/registries.conf:5",
            rejects,
        ]
    );
    assert_eq!(
        shown_for(folder.path(), "a", "other:v1", &nodes),
        [
            "a.example/other:v1",
            "by the search registries crio/registries.conf:1",
            "1. https://a.example/v2/other/manifests/v1; credential: the pod's",
            rejects,
        ]
    );
    let insecure = "certificate not checked, plain HTTP if HTTPS fails";
    assert_eq!(
        shown_for(folder.path(), "a", "r.corp.example:5000/z:v1", &nodes),
        [
            "r.corp.example:5000/z:v1 crio/registries.conf:2".to_owned(),
            format!("1. https://r.corp.example:5000/v2/z/manifests/v1, {insecure}; credential: the pod's crio/registries.conf:2"),
            rejects.to_owned(),
        ]
    );
    assert_eq!(
        shown_for(folder.path(), "a", "c.example/z:v1", &nodes),
        [
            "c.example/z:v1 crio/registries.conf:12",
            "c.example/z is blocked crio/registries.conf:12",
            rejects
        ]
    );
    let whose = Whose {
        node: Some("a"),
        image: Some("app:v1"),
        ..Whose::default()
    };
    let json = routes(whose, &settings(folder.path()), &nodes, None).unwrap().json();
    let mirror = &json["ways"][0]["sections"][0]["rows"][1];
    assert_eq!(mirror["asks"], json!(["https://m.example/v2/y/app/manifests/v1"]), "{json}");
    assert_eq!(mirror["credential"], "the node's, key \"m.example/y\"");
}

#[test]
fn one_image_by_a_tree() {
    let folder = files(&[
        ("settings.yaml", "registries: {hostsDir: certs.d}\n"),
        (
            "certs.d/docker.io/hosts.toml",
            "[host.\"http://m.example:5000\"]\n  capabilities = [\"pull\"]\n[host.\"https://n.example\"]\n",
        ),
    ]);
    let nodes = [node("a", "containerd://2.4.2", "x")];
    assert_eq!(
        shown_for(folder.path(), "a", "nginx:1", &nodes),
        [
            "docker.io/library/nginx:1 certs.d/docker.io/hosts.toml",
            "http://m.example:5000 is not asked for a tag: it lacks capabilities certs.d/docker.io/hosts.toml:1",
            "1. https://n.example/v2/library/nginx/manifests/1; credential: the pod's certs.d/docker.io/hosts.toml:3",
            "2. https://registry-1.docker.io/v2/library/nginx/manifests/1; credential: the pod's",
        ]
    );
    assert_eq!(
        shown_for(folder.path(), "a", "localhost:80/x:1", &nodes),
        [
            "localhost:80/x:1",
            "1. http://localhost/v2/x/manifests/1; credential: the pod's"
        ]
    );
    let whose = Whose {
        image: Some("Bad/Name"),
        ..Whose::default()
    };
    assert!(routes(whose, &settings(folder.path()), &nodes, None).is_err());
}
