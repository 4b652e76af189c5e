//! Remembered answers, each for its lifetime (contract 6): answers by request, content by digest, and which servers must not be asked now.
//!
//! The key of an answer is the request with its asker, so nobody learns from another's answers, nor from their timing. Askers share content
//! by digest, each after its own proof that it may read it.

mod kept;
mod packed;
mod weights;

use self::kept::{Clock, Kept, Moment};
use self::packed::{Interned, Packed};
use self::weights::{weight, weight_of_response};
use super::bounded::{Bounded, Weighs};
use super::exchange::asked;
use super::instead::{Known, asks_who};
use super::servers::{class, is_of_host, is_silence, part};
use crate::credentials::Fingerprint;
use crate::image::Digest;
use crate::limits;
use crate::runtime::answer::{Answer, Body, Fault, FaultKind, NotSent, Response, Withheld};
use crate::runtime::outcome::TlsFault;
use crate::runtime::request::{Auth, HostSettingsId, Method, Origin, Request, Retry, Want, Who};
use crate::telemetry::HostClass;
use moka::sync::Cache;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a tag's digest is believed.
const TAG: Duration = Duration::from_mins(1);
/// How long it is believed that an asker reads a digest.
const DIGEST: Duration = Duration::from_mins(5);
/// Content by digest does not change.
const CONTENT: Duration = Duration::from_hours(6);
/// How long what an answer said of the pull quota is news: others pull meanwhile, and the window moves on.
const QUOTA: Duration = TAG;
/// An answer that says no (not found, refused): long enough for a burst, short enough for a push that follows.
pub(super) const REFUSAL_TTL: Duration = Duration::from_secs(2);
/// Faults, and errors of servers.
const FAULT_TTL: Duration = Duration::from_secs(5);
/// That a loopback host speaks no TLS.
const PLAIN_HTTP: Duration = Duration::from_mins(10);

/// How long not to ask again after a 429.
fn wait(retry_after: Option<Duration>) -> Duration {
    retry_after
        .unwrap_or(limits::USUAL_RETRY_AFTER)
        .clamp(limits::SHORTEST_RETRY_AFTER, limits::LONGEST_RETRY_AFTER)
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// As old as its kind allows.
    Fresh,
    /// Given since then, unless it cannot have changed (content by digest, and who was shown it).
    Since(Instant),
    /// As old as the settings allow while a registry is down.
    Stale,
}

/// What a 429 was about: Docker Hub counts GETs of manifests, while HEADs go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    /// HEADs and tokens: nothing can be asked.
    All,
    /// GETs.
    Content,
}

/// Who was told to wait, by whom, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ThrottleKey {
    host: Arc<str>,
    port: u16,
    asker: Option<Fingerprint>,
    lane: Lane,
    /// If it is not for all of the host.
    repository: Option<Arc<str>>,
}

/// Who waited in vain for a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SilenceKey {
    asker: Who,
    origin: Origin,
    host_settings: HostSettingsId,
    /// If only this repository was silent.
    repository: Option<Arc<str>>,
}

/// What an answer is kept under: the request, whatever the runtime paused before it.
struct RequestKey<'a>(&'a Request);

impl Hash for RequestKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Request {
            asker,
            method,
            origin,
            path,
            accept,
            auth,
            want,
            host_settings,
            agent,
            retry: Retry { nth, after: _ },
        } = self.0;
        (asker, method, origin, path, accept, auth, want, host_settings, agent, nth).hash(state);
    }
}

/// What content is kept under. Not by digest alone: a registry that lies about a digest must not be told what another holds.
#[derive(Hash)]
struct ContentKey<'a> {
    origin: &'a Origin,
    path: &'a str,
    accept: &'a str,
    want: &'a Want,
    host_settings: HostSettingsId,
}

/// Who was shown what, and by what right.
#[derive(Hash)]
struct ReadGrant<'a> {
    asker: Who,
    origin: &'a Origin,
    /// It ends in a digest, without a query; or names a repository.
    path: &'a str,
    host_settings: HostSettingsId,
    auth: &'a [(Origin, Auth)],
}

