//! What the gate said through `kubectl`, and namespaces of our own.

use super::gate::{LABEL, run};
use super::objects::{pod, pod_spec};
use crate::kubectl::{create_namespace, default_account, delete_namespace, list};
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use crate::kubectl::{LONG, Output, eventually, kubectl};

impl Output {
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

    /// Whether the gate denied it.
    pub(crate) fn is_denied(&self) -> bool {
        !self.success && self.stderr.contains("images.pullgate.dev")
    }
}

/// Several objects as one YAML file (JSON is YAML).
pub(crate) fn manifest(objects: &[Value]) -> String {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    format!("---\n{}\n", documents.join("\n---\n"))
}

/// The objects of a YAML file.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let parsed = pullgate::yaml::documents(text);
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    parsed.documents.into_iter().map(|document| document.value).collect()
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
        // The label from the start: a namespace that the API server's admission does not know yet it looks up, one that it knows without
        // the label would go on to be none of the gate's for a moment.
        let (run, mut labels) = (run(), Vec::new());
        if gated == Gated::Yes {
            super::gate();
            labels.push((LABEL, run.as_str()));
        }
        create_namespace(&name, &labels);
        let namespace = Self { name, _company: company };
        default_account(&namespace.name);
        namespace
    }

    /// From now on the gate is asked: returns once it is.
    pub(crate) fn gate(&self) {
        super::gate();
        kubectl(&["label", "namespace", &self.name, &format!("{LABEL}={}", run())], "").done();
        let bad = pod("probe", pod_spec(&[("app", "probe/UPPER:v1")]));
        eventually("the gate is asked", LONG, || {
            self.create_with(&["--dry-run=server"], std::slice::from_ref(&bad))
                .is_denied()
                .then_some(())
        });
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
        list(&self.name, kind)
    }

    /// Whether an object exists.
    pub(crate) fn has(&self, kind: &str, name: &str) -> bool {
        self.list(kind).iter().any(|object| object["metadata"]["name"] == name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete_namespace(&self.name);
    }
}
