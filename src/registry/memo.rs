//! Remembered answers, each for its lifetime (contract 6): answers by request, content by digest, and which servers must not be asked now.
//!
//! The key of an answer is the request with its asker, so nobody learns from another's answers, nor from their timing. Askers share content
//! by digest, each after its own proof that it may read it.

use super::exchange::asked;
use super::instead::{Known, asks_who};
use super::servers::{class, is_of_host, is_silence, part};
use crate::credentials::Fingerprint;
use crate::image::Digest;
use crate::limits;
use crate::runtime::answer::{Answer, Body, Fault, FaultKind, NotSent, Response, Withheld};
use crate::runtime::outcome::TlsFault;
use crate::runtime::request::{Attempt, Auth, Method, Origin, Request, TrustId, Want, Who};
use crate::telemetry::HostClass;
use moka::Expiry;
use moka::sync::Cache;
use std::mem::size_of;
use std::sync::Arc;
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
/// Not found and refused: long enough for a burst, short enough for a push that follows.
const SETTLED: Duration = Duration::from_secs(2);
/// Faults, and errors of servers.
const DOWN: Duration = Duration::from_secs(5);
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
    /// As old as the settings allow while a registry is down.
    Stale,
}

/// What was answered last, and the last good answer.
#[derive(Clone)]
struct Kept {
    latest: Answer,
    given: Instant,
    fresh_until: Instant,
    /// The last good answer and when it was given; it serves while the registry is down, and is forgotten once that says otherwise.
    good: Option<(Answer, Instant)>,
    /// How long the entry is of use.
    keep: Duration,
}

/// What a 429 was about: Docker Hub counts GETs of manifests, while HEADs go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    /// HEADs and tokens: nothing can be asked.
    All,
    /// GETs.
    Content,
}

/// Whoever was told to wait: host and port, asker, lane, and the repository, if it is not for all of the host.
type Throttled = (Arc<str>, u16, Option<Fingerprint>, Lane, Option<Arc<str>>);

/// Who waited in vain: for which host, by which settings, and for which repository, where only that was silent.
type Silent = (Who, Origin, TrustId, Option<Arc<str>>);

/// What content is kept under. Not by digest alone: a registry that lies about a digest must not be told what another holds.
#[derive(PartialEq, Eq, Hash)]
struct ContentKey {
    origin: Origin,
    path: Arc<str>,
    accept: Arc<str>,
    want: Want,
    trust: TrustId,
}

/// Who was shown what, and by what right.
#[derive(PartialEq, Eq, Hash)]
struct Proof {
    asker: Who,
    origin: Origin,
    /// It ends in a digest, without a query.
    path: Arc<str>,
    trust: TrustId,
    auth: Vec<(Origin, Auth)>,
}

/// The memory.
pub(super) struct Memo {
    answers: Cache<Request, Kept>,
    contents: Cache<ContentKey, (Arc<Response>, Instant)>,
    proofs: Cache<Proof, Instant>,
    /// Until when, and whether the registry said so.
    throttled: Cache<Throttled, (Instant, bool)>,
    /// The repository that was throttled last, and until when: another one before that, and it is more than the repository.
    throttled_last: Cache<Throttled, (Arc<str>, Instant)>,
    silent: Cache<Silent, (Arc<Fault>, Instant)>,
    /// What a repository asked of an asker without authorisation, and until when that holds.
    challenges: Cache<Proof, (Arc<Response>, Instant)>,
    max_stale: Duration,
}

struct AsLong;

impl Expiry<Request, Kept> for AsLong {
    fn expire_after_create(&self, _: &Request, kept: &Kept, _: std::time::Instant) -> Option<Duration> {
        Some(kept.keep)
    }

    fn expire_after_update(&self, _: &Request, kept: &Kept, _: std::time::Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.keep)
    }
}