impl Weighs for (Arc<Response>, Instant) {
    fn weight(&self) -> usize {
        weight_of_response(&self.0)
    }
}

/// The memory.
pub(super) struct Memo {
    clock: Clock,
    /// By [`RequestKey`].
    answers: Bounded<Box<Kept>>,
    /// By [`ContentKey`]; with when they came.
    contents: Bounded<(Packed, Moment)>,
    /// By [`ReadGrant`]; when it was given.
    grants: Bounded<Moment>,
    interned: Interned,
    /// When the last of `throttled` and `silent` ends: after that neither need be looked at.
    withheld_until: Mutex<Option<Instant>>,
    /// Until when, and whether the registry said so.
    throttled: Cache<ThrottleKey, (Instant, bool)>,
    /// The repository that was throttled last, and until when: another one before that, and it is more than the repository.
    throttled_last: Cache<ThrottleKey, (Arc<str>, Instant)>,
    silent: Cache<SilenceKey, (Arc<Fault>, Instant)>,
    /// What a repository asked of an asker without authorisation, and until when that holds.
    challenges: Bounded<(Arc<Response>, Instant)>,
    max_stale: Duration,
}

impl Memo {
    /// `bytes` bounds the weight of answers, content and proofs together; `max_stale` how long a good answer may serve while its registry is down.
    pub(super) fn new(bytes: u64, max_stale: Duration) -> Self {
        let share = |percent| bytes / 100 * percent;
        Self {
            clock: Clock::new(),
            answers: Bounded::new(share(28)),
            contents: Bounded::new(share(48)),
            grants: Bounded::new(share(19)),
            challenges: Bounded::new(share(5)),
            interned: Interned::default(),
            withheld_until: Mutex::default(),
            throttled: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(limits::LONGEST_RETRY_AFTER)
                .build(),
            throttled_last: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(limits::LONGEST_RETRY_AFTER)
                .build(),
            silent: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(PLAIN_HTTP)
                .build(),
            max_stale,
        }
    }

    /// What is kept of answers and of content, in bytes, roughly.
    pub(super) fn weights(&self) -> [u64; 2] {
        [self.answers.weight(), self.contents.weight()]
    }

    /// The remembered answer to this very request.
    pub(super) fn recall(&self, request: &Request, age: Age) -> Option<Answer> {
        let now = self.clock.now();
        let told = self.answers.read(self.answers.hash_of(&RequestKey(request)), |kept| {
            let counts = match age {
                Age::Fresh | Age::Stale => kept.is_fresh(now),
                Age::Since(since) => kept.is_fresh(now) && kept.age(now) <= since.elapsed(),
            };
            let latest = counts.then(|| kept.as_of(request, &self.interned, now)).flatten();
            if age != Age::Stale || latest.as_ref().is_some_and(|latest| !is_down(request, latest)) {
                return latest;
            }
            match kept.last_good(request, &self.interned) {
                Some((good, at)) if now.since(at) <= self.max_stale => Some(good),
                Some(_) | None => latest,
            }
        });
        let told = told.flatten()?;
        if age == Age::Stale
            && is_down(request, &told)
            && self.shown(request, age).is_some()
            && let Some(content) = self.content(request, age)
        {
            return Some(Answer::Response(content));
        }
        Some(told)
    }

    /// The content of this digest, whoever asked for it.
    pub(super) fn content(&self, request: &Request, age: Age) -> Option<Arc<Response>> {
        let hash = self.contents.hash_of(&ContentKey::of(request));
        let longest = match age {
            Age::Fresh | Age::Since(_) => CONTENT,
            Age::Stale => CONTENT.max(self.max_stale),
        };
        let now = self.clock.now();
        let answer = self.contents.read(hash, |(packed, at)| {
            let holds = now.since(*at) < longest;
            holds.then(|| packed.unpack(request, &self.interned, false)).flatten()
        });
        match answer.flatten()? {
            Answer::Response(response) => Some(response),
            Answer::Fault(_) | Answer::NotSent(_) | Answer::Late => None,
        }
    }

