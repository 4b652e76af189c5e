//! The pods that are compared.

use super::kubelet::Fate::{self, PullFails, Runs, StartFails};
use crate::support::objects::{docker_config, pod, pod_spec, pod_spec_with_secrets, pull_secret, secret};
use crate::support::registry::Registry;
use crate::support::{CLOSED, PASSWORD, Registries, USER};
use serde_json::{Value, json};

/// One pod, and what is known beforehand.
pub(crate) struct Case {
    /// The pod's name.
    pub(crate) name: &'static str,
    spec: Value,
    /// Secrets and service accounts that it needs.
    pub(crate) beside: Vec<Value>,
    /// What the kubelet must do, or the case does not test what its name says.
    pub(crate) fate: Fate,
    /// What we must name, among other causes.
    pub(crate) causes: &'static [&'static str],
}

impl Case {
    fn new(name: &'static str, spec: Value, fate: Fate, causes: &'static [&'static str]) -> Self {
        Self {
            name,
            spec,
            beside: Vec::new(),
            fate,
            causes,
        }
    }

    fn beside(mut self, objects: impl IntoIterator<Item = Value>) -> Self {
        self.beside.extend(objects);
        self
    }

    /// The pod.
    pub(crate) fn pod(&self) -> Value {
        let mut spec = self.spec.clone();
        // A program that cannot start is then seen to end, instead of now ended, now backing off.
        spec["restartPolicy"] = "Never".into();
        pod(self.name, spec)
    }
}

/// All of them.
pub(crate) fn cases(registries: &Registries) -> Vec<Case> {
    let mut cases = public(registries);
    cases.extend(private(registries));
    cases
}

/// Images that need no credentials.
fn public(registries: &Registries) -> Vec<Case> {
    let Registries { open, digest, .. } = registries;
    let spec = |image: &str| pod_spec(&[("app", image)]);
    let named = |image: &str| spec(&open.image(image));
    let mut never = named("shop/api:v1.1-never");
    never["containers"][0]["imagePullPolicy"] = "Never".into();
    let nobodys = format!("sha256:{}", "0".repeat(64));
    vec![
        Case::new("good", named("shop/api:v1.0"), Runs, &[]),
        Case::new("index", named("shop/many:v1"), Runs, &[]),
        Case::new("digest", named(&format!("shop/api@{digest}")), Runs, &[]),
        Case::new(
            "digest-with-a-tag-that-is-not",
            named(&format!("shop/api:v7@{digest}")),
            Runs,
            &[],
        ),
        Case::new("wrong-tag", named("shop/api:v9"), PullFails, &["TagNotFound"]),
        Case::new("no-tag-no-latest", named("shop/api"), PullFails, &["TagNotFound"]),
        Case::new(
            "unknown-repository",
            named("shop/apy:v1.0"),
            PullFails,
            &["RepositoryNotFound"],
        ),
        Case::new(
            "wrong-digest",
            named(&format!("shop/api@{nobodys}")),
            PullFails,
            &["DigestNotFound"],
        ),
        Case::new("upper-case", named("Shop/API:v1.0"), PullFails, &["InvalidImageName"]),
        Case::new(
            "unexpanded-variable",
            named("shop/api:$(VERSION)"),
            PullFails,
            &["InvalidImageName"],
        ),
        Case::new(
            "scheme",
            spec(&format!("http://{}", open.image("shop/api:v1.0"))),
            PullFails,
            &["InvalidImageName"],
        ),
        Case::new("never-and-absent", never, PullFails, &["NeverPulled"]),
        Case::new(
            "unreachable",
            spec(&format!("{CLOSED}/shop/api:v1.0")),
            PullFails,
            &["ConnectionFailed"],
        ),
        Case::new("index-without-amd64", named("shop/arm:v1"), PullFails, &["PlatformMismatch"]),
        Case::new(
            "single-arm64",
            named("shop/armsingle:v1"),
            StartFails,
            &["ArchitectureMismatch"],
        ),
    ]
}

/// Pull secrets in every state. Each pod has an image name of its own: what one has pulled, the next needs no secret for.
fn private(registries: &Registries) -> Vec<Case> {
    let Registries { open, private, .. } = registries;
    let host = private.host.as_str();
    let with = |registry: &Registry, name: &str, secrets: &[&str]| {
        let image = format!("pods/{name}:v1");
        registry.push(&[], &[&image]);
        pod_spec_with_secrets(&registry.image(&image), secrets)
    };
    let good = |name| pull_secret(name, host, USER, PASSWORD);
    // One secret of the pod's own name, which is of no use.
    let useless = |name, secret, causes| Case::new(name, with(private, name, &[name]), PullFails, causes).beside([secret]);

    let name = "private-wrong-type";
    let wrong_type = secret(name, "Opaque", ".dockerconfigjson", &docker_config(host, USER, PASSWORD));
    let wrong_type = useless(name, wrong_type, &["PullSecretWrongType"]);
    let wrong_tag = pod_spec_with_secrets(&private.image("shop/api:v9"), &["good"]);
    let mut by_account = with(private, "private-by-service-account", &[]);
    by_account["serviceAccountName"] = "puller".into();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"},
                         "imagePullSecrets": [{"name": "of-the-account"}]});
    let broken = json!({"auths": {host: {"auth": "!!!"}}}).to_string();

    vec![
        Case::new(
            "private-without-secret",
            with(private, "without", &[]),
            PullFails,
            &["NotFoundOrDenied"],
        ),
        Case::new("private-good-secret", with(private, "good", &["good"]), Runs, &[]).beside([good("good")]),
        Case::new("private-wrong-tag", wrong_tag, PullFails, &["TagNotFound"]),
        useless(
            "private-wrong-password",
            pull_secret("private-wrong-password", host, USER, "wrong"),
            &["CredentialRefused"],
        ),
        wrong_type,
        useless(
            "private-other-port",
            pull_secret("private-other-port", "127.0.0.1:5", USER, PASSWORD),
            &["PullSecretNoMatch"],
        ),
        Case::new(
            "private-missing-secret",
            with(private, "missing", &["of-nobody"]),
            PullFails,
            &["PullSecretMissing"],
        ),
        Case::new(
            "private-second-secret-is-good",
            with(private, "second", &["stale", "fresh"]),
            Runs,
            &[],
        )
        .beside([pull_secret("stale", host, USER, "old"), good("fresh")]),
        Case::new("private-by-service-account", by_account, Runs, &[]).beside([good("of-the-account"), account]),
        Case::new(
            "public-malformed-secret",
            with(open, "malformed", &["malformed"]),
            PullFails,
            &["PullSecretMalformed"],
        )
        .beside([secret(
            "malformed",
            "kubernetes.io/dockerconfigjson",
            ".dockerconfigjson",
            &broken,
        )]),
        Case::new(
            "public-missing-secret",
            with(open, "nobody", &["of-nobody"]),
            Runs,
            &["PullSecretMissing"],
        ),
    ]
}
