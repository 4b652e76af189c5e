//! `pullgate check`, the binary. No network: every image named here is refused before a request is made.
#![allow(clippy::unwrap_used, reason = "a failed expectation is how a test reports")]

use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn check(arguments: &[&str], environment: &[(&str, &str)], manifests: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PULLGATE_") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .arg("check")
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

const PULL_SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: regcred}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: '!!!'}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  imagePullSecrets: [{name: regcred}]
  containers: [{name: c, image: 169.254.0.1/a:1}]
";

#[test]
fn a_secret_that_the_api_server_would_refuse_is_unreadable_input() {
    let output = check(&["-f", "-"], &[], PULL_SECRET);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("-: Secret default/regcred: its data[.dockerconfigjson] is not base64"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn flags_can_be_set_by_the_environment() {
    let unknown = ["--image", "169.254.0.1/a:1"];
    let output = check(&unknown, &[("PULLGATE_OUTPUT", "json"), ("PULLGATE_FAIL_ON", "unknown")], "");
    assert_eq!(report(&output)["images"][0]["outlook"], "Unknown");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        check(&unknown, &[("PULLGATE_PLATFORM", "nonsense")], "").status.code(),
        Some(2)
    );
    assert_eq!(check(&unknown, &[("PULLGATE_DEADLINE", "soon")], "").status.code(), Some(2));
    assert_eq!(check(&unknown, &[("PULLGATE_COMPLETE", "false")], "").status.code(), Some(0));
}
