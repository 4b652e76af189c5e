//! The binary itself.

use crate::program;
use crate::support::{SOON, connect, get, post, replace, until};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

fn pullgate() -> Command {
    let mut command = program::pullgate();
    // `serve` takes no proxy but that of its settings; its API server least of all.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env(name, "http://127.0.0.1:1");
    }
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    pullgate().args(arguments).output().unwrap()
}

/// A child that does not outlive its test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Serving {
    child: Guarded,
    pub(crate) webhook: SocketAddr,
    pub(crate) plain: SocketAddr,
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    /// Without a cluster.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::with(&[&["--no-cluster"], arguments].concat())
    }

    /// With so many open files at most.
    pub(crate) fn start_limited(files: u32, arguments: &[&str]) -> Self {
        let plain = pullgate();
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n \"$0\"; exec \"$@\"", &files.to_string()])
            .arg(plain.get_program());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let (mut serving, log) = Self::unread_by(command, &[&["--no-cluster"], arguments].concat());
        serving.read(log);
        serving
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let (mut serving, log) = Self::unread(arguments);
        serving.read(log);
        serving
    }

    /// Nobody reads its log on.
    fn unread(arguments: &[&str]) -> (Self, BufReader<ChildStderr>) {
        Self::unread_by(pullgate(), arguments)
    }

    fn unread_by(mut command: Command, arguments: &[&str]) -> (Self, BufReader<ChildStderr>) {
        let mut child = Guarded(
            command
                .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
                .args(["--log-format", "json", "--drain-delay", "0s"])
                .args(arguments)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut log = BufReader::new(child.0.stderr.take().unwrap());
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
            let event: serde_json::Value = serde_json::from_str(&line).expect("one JSON object a line");
            if event["message"] == "serving" {
                let address = |key: &str| event[key].as_str().unwrap().parse().unwrap();
                let (webhook, plain) = (address("webhook"), address("metrics"));
                let serving = Self {
                    child,
                    webhook,
                    plain,
                    rest: None,
                };
                return (serving, log);
            }
        }
    }

    fn read(&mut self, mut log: BufReader<ChildStderr>) {
        self.rest = Some(std::thread::spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).unwrap();
            rest
        }));
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.child.0.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let begin = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < SOON, "it does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn it_serves_with_a_throwaway_certificate_and_a_signal_ends_it_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("made/for/it");
    for signal in ["-TERM", "-INT", "-QUIT", "-USR1", "-ALRM", "-VTALRM", "-PROF", "-XCPU", "-IO"] {
        let mut serving = Serving::start(&["--tls-dev", "--tls-dev-out", out.to_str().unwrap()]);
        let ca = std::fs::read_to_string(out.join("ca.crt")).unwrap();
        let plain = serving.plain;
        until("it is ready", async || get(plain, "/readyz").await.status == 200).await;
        let stream = connect(serving.webhook, &ca).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        drop(stream);
        // What the kernel sends to whoever writes past `ulimit -f`.
        serving.signal("-XFSZ");
        assert_eq!(get(plain, "/healthz").await.status, 200);
        serving.signal(signal);
        assert_eq!(serving.exit_code().await, Some(0), "{signal}");
        let rest = serving.rest.take().unwrap().join().unwrap();
        assert!(rest.contains("told to stop"), "{rest}");
        assert!(rest.contains("\"message\":\"stopped\""), "{rest}");
    }
}

/// A review of a pod with a name that needs no look-up.
fn review(uid: &str) -> String {
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                                 "spec": {"containers": [{"name": "c", "image": "UPPER"}]}});
    serde_json::json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": uid, "operation": "CREATE", "namespace": "ns", "kind": {"kind": "Pod"}, "object": pod}})
    .to_string()
}

/// The keys of the line about a review, as the manual lists them.
fn documented_keys() -> BTreeSet<String> {
    let manual = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let section = manual
        .split("\n## ")
        .find(|part| part.starts_with("The line about a review"))
        .unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let keys = cells.flat_map(|cell| cell.split(", ").map(|key| key.trim_matches('`').to_owned()));
    keys.collect()
}

