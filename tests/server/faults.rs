//! The fault table: what goes wrong around the real process, one thing at a time, and what it answers meanwhile. The image is there and could
//! be pulled once the fault is over, so nothing may be denied, and every review is answered by its deadline.
//!
//! ```text
//! cargo test --locked --test server faults                                  the faults of registries, all at the same time
//! cargo test --locked --test server -- --ignored --nocapture fault_table    all of them; writes the table of docs/reliability.md
//! ```

use crate::binary::Serving;
use crate::faulty::{Faulty, Manner, Reply, Seen, Tls, Validity};
use crate::support::{connect, get, post, replace, until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the API server gives a review, and what is taken of that ([`Deadline`](../../docs/contract.md), section 6), and a busy machine's moment.
const TIMEOUT: &str = "3s";
const DEADLINE: Duration = Duration::from_millis(2_700 + 250);
const BUSY: Duration = Duration::from_secs(20);

/// One line of the table.
struct Row {
    of: &'static str,
    fault: &'static str,
    /// The first request that went there, and how many there were.
    sent: String,
    said: String,
    took: Duration,
}

fn digest(text: &str) -> String {
    let mut hex = "sha256:".to_owned();
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn config() -> String {
    json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).to_string()
}

fn manifest() -> String {
    let config = config();
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
           "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()}})
    .to_string()
}

/// A registry in which nothing is wrong: it has `team/app:v1`.
fn good(seen: &Seen) -> Reply {
    let error = |code: &str| Reply::new(404).json(&json!({"errors": [{"code": code}]}).to_string());
    if seen.path.contains("/blobs/") {
        return Reply::new(200)
            .header("Content-Type", "application/octet-stream")
            .body(config());
    }
    let (own, asked) = (manifest(), seen.path.split('?').next().unwrap_or_default());
    if asked == "/v2/" {
        return Reply::new(200).header("Docker-Distribution-API-Version", "registry/2.0");
    }
    let named = asked.strip_prefix("/v2/team/app/manifests/");
    if !named.is_some_and(|name| name == "v1" || name == digest(&own)) {
        return error("MANIFEST_UNKNOWN");
    }
    Reply::new(200)
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .header("Docker-Content-Digest", &digest(&own))
        .body(own)
}

/// A registry that wants a token, and where that is asked for.
fn by_token(seen: &Seen, token: fn() -> Reply) -> Reply {
    if seen.path.starts_with("/token") {
        return token();
    }
    if seen.header("authorization").is_some() {
        return good(seen);
    }
    let host = seen.header("host").unwrap_or_default();
    let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:team/app:pull\"");
    Reply::new(401)
        .header("WWW-Authenticate", &challenge)
        .json(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)
}

fn page(status: u16, text: &str) -> Reply {
    Reply::new(status).header("Content-Type", "text/html").body(text)
}

type Script = fn(&Seen) -> Reply;

/// What a registry, or its token server, does.
const REGISTRY: &[(&str, &str, Script)] = &[
    ("registry", "hangs up", |_| Reply::new(200).manner(Manner::Hangup)),
    ("registry", "never answers", |_| Reply::new(200).manner(Manner::Silence)),
    ("registry", "answers a byte every 50 ms", |seen| {
        good(seen).manner(Manner::Dribble(Duration::from_millis(50)))
    }),
    ("registry", "breaks off in the middle of every body", |seen| {
        good(seen).manner(Manner::Cut(20))
    }),
    ("registry", "500", |_| page(500, "oops")),
    ("registry", "503", |_| page(503, "maintenance")),
    ("registry", "429 without a time", |_| Reply::new(429)),
    ("registry", "429, one minute", |_| Reply::new(429).header("Retry-After", "60")),
    ("registry", "the ingress in front of it: 404", |_| {
        page(404, "default backend - 404")
    }),
    ("registry", "the login page in front of it: 200", |_| {
        page(200, "<html>who are you?</html>")
    }),
    ("registry", "the firewall in front of it: 403", |_| {
        page(403, "<html>blocked</html>")
    }),
    ("registry", "redirects to another host, without TLS", |_| {
        Reply::new(307).header("Location", "http://127.0.0.2:9/x")
    }),
    ("registry", "redirects to a metadata service", |_| {
        Reply::new(307).header("Location", "https://169.254.169.254/latest")
    }),
    ("registry", "compresses what must not be compressed", |seen| {
        good(seen).header("Content-Encoding", "gzip")
    }),
    ("token server", "503", |seen| by_token(seen, || page(503, "maintenance"))),
    ("token server", "429", |seen| by_token(seen, || Reply::new(429))),
    ("token server", "never answers", |seen| {
        by_token(seen, || Reply::new(200).manner(Manner::Silence))
    }),
    ("clock", "tokens have expired when they are granted", |seen| {
        by_token(seen, || {
            Reply::new(200).json(r#"{"token":"t","expires_in":0,"issued_at":"1999-01-01T00:00:00Z"}"#)
        })
    }),
    ("clock", "429 until a day in 2015", |_| {
        Reply::new(429).header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")
    }),
];

fn review(image: &str) -> String {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                     "spec": {"containers": [{"name": "c", "image": image}], "imagePullSecrets": [{"name": "pull"}]}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "namespace": "shop", "kind": {"kind": "Pod"}, "object": pod}})
    .to_string()
}

