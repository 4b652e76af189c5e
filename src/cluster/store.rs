//! One kind of object, watched: a list, then its changes, reduced to facts on arrival. It never ends. While the API server is down
//! the last snapshot stays; an object that cannot be read is left out and does not break the watch.

use super::kind::{ErrorLog, Kind};
use super::raw::Raw;
use futures_util::{Stream, StreamExt as _, pin_mut};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The first wait after an error; doubled with each further one.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The wait after a refusal: somebody has to change a role first.
pub(super) const REFUSED_WAIT: Duration = Duration::from_secs(30);
/// Snapshots up to this many objects are rebuilt at every change.
const SMALL: usize = 500;
/// Larger ones at most this often.
const SNAPSHOT_AGE: Duration = Duration::from_secs(1);

/// The progress of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first list is not complete; the last error, as a clause.
    Starting(Option<String>),
    /// It is up to date with the API server.
    Ready,
    /// The API server refuses to list; a clause.
    Refused(String),
}

/// Objects by name, by namespace (empty for cluster-scoped ones).
type Objects<T> = HashMap<String, HashMap<String, T>>;

/// Objects of one kind by namespace and name; cluster-scoped ones are in the empty namespace.
pub(super) struct Store<T> {
    kind: Kind,
    state: RwLock<State<T>>,
    phase: watch::Sender<Phase>,
}

struct State<T> {
    objects: Objects<T>,
    snapshot: Arc<Vec<T>>,
    /// When the snapshot was built; `None` if not since the last list.
    built: Option<Instant>,
    /// Whether objects have changed since.
    dirty: bool,
}

/// Converts an object; `None` leaves it out.
pub(super) type Convert<T> = fn(&Value) -> Option<T>;

impl<T: Clone + PartialEq + Send + Sync + 'static> Store<T> {
    pub(super) fn new(kind: Kind) -> Arc<Self> {
        let state = State {
            objects: HashMap::new(),
            snapshot: Arc::default(),
            built: None,
            dirty: false,
        };
        Arc::new(Self {
            kind,
            state: RwLock::new(state),
            phase: watch::Sender::new(Phase::Starting(None)),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Waits until the first list is complete or refused.
    pub(super) async fn synced(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| !matches!(phase, Phase::Starting(_)))
            .await;
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.objects.get(namespace)?.get(name).cloned()
    }

    /// All objects. For a large set, up to a second old.
    pub(super) fn snapshot(&self) -> Arc<Vec<T>> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if !state.is_due() {
                return Arc::clone(&state.snapshot);
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.is_due() {
            state.snapshot = Arc::new(state.objects.values().flat_map(HashMap::values).cloned().collect());
            state.built = Some(Instant::now());
            state.dirty = false;
        }
        Arc::clone(&state.snapshot)
    }

    fn change(&self, change: impl FnOnce(&mut Objects<T>) -> Changed) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match change(&mut state.objects) {
            Changed::Nothing => {}
            Changed::Some => state.dirty = true,
            Changed::All => {
                state.dirty = true;
                state.built = None;
            }
        }
    }

    /// Follows a watch forever.
    pub(super) async fn run(
        self: Arc<Self>,
        events: impl Stream<Item = watcher::Result<Event<Raw>>> + Send,
        convert: Convert<T>,
        errors: Arc<ErrorLog>,
    ) {
        let mut listed: Objects<T> = HashMap::new();
        let mut wait = FIRST_WAIT;
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    if let Some((namespace, name, Some(fact))) = self.read(&object, convert) {
                        listed.entry(namespace).or_default().insert(name, fact);
                    }
                }
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listed);
                    self.change(|objects| {
                        *objects = listed;
                        Changed::All
                    });
                    self.phase.send_replace(Phase::Ready);
                    wait = FIRST_WAIT;
                }
                Ok(Event::Apply(object)) => {
                    let Some((namespace, name, fact)) = self.read(&object, convert) else {
                        continue;
                    };
                    self.change(|objects| {
                        match fact {
                            Some(fact) => {
                                if objects.get(&namespace).and_then(|names| names.get(&name)) == Some(&fact) {
                                    return Changed::Nothing;
                                }
                                objects.entry(namespace).or_default().insert(name, fact);
                            }
                            // It could be read before and cannot now: what we have is outdated.
                            None => {
                                if let Some(names) = objects.get_mut(&namespace) {
                                    names.remove(&name);
                                }
                            }
                        }
                        Changed::Some
                    });
                    wait = FIRST_WAIT;
                }
                Ok(Event::Delete(object)) => {
                    self.change(|objects| {
                        if let Some(names) = objects.get_mut(object.namespace()) {
                            names.remove(object.name());
                            if names.is_empty() {
                                objects.remove(object.namespace());
                            }
                        }
                        Changed::Some
                    });
                    wait = FIRST_WAIT;
                }
                Err(error) => {
                    let refused = self.note(&error, &errors);
                    tokio::time::sleep(if refused { REFUSED_WAIT } else { jittered(wait) }).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Records an error. Returns whether the API server refused.
    fn note(&self, error: &watcher::Error, errors: &ErrorLog) -> bool {
        let cause = match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => errors.explain(self.kind, cause),
            // 410: the watch was interrupted for too long and lists again.
            watcher::Error::WatchError(status) if status.code == 410 => return false,
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => {
                errors.other(self.kind, error);
                return false;
            }
        };
        self.phase.send_if_modified(|phase| {
            let next = match (&*phase, cause.refused) {
                (Phase::Ready, _) | (Phase::Refused(_), false) => return false,
                (Phase::Starting(_) | Phase::Refused(_), true) => Phase::Refused(cause.clause.clone()),
                (Phase::Starting(_), false) => Phase::Starting(Some(cause.clause.clone())),
            };
            *phase = next;
            true
        });
        cause.refused
    }

    /// Namespace, name and fact of an object; `None` for one without a name.
    fn read(&self, object: &Raw, convert: Convert<T>) -> Option<(String, String, Option<T>)> {
        let (namespace, name) = (object.namespace(), object.name());
        // The conversions cannot panic. If one does anyway, only this object is lost, not the watch.
        let fact = std::panic::catch_unwind(AssertUnwindSafe(|| convert(&object.value))).unwrap_or_else(|_| {
            tracing::error!(kind = self.kind.plural(), %namespace, %name, "skipped an object that could not be read");
            None
        });
        (!name.is_empty()).then(|| (namespace.to_owned(), name.to_owned(), fact))
    }
}

/// What a change affected.
enum Changed {
    Nothing,
    Some,
    All,
}

impl<T> State<T> {
    fn is_due(&self) -> bool {
        let old = self.built.is_none_or(|built| built.elapsed() >= SNAPSHOT_AGE);
        self.dirty && (old || self.snapshot.len() <= SMALL)
    }
}

/// Between half of a wait and all of it, so that replicas do not return in step.
pub(super) fn jittered(wait: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    wait / 2 + (wait / 2).mul_f64(f64::from(nanos % 1_000) / 1_000.0)
}