#[tokio::test]
async fn the_log_level_follows_the_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    replace(&config, "{}\n");
    let out = dir.path().to_str().unwrap();
    let mut serving = Serving::start(&["--tls-dev", "--tls-dev-out", out, "--config", config.to_str().unwrap()]);
    let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
    let mut stream = connect(serving.webhook, &ca).await.unwrap();
    let plain = serving.plain;
    let reloads = async |wanted: u64, outcome: &str| {
        let line = format!("pullgate_reloads_total{{reason=\"{outcome}\"}} {wanted}\n");
        until(&line, async || get(plain, "/metrics").await.body.contains(&line)).await;
    };
    replace(&config, "log: {level: error}\n");
    reloads(1, "settings_replaced").await;
    assert_eq!(post(&mut stream, "/validate", &review("at-error")).await.status, 200);
    replace(&config, "log: {level: info}\n");
    reloads(2, "settings_replaced").await;
    post(&mut stream, "/validate", &review("at-info")).await;
    replace(&config, "log: {level: loud}\n");
    reloads(1, "settings_refused").await;
    post(&mut stream, "/validate", &review("still-at-info")).await;
    replace(&config, "log: {level: warn}\n");
    reloads(3, "settings_replaced").await;
    post(&mut stream, "/validate", &review("at-warn")).await;
    replace(&config, "{}\n");
    reloads(4, "settings_replaced").await;
    post(&mut stream, "/validate", &review("as-the-command-line-says")).await;
    drop(stream);
    serving.signal("-TERM");
    assert_eq!(serving.exit_code().await, Some(0));
    let log = serving.rest.take().unwrap().join().unwrap();
    for (uid, logged) in [
        ("at-error", false),
        ("at-info", true),
        ("still-at-info", true),
        ("at-warn", false),
        ("as-the-command-line-says", true),
    ] {
        assert_eq!(log.contains(&format!("\"review.uid\":\"{uid}\"")), logged, "{uid}:\n{log}");
    }
    let line = log.lines().find(|line| line.contains("\"at-info\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let keys: BTreeSet<String> = line.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, documented_keys(), "docs/operations.md says what is in the line");
    assert_eq!(
        (&line["verdict"], &line["causes"]),
        (&"Deny".into(), &"InvalidImageName".into())
    );
    assert!(log.contains("config.yaml:1:14: unknown value \\\"loud\\\""), "{log}");
}

/// A full disk, a stuck collector: what is behind a pipe may stop to read, and must not stop us.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_review() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let (mut serving, log) = Serving::unread(&["--no-cluster", "--tls-dev", "--tls-dev-out", out]);
    let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
    let mut stream = connect(serving.webhook, &ca).await.unwrap();
    // Some hundred bytes each: several times what a pipe holds.
    for number in 0..600 {
        let answer = post(&mut stream, "/validate", &review(&format!("unread-{number}-"))).await;
        assert_eq!(answer.status, 200, "{number}");
    }
    let metrics = get(serving.plain, "/metrics").await.body;
    assert!(
        metrics.lines().any(|line| line == "pullgate_log_lines_lost_total 0"),
        "{metrics}"
    );
    drop(stream);
    serving.signal("-TERM");
    serving.read(log);
    assert_eq!(serving.exit_code().await, Some(0));
    let log = serving.rest.take().unwrap().join().unwrap();
    for number in 0..600 {
        assert!(log.contains(&format!("\"unread-{number}-\"")), "{number}");
    }
    assert!(
        log.trim_end().ends_with('}') && log.contains("\"message\":\"stopped\""),
        "the last line, too"
    );
}

