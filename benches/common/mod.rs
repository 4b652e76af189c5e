//! What both measurements are made with: a Deployment, and a registry that has every image.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The creation of a Deployment as an API server tells of it, defaults and managed fields included.
pub(crate) fn deployment(images: &[String]) -> String {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(at, image)| {
            json!({"name": format!("c{at}"), "image": image, "imagePullPolicy": "IfNotPresent",
                   "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                   "ports": [{"containerPort": 8080, "protocol": "TCP"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                   "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                   "livenessProbe": {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10},
                   "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}})
        })
        .collect();
    let managed: serde_json::Map<String, Value> = (0..images.len())
        .map(|at| {
            let fields = json!({".": {}, "f:env": {".": {}, "k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}},
                                "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:ports": {}, "f:resources": {}});
            (format!("k:{{\"name\":\"c{at}\"}}"), fields)
        })
        .collect();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "namespace": "shop", "name": "api", "dryRun": false,
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "api", "namespace": "shop", "labels": {"app": "api"},
                "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": managed}}}}}]},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "api"}},
                "template": {"metadata": {"labels": {"app": "api"}},
                    "spec": {"containers": containers, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "securityContext": {},
                             "terminationGracePeriodSeconds": 30}}}}}})
    .to_string()
}

fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A registry that has every image, speaks plain HTTP, and counts what it is asked.
pub(crate) struct CountingRegistry {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl CountingRegistry {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(attend(stream, Arc::clone(&counted)));
            }
        });
        Self { address, requests }
    }

    /// How long something takes, and how many requests come meanwhile.
    pub(crate) async fn during(&self, work: impl Future<Output = Duration>) -> (Duration, usize) {
        let before = self.requests.load(Ordering::Relaxed);
        let took = work.await;
        (took, self.requests.load(Ordering::Relaxed) - before)
    }
}

/// One connection; one that begins with anything but a method (TLS) is hung up on.
async fn attend(stream: TcpStream, requests: Arc<AtomicUsize>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [],
                          "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config.as_bytes()),
                                     "size": config.len()}})
    .to_string();
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut request, mut line) = ([0], String::new(), String::new());
        if stream.read_exact(&mut first).await.is_err() || !first[0].is_ascii_uppercase() {
            return Ok(());
        }
        stream.read_line(&mut request).await?;
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let (kind, body) = if request.contains("/blobs/") {
            ("application/octet-stream", config)
        } else {
            (kind, manifest.as_str())
        };
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {}\r\nContent-Length: {}\r\n\r\n",
            digest(body.as_bytes()),
            body.len()
        );
        if first[0] != b'H' {
            answer += body;
        }
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}