/// A process of ours with its settings.
struct Ours {
    serving: Serving,
    folder: TempDir,
    ca: String,
}

impl Ours {
    fn start(arguments: &[&str], start: fn(&[&str]) -> Serving) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("config.yaml");
        let hosts = folder.path().join("hosts");
        std::fs::create_dir(&hosts).unwrap();
        replace(
            &settings,
            &format!(
                "network: {{allow: [127.0.0.0/8]}}\nregistries: {{hostsDir: {}}}\n",
                hosts.display()
            ),
        );
        let out = folder.path().to_str().unwrap();
        let own = ["--tls-dev", "--tls-dev-out", out, "--config", settings.to_str().unwrap()];
        let serving = start(&[&own, arguments].concat());
        let ca = std::fs::read_to_string(folder.path().join("ca.crt")).unwrap();
        Self { serving, folder, ca }
    }

    /// The response, and how long it took.
    async fn ask(&self, image: &str) -> (Value, Duration) {
        let began = Instant::now();
        let mut stream = connect(self.serving.webhook, &self.ca).await.unwrap();
        let answer = post(&mut stream, &format!("/validate?timeout={TIMEOUT}"), &review(image)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        (answer["response"].clone(), began.elapsed())
    }

    /// Asks while something is wrong.
    async fn row(&self, of: &'static str, fault: &'static str, image: &str, server: Option<&Faulty>) -> Row {
        server.inspect(|server| server.forget());
        let (response, took) = self.ask(image).await;
        assert_eq!(response["allowed"], true, "{of}: {fault}: {response}");
        assert!(took < DEADLINE + BUSY, "{of}: {fault}: {took:?}");
        let warning = response["warnings"][0].as_str().unwrap_or_default();
        let said = warning.split_once(&format!("{image}: ")).map_or(warning, |(_, said)| said);
        let cause = said.split(':').next().unwrap_or_default();
        let said = if cause.is_empty() {
            "allowed, it pulls".to_owned()
        } else {
            format!("allowed with a warning: {cause}")
        };
        let lines = server.map(Faulty::lines).unwrap_or_default();
        let sent = match (lines.first(), lines.len()) {
            (Some(first), 1) => format!("`{first}`"),
            (Some(first), more) => format!("`{first}`, and {} more", more - 1),
            (None, _) => "nothing arrived".to_owned(),
        };
        Row {
            of,
            fault,
            sent,
            said,
            took,
        }
    }

    /// A `hosts.toml` that sends a registry to a server over TLS.
    fn lead(&self, registry: &str, server: &Faulty) {
        let folder = self.folder.path().join("hosts").join(registry);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("hosts.toml"), format!("server = \"https://{}\"\n", server.host())).unwrap();
    }
}

