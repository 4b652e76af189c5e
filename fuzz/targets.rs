//! What is fuzzed: for each format and machine a function of bytes that panics where something is wrong. Here they are run with coverage
//! (libFuzzer), in `tests/fuzz` with seeded mutations of the corpus.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "each binary has one of them, and a panic is a finding"
)]

#[path = "talk.rs"]
mod talk;

use pullgate::credentials::{parse_docker_config, parse_dockercfg, parse_user_config};
use pullgate::image::Reference;
use pullgate::policy::{Circumstances, Modes, Policies, Policy, PolicyLocation, Requester, Subject};
use pullgate::registry::{self, K3sFile, RegistrySettings};
use pullgate::runtime::containerd::k3s::DefaultEndpoint;
use pullgate::runtime::{challenge, content};
use pullgate::workload::{Kinds, extract};
use pullgate::{review, yaml};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, LazyLock};

pub use talk::{conversation, machine, token};

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const ALL: &[(&str, Target)] = &[
    ("admission_review", admission_review),
    ("reference", reference),
    ("docker_config", docker_config),
    ("hosts_toml", hosts_toml),
    ("registries_conf", registries_conf),
    ("registries_yaml", registries_yaml),
    ("manifest", manifest),
    ("challenge", challenge),
    ("token", token),
    ("policy", policy),
    ("yaml_edit", yaml_edit),
    ("machine", machine),
    ("conversation", conversation),
];

/// A body that the API server, or anybody else, sends.
pub fn admission_review(data: &[u8]) {
    static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::default);
    let _ = review::parse_beginning(data, "it is cut off".to_owned());
    let Ok(review) = review::parse(data, &KINDS) else { return };
    let templates = |review: &review::Review| {
        extract(&review.object, review.before(), &review.namespace, &KINDS).map(|workload| workload.templates)
    };
    if let Ok(templates) = templates(&review) {
        for image in templates.iter().flat_map(|template| &template.uses) {
            let _ = Reference::parse(&image.image);
        }
    }
    // Another body that fits the pattern of this one is read the same.
    let Some(pattern) = review::Pattern::of(data, &review, &KINDS) else {
        return;
    };
    for at in (0..data.len()).step_by(data.len() / 64 + 1) {
        for byte in *b"x\"\\{" {
            let mut other = data.to_vec();
            other[at] = byte;
            let Some(names) = pattern.fits(&other) else { continue };
            let read = review::parse(&other, &KINDS).unwrap();
            assert_eq!((names.uid, names.name), (read.uid.as_str(), read.name.as_str()));
            assert_eq!(templates(&read), templates(&review));
        }
    }
}

/// The name of an image. What is read is written as it was meant, and read again as the same.
pub fn reference(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let again = Reference::parse(&reference.to_string()).expect("its own form is read");
        assert_eq!(reference.to_string(), again.to_string());
        assert_eq!((reference.name(), reference.digest()), (again.name(), again.digest()));
        assert!(!reference.registry().is_empty() && !reference.repository().is_empty());
    }
}

/// A docker config in each of its forms. What is secret of it is not shown.
pub fn docker_config(data: &[u8]) {
    for parsed in [parse_docker_config(data), parse_dockercfg(data), parse_user_config(data)] {
        let Ok(entries) = parsed else { continue };
        for (_, credential) in &entries {
            let password = credential.password.expose();
            assert!(password.len() < 16 || !format!("{credential:?}").contains(&*password));
        }
    }
}

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

/// Has a file with this text be read as the settings name it; what is wrong with it must be said in lines.
fn file(name: &str, data: &[u8], settings: fn(&Path) -> RegistrySettings) {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder");
        }
        std::fs::write(&path, data).expect("a file");
        for fault in registry::faults(&settings(folder.path())) {
            assert!(!fault.is_empty());
        }
    });
}

/// containerd's `hosts.toml`.
pub fn hosts_toml(data: &[u8]) {
    file("hosts/registry.example/hosts.toml", data, |folder| RegistrySettings {
        hosts_dirs: vec![folder.join("hosts")],
        ..RegistrySettings::default()
    });
}

