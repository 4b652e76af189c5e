//! Self-managed certificates at a real API server: two replicas with the rights of docs/certificates.md and no others.
//!
//! The API server of the tests cannot reach a Service (there is no cluster DNS), so each replica is a webhook of its own, by `url`:
//! a request passes only if both were reached by TLS that the API server takes.

use crate::ports;
use crate::support::daemon::Daemon;
use crate::support::gate::{get, run, settings_file};
use crate::support::kubectl::{Gated, Namespace, eventually, kubectl};
use crate::support::objects::{pod, pod_spec};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Two objects a poll of a few seconds, some polls, a busy machine.
const SOON: Duration = Duration::from_mins(3);

/// What the document tells people to grant, for these names.
fn rights(namespace: &str) -> Vec<Value> {
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/certificates.md")).unwrap();
    let mut found: Vec<Value> = document
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(|text| serde_saphyr::from_str::<Value>(text).unwrap())
        .filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")))
        .collect();
    assert_eq!(found.len(), 2, "a Role and a ClusterRole");
    for role in &mut found {
        let kind = role["kind"].as_str().unwrap().to_owned();
        role["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        role["metadata"] = json!({"name": if kind == "Role" { "certificates".to_owned() } else { name() }});
        for rule in role["rules"].as_array_mut().unwrap() {
            if rule["resources"] == json!(["validatingwebhookconfigurations"]) {
                rule["resourceNames"] = json!([name()]);
            }
        }
    }
    let bindings: Vec<Value> = found
        .iter()
        .map(|role| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{}Binding", role["kind"].as_str().unwrap()),
                "metadata": role["metadata"],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": role["metadata"]["name"]},
                "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "pullgate"}],
            })
        })
        .collect();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pullgate"}});
    // The API server makes no token by itself.
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "identity", "annotations": {"kubernetes.io/service-account.name": "pullgate"}},
    });
    [vec![account, token], found, bindings].concat()
}

/// Of what is not in a namespace.
fn name() -> String {
    format!("{}-certificates", run())
}

/// The kubeconfig of the tests, with another identity.
fn kubeconfig(namespace: &Namespace) -> String {
    let token = eventually("a token", SOON, || {
        let secret = json_of(namespace, &["get", "secret", "identity"])?;
        let text = secret["data"]["token"].as_str()?.to_owned();
        Some(decoded(&text))
    });
    let mut config: Value = {
        let output = kubectl(&["config", "view", "--raw", "--minify", "-o", "json"], "").done();
        serde_json::from_str(&output.stdout).unwrap()
    };
    config["users"][0]["user"] = json!({"token": String::from_utf8(token).unwrap()});
    config["contexts"][0]["context"]["namespace"] = namespace.name.as_str().into();
    let file = crate::support::folder("certificates").join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn decoded(text: &str) -> Vec<u8> {
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()
}

fn json_of(namespace: &Namespace, arguments: &[&str]) -> Option<Value> {
    let output = namespace
        .kubectl(&[arguments, &["-o", "json", "--ignore-not-found"]].concat())
        .done();
    serde_json::from_str(&output.stdout).ok()
}

struct Replica {
    daemon: Daemon,
    webhook: SocketAddr,
    metrics: SocketAddr,
}

impl Replica {
    fn start(which: &str, kubeconfig: &str) -> Self {
        let (webhook, metrics) = (ports::free(), ports::free());
        let cleanup = format!("kubectl delete validatingwebhookconfiguration {}", name());
        let daemon = Daemon::start(
            &format!("certificates-{which}"),
            &cleanup,
            &[
                env!("CARGO_BIN_EXE_pullgate"),
                "serve",
                "--listen",
                &webhook.to_string(),
                "--metrics-listen",
                &metrics.to_string(),
                "--kubeconfig",
                kubeconfig,
                "--config",
                settings_file().to_str().unwrap(),
                "--tls-self-managed",
                "--tls-webhook-configuration",
                &name(),
                "--tls-dns-name",
                "127.0.0.1",
                // The shortest there are: a rotation within the test.
                "--tls-lifetime",
                "1m",
                "--tls-ca-lifetime",
                "2m",
            ],
        );
        daemon.wait_until("/healthz", || get(metrics, "/healthz").is_some());
        Self {
            daemon,
            webhook,
            metrics,
        }
    }

    fn is_ready(&self) -> bool {
        get(self.metrics, "/readyz").is_some()
    }
}

/// The registration of both, without any bundle.
fn register(replicas: &[Replica]) {
    let webhooks: Vec<Value> = replicas
        .iter()
        .zip(["images.pullgate.dev", "others.pullgate.dev"])
        .map(|(replica, webhook)| {
            json!({
                "name": webhook, "clientConfig": {"url": format!("https://{}/validate", replica.webhook)},
                // What cannot be reached must show.
                "failurePolicy": "Fail", "timeoutSeconds": 10, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchLabels": {"pullgate-e2e-certificates": run()}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            })
        })
        .collect();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name()}, "webhooks": webhooks,
    });
    kubectl(&["apply", "-f", "-"], &configuration.to_string()).done();
}