/// All faults of registries, at the same time.
async fn of_registries(ours: &Ours) -> Vec<Row> {
    let each = REGISTRY.iter().map(|(of, fault, script)| async move {
        let server = Faulty::start(*script).await;
        ours.row(of, fault, &format!("{}/team/app:v1", server.host()), Some(&server))
            .await
    });
    let mut rows = futures_util::future::join_all(each).await;
    rows.push(
        ours.row("registry", "refuses connections", "127.0.0.1:1/team/app:v1", None)
            .await,
    );
    rows.push(
        ours.row("DNS", "the name does not resolve", "registry.invalid/team/app:v1", None)
            .await,
    );
    rows.push(
        ours.row(
            "DNS",
            "the name is one for an address that is not admitted",
            "10.255.255.1:5000/team/app:v1",
            None,
        )
        .await,
    );
    rows
}

async fn of_tls(ours: &Ours) -> Vec<Row> {
    let mut rows = Vec::new();
    let here = |validity| Tls::new(&["127.0.0.1"], validity);
    let servers = [
        (
            "the certificate has expired",
            "expired.test",
            Faulty::start_tls(&here(Validity::Expired), good).await,
        ),
        (
            "the certificate is of an unknown authority",
            "unknown.test",
            Faulty::start_tls(&here(Validity::Good), good).await,
        ),
        (
            "the certificate is for another name",
            "other.test",
            Faulty::start_tls(&Tls::new(&["x.test"], Validity::Good), good).await,
        ),
        ("the server speaks no TLS", "plain.test", Faulty::start(good).await),
    ];
    for (fault, registry, server) in &servers {
        ours.lead(registry, server);
        rows.push(ours.row("TLS", fault, &format!("{registry}/team/app:v1"), Some(server)).await);
    }
    rows
}

/// What a good process says to what is there, and to what is not: else the table proves nothing.
async fn holds(ours: &Ours) {
    let server = Faulty::start(good).await;
    let (response, _) = ours.ask(&format!("{}/team/app:v1", server.host())).await;
    assert_eq!(
        (&response["allowed"], &response["warnings"]),
        (&json!(true), &Value::Null),
        "{response}"
    );
    let (response, _) = ours.ask(&format!("{}/team/app:v2", server.host())).await;
    assert_eq!(response["allowed"], false, "{response}");
}