/// A kubeconfig whose helper program takes its time, for an API server that is not there.
fn kubeconfig(folder: &Path, helper: Option<&str>) -> String {
    let user = helper.map_or(serde_json::json!({}), |script| {
        serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
                                    "interactiveMode": "Never"}})
    });
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": user}],
    });
    let file = folder.join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_its_api_server_it_lives_is_not_ready_and_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with(&["--tls-dev", "--kubeconfig", &kubeconfig(dir.path(), None)]);
    assert_eq!(get(serving.plain, "/healthz").await.status, 200);
    let ready = get(serving.plain, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("waiting for the first list of"), "{}", ready.body);
    serving.signal("-TERM");
    assert_eq!(serving.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_signal_during_start_up_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("begun");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 600", running.display());
    let kubeconfig = kubeconfig(dir.path(), Some(&script));
    let mut child = Guarded(
        pullgate()
            .args([
                "serve",
                "--tls-dev",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .args(["--kubeconfig", &kubeconfig])
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    until("the helper runs", async || running.exists()).await;
    let id = child.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let begin = std::time::Instant::now();
    let code = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status.code();
        }
        assert!(begin.elapsed() < SOON, "it waits for the helper");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(code, Some(0));
    // Nobody waits for the helper any more.
    let helper = std::fs::read_to_string(&running).unwrap();
    assert!(Command::new("kill").arg(helper.trim()).status().unwrap().success());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--metrics-listen"), ("--metrics-listen", "--listen")] {
        let output = run(&["serve", "--no-cluster", "--tls-dev", flag, &address, other, "127.0.0.1:0"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("cannot listen on {address}: Address already in use")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn generated_certificates_can_be_served() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("certs");
    let arguments = [
        "certs",
        "generate",
        "--dns",
        "localhost",
        "127.0.0.1",
        "--out",
        out.to_str().unwrap(),
    ];
    let first = run(&arguments);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let path = |name: &str| out.join(name).display().to_string();
    let listed = String::from_utf8(first.stdout).unwrap();
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [path("ca.crt"), path("tls.crt"), path("tls.key")]
    );
    let mode = |name: &str| std::fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
    // Whoever wants new files to be for themselves has that of these too.
    std::fs::write(dir.path().join("any"), "").unwrap();
    let any = std::fs::metadata(dir.path().join("any")).unwrap().permissions().mode();
    let open = 0o644 & any;
    assert_eq!((mode("ca.crt"), mode("tls.crt"), mode("tls.key")), (open, open, 0o600));

    let again = run(&arguments);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"), "{again:?}");
    // An old key that everyone may read does not stay that way.
    let before = std::fs::read(out.join("tls.key")).unwrap();
    std::fs::set_permissions(out.join("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let forced = run(&[&arguments[..], &["--force"]].concat());
    assert_eq!(forced.status.code(), Some(0), "{forced:?}");
    assert_ne!(std::fs::read(out.join("tls.key")).unwrap(), before);
    assert_eq!(mode("tls.key"), 0o600);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3, "nothing is left beside");

    let serving = Serving::start(&["--tls-cert", &path("tls.crt"), "--tls-key", &path("tls.key")]);
    let ca = std::fs::read_to_string(out.join("ca.crt")).unwrap();
    connect(serving.webhook, &ca).await.unwrap();
}

#[test]
fn what_is_wrong_ends_with_two_and_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "network: {alow: []}\n").unwrap();
    let config = config.to_str().unwrap();
    let missing = Path::new("/nonexistent/tls.crt").display().to_string();
    for (arguments, expect) in [
        (vec![], "Usage: pullgate"),
        (vec!["serv"], "unrecognized subcommand"),
        (
            vec!["serve", "--no-cluster"],
            "use --tls-cert and --tls-key, or --tls-self-managed, or --tls-dev",
        ),
        (
            vec!["serve", "--no-cluster", "--tls-dev", "--config", config],
            "config.yaml:1:11: unknown key \"alow\"; did you mean \"allow\"?",
        ),
        (
            vec!["serve", "--no-cluster", "--tls-cert", &missing, "--tls-key", &missing],
            "/nonexistent/tls.crt: No such file",
        ),
        (
            vec!["serve", "--no-cluster", "--tls-dev", "--log", "x=loud"],
            "the log filter \"x=loud\" is not valid",
        ),
        (
            vec![
                "serve",
                "--no-cluster",
                "--tls-dev",
                "--metrics-listen",
                "127.0.0.1:0",
                "--listen",
                "192.0.2.1:8443",
            ],
            "cannot listen on 192.0.2.1:8443",
        ),
        (
            vec!["certs", "generate", "--dns", "a b", "--out", "/nonexistent"],
            "\"a b\" is neither a DNS name nor an IP address",
        ),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expect), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn variables_stand_for_flags() {
    let output = pullgate().arg("serve").env("PULLGATE_TLS_CERT", "x").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--tls-cert needs --tls-key"));
    let help = run(&["serve", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("PULLGATE_DEADLINE"));
}
