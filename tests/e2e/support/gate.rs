//! `pullgate serve`, registered as a validating webhook for the namespaces of this run.

use super::daemon::Daemon;
use super::kubectl::{LONG, documents, kubectl};
use super::objects::{pod, pod_spec};
use super::policies::Installed;
use crate::ports;
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The label that makes the API server ask this run's gate about a namespace's objects. Its value and the webhook configuration's name
/// belong to this run alone, so that another one at the same cluster, or what a killed one left there, does not matter.
pub(crate) const LABEL: &str = "pullgate-e2e";

/// This run's name.
pub(crate) fn run() -> String {
    format!("pullgate-e2e-{}", std::process::id())
}

/// The registries of these tests are on the loopback interface, which `serve` does not reach unless told.
fn settings() -> Value {
    json!({"network": {"allow": ["127.0.0.0/8"]}, "registries": {"hostsDir": hosts_folder()}})
}

/// containerd's tree for the gate: registries with a folder in it are looked for where its `hosts.toml` says.
fn hosts_folder() -> PathBuf {
    super::folder("certs.d")
}

/// From now on the gate looks for this registry at another address, and nowhere else.
pub(crate) fn redirect(registry: &str, to: &str) {
    let folder = hosts_folder().join(registry);
    fs::create_dir_all(&folder).unwrap();
    let to = format!("http://{to}");
    fs::write(folder.join("hosts.toml"), format!("server = \"{to}\"\n[host.\"{to}\"]\n")).unwrap();
}

/// The running server.
pub(crate) struct Gate {
    daemon: Daemon,
    metrics: SocketAddr,
    kind: Kind,
}

/// How the server runs.
enum Kind {
    /// As a process of these tests, with certificates of their own.
    Process,
    /// As a pod of this namespace, installed by the chart, with certificates that it manages itself.
    Pod { namespace: String },
}

impl Gate {
    /// Starts the server, registers it, and waits until the API server asks it. With `PULLGATE_E2E_CHART` set, the chart does.
    pub(crate) fn start() -> Self {
        if std::env::var_os("PULLGATE_E2E_CHART").is_some() {
            Self::install()
        } else {
            Self::process()
        }
    }

    /// By the chart, from an image that is assembled of this build. On the host's network: the registries of these tests are on its
    /// loopback interface.
    fn install() -> Self {
        let (name, namespace) = (run(), format!("{}-gate", run()));
        let (listen, metrics) = (ports::free(), ports::free());
        let mut cleanup = format!("kubectl delete validatingwebhookconfiguration {name}");
        if super::policies::install() == Installed::Now {
            cleanup.push_str("; kubectl delete --wait=false customresourcedefinition imagepolicies.pullgate.dev");
        }
        write!(
            cleanup,
            "; kubectl delete clusterrole/{name} clusterrolebinding/{name} priorityclass/{name} namespace/{namespace} --wait=false"
        )
        .unwrap();
        let daemon = Daemon::start("gate", &cleanup, &["sleep", "infinity"]);
        let hosts = hosts_folder();
        let values = json!({
            "fullnameOverride": name, "namespace": {"create": true},
            // The second replica finds the ports of the only node taken, and waits.
            "hostNetwork": true, "replicas": 2, "ports": {"webhook": listen.port(), "metrics": metrics.port()},
            "webhook": {"failurePolicy": "Fail"}, "config": settings(),
            "extraVolumes": [{"name": "hosts", "hostPath": {"path": hosts}}],
            "extraVolumeMounts": [{"name": "hosts", "mountPath": hosts, "readOnly": true}],
        });
        let file = super::folder("gate").join("values.json");
        fs::write(
            &file,
            json!({"name": name, "namespace": namespace, "values": values}).to_string(),
        )
        .unwrap();
        let output = std::process::Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/run"))
            .arg("--apply")
            .arg(&file)
            .env("PULLGATE_BIN", env!("CARGO_BIN_EXE_pullgate"))
            .output()
            .expect("tests/chart/run");
        assert!(output.status.success(), "tests/chart/run --apply: {output:?}");
        let patch = json!({"webhooks": [{"name": "images.pullgate.dev", "namespaceSelector": {"matchLabels": {LABEL: name}}}]});
        kubectl(
            &["patch", "validatingwebhookconfiguration", &name, "-p", &patch.to_string()],
            "",
        )
        .done();
        let gate = Self {
            daemon,
            metrics,
            kind: Kind::Pod { namespace },
        };
        gate.daemon
            .wait_until("/readyz of the pod", || get(metrics, "/readyz").is_some());
        gate.wait_until_asked();
        gate
    }

    fn process() -> Self {
        let kubeconfig = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
        // The configuration goes first: with `failurePolicy: Fail`, one that outlives its server would refuse everything.
        let mut cleanup = format!("kubectl delete validatingwebhookconfiguration {}", run());
        // The kind goes too, unless the cluster had it before.
        if super::policies::install() == Installed::Now {
            cleanup.push_str("; kubectl delete --wait=false customresourcedefinition imagepolicies.pullgate.dev");
        }
        let server = Server::start("gate", &cleanup, &["--kubeconfig", kubeconfig.to_str().unwrap()]);
        server.register(&run());
        let gate = Self {
            daemon: server.daemon,
            metrics: server.metrics,
            kind: Kind::Process,
        };
        gate.wait_until_asked();
        gate
    }