async fn of_the_api_server() -> Vec<Row> {
    let registry = Faulty::start(|seen: &Seen| {
        let basic = Reply::new(401)
            .header("WWW-Authenticate", "Basic realm=\"r\"")
            .json(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
        if seen.header("authorization").is_some() {
            good(seen)
        } else {
            basic
        }
    })
    .await;
    let faults: [(&str, Script); 4] = [
        ("answers 500", |_| Reply::new(500)),
        ("never answers", |_| Reply::new(200).manner(Manner::Silence)),
        ("breaks off in the middle of every list", |_| {
            Reply::new(200)
                .json(r#"{"kind":"List","items":[{"metadata""#)
                .manner(Manner::Cut(9))
        }),
        ("forbids everything", |_| {
            Reply::new(403).json(r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}"#)
        }),
    ];
    let mut rows = Vec::new();
    for (fault, script) in faults {
        let api = Faulty::start(script).await;
        rows.push(of_one_api_server(fault, &format!("http://{}", api.host()), &registry, Some(&api)).await);
    }
    rows.push(of_one_api_server("refuses connections", "http://127.0.0.1:1", &registry, None).await);
    rows
}

async fn of_one_api_server(fault: &'static str, url: &str, registry: &Faulty, api: Option<&Faulty>) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let written = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&file, written.to_string()).unwrap();
    let ours = Ours::start(&["--kubeconfig", file.to_str().unwrap()], Serving::with);
    let mut row = ours
        .row(
            "API server",
            fault,
            &format!("{}/team/app:v1", registry.host()),
            Some(registry),
        )
        .await;
    if let Some(first) = api.and_then(|api| api.lines().first().cloned()) {
        row.sent = format!("`{first}`");
    }
    row
}

async fn of_disk_and_process(server: &Faulty) -> Vec<Row> {
    let image = format!("{}/team/app:v1", server.host());
    let mut rows = Vec::new();
    let refused = async |ours: &Ours, what: &str| {
        let plain = ours.serving.plain;
        until(what, async || get(plain, "/metrics").await.body.contains(what)).await;
    };
    let ours = Ours::start(&[], Serving::start);
    replace(&ours.folder.path().join("config.yaml"), "network: {allow: [127.0");
    refused(&ours, "pullgate_reloads_total{reason=\"settings_refused\"} 1").await;
    rows.push(ours.row("disk", "half of the settings file", &image, Some(server)).await);
    drop(ours);

    let policies = tempfile::tempdir().unwrap();
    let policy =
        "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: ours}\nspec: {registries: {allow: [\"**\"]}}\n";
    let file = policies.path().join("ours.yaml");
    replace(&file, policy);
    let ours = Ours::start(&["--policies", policies.path().to_str().unwrap()], Serving::start);
    replace(&file, &policy[..100]);
    refused(&ours, "pullgate_reloads_total{reason=\"policies_refused\"} 1").await;
    rows.push(ours.row("disk", "half of a policy file", &image, Some(server)).await);
    drop(ours);

    let ours = Ours::start(&[], |arguments| Serving::start_limited(48, arguments));
    let mut held = Vec::new();
    for _ in 0..20 {
        held.extend(tokio::net::TcpStream::connect(ours.serving.webhook).await.ok());
    }
    rows.push(
        ours.row(
            "process",
            "48 files may be open, and 20 connections say nothing",
            &image,
            Some(server),
        )
        .await,
    );
    drop(held);
    drop(ours);

    let ours = Ours::start(&[], Serving::start);
    let (stop, go) = tokio::join!(
        ours.row("process", "stands still for a second", &image, Some(server)),
        async {
            ours.serving.signal("-STOP");
            tokio::time::sleep(Duration::from_secs(1)).await;
            ours.serving.signal("-CONT");
        }
    );
    let () = go;
    rows.push(stop);

    let (told, begins) = tokio::sync::watch::channel(false);
    let (says, asked) = tokio::sync::watch::channel(false);
    let slow = Faulty::start(move |seen: &Seen| {
        says.send_replace(true);
        good(seen).manner(Manner::When(begins.clone()))
    })
    .await;
    let slow_image = format!("{}/team/app:v1", slow.host());
    let mut asked: tokio::sync::watch::Receiver<bool> = asked;
    for (fault, signal) in [
        ("is told to read its files again during a review", "-HUP"),
        ("is told to end during a review", "-TERM"),
    ] {
        told.send_replace(false);
        let (row, ()) = tokio::join!(ours.row("process", fault, &slow_image, Some(&slow)), async {
            asked.wait_for(|asked| *asked).await.unwrap();
            ours.serving.signal(signal);
            told.send_replace(true);
        });
        rows.push(row);
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_registries_deny_nothing() {
    let ours = Ours::start(&[], Serving::start);
    holds(&ours).await;
    let (registries, tls) = tokio::join!(of_registries(&ours), of_tls(&ours));
    let known = documented();
    for row in registries.iter().chain(&tls) {
        assert!(
            known.contains(&format!("| {} | {} |", row.of, row.fault)),
            "{} {}: write the table again",
            row.of,
            row.fault
        );
    }
}

const BEGIN: &str = "<!-- the fault table, written by its test -->\n";
const END: &str = "<!-- its end -->";

fn page_of_the_manual() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md")
}

fn documented() -> Arc<str> {
    std::fs::read_to_string(page_of_the_manual()).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and writes docs/reliability.md"]
async fn fault_table() {
    let ours = Ours::start(&[], Serving::start);
    holds(&ours).await;
    let mut rows = of_registries(&ours).await;
    rows.extend(of_tls(&ours).await);
    drop(ours);
    rows.extend(of_the_api_server().await);
    rows.extend(of_disk_and_process(&Faulty::start(good).await).await);
    let mut table = "| of | fault | sent | answered | after |\n|---|---|---|---|---|\n".to_owned();
    for Row {
        of,
        fault,
        sent,
        said,
        took,
    } in &rows
    {
        let sent = sent.replace(&digest(&manifest()), "sha256:…");
        writeln!(table, "| {of} | {fault} | {sent} | {said} | {:.1} s |", took.as_secs_f64()).unwrap();
    }
    print!("{table}");
    let text = documented();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    replace(&page_of_the_manual(), &format!("{before}{BEGIN}{table}{END}{after}"));
    assert!(rows.len() >= 25, "{}", rows.len());
}
