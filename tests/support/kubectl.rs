//! `kubectl` against the cluster of `KUBECONFIG`.
#![allow(dead_code, reason = "each test target uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is how a test reports"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More than a busy machine needs for what otherwise takes a few seconds.
pub(crate) const LONG: Duration = Duration::from_mins(3);

/// What a `kubectl` printed.
#[derive(Debug)]
pub(crate) struct Output {
    /// Whether it worked.
    pub(crate) success: bool,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error: the warnings and the denial.
    pub(crate) stderr: String,
}

impl Output {
    /// It worked, with or without warnings.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert!(self.success, "kubectl failed:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// Whether it worked.
    pub(crate) fn is_done(&self) -> bool {
        self.success
    }
}

/// Runs `kubectl` with these arguments, and this as its standard input.
pub(crate) fn kubectl(arguments: &[&str], input: &str) -> Output {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG is not set: eval \"$(tests/cluster/up)\" starts a cluster and sets it"
    );
    let mut child = Command::new("kubectl")
        .arg("--request-timeout=30s")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    // A kubectl that does not read its input closes it: that is no failure of ours.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Output {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Asks again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `kubectl get KIND -o json` in a namespace: the objects.
#[track_caller]
pub(crate) fn list(namespace: &str, kind: &str) -> Vec<serde_json::Value> {
    let output = kubectl(&["get", kind, "--namespace", namespace, "-o", "json"], "").done();
    let list: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// A new namespace with these labels. Pods need its default service account, which comes a moment later: see [`default_account`].
#[track_caller]
pub(crate) fn create_namespace(name: &str, labels: &[(&str, &str)]) {
    let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
    let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    kubectl(&["create", "-f", "-"], &namespace.to_string()).done();
}

/// Waits for the default service account of a namespace.
#[track_caller]
pub(crate) fn default_account(namespace: &str) {
    eventually("the default service account", LONG, || {
        kubectl(&["get", "serviceaccount", "default", "--namespace", namespace], "")
            .is_done()
            .then_some(())
    });
}

/// Deletes a namespace; nobody waits for its end.
pub(crate) fn delete_namespace(name: &str) {
    kubectl(&["delete", "namespace", name, "--wait=false"], "");
}