    /// Whether the content of this digest was read lately, whoever asked for it.
    fn is_recent(&self, request: &Request, age: Age) -> bool {
        let hash = self.contents.hash_of(&ContentKey::of(request));
        let at = self.contents.read(hash, |(_, at)| *at);
        age == Age::Stale || at.is_some_and(|at| self.clock.now().since(at) < DIGEST)
    }

    /// When this asker was shown what it asks for, by the right that it asks by.
    fn shown(&self, request: &Request, age: Age) -> Option<Moment> {
        let hash = self.grants.hash_of(&ReadGrant::of(request, bare(&request.path)));
        let at = self.grants.read(hash, |at| *at)?;
        let longest = match age {
            Age::Fresh | Age::Since(_) => DIGEST,
            Age::Stale => DIGEST.max(self.max_stale),
        };
        (self.clock.now().since(at) < longest).then_some(at)
    }

    /// What the repository of a request asked of this asker when it came without authorisation.
    pub(super) fn challenge(&self, request: &Request, age: Age) -> Option<Answer> {
        let hash = self.challenges.hash_of(&repository(request)?);
        let (response, until) = self.challenges.read(hash, Clone::clone)?;
        let holds = match age {
            Age::Fresh => Instant::now() < until,
            // When it was given is not known.
            Age::Since(_) => false,
            Age::Stale => true,
        };
        holds.then_some(Answer::Response(response))
    }

    /// Why a request is not to be sent now: this asker was told to wait, or has just waited for this host in vain.
    pub(super) fn withheld(&self, request: &Request) -> Option<Answer> {
        let lanes: &[Lane] = match lane(request) {
            Lane::All => &[Lane::All],
            Lane::Content => &[Lane::All, Lane::Content],
        };
        let now = Instant::now();
        if self.withheld_until().is_none_or(|until| now >= until) {
            return None;
        }
        let scopes = [None, Some(Arc::from(part(&request.path)))];
        for (lane, scope) in lanes.iter().flat_map(|lane| scopes.iter().map(move |scope| (lane, scope))) {
            if let Some((until, said)) = self.throttled.get(&ThrottleKey::of(request, *lane, scope.clone()))
                && now < until
            {
                return Some(Answer::NotSent(Arc::new(NotSent {
                    asked_at: asked(request),
                    why: Withheld::Throttled {
                        left: until.saturating_duration_since(now),
                        asked: said,
                    },
                })));
            }
        }
        let silent = |scope| self.silent.get(&SilenceKey::of(request, scope));
        let [host, path] = scopes;
        let stands = |(_, until): &(Arc<Fault>, Instant)| now < *until;
        let (fault, until) = silent(host).filter(stands).or_else(|| silent(path))?;
        (now < until).then(|| {
            Answer::Fault(Arc::new(Fault {
                asked_at: asked(request),
                ..Fault::clone(&fault)
            }))
        })
    }

    fn withheld_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.withheld_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is withheld until then.
    fn withhold(&self, until: Instant) {
        let mut last = self.withheld_until();
        *last = Some(until).max(*last);
    }

    /// Remembers an answer, and what it shows of others.
    pub(super) fn keep(&self, request: &Request, answer: &Answer) {
        if weight(answer) > limits::LONG_DOCUMENT {
            // Its memory is given back as soon as nobody uses it; it must not fill what others remember either.
            return;
        }
        match answer {
            Answer::Response(response) => {
                if response.status == 429 {
                    let until = Instant::now() + wait(response.retry_after);
                    self.throttle(request, until, response.retry_after.is_some());
                }
                if request.auth.is_empty()
                    && asks_who(request, response)
                    && let Some(key) = repository(request)
                {
                    let until = Instant::now() + ttl(request, answer);
                    let hash = self.challenges.hash_of(&key);
                    let ttl = DIGEST.max(self.max_stale);
                    self.challenges.put(hash, (Arc::clone(response), until), ttl);
                }
                if response.is_success() && !response.is_of_no_registry() {
                    self.grant(request, response);
                    if is_content(request, response) {
                        // Found there from now on, by whoever has a proof; what was answered before is over.
                        let hash = self.contents.hash_of(&ContentKey::of(request));
                        let stored = (Packed::of(request, answer, &self.interned), self.clock.now());
                        self.contents.put(hash, stored, CONTENT.max(self.max_stale));
                        self.answers.take(self.answers.hash_of(&RequestKey(request)));
                        return;
                    }
                }
            }
            Answer::Fault(fault) if is_silence(fault.what) && fault.asked_at.origin == request.origin => {
                let until = Instant::now() + fault_ttl(fault.what);
                let scope = (!is_of_host(fault.what)).then(|| Arc::from(part(&request.path)));
                self.withhold(until);
                self.silent.insert(SilenceKey::of(request, scope), (Arc::clone(fault), until));
            }
            Answer::Fault(_) | Answer::NotSent(_) => {}
            Answer::Late => return,
        }
        self.insert(request, answer, ttl(request, answer), is_good(request, answer));
    }