/// CRI-O's `registries.conf`.
pub fn registries_conf(data: &[u8]) {
    file("registries.conf", data, |folder| RegistrySettings {
        registries_conf: Some(folder.join("registries.conf")),
        ..RegistrySettings::default()
    });
}

/// k3s' `registries.yaml`.
pub fn registries_yaml(data: &[u8]) {
    file("registries.yaml", data, |folder| RegistrySettings {
        k3s: Some(K3sFile {
            path: folder.join("registries.yaml"),
            default_endpoint: DefaultEndpoint::Asked,
        }),
        ..RegistrySettings::default()
    });
}

/// A manifest, an index or a config. What is kept of it has a weight that its length bounds.
pub fn manifest(data: &[u8]) {
    if let Ok(document) = content::document(data) {
        assert!(
            document.weight() <= 4096 + 1024 * data.len(),
            "{} bytes weigh {}",
            data.len(),
            document.weight()
        );
    }
    if let Ok(config) = content::config(data) {
        assert!(config.weight() <= 4096 + 1024 * data.len());
    }
}

/// The values of `WWW-Authenticate`, one a line.
pub fn challenge(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    assert_eq!(challenge::read(lines.iter().copied()).len(), lines.len());
}

/// Policies as they are written. One that compiles can be held against a name.
pub fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for document in yaml::documents(text).documents {
        match Policy::compile(&document.value, PolicyLocation::Cluster) {
            Ok(policy) => {
                let policies = Policies::new(vec![Arc::new(policy)]);
                let subject = Subject {
                    namespace: "shop",
                    labels: Some(&[]),
                    kinds: &["Pod"],
                };
                let circumstances = Circumstances {
                    modes: &Modes::default(),
                    now: jiff::Timestamp::UNIX_EPOCH,
                };
                let matching = policies.matching(&subject, &Requester::default(), circumstances);
                let name = Reference::parse("registry.example/team/app:v1").expect("a name");
                let _ = matching.narrowed(&name).names(&name, "registry.example/team/app:v1");
            }
            Err(problems) => assert!(!problems.is_empty()),
        }
    }
}

/// What `pin` does: a digest behind images, and not a byte more. What is read afterwards is what was there, but for these.
pub fn yaml_edit(data: &[u8]) {
    const DIGEST: &str = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let Ok(text) = str::from_utf8(data) else { return };
    let parsed = yaml::manifests(text);
    if !parsed.errors.is_empty() {
        return;
    }
    let mut additions = Vec::new();
    for (at, document) in parsed.documents.iter().enumerate() {
        images(&document.value, "", &mut |path, value| {
            additions.push(yaml::Addition {
                document: at,
                path,
                value: value.to_owned(),
                text: DIGEST.to_owned(),
            });
        });
    }
    // One that would do damage is refused, and says so.
    let Ok(edited) = yaml::append(text, &parsed, &additions) else {
        return;
    };
    let again = yaml::manifests(&edited.text);
    assert!(again.errors.is_empty(), "what is written is not read: {}", edited.text);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for document in &parsed.documents {
        images(&document.value, "", &mut |_, value| before.push(value.to_owned()));
    }
    for document in &again.documents {
        images(&document.value, "", &mut |_, value| after.push(value.to_owned()));
    }
    assert_eq!(before.len(), after.len(), "{}", edited.text);
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        let is_left = edited.left.iter().any(|(left, _)| *left == at);
        let expected = if is_left {
            before.clone()
        } else {
            format!("{before}{DIGEST}")
        };
        assert_eq!(*after, expected, "{}", edited.text);
    }
    let added = additions.len() - edited.left.len();
    // Where several places share a text it is written once.
    assert!(edited.text.len() <= text.len() + added * DIGEST.len());
}

/// The strings under `image`, in order.
fn images(value: &Value, path: &str, take: &mut dyn FnMut(String, &str)) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match value {
                    Value::String(text) if key == "image" && !text.is_empty() => take(path, text),
                    value => images(value, &path, take),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                images(item, &format!("{path}[{at}]"), take);
            }
        }
        _ => {}
    }
}