/// A request that both replicas allow, and that is not stored. The API server keeps connections open, so a new one is made to each
/// replica as well, by what is registered at this moment. The error says what went wrong.
fn ask(namespace: &Namespace, replicas: &[Replica]) -> Result<(), String> {
    let registered = kubectl(&["get", "validatingwebhookconfiguration", &name(), "-o", "json"], "").done();
    let registered: Value = serde_json::from_str(&registered.stdout).unwrap();
    for (at, replica) in replicas.iter().enumerate() {
        let bundle = registered["webhooks"][at]["clientConfig"]["caBundle"]
            .as_str()
            .unwrap_or_default();
        shake_hands(replica.webhook, &decoded(bundle)).map_err(|why| format!("replica {at}: {why}"))?;
    }
    let mut spec = pod_spec(&[("app", "127.0.0.1:1/nobody/listens:v1")]);
    spec["containers"][0]["imagePullPolicy"] = "Always".into();
    let output = namespace.create_with(&["--dry-run=server"], &[pod("probe", spec)]);
    if output.is_done() { Ok(()) } else { Err(output.stderr) }
}

/// A TLS handshake by somebody who trusts this bundle.
fn shake_hands(address: SocketAddr, bundle: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle) {
        roots
            .add(ca.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), address.ip().into()).unwrap();
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Waits until requests pass again, several times in a row.
fn passes(namespace: &Namespace, replicas: &[Replica], what: &str) {
    let mut in_a_row = 0;
    eventually(what, SOON, || {
        let passed = ask(namespace, replicas).is_ok() && replicas.iter().all(Replica::is_ready);
        in_a_row = if passed { in_a_row + 1 } else { 0 };
        (in_a_row == 5).then_some(())
    });
}

fn secret(namespace: &Namespace, key: &str) -> Option<String> {
    Some(
        json_of(namespace, &["get", "secret", "pullgate-tls"])?["data"][key]
            .as_str()?
            .to_owned(),
    )
}

/// Does something while requests are made all the time, and some after it: every one must pass.
fn unnoticed(namespace: &Namespace, replicas: &[Replica], what: &str, accident: impl FnOnce()) {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut later = 0;
            while later < 5 {
                later += usize::from(over.load(Ordering::Relaxed));
                if let Err(why) = ask(namespace, replicas) {
                    let logs: Vec<_> = replicas.iter().map(|replica| replica.daemon.log()).collect();
                    panic!("{what}: {why}\n{}", logs.join("\n"));
                }
            }
        });
        // Also when the accident itself goes wrong.
        let _over = Over(&over);
        accident();
    });
}