    /// A 429 is about the repository that it was given for, as far as is known: a proxy's cache may count by path, and the
    /// 429 of one namespace must not stop the others. A second one, of another repository, before the first may be asked again, shows that it
    /// is about the host; some registries are known to count per host.
    fn throttle(&self, request: &Request, until: Instant, said: bool) {
        self.withhold(until);
        let own: Arc<str> = Arc::from(part(&request.path));
        let of_host = ThrottleKey::of(request, lane(request), None);
        let by_asker = ThrottleKey::of(request, Lane::All, None);
        let last = self.throttled_last.get(&by_asker);
        let another = last.is_some_and(|(other, still)| other != own && Instant::now() < still);
        if another || counts_by_account(&request.origin) || !own.starts_with("/v2/") {
            self.throttled.insert(of_host, (until, said));
            return;
        }
        self.throttled_last.insert(by_asker, (Arc::clone(&own), until));
        self.throttled
            .insert(ThrottleKey::of(request, lane(request), Some(own)), (until, said));
    }

    /// Remembers a refusal that led on to a success as long as that: a runtime asks it again every time.
    pub(super) fn keep_as_good(&self, request: &Request, ttl: Duration) {
        let hash = self.answers.hash_of(&RequestKey(request));
        let latest = self.answers.read(hash, |kept| kept.latest(request, &self.interned));
        if let Some(latest @ Answer::Response(_)) = latest.flatten() {
            self.insert(request, &latest, ttl, true);
        }
    }

    fn insert(&self, request: &Request, answer: &Answer, ttl: Duration, is_good: bool) {
        let now = self.clock.now();
        let hash = self.answers.hash_of(&RequestKey(request));
        let pack = |answer: &Answer| Packed::of(request, answer, &self.interned);
        let before = (!is_good && (is_down(request, answer) || is_throttled(answer)))
            .then(|| self.answers.read(hash, |before| before.last_good(request, &self.interned)))
            .flatten()
            .flatten();
        let of_use = match &before {
            Some((_, at)) => self.max_stale.saturating_sub(now.since(*at)),
            None if is_good => self.max_stale,
            None => Duration::ZERO,
        };
        let before = before.map(|(good, at)| (pack(&good), at));
        let kept = Kept::new(pack(answer), now, ttl, is_good, before);
        // What led on to something is looked for a little later.
        self.answers.put(hash, Box::new(kept), (ttl + FAULT_TTL).max(of_use));
    }

    /// Notes what a good answer shows to its asker: the digest that it asked for, the one that its tag stands for, and the config of a
    /// manifest that it was given.
    fn grant(&self, request: &Request, response: &Response) {
        let now = self.clock.now();
        let path = bare(&request.path);
        let Some((folder, name)) = path.rsplit_once('/') else { return };
        if Digest::parse(name).is_some() {
            self.note(request, path, now);
        } else if let Some(digest) = response.digest.as_deref().and_then(Digest::parse)
            && folder.ends_with("/manifests")
        {
            self.note(request, &format!("{folder}/{digest}"), now);
        }
        self.note_config(request, response, now);
    }

    /// Notes what an answer from memory shows to its asker: the config of a manifest, for as long as the manifest itself.
    pub(super) fn grant_config(&self, request: &Request, answer: &Answer) {
        if let Answer::Response(response) = answer
            && matches!(response.body, Body::Manifest { .. })
            && let Some(at) = self.shown(request, Age::Fresh)
        {
            self.note_config(request, response, at);
        }
    }

