//! Each sample of `policies/` at the real API server: applied, it denies what its own test says; edited, it lets the same pass.

use crate::support::gate::redirect;
use crate::support::kubectl::{Gated, LONG, Namespace, Output, documents, eventually};
use crate::support::objects::{app, pod, pod_spec};
use crate::support::policies::Policy;
use crate::support::registries;
use pullgate::image::Reference;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The causes that come of a name alone.
const BY_NAME: [&str; 3] = ["RegistryNotAllowed", "TagNotAllowed", "DigestRequired"];

/// A sample, and one image that it refuses.
#[derive(Debug)]
struct Sample {
    name: String,
    /// The policy's spec.
    spec: Value,
    image: String,
    kind: String,
    cause: String,
}

fn samples() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut folders: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() >= 5, "{folders:?}");
    folders.iter().map(|folder| sample(folder)).collect()
}

fn sample(folder: &Path) -> Sample {
    let read = |name: &str| documents(&fs::read_to_string(folder.join(name)).unwrap());
    let (policies, tests) = (read("policy.yaml"), read("test.yaml"));
    let cases = tests.iter().flat_map(|test| test["spec"]["cases"].as_array().unwrap());
    let found = cases.filter_map(|case| {
        let (given, expect) = (&case["given"], &case["expect"]);
        let cause = expect["causes"].as_array()?.iter().find_map(Value::as_str)?;
        // Whoever is exempt is somebody else than these tests; a digest cannot be chosen.
        let image = given["image"].as_str().filter(|image| !image.contains('@'))?;
        let plain = given.get("user").is_none() && given.get("registry").is_none() && BY_NAME.contains(&cause);
        plain.then(|| {
            (
                image,
                cause,
                given["kind"].as_str().unwrap_or("Deployment"),
                expect["policy"].as_str(),
            )
        })
    });
    let found: Vec<_> = found.collect();
    let (image, cause, kind, policy) = *found
        .first()
        .unwrap_or_else(|| panic!("{}: no case of its test is refused by name", folder.display()));
    let policy = policies
        .iter()
        .find(|object| policy.is_none_or(|name| object["metadata"]["name"] == name))
        .unwrap();
    Sample {
        name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
        spec: policy["spec"].clone(),
        image: image.to_owned(),
        kind: kind.to_owned(),
        cause: cause.to_owned(),
    }
}

impl Sample {
    /// The image is there, at a registry of ours: nobody else is asked.
    fn push(&self) -> String {
        let reference = Reference::parse(&self.image).unwrap();
        let name = reference.name();
        let (host, repository) = name.split_once('/').unwrap();
        let open = &registries().open;
        open.push(&[], &[&format!("{repository}:{}", reference.tag().unwrap_or("latest"))]);
        redirect(host, &open.host);
        name
    }

    fn try_it(&self, namespace: &Namespace) -> Output {
        let spec = pod_spec(&[("app", &self.image)]);
        let object = match self.kind.as_str() {
            "Pod" => pod("sample", spec),
            kind => app(kind, "sample", spec),
        };
        namespace.apply_with(&["--dry-run=server"], &[object])
    }

    fn exercise(&self) {
        let namespace = Namespace::new(Gated::Yes);
        let name = self.push();
        let policy = Policy::of(&namespace);
        let mut spec = self.spec.clone();
        // It is about this test's namespace, whatever it is about otherwise.
        if let Some(about) = spec["match"].as_object_mut() {
            about.remove("namespaceSelector");
        }
        // It is enforced today, whenever it is otherwise.
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("enforceFrom");
        }
        policy.apply(spec.clone()).done();
        assert_eq!(policy.accepted(1)["status"], "True", "{}", self.name);
        if spec["mode"].as_str().is_some_and(|mode| mode != "Enforce") {
            self.try_it(&namespace).done();
            spec["mode"] = "Enforce".into();
            policy.apply(spec.clone()).done();
        }
        eventually(&format!("{}: the denial", self.name), LONG, || {
            self.try_it(&namespace).is_denied().then_some(())
        });
        self.try_it(&namespace).denied(&[&self.cause, "fix: "]);

        let mut exempt = spec["exempt"]["images"].as_array().cloned().unwrap_or_default();
        exempt.push(name.into());
        spec["exempt"]["images"] = json!(exempt);
        policy.apply(spec).done();
        eventually(&format!("{}: the admission", self.name), LONG, || {
            self.try_it(&namespace).is_done().then_some(())
        });
        self.try_it(&namespace).allowed();
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn every_sample_denies_and_edited_lets_pass() {
    for sample in samples() {
        println!("{}: {} is refused for {}", sample.name, sample.image, sample.cause);
        sample.exercise();
    }
}