impl Memo {
    /// `bytes` bounds the weight of answers, content and proofs together; `max_stale` how long a good answer may serve while its registry is down.
    pub(super) fn new(bytes: u64, max_stale: Duration) -> Self {
        let share = |percent| bytes / 100 * percent;
        let answers = Cache::builder()
            .max_capacity(share(45))
            .weigher(|request: &Request, kept: &Kept| {
                let good = match &kept.good {
                    Some((good, _)) if !is_same(good, &kept.latest) => weight(good),
                    Some(_) | None => 0,
                };
                clamped(weight_of_request(request) + size_of::<Kept>() + weight(&kept.latest) + good)
            })
            .expire_after(AsLong)
            .build();
        let contents = Cache::builder()
            .max_capacity(share(45))
            .weigher(|key: &ContentKey, (response, _): &(Arc<Response>, Instant)| {
                clamped(size_of::<ContentKey>() + key.path.len() + key.accept.len() + weight_of_response(response))
            })
            .time_to_live(CONTENT.max(max_stale))
            .build();
        let proofs = Cache::builder()
            .max_capacity(share(10))
            .weigher(|proof: &Proof, _| {
                clamped(size_of::<(Proof, Instant)>() + proof.path.len() + proof.auth.len() * size_of::<(Origin, Auth)>())
            })
            .time_to_live(DIGEST.max(max_stale))
            .build();
        let hosts = |lives| Cache::builder().max_capacity(limits::REMEMBERED).time_to_live(lives);
        Self {
            answers,
            contents,
            proofs,
            throttled: hosts(limits::LONGEST_RETRY_AFTER).build(),
            throttled_last: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(limits::LONGEST_RETRY_AFTER)
                .build(),
            silent: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(PLAIN_HTTP)
                .build(),
            challenges: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(DIGEST.max(max_stale))
                .build(),
            max_stale,
        }
    }

    /// What is kept of answers and of content, in bytes, roughly.
    pub(super) fn weights(&self) -> [u64; 2] {
        [self.answers.weighted_size(), self.contents.weighted_size()]
    }

    /// The remembered answer to this very request.
    pub(super) fn recall(&self, request: &Request, age: Age) -> Option<Answer> {
        let kept = if request.attempt.after.is_zero() {
            self.answers.get(request)?
        } else {
            self.answers.get(&named(request))?
        };
        let now = Instant::now();
        let is_fresh = now < kept.fresh_until;
        if age == Age::Fresh || !is_down(request, &kept.latest) && is_fresh {
            return is_fresh.then(|| kept.as_of(now));
        }
        match &kept.good {
            Some((good, at)) if now.duration_since(*at) <= self.max_stale => Some(without_quota(good)),
            Some(_) | None => is_fresh.then(|| kept.as_of(now)),
        }
    }

    /// The content of this digest, whoever asked for it.
    pub(super) fn content(&self, request: &Request, age: Age) -> Option<Arc<Response>> {
        let (response, at) = self.contents.get(&ContentKey::of(request))?;
        let longest = match age {
            Age::Fresh => CONTENT,
            Age::Stale => CONTENT.max(self.max_stale),
        };
        (at.elapsed() < longest).then_some(response)
    }

    /// When this asker was shown what it asks for, by the right that it asks by.
    pub(super) fn shown(&self, request: &Request, age: Age) -> Option<Instant> {
        let at = self.proofs.get(&Proof::of(request, bare(&request.path)))?;
        let longest = match age {
            Age::Fresh => DIGEST,
            Age::Stale => DIGEST.max(self.max_stale),
        };
        (at.elapsed() < longest).then_some(at)
    }