    fn note_config(&self, request: &Request, response: &Response, at: Moment) {
        let Body::Manifest {
            document: Ok(document), ..
        } = &response.body
        else {
            return;
        };
        let path = bare(&request.path);
        if let Some(config) = document.config.as_ref()
            && let Some((folder, _)) = path.rsplit_once('/')
            && let Some(repository) = folder.strip_suffix("/manifests")
        {
            self.note(request, &format!("{repository}/blobs/{}", config.digest), at);
        }
    }

    fn note(&self, request: &Request, path: &str, at: Moment) {
        let hash = self.grants.hash_of(&ReadGrant::of(request, path));
        if self.grants.read(hash, |before| *before).is_none_or(|before| before < at) {
            self.grants.put(hash, at, DIGEST.max(self.max_stale));
        }
    }
}

impl ThrottleKey {
    fn of(request: &Request, lane: Lane, repository: Option<Arc<str>>) -> Self {
        Self {
            host: Arc::clone(&request.origin.host),
            port: request.origin.port,
            asker: request.asker.id,
            lane,
            repository,
        }
    }
}

impl SilenceKey {
    fn of(request: &Request, repository: Option<Arc<str>>) -> Self {
        Self {
            asker: request.asker,
            origin: request.origin.clone(),
            host_settings: request.host_settings,
            repository,
        }
    }
}

impl<'a> ReadGrant<'a> {
    fn of(request: &'a Request, path: &'a str) -> Self {
        Self {
            asker: request.asker,
            origin: &request.origin,
            path,
            host_settings: request.host_settings,
            auth: &request.auth,
        }
    }
}

impl<'a> ContentKey<'a> {
    fn of(request: &'a Request) -> Self {
        Self {
            origin: &request.origin,
            path: &request.path,
            accept: &request.accept,
            want: &request.want,
            host_settings: request.host_settings,
        }
    }
}

/// What [`super::instead`] may look at.
pub(super) struct Looked<'a> {
    pub(super) memo: &'a Memo,
    pub(super) age: Age,
}

impl Known for Looked<'_> {
    fn answer(&self, request: &Request) -> Option<Answer> {
        self.memo.recall(request, self.age)
    }

    fn content(&self, request: &Request) -> Option<Arc<Response>> {
        self.memo.content(request, self.age)
    }

    fn is_shown(&self, request: &Request) -> bool {
        self.memo.shown(request, self.age).is_some()
    }

    fn is_recent(&self, request: &Request) -> bool {
        self.memo.is_recent(request, self.age)
    }

    fn challenge(&self, request: &Request) -> Option<Answer> {
        self.memo.challenge(request, self.age)
    }
}

/// A repository at a host, asked by somebody: `/v2/team/app`.
fn repository(request: &Request) -> Option<ReadGrant<'_>> {
    let path = bare(&request.path);
    let end = ["/manifests/", "/blobs/"].iter().find_map(|part| path.rfind(part))?;
    Some(ReadGrant::of(request, path.get(..end)?))
}

fn lane(request: &Request) -> Lane {
    match (request.method, &request.want) {
        (Method::Head | Method::Post, _) | (_, Want::Token(_)) => Lane::All,
        (Method::Get, _) => Lane::Content,
    }
}

/// Whether a registry is known to count requests by account or address, for all of its repositories: Docker Hub (docs.docker.com,
/// "Docker Hub usage and limits"), Quay (docs.quay.io, "Quay.io Rate Limits"), ECR, public ECR (docs.aws.amazon.com, "Amazon ECR service
/// quotas"), ACR by registry (learn.microsoft.com, "Azure Container Registry SKU features and limits").
fn counts_by_account(origin: &Origin) -> bool {
    match class(origin) {
        HostClass::DockerIo | HostClass::QuayIo | HostClass::Ecr | HostClass::Acr => true,
        HostClass::Loopback
        | HostClass::GhcrIo
        | HostClass::Gcr
        | HostClass::Gar
        | HostClass::K8s
        | HostClass::Mcr
        | HostClass::Other => false,
    }
}

