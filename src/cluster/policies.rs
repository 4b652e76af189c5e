//! The cluster's `ImagePolicies`: watched, compiled on arrival, and passed on as the set in force. Each change is atomic: if a new
//! version does not compile, the last good one stays in force, and while the API server is down the last set does. The result is
//! reported in each policy's status, in the background.

mod catalog;
mod denials;
mod status;

use super::kind::{ErrorLog, Kind, POLICIES};
use super::pages::{Broken, Pages};
use super::raw::Raw;
use super::store::{FIRST_WAIT, LONGEST_WAIT, REFUSED_WAIT, jittered};
use super::{Readiness, convert};
use crate::limits;
use crate::policy::Policy;
use crate::telemetry::{Metrics, PolicySource, PolicyStatus, Reload};
use crate::workload::Kinds;
use catalog::{COUNTS, Catalog, Change, Job, Next};
use denials::Denials;
use futures_util::{StreamExt as _, pin_mut};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// How often to look for the kind while it is not installed.
const ABSENT_WAIT: Duration = Duration::from_secs(10);
/// Policies per page: one may have 1.5 MiB.
const PAGE: u32 = 50;
/// The pause between two statuses.
const GAP: Duration = Duration::from_millis(100);
/// The pause before a new status: another replica may be about to write it.
const STATUS_DELAY: Duration = Duration::from_millis(300);
/// The pause after a refusal: somebody has to change a role first.
const FORBIDDEN_WAIT: Duration = Duration::from_mins(5);

/// Receives the policies in force after a change.
pub(super) type OnChange = Box<dyn Fn(Vec<Arc<Policy>>) + Send + Sync>;
/// The kinds that policies may name. They change with the settings.
pub(super) type KindsInForce = Box<dyn Fn() -> Arc<Kinds> + Send + Sync>;

/// The progress of the watch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// The first list is not complete; the last error, as a clause.
    Starting(Option<String>),
    /// It is up to date with the API server.
    Ready,
    /// The cluster has no such kind.
    NotInstalled,
    /// The API server refuses; a clause. The last set stays in force.
    Refused(String),
}

/// The watch, its state, and the writer of statuses.
pub(super) struct PolicyWatch {
    client: Client,
    catalog: Mutex<Catalog>,
    phase: watch::Sender<Phase>,
    /// A status may need to be written.
    changed: Notify,
    /// The last status was refused, which has been logged.
    mute: AtomicBool,
    errors: Arc<ErrorLog>,
    metrics: Metrics,
    kinds: KindsInForce,
    /// This replica's name: a Pod's host name is its own.
    replica: String,
}

/// The cluster's policies at one moment.
#[derive(Debug, Default)]
pub struct Listed {
    /// The valid ones.
    pub policies: Vec<Arc<Policy>>,
    /// What is wrong with the others, one sentence each.
    pub problems: Vec<String>,
}