fn patch(arguments: &[&str], patch: &Value) {
    kubectl(
        &[&["patch"], arguments, &["--type=json", "-p", &patch.to_string()]].concat(),
        "",
    )
    .done();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn certificates_take_care_of_themselves() {
    let namespace = Namespace::new(Gated::No);
    namespace
        .kubectl(&[
            "label",
            "namespace",
            &namespace.name,
            &format!("pullgate-e2e-certificates={}", run()),
        ])
        .done();
    namespace.apply(&rights(&namespace.name)).done();
    let config = kubeconfig(&namespace);
    let replicas = [Replica::start("one", &config), Replica::start("two", &config)];
    // The pods are there before the registration.
    eventually("a Secret", SOON, || secret(&namespace, "tls.crt"));
    assert!(replicas.iter().all(|replica| !replica.is_ready()));
    register(&replicas);
    passes(&namespace, &replicas, "the first start");

    let current = |key: &str| secret(&namespace, key);
    let first = current("ca.key");
    unnoticed(&namespace, &replicas, "a deleted Secret", || {
        namespace.kubectl(&["delete", "secret", "pullgate-tls"]).done();
        eventually("a new Secret", SOON, || {
            current("ca.key").filter(|key| Some(key) != first.as_ref())
        });
        // Until it is served as well.
        std::thread::sleep(Duration::from_secs(15));
    });
    for (key, value) in [
        ("tls.key", "Z2FyYmFnZQ=="),
        ("tls.crt", ""),
        ("ca.crt", "Z2FyYmFnZQ=="),
        ("ca.key", "Z2FyYmFnZQ=="),
    ] {
        unnoticed(&namespace, &replicas, key, || {
            let path = format!("/data/{}", key.replace('/', "~1"));
            patch(
                &["secret", "pullgate-tls", "--namespace", &namespace.name],
                &json!([{"op": "replace", "path": path, "value": value}]),
            );
            eventually("a repair", SOON, || current(key).filter(|now| now != value));
        });
    }
    passes(&namespace, &replicas, "a Secret that was spoilt four times");

    let name = name();
    for wrong in [json!(""), json!("Z2FyYmFnZQ=="), json!(secret_of_a_stranger())] {
        patch(
            &["validatingwebhookconfiguration", &name],
            &json!([{"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": wrong}]),
        );
        passes(&namespace, &replicas, "a wrong bundle");
    }
    kubectl(&["delete", "validatingwebhookconfiguration", &name], "").done();
    eventually("unreadiness", SOON, || {
        replicas.iter().all(|replica| !replica.is_ready()).then_some(())
    });
    register(&replicas);
    passes(&namespace, &replicas, "a recreated registration");

    // A whole rotation: another CA signs, and the old one is trusted no more.
    let before = current("ca.key");
    let old = json_of(&namespace, &["get", "secret", "pullgate-tls"]).unwrap()["data"]["ca.crt"].clone();
    let old = String::from_utf8(decoded(old.as_str().unwrap())).unwrap();
    let first_of = |pem: &str| pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    unnoticed(&namespace, &replicas, "a rotation", || {
        eventually("another CA that signs", Duration::from_mins(3), || {
            current("ca.key").filter(|key| Some(key) != before.as_ref())
        });
        eventually("the end of the old CA", Duration::from_mins(3), || {
            let bundle = current("ca.crt")?;
            (!String::from_utf8(decoded(&bundle)).unwrap().contains(&first_of(&old))).then_some(())
        });
    });
    passes(&namespace, &replicas, "a rotation");

    for replica in &replicas {
        let log = replica.daemon.log();
        assert!(!log.contains("PRIVATE KEY"), "{log}");
        assert!(!log.contains("pullgate may not get the Secret"), "{log}");
        let metrics = get(replica.metrics, "/metrics").unwrap();
        assert!(
            metrics.contains("pullgate_certificate_authority_expiry_timestamp_seconds 1"),
            "{metrics}"
        );
    }
    kubectl(&["delete", "clusterrole,clusterrolebinding", &name], "").done();
}

/// A CA that has nothing to do with ours, as a bundle.
fn secret_of_a_stranger() -> String {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem)
}