    /// `/metrics` now.
    pub(crate) fn metrics(&self) -> String {
        get(self.metrics, "/metrics").expect("/metrics")
    }

    /// The server's log so far.
    pub(crate) fn log(&self) -> String {
        match &self.kind {
            Kind::Process => self.daemon.log(),
            Kind::Pod { namespace } => {
                let of = [
                    "logs",
                    "--namespace",
                    namespace,
                    "--selector=app.kubernetes.io/name=pullgate",
                    "--tail=-1",
                ];
                kubectl(&of, "").stdout
            }
        }
    }

    /// The API server learns of a new webhook within a second or so: until then it lets everything pass.
    fn wait_until_asked(&self) {
        let probe = &format!("{}-probe", run());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": probe, "labels": {LABEL: run()}}});
        kubectl(&["apply", "-f", "-"], &namespace.to_string()).done();
        let bad = pod("probe", pod_spec(&[("app", "probe/UPPER:v1")])).to_string();
        let end = Instant::now() + LONG;
        loop {
            let output = kubectl(&["create", "--namespace", probe, "--dry-run=server", "-f", "-"], &bad);
            if output.is_denied() {
                break;
            }
            let (said, log) = (output.stderr, self.log());
            assert!(
                Instant::now() < end,
                "the API server does not ask the webhook; kubectl said: {said}\nthe server's log:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        kubectl(&["delete", "namespace", probe, "--wait=false"], "");
    }
}

/// `pullgate serve` as a process of these tests, with a certificate of its own; it ends when this is dropped.
pub(crate) struct Server {
    daemon: Daemon,
    listen: SocketAddr,
    metrics: SocketAddr,
    authority: String,
}

impl Server {
    /// Starts it with these further arguments. `name` is that of its log and its folder; `cleanup` as for [`Daemon::start`].
    pub(crate) fn start(name: &str, cleanup: &str, arguments: &[&str]) -> Self {
        let folder = super::folder(name);
        let authority = write_certificates(&folder);
        let (listen, metrics) = (ports::free(), ports::free());
        let (certificate, key, settings) = (folder.join("tls.crt"), folder.join("tls.key"), settings_file());
        let (at, metrics_at) = (listen.to_string(), metrics.to_string());
        let own = [
            env!("CARGO_BIN_EXE_pullgate"),
            "serve",
            "--listen",
            &at,
            "--metrics-listen",
            &metrics_at,
            "--tls-cert",
            certificate.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
            "--config",
            settings.to_str().unwrap(),
        ];
        let daemon = Daemon::start(name, cleanup, &[&own, arguments].concat());
        daemon.wait_until("/readyz", || get(metrics, "/readyz").is_some());
        Self {
            daemon,
            listen,
            metrics,
            authority,
        }
    }

    /// Registers it for the namespaces whose [`LABEL`] has this name, which is the registration's name too.
    pub(crate) fn register(&self, name: &str) {
        let configuration = configuration(name, self.listen, &self.authority);
        kubectl(&["apply", "-f", "-"], &configuration.to_string()).done();
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }

    /// Reviews that it has answered.
    pub(crate) fn reviews(&self) -> u64 {
        reviews(self.metrics)
    }
}

/// Reviews that the server with this metrics port has answered; none where it does not run.
pub(crate) fn reviews(metrics: SocketAddr) -> u64 {
    let metrics = get(metrics, "/metrics").unwrap_or_default();
    let lines = metrics.lines().filter(|line| line.starts_with("pullgate_reviews_total{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// The settings file that both faces take.
pub(crate) fn settings_file() -> PathBuf {
    let file = super::folder("gate").join("settings.yaml");
    fs::write(&file, settings().to_string()).unwrap();
    file
}

/// Writes `tls.crt` and `tls.key` for 127.0.0.1; returns the certificate of the authority that signed it.
pub(crate) fn write_certificates(folder: &Path) -> String {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);

    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    fs::write(folder.join("tls.crt"), server.pem()).unwrap();
    fs::write(folder.join("tls.key"), server_key.serialize_pem()).unwrap();
    certificate
}

/// The registration of the gate at this address, for the namespaces whose [`LABEL`] has its name: with the rules and the conditions that
/// `deploy/pullgate.yaml` has, which the chart makes.
pub(crate) fn configuration(name: &str, listen: SocketAddr, authority: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/pullgate.yaml");
    let mut objects = documents(&fs::read_to_string(file).unwrap()).into_iter();
    let mut configuration = objects
        .find(|object| object["kind"] == "ValidatingWebhookConfiguration")
        .expect("a registration in deploy/pullgate.yaml");
    configuration["metadata"] = json!({"name": name});
    let webhook = &mut configuration["webhooks"][0];
    webhook["clientConfig"] = json!({
        "url": format!("https://{listen}/validate"),
        "caBundle": base64::engine::general_purpose::STANDARD.encode(authority),
    });
    // Everywhere else it should be Ignore; here a server that does not answer must not look like one that allows.
    webhook["failurePolicy"] = "Fail".into();
    let namespaces = webhook["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap();
    namespaces.push(json!({"key": LABEL, "operator": "In", "values": [name]}));
    // As the chart has it with Fail.
    namespaces.push(json!({"key": "pullgate.dev/ignore", "operator": "NotIn", "values": ["true"]}));
    configuration
}

/// The body of a page of the metrics port, if its status is 200.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200 ").then_some(answer)
}