impl PolicyWatch {
    /// Starts the watch and the writer. Must be called within a tokio runtime.
    pub(super) fn start(
        client: &Client,
        errors: &Arc<ErrorLog>,
        metrics: &Metrics,
        kinds: KindsInForce,
        on_change: OnChange,
    ) -> (Arc<Self>, [AbortHandle; 2]) {
        let watch = Arc::new(Self {
            client: client.clone(),
            catalog: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting(None)),
            changed: Notify::new(),
            mute: AtomicBool::new(false),
            errors: Arc::clone(errors),
            metrics: metrics.clone(),
            kinds,
            replica: std::env::var_os("HOSTNAME")
                .and_then(|name| name.into_string().ok())
                .unwrap_or_else(|| "pullgate".to_owned()),
        });
        let watching = tokio::spawn(Arc::clone(&watch).watch(on_change)).abort_handle();
        let writing = tokio::spawn(Arc::clone(&watch).write()).abort_handle();
        (watch, [watching, writing])
    }

    pub(super) fn readiness(&self) -> Readiness {
        let (synced, note) = match self.phase.borrow().clone() {
            Phase::Ready => (true, None),
            Phase::NotInstalled => (
                true,
                Some("the kind is not installed in this cluster, so it has no policies".to_owned()),
            ),
            Phase::Refused(why) => (true, Some(why)),
            Phase::Starting(Some(why)) => (false, Some(why)),
            Phase::Starting(None) => (false, Some("the ImagePolicies have not been listed yet".to_owned())),
        };
        let refused = match self.catalog().refused() {
            0 => None,
            1 => Some("1 is not accepted: see its status".to_owned()),
            many => Some(format!("{many} are not accepted: see their status")),
        };
        let notes: Vec<String> = note.into_iter().chain(refused).collect();
        Readiness {
            what: Kind::ImagePolicy.plural(),
            synced,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        }
    }

    /// Waits until the first list is complete or refused.
    pub(super) async fn synced(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = phase.wait_for(|phase| !matches!(phase, Phase::Starting(_))).await;
    }

    /// Whether no status is left to write until something changes.
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        self.next(Duration::ZERO) == Next::Idle
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the policies forever.
    async fn watch(self: Arc<Self>, on_change: OnChange) {
        let mut wait = FIRST_WAIT;
        let mut missing: u32 = 0;
        loop {
            let api: Api<Raw> = Api::all_with(self.client.clone(), &Kind::ImagePolicy.resource());
            let config = watcher::Config::default().timeout(limits::WATCH_SECONDS).page_size(PAGE);
            let events = watcher::watcher(api, config);
            pin_mut!(events);
            let mut listed: Vec<Value> = Vec::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => listed.clear(),
                    Ok(Event::InitApply(object)) if object.name().is_empty() => {}
                    Ok(Event::InitApply(object)) => listed.push(object.value),
                    Ok(Event::InitDone) => {
                        let changes = self.catalog().replace(&std::mem::take(&mut listed), &(self.kinds)());
                        (wait, missing) = (FIRST_WAIT, 0);
                        self.publish(&changes, &on_change);
                        self.phase.send_replace(Phase::Ready);
                    }
                    Ok(Event::Apply(object)) => {
                        let change = (!object.name().is_empty()).then(|| self.catalog().apply(&object.value, &(self.kinds)()));
                        self.publish(change.flatten().as_slice(), &on_change);
                        wait = FIRST_WAIT;
                    }
                    Ok(Event::Delete(object)) => {
                        let change = self.catalog().remove(object.name());
                        self.publish(change.as_slice(), &on_change);
                        wait = FIRST_WAIT;
                    }
                    Err(error) => match code(&error) {
                        Some(404) => {
                            missing = missing.saturating_add(1);
                            self.absent(missing, &on_change);
                            tokio::time::sleep(jittered(ABSENT_WAIT)).await;
                            break;
                        }
                        Some(401 | 403) => {
                            self.refused(&error);
                            tokio::time::sleep(jittered(REFUSED_WAIT)).await;
                            break;
                        }
                        answered => {
                            self.waiting(&error);
                            tokio::time::sleep(jittered(wait)).await;
                            wait = (wait * 2).min(LONGEST_WAIT);
                            // A watch that cannot resume where the last one ended would try forever.
                            if answered.is_some() && matches!(error, watcher::Error::WatchStartFailed(_)) {
                                break;
                            }
                        }
                    },
                }
            }
        }
    }

    /// The API server does not know the kind. While starting, it may say so about any kind: policies are dropped only the second time.
    fn absent(&self, times: u32, on_change: &OnChange) {
        let new = self.phase.send_if_modified(|phase| {
            let sure = matches!(phase, Phase::Starting(_)) || times > 1;
            let new = sure && *phase != Phase::NotInstalled;
            if new {
                *phase = Phase::NotInstalled;
            }
            new
        });
        if new {
            tracing::info!("ImagePolicies are not installed in this cluster; pullgate checks for them periodically");
            let changes = self.catalog().replace(&[], &(self.kinds)());
            self.publish(&changes, on_change);
        }
    }

    fn refused(&self, error: &watcher::Error) {
        let clause = self.explain(error);
        self.metrics.reload(Reload::PoliciesForbidden);
        self.phase.send_replace(Phase::Refused(clause));
    }

    fn waiting(&self, error: &watcher::Error) {
        let clause = self.explain(error);
        self.phase.send_if_modified(|phase| match phase {
            Phase::Starting(said) => {
                *said = Some(clause);
                true
            }
            Phase::Ready | Phase::NotInstalled | Phase::Refused(_) => false,
        });
    }

    fn explain(&self, error: &watcher::Error) -> String {
        match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => self.errors.explain(Kind::ImagePolicy, cause).clause,
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => {
                self.errors.other(Kind::ImagePolicy, error);
                "the watch of the ImagePolicies was interrupted".to_owned()
            }
        }
    }

    /// Passes on the policies in force, and logs the changes.
    fn publish(&self, changes: &[Change], on_change: &OnChange) {
        let (in_force, refused) = {
            let catalog = self.catalog();
            (catalog.in_force(), catalog.refused())
        };
        self.metrics.policies(PolicySource::Cluster, in_force.len(), refused);
        if !changes.is_empty() {
            on_change(in_force);
        }
        for change in changes {
            self.tell(change);
        }
        // Also if only a status changed: it may not be what we would write.
        self.changed.notify_one();
    }

    fn tell(&self, change: &Change) {
        match change {
            Change::Accepted { name, generation } => {
                self.metrics.reload(Reload::PoliciesReplaced);
                tracing::info!(policy = name, generation, "an ImagePolicy of the cluster is in force");
            }
            Change::Gone { name } => {
                self.metrics.reload(Reload::PoliciesReplaced);
                tracing::info!(policy = name, "an ImagePolicy of the cluster is gone");
            }
            Change::Refused {
                name,
                generation,
                problems,
                in_force,
            } => {
                self.metrics.reload(Reload::PoliciesRefused);
                tracing::warn!(
                    policy = name,
                    generation,
                    problems = status::tell(problems),
                    "an ImagePolicy of the cluster is not accepted{}",
                    in_force.clause()
                );
            }
        }
    }

    fn next(&self, delay: Duration) -> Next {
        let denials = Denials {
            replica: &self.replica,
            now: jiff::Timestamp::now(),
            counts: &|policy| self.metrics.denied_last_hour(policy),
        };
        self.catalog().next(Instant::now(), delay, denials)
    }

    /// Writes statuses forever, one at a time.
    async fn write(self: Arc<Self>) {
        loop {
            match self.next(jittered(STATUS_DELAY)) {
                Next::Idle => {
                    // Nothing announces a changed count.
                    let _ = tokio::time::timeout(COUNTS, self.changed.notified()).await;
                }
                Next::Wait(until) => {
                    let _ = tokio::time::timeout_at(until.into(), self.changed.notified()).await;
                }
                Next::Write(job) => {
                    let outcome = self.send(&job).await;
                    self.catalog().attempted(&job, Instant::now());
                    tokio::time::sleep(pause(outcome)).await;
                }
            }
        }
    }

    async fn send(&self, job: &Job) -> PolicyStatus {
        let ((group, version), plural) = (POLICIES, Kind::ImagePolicy.plural());
        let path = format!("/apis/{group}/{version}/{plural}/{}/status?fieldManager=pullgate", job.name);
        let ask = async {
            let request = http::Request::patch(path)
                .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
                .body(job.patch.to_string().into_bytes())
                .map_err(kube::Error::HttpError)?;
            self.client.request_text(request).await
        };
        let outcome = match tokio::time::timeout(limits::API_SERVER, ask).await {
            Ok(Ok(_)) => PolicyStatus::Written,
            Ok(Err(kube::Error::Api(status))) => match status.code {
                401 | 403 => PolicyStatus::Forbidden,
                404 => PolicyStatus::Gone,
                409 => PolicyStatus::Overtaken,
                _ => PolicyStatus::Failed,
            },
            Ok(Err(_)) | Err(_) => PolicyStatus::Failed,
        };
        self.metrics.policy_status(outcome);
        match outcome {
            PolicyStatus::Written => self.mute.store(false, Ordering::Relaxed),
            PolicyStatus::Forbidden if !self.mute.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    "pullgate may not write the status of ImagePolicies (patch imagepolicies/status); they are in force anyway"
                );
            }
            PolicyStatus::Forbidden => {}
            PolicyStatus::Gone | PolicyStatus::Overtaken | PolicyStatus::Failed => {
                tracing::debug!(policy = job.name, outcome = outcome.name(), "a status was not written");
            }
        }
        outcome
    }
}

