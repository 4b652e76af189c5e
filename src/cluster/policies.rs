//! The cluster's `ImagePolicies`: watched, compiled on arrival, and handed on as the set that holds. Each change is one step: a version
//! that does not compile leaves the last good one in force, and while the API server is away the last set holds. What is thought of a
//! policy is written into its status, beside all this and never in its way.

mod catalog;
mod status;

use super::kind::{Kind, POLICIES, Trouble};
use super::pages::{Broken, Pages};
use super::raw::Raw;
use super::store::{FIRST_WAIT, LONGEST_WAIT, REFUSED_WAIT, jittered};
use super::watch::WATCH_SECONDS;
use super::{Readiness, convert};
use crate::limits;
use crate::policy::Policy;
use crate::telemetry::{Metrics, PolicySource, PolicyStatus, Reload};
use catalog::{Catalog, Change, Job, Next};
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

/// How often the kind is looked for while it is not installed.
const ABSENT_WAIT: Duration = Duration::from_secs(10);
/// Policies a page: one may have a megabyte and a half.
const PAGE: u32 = 50;
/// Between two statuses.
const GAP: Duration = Duration::from_millis(100);
/// Before a new status is written: another replica may be about to.
const COURTESY: Duration = Duration::from_millis(300);
/// After a refusal: somebody has to change a role first.
const FORBIDDEN_WAIT: Duration = Duration::from_mins(5);

/// Takes the policies that hold from now on.
pub(super) type Take = Box<dyn Fn(Vec<Arc<Policy>>) + Send + Sync>;

/// How far the watch is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// The first list has not ended; the last trouble, as a clause.
    Starting(Option<String>),
    /// It holds what the API server has shown.
    Ready,
    /// The cluster has no such kind.
    NotInstalled,
    /// The API server refuses; a clause. What held before goes on to hold.
    Refused(String),
}

/// The watch, its state, and the writer of statuses.
pub(super) struct Followed {
    client: Client,
    catalog: Mutex<Catalog>,
    phase: watch::Sender<Phase>,
    /// Something is there that a status may have to say.
    news: Notify,
    /// The last status was refused, and that was logged.
    mute: AtomicBool,
    trouble: Arc<Trouble>,
    metrics: Metrics,
}

/// The cluster's policies at one moment.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that hold.
    pub policies: Vec<Arc<Policy>>,
    /// What is wrong with the others, a sentence each.
    pub problems: Vec<String>,
}