/// Without its query.
fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// Whether a request is for what a digest names.
fn is_by_digest(request: &Request) -> bool {
    let name = bare(&request.path).rsplit_once('/').map(|(_, name)| name);
    name.is_some_and(|name| Digest::parse(name).is_some())
}

/// Whether an answer brought the content of the digest that was asked for.
fn is_content(request: &Request, response: &Response) -> bool {
    match (&request.want, &response.body) {
        (Want::Manifest { by: Some(by) }, Body::Manifest { digest, .. }) | (Want::Config { by }, Body::Config { digest, .. }) => {
            by == digest && is_by_digest(request) && !response.ends_early()
        }
        (_, _) => false,
    }
}

/// How long an answer holds.
fn ttl(request: &Request, answer: &Answer) -> Duration {
    let good = if is_by_digest(request) { DIGEST } else { TAG };
    match answer {
        // The vault knows how long a token holds.
        Answer::Response(response) if response.body == Body::Granted => Duration::ZERO,
        // It asks; it does not refuse. Its answer holds as long as what it stands in front of.
        Answer::Response(response) if asks_who(request, response) && request.auth.is_empty() => good,
        // A login page or an ingress: it may be over in a moment.
        Answer::Response(response) if is_before_the_registry(request, response) => FAULT_TTL,
        Answer::Response(response) => match response.status {
            200..300 => good,
            429 => wait(response.retry_after),
            400..=407 | 409..=499 => REFUSAL_TTL,
            _ => FAULT_TTL,
        },
        Answer::Fault(fault) => fault_ttl(fault.what),
        Answer::NotSent(_) | Answer::Late => REFUSAL_TTL,
    }
}

fn fault_ttl(kind: FaultKind) -> Duration {
    match kind {
        FaultKind::Tls(TlsFault::PlainHttp) => PLAIN_HTTP,
        FaultKind::RedirectLoop | FaultKind::Internal => REFUSAL_TTL,
        FaultKind::NameNotResolved
        | FaultKind::Connection(_)
        | FaultKind::TimedOut(_)
        | FaultKind::Tls(_)
        | FaultKind::Unreadable => FAULT_TTL,
    }
}

/// Whether an answer may serve while its registry is down: a pull that went well went by it.
fn is_good(request: &Request, answer: &Answer) -> bool {
    match answer {
        Answer::Response(response) if is_before_the_registry(request, response) => false,
        Answer::Response(response) => response.is_success() || (asks_who(request, response) && request.auth.is_empty()),
        Answer::Fault(fault) => fault.what == FaultKind::Tls(TlsFault::PlainHttp),
        Answer::NotSent(_) | Answer::Late => false,
    }
}

/// Whether something else than the registry answered for it. Of a token server, and of `/v2/`, nobody expects that it shows itself.
fn is_before_the_registry(request: &Request, response: &Response) -> bool {
    let about_content = match &request.want {
        Want::Manifest { .. } | Want::Config { .. } | Want::Blob { .. } | Want::ErrorText => true,
        Want::Nothing => repository(request).is_some() || !response.is_success(),
        Want::Token(_) | Want::Tags { .. } => false,
    };
    about_content && response.is_of_no_registry()
}

/// Whether the registry may be fine again in a moment.
fn is_down(request: &Request, answer: &Answer) -> bool {
    match answer {
        Answer::Response(response) if is_before_the_registry(request, response) => true,
        Answer::Response(response) => !matches!(response.status, 200..300 | 400..=407 | 409..=499),
        Answer::Fault(fault) => match fault.what {
            FaultKind::Tls(TlsFault::PlainHttp) | FaultKind::RedirectLoop | FaultKind::Internal => false,
            FaultKind::NameNotResolved
            | FaultKind::Connection(_)
            | FaultKind::TimedOut(_)
            | FaultKind::Tls(_)
            | FaultKind::Unreadable => true,
        },
        Answer::NotSent(_) | Answer::Late => false,
    }
}

fn is_throttled(answer: &Answer) -> bool {
    matches!(answer, Answer::Response(response) if response.status == 429)
}

#[cfg(test)]
mod tests;