/// How long the writer waits before the next status.
fn pause(outcome: PolicyStatus) -> Duration {
    match outcome {
        PolicyStatus::Forbidden => FORBIDDEN_WAIT,
        PolicyStatus::Written | PolicyStatus::Gone | PolicyStatus::Overtaken | PolicyStatus::Failed => GAP,
    }
}

/// The status code of an answer.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    }
}

/// Reads the policies once. A cluster without the kind has none.
///
/// # Errors
/// A clause: why they cannot be read.
pub(super) async fn list(client: &Client, kinds: &Kinds) -> Result<Listed, String> {
    let ((group, version), plural) = (POLICIES, Kind::ImagePolicy.plural());
    let mut pages = Pages::of(format!("/apis/{group}/{version}/{plural}"), PAGE);
    let mut listed = Listed::default();
    loop {
        let page = match pages.next(client).await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(listed),
            Err(broken) if broken.code() == Some(404) => return Ok(listed),
            Err(broken) => return Err(broken_off(&broken)),
        };
        for object in &page {
            match catalog::compile(object, kinds) {
                Ok(policy) => listed.policies.push(Arc::new(policy)),
                Err(problems) => listed.problems.push(format!(
                    "ImagePolicy {} is ignored: {}",
                    crate::image::escape(convert::name(object)),
                    status::tell(&problems)
                )),
            }
        }
    }
}

fn broken_off(broken: &Broken) -> String {
    format!("the cluster's ImagePolicies could not be read ({broken})")
}

#[cfg(test)]
mod tests;