impl Followed {
    /// Starts the watch and the writer. Must be called within a tokio runtime.
    pub(super) fn start(client: &Client, trouble: &Arc<Trouble>, metrics: &Metrics, take: Take) -> (Arc<Self>, [AbortHandle; 2]) {
        let followed = Arc::new(Self {
            client: client.clone(),
            catalog: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting(None)),
            news: Notify::new(),
            mute: AtomicBool::new(false),
            trouble: Arc::clone(trouble),
            metrics: metrics.clone(),
        });
        let watching = tokio::spawn(Arc::clone(&followed).watch(take)).abort_handle();
        let writing = tokio::spawn(Arc::clone(&followed).write()).abort_handle();
        (followed, [watching, writing])
    }

    pub(super) fn readiness(&self) -> Readiness {
        let (synced, note) = match self.phase.borrow().clone() {
            Phase::Ready => (true, None),
            Phase::NotInstalled => (
                true,
                Some("the kind is not installed in this cluster: no policy comes from it".to_owned()),
            ),
            Phase::Refused(why) => (true, Some(why)),
            Phase::Starting(Some(why)) => (false, Some(why)),
            Phase::Starting(None) => (false, Some("the ImagePolicies have not been listed yet".to_owned())),
        };
        let refused = match self.catalog().refused() {
            0 => None,
            1 => Some("1 is not accepted as it is written, its status says why".to_owned()),
            many => Some(format!("{many} are not accepted as they are written, their status says why")),
        };
        let notes: Vec<String> = note.into_iter().chain(refused).collect();
        Readiness {
            what: Kind::ImagePolicy.plural(),
            synced,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        }
    }

    /// Waits until the first list has ended, well or refused.
    pub(super) async fn synced(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = phase.wait_for(|phase| !matches!(phase, Phase::Starting(_))).await;
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the policies for ever.
    async fn watch(self: Arc<Self>, take: Take) {
        let mut wait = FIRST_WAIT;
        let mut missing: u32 = 0;
        loop {
            let api: Api<Raw> = Api::all_with(self.client.clone(), &Kind::ImagePolicy.resource());
            let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
            let events = watcher::watcher(api, config);
            pin_mut!(events);
            let mut listed: Vec<Value> = Vec::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => listed.clear(),
                    Ok(Event::InitApply(object)) if object.name().is_empty() => {}
                    Ok(Event::InitApply(object)) => listed.push(object.value),
                    Ok(Event::InitDone) => {
                        let changes = self.catalog().replace(&std::mem::take(&mut listed));
                        (wait, missing) = (FIRST_WAIT, 0);
                        self.publish(&changes, &take);
                        self.phase.send_replace(Phase::Ready);
                    }
                    Ok(Event::Apply(object)) => {
                        let change = (!object.name().is_empty()).then(|| self.catalog().apply(&object.value));
                        self.publish(change.flatten().as_slice(), &take);
                        wait = FIRST_WAIT;
                    }
                    Ok(Event::Delete(object)) => {
                        let change = self.catalog().remove(object.name());
                        self.publish(change.as_slice(), &take);
                        wait = FIRST_WAIT;
                    }
                    Err(error) => match code(&error) {
                        Some(404) => {
                            missing = missing.saturating_add(1);
                            self.absent(missing, &take);
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
                            // A watch that cannot begin where the last one ended would try that for ever.
                            if answered.is_some() && matches!(error, watcher::Error::WatchStartFailed(_)) {
                                break;
                            }
                        }
                    },
                }
            }
        }
    }

    /// The API server knows no such kind. One that is just starting may say so of any kind: what holds goes when it is said twice.
    fn absent(&self, times: u32, take: &Take) {
        let new = self.phase.send_if_modified(|phase| {
            let sure = matches!(phase, Phase::Starting(_)) || times > 1;
            let new = sure && *phase != Phase::NotInstalled;
            if new {
                *phase = Phase::NotInstalled;
            }
            new
        });
        if new {
            tracing::info!("ImagePolicies are not installed in this cluster; they are looked for now and then");
            let changes = self.catalog().replace(&[]);
            self.publish(&changes, take);
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
            | watcher::Error::WatchFailed(cause) => self.trouble.explain(Kind::ImagePolicy, cause).clause,
            watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => {
                self.trouble.other(Kind::ImagePolicy, error);
                "the watch of the ImagePolicies was interrupted".to_owned()
            }
        }
    }

    /// Hands on what holds now, and says what has changed.
    fn publish(&self, changes: &[Change], take: &Take) {
        let (holding, refused) = {
            let catalog = self.catalog();
            (catalog.holding(), catalog.refused())
        };
        self.metrics.policies(PolicySource::Cluster, holding.len(), refused);
        if !changes.is_empty() {
            take(holding);
        }
        for change in changes {
            self.tell(change);
        }
        // Also where only a status has changed: it may not be what we think.
        self.news.notify_one();
    }

    fn tell(&self, change: &Change) {
        match change {
            Change::Accepted { name, generation } => {
                self.metrics.reload(Reload::PoliciesReplaced);
                tracing::info!(policy = name, generation, "an ImagePolicy of the cluster holds");
            }
            Change::Gone { name } => {
                self.metrics.reload(Reload::PoliciesReplaced);
                tracing::info!(policy = name, "an ImagePolicy of the cluster is gone");
            }
            Change::Refused {
                name,
                generation,
                problems,
                held,
            } => {
                self.metrics.reload(Reload::PoliciesRefused);
                tracing::warn!(
                    policy = name,
                    generation,
                    problems = status::tell(problems),
                    "an ImagePolicy of the cluster is not accepted as it is written{}",
                    held.clause()
                );
            }
        }
    }

    /// Writes statuses for ever, one at a time.
    async fn write(self: Arc<Self>) {
        loop {
            let next = self.catalog().next(Instant::now(), jittered(COURTESY));
            match next {
                Next::Rest => self.news.notified().await,
                Next::Wait(until) => {
                    // Whichever comes first.
                    let _ = tokio::time::timeout_at(until.into(), self.news.notified()).await;
                }
                Next::Write(job) => {
                    let outcome = self.send(&job).await;
                    self.catalog().attempted(&job.name, Instant::now());
                    tokio::time::sleep(if outcome == PolicyStatus::Forbidden {
                        FORBIDDEN_WAIT
                    } else {
                        GAP
                    })
                    .await;
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
                    "pullgate may not write the status of ImagePolicies (patch imagepolicies/status); they hold all the same"
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

/// Reads the policies once. A cluster that does not know the kind has none.
///
/// # Errors
/// A clause: why they cannot be read.
pub(super) async fn list(client: &Client) -> Result<Listed, String> {
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
            match catalog::compile(object) {
                Ok(policy) => listed.policies.push(Arc::new(policy)),
                Err(problems) => listed.problems.push(format!(
                    "ImagePolicy {} does not hold: {}",
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
