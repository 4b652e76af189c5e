//! `kubectl`, and namespaces of our own.

use super::gate::{LABEL, run};
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// What a `kubectl` printed.
#[derive(Debug)]
pub(crate) struct Output {
    success: bool,
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

    /// It worked, and nothing was objected to.
    #[track_caller]
    pub(crate) fn allowed(self) -> Self {
        let output = self.done();
        assert!(!output.stderr.contains("Warning:"), "expected no warning:\n{}", output.stderr);
        output
    }

    /// It worked, and the gate warned with these words on one line.
    #[track_caller]
    pub(crate) fn warned(self, words: &[&str]) -> Self {
        let output = self.done();
        let warnings: Vec<&str> = output
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("Warning: "))
            .collect();
        assert!(
            warnings.iter().any(|warning| words.iter().all(|word| warning.contains(word))),
            "expected a warning with {words:?}:\n{}{}",
            output.stdout,
            output.stderr
        );
        for warning in warnings.iter().filter(|warning| warning.starts_with("container ")) {
            assert!(warning.chars().count() <= 256, "longer than 256 characters: {warning}");
        }
        output
    }

    /// The gate denied it, with these words.
    #[track_caller]
    pub(crate) fn denied(self, words: &[&str]) -> Self {
        assert!(!self.success, "expected a denial:\n{}{}", self.stdout, self.stderr);
        for word in ["admission webhook \"images.pullgate.dev\" denied the request:"]
            .iter()
            .chain(words)
        {
            assert!(self.stderr.contains(word), "expected {word:?} in:\n{}", self.stderr);
        }
        self
    }

    /// Whether it worked.
    pub(crate) fn is_done(&self) -> bool {
        self.success
    }

    /// Whether the gate denied it.
    pub(crate) fn is_denied(&self) -> bool {
        !self.success && self.stderr.contains("images.pullgate.dev")
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

/// Several objects as one YAML file (JSON is YAML).
pub(crate) fn manifest(objects: &[Value]) -> String {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    format!("---\n{}\n", documents.join("\n---\n"))
}

/// Whether the gate is asked about a namespace's objects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gated {
    /// It is.
    Yes,
    /// Not yet.
    No,
}

/// The cluster's nodes are common to all tests: most only read them, one adds one.
static NODES: RwLock<()> = RwLock::new(());

/// Whether other tests may run beside this one.
enum Company {
    Any { _nodes: RwLockReadGuard<'static, ()> },
    None { _nodes: RwLockWriteGuard<'static, ()> },
}

/// A namespace that goes when this is dropped. One a test.
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: String,
    _company: Company,
}

impl Namespace {
    /// A new namespace, with its default service account.
    pub(crate) fn new(gated: Gated) -> Self {
        Self::create(
            gated,
            Company::Any {
                _nodes: NODES.read().unwrap_or_else(PoisonError::into_inner),
            },
        )
    }

    /// A new namespace for a test that changes the cluster's nodes, or wants no policies of other tests beside it.
    pub(crate) fn alone(gated: Gated) -> Self {
        Self::create(
            gated,
            Company::None {
                _nodes: NODES.write().unwrap_or_else(PoisonError::into_inner),
            },
        )
    }

    fn create(gated: Gated, company: Company) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", run(), COUNT.fetch_add(1, Ordering::Relaxed));
        kubectl(&["create", "namespace", &name], "").done();
        let namespace = Self { name, _company: company };
        if gated == Gated::Yes {
            namespace.gate();
        }
        eventually("the default service account", Duration::from_secs(30), || {
            namespace.kubectl(&["get", "serviceaccount", "default"]).success.then_some(())
        });
        namespace
    }

    /// From now on the gate is asked.
    pub(crate) fn gate(&self) {
        super::gate();
        kubectl(&["label", "namespace", &self.name, &format!("{LABEL}={}", run())], "").done();
    }

    /// `kubectl` in this namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        kubectl(&[&["--namespace", &self.name], arguments].concat(), "")
    }

    /// `kubectl apply -f -` of one file with these objects.
    pub(crate) fn apply(&self, objects: &[Value]) -> Output {
        self.apply_with(&[], objects)
    }

    /// The same with more flags.
    pub(crate) fn apply_with(&self, flags: &[&str], objects: &[Value]) -> Output {
        kubectl(
            &[&["apply", "--namespace", &self.name, "-f", "-"], flags].concat(),
            &manifest(objects),
        )
    }

    /// `kubectl create -f -`: no read before the write.
    pub(crate) fn create_with(&self, flags: &[&str], objects: &[Value]) -> Output {
        kubectl(
            &[&["create", "--namespace", &self.name, "-f", "-"], flags].concat(),
            &manifest(objects),
        )
    }

    /// The objects of a kind.
    pub(crate) fn list(&self, kind: &str) -> Vec<Value> {
        let output = self.kubectl(&["get", kind, "-o", "json"]).done();
        let list: Value = serde_json::from_str(&output.stdout).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Whether an object exists.
    pub(crate) fn has(&self, kind: &str, name: &str) -> bool {
        self.list(kind).iter().any(|object| object["metadata"]["name"] == name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
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