    /// What the repository of a request asked of this asker when it came without authorisation.
    pub(super) fn challenge(&self, request: &Request, age: Age) -> Option<Answer> {
        let (response, until) = self.challenges.get(&repository(request)?)?;
        let holds = match age {
            Age::Fresh => Instant::now() < until,
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
        let scopes = [None, Some(Arc::from(part(&request.path)))];
        for (lane, scope) in lanes.iter().flat_map(|lane| scopes.iter().map(move |scope| (lane, scope))) {
            if let Some((until, said)) = self.throttled.get(&throttled(request, *lane, scope.clone()))
                && now < until
            {
                return Some(Answer::NotSent(Arc::new(NotSent {
                    at: asked(request),
                    why: Withheld::Throttled {
                        left: until.saturating_duration_since(now),
                        asked: said,
                    },
                })));
            }
        }
        let silent = |scope| {
            self.silent
                .get(&(request.asker, request.origin.clone(), request.trust, scope))
        };
        let [host, path] = scopes;
        let stands = |(_, until): &(Arc<Fault>, Instant)| now < *until;
        let (fault, until) = silent(host).filter(stands).or_else(|| silent(path))?;
        (now < until).then(|| {
            Answer::Fault(Arc::new(Fault {
                at: asked(request),
                ..Fault::clone(&fault)
            }))
        })
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
                    let until = Instant::now() + lives(request, answer);
                    self.challenges.insert(key, (Arc::clone(response), until));
                }
                if response.is_success() && !response.is_of_no_registry() {
                    self.prove(request, response);
                    if is_content(request, response) {
                        let stored = Response {
                            quota: None,
                            retry_after: None,
                            ..Response::clone(response)
                        };
                        // Found there from now on, by whoever has a proof.
                        self.contents
                            .insert(ContentKey::of(request), (Arc::new(stored), Instant::now()));
                    }
                }
            }
            Answer::Fault(fault) if is_silence(fault.what) && fault.at.origin == request.origin => {
                let until = Instant::now() + fault_lives(fault.what);
                let scope = (!is_of_host(fault.what)).then(|| Arc::from(part(&request.path)));
                let key = (request.asker, request.origin.clone(), request.trust, scope);
                self.silent.insert(key, (Arc::clone(fault), until));
            }
            Answer::Fault(_) | Answer::NotSent(_) => {}
            Answer::Late => return,
        }
        self.insert(request, answer, lives(request, answer), is_good(request, answer));
    }

    /// A 429 is about the repository that it was given for, as far as is known: a proxy's cache may count by path, and one namespace's 429 is
    /// not to keep the others from theirs. A second one of another repository, before the first may be asked again, shows that it is about
    /// the host; and of some that is known.
    fn throttle(&self, request: &Request, until: Instant, said: bool) {
        let own: Arc<str> = Arc::from(part(&request.path));
        let of_host = throttled(request, lane(request), None);
        let by_asker = throttled(request, Lane::All, None);
        let last = self.throttled_last.get(&by_asker);
        let another = last.is_some_and(|(other, still)| other != own && Instant::now() < still);
        if another || counts_by_account(&request.origin) || !own.starts_with("/v2/") {
            self.throttled.insert(of_host, (until, said));
            return;
        }
        self.throttled_last.insert(by_asker, (Arc::clone(&own), until));
        self.throttled
            .insert(throttled(request, lane(request), Some(own)), (until, said));
    }

    /// Remembers a refusal that led on to a success as long as that: a runtime asks it again every time.
    pub(super) fn keep_as_good(&self, request: &Request, lives: Duration) {
        if let Some(kept) = self.answers.get(request)
            && matches!(kept.latest, Answer::Response(_))
        {
            self.insert(request, &kept.latest, lives, true);
        }
    }

    fn insert(&self, request: &Request, answer: &Answer, lives: Duration, is_good: bool) {
        let now = Instant::now();
        let request = named(request);
        let good = if is_good {
            Some((answer.clone(), now))
        } else if is_down(&request, answer) || is_throttled(answer) {
            self.answers.get(&request).and_then(|before| before.good)
        } else {
            None
        };
        let of_use = good
            .as_ref()
            .map_or(Duration::ZERO, |(_, at)| self.max_stale.saturating_sub(at.elapsed()));
        let kept = Kept {
            latest: answer.clone(),
            given: now,
            fresh_until: now + lives,
            good,
            // What led on to something is looked for a little later.
            keep: (lives + DOWN).max(of_use),
        };
        self.answers.insert(request, kept);
    }

    /// Notes what a good answer shows to its asker: the digest that it asked for, the one that its tag stands for, and the config of a
    /// manifest that it was given.
    fn prove(&self, request: &Request, response: &Response) {
        let now = Instant::now();
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
    pub(super) fn prove_config(&self, request: &Request, answer: &Answer) {
        if let Answer::Response(response) = answer
            && matches!(response.body, Body::Manifest { .. })
            && let Some(at) = self.shown(request, Age::Fresh)
        {
            self.note_config(request, response, at);
        }
    }

    fn note_config(&self, request: &Request, response: &Response, at: Instant) {
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

    fn note(&self, request: &Request, path: &str, at: Instant) {
        let proof = Proof::of(request, path);
        if self.proofs.get(&proof).is_none_or(|before| before < at) {
            self.proofs.insert(proof, at);
        }
    }
}

impl Kept {
    /// The latest answer as it is to be told now.
    fn as_of(&self, now: Instant) -> Answer {
        match &self.latest {
            Answer::Response(response) if response.status == 429 => Answer::Response(Arc::new(Response {
                // What it asked for, not how long we wait at most.
                retry_after: response
                    .retry_after
                    .map(|asked| asked.saturating_sub(now.duration_since(self.given))),
                ..Response::clone(response)
            })),
            answer if now.duration_since(self.given) >= QUOTA => without_quota(answer),
            answer => answer.clone(),
        }
    }
}

impl Proof {
    fn of(request: &Request, path: &str) -> Self {
        Self {
            asker: request.asker,
            origin: request.origin.clone(),
            path: Arc::from(path),
            trust: request.trust,
            auth: request.auth.clone(),
        }
    }
}

impl ContentKey {
    fn of(request: &Request) -> Self {
        Self {
            origin: request.origin.clone(),
            path: Arc::clone(&request.path),
            accept: Arc::clone(&request.accept),
            want: request.want.clone(),
            trust: request.trust,
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

    fn challenge(&self, request: &Request) -> Option<Answer> {
        self.memo.challenge(request, self.age)
    }
}

/// A repository at a host, asked by somebody: `/v2/team/app`.
fn repository(request: &Request) -> Option<Proof> {
    let path = bare(&request.path);
    let end = ["/manifests/", "/blobs/"].iter().find_map(|part| path.rfind(part))?;
    Some(Proof::of(request, path.get(..end)?))
}

fn lane(request: &Request) -> Lane {
    match (request.method, &request.want) {
        (Method::Head | Method::Post, _) | (_, Want::Token(_)) => Lane::All,
        (Method::Get, _) => Lane::Content,
    }
}

fn throttled(request: &Request, lane: Lane, repository: Option<Arc<str>>) -> Throttled {
    let Origin { host, port, .. } = &request.origin;
    (Arc::clone(host), *port, request.asker.id, lane, repository)
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

/// By its number among equal requests; how long the runtime paused before it makes no difference.
fn named(request: &Request) -> Request {
    Request {
        attempt: Attempt {
            nth: request.attempt.nth,
            after: Duration::ZERO,
        },
        ..request.clone()
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
            by == digest && is_by_digest(request)
        }
        (_, _) => false,
    }
}

/// How long an answer holds.
fn lives(request: &Request, answer: &Answer) -> Duration {
    let good = if is_by_digest(request) { DIGEST } else { TAG };
    match answer {
        // The vault knows how long a token holds.
        Answer::Response(response) if response.body == Body::Granted => Duration::ZERO,
        // It asks; it does not refuse. Its answer holds as long as what it stands in front of.
        Answer::Response(response) if asks_who(request, response) && request.auth.is_empty() => good,
        // A login page or an ingress: it may be over in a moment.
        Answer::Response(response) if is_before_the_registry(request, response) => DOWN,
        Answer::Response(response) => match response.status {
            200..300 => good,
            429 => wait(response.retry_after),
            400..=407 | 409..=499 => SETTLED,
            _ => DOWN,
        },
        Answer::Fault(fault) => fault_lives(fault.what),
        Answer::NotSent(_) | Answer::Late => SETTLED,
    }
}

fn fault_lives(kind: FaultKind) -> Duration {
    match kind {
        FaultKind::Tls(TlsFault::PlainHttp) => PLAIN_HTTP,
        FaultKind::RedirectLoop | FaultKind::Internal => SETTLED,
        FaultKind::NameNotResolved
        | FaultKind::Connection(_)
        | FaultKind::TimedOut(_)
        | FaultKind::Tls(_)
        | FaultKind::Unreadable => DOWN,
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
        Want::Manifest { .. } | Want::Config { .. } | Want::Blob { .. } | Want::Words => true,
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

fn without_quota(answer: &Answer) -> Answer {
    match answer {
        Answer::Response(response) if response.quota.is_some() => Answer::Response(Arc::new(Response {
            quota: None,
            ..Response::clone(response)
        })),
        answer => answer.clone(),
    }
}

fn is_same(one: &Answer, other: &Answer) -> bool {
    matches!((one, other), (Answer::Response(one), Answer::Response(other)) if Arc::ptr_eq(one, other))
}

fn clamped(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn weight_of_request(request: &Request) -> usize {
    // Paths are shared with nothing else once a pull is over.
    size_of::<Request>() + request.path.len() + request.origin.host.len() + request.auth.len() * size_of::<(Origin, Auth)>()
}

/// An answer, in bytes of memory, roughly.
fn weight(answer: &Answer) -> usize {
    match answer {
        Answer::Response(response) => weight_of_response(response),
        Answer::Fault(fault) => size_of::<Fault>() + fault.detail.as_ref().map_or(0, |detail| detail.len()),
        Answer::NotSent(_) => size_of::<NotSent>() + 100,
        Answer::Late => 0,
    }
}

fn weight_of_response(response: &Response) -> usize {
    let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let body = match &response.body {
        Body::Manifest {
            document: Ok(document), ..
        } => document.weight(),
        Body::Config { config: Ok(config), .. } => config.weight(),
        Body::Tags(tags) => 100 + tags.closest.iter().map(|tag| 24 + tag.len()).sum::<usize>(),
        Body::Words(words) => text(&words.code) + text(&words.detail),
        Body::Manifest { .. } | Body::Config { .. } => 300,
        Body::Unread | Body::Granted | Body::NoToken { .. } | Body::TooLong(_) => 0,
    };
    size_of::<Response>() + response.at.path.len() + response.content_type.len() + 100 * response.challenges.len() + body
}

#[cfg(test)]
mod tests;
