//! One image with one credential at all hosts that a runtime would ask for it, in its order (pull-semantics 5.4): the registry itself, or
//! what `hosts.toml` puts before it.

use super::Inner;
use super::cache::{Answer as Outcome, ContentKey, Key};
use super::cause::{self, Answer, Kind, plain};
use super::hosts::{Host, Route, Unusable};
use super::probe::{Place, Resolved, Stopped, too_long};
use super::session::Session;
use super::throttle::Lane;
use crate::credentials::Credential;
use crate::image::{Platform, Target};
use crate::limits;
use crate::runtime::choice::choose;
use crate::runtime::containerd::manifest::{self, Config, Form, Parsed};
use crate::runtime::outcome::{ConnectionFault, ContentFault, Evidence, Rejection, TlsFault};
use crate::verdict::cause::base;
use crate::verdict::{Content, Failure, ImageFacts, Outlook};
use futures_util::future::join_all;
use http::{Method, StatusCode};

/// Asks for one image with one credential or none.
pub(super) async fn probe(inner: &Inner, key: &Key, credential: Option<&Credential>, route: &Route) -> Outcome {
    let failure = match Walk::new(inner, key, credential, &route.hosts).image().await {
        Ok(facts) => return Ok(facts),
        Err(failure) => failure,
    };
    let Some(older) = route.older.as_ref().filter(|_| base(&failure.evidence).1 != Outlook::Unknown) else {
        return Err(failure);
    };
    // Some nodes would ask elsewhere: what fails by the letter of the tree may still be pulled by them.
    match Walk::new(inner, key, credential, older).image().await {
        Ok(_) => Err(Failure {
            evidence: Evidence::SomeRuntimes(Box::new(failure.evidence)),
            ..failure
        }),
        // Plain HTTP is no secret of ours: such a node is told the same.
        Err(doubt) if doubt.evidence == Evidence::Tls(TlsFault::PlainHttp) => Err(failure),
        Err(doubt) => Err(choose(vec![doubt], vec![failure.clone()]).unwrap_or(failure)),
    }
}

fn closed(unusable: &Unusable) -> Failure {
    Failure {
        detail: Some(unusable.why.clone()),
        ..plain(
            Evidence::ConnectionFailed(ConnectionFault::Unreachable),
            unusable.shown.clone(),
        )
    }
}

/// The hosts of one image with one credential, and what was learned of them.
pub(super) struct Walk<'a> {
    inner: &'a Inner,
    key: &'a Key,
    stops: Vec<Stop<'a>>,
    /// What sent us on, so far, and from where. Looked into only when the look-up fails: then it may still cast a doubt.
    passed: Vec<(usize, Stopped)>,
}

#[derive(Clone)]
struct Stop<'a> {
    way: Way<'a>,
    host: &'a Host,
}

#[derive(Clone)]
enum Way<'a> {
    Open(Box<Session<'a>>),
    /// It cannot be asked, or did not answer just now.
    Closed(Box<Failure>),
}

/// What is asked for by digest.
pub(super) struct Wanted<'a> {
    pub(super) rest: String,
    pub(super) accept: String,
    pub(super) cap: usize,
    /// What a 404 for it proves.
    pub(super) absent: &'a (dyn Fn() -> Evidence + Sync),
}

impl<'a> Walk<'a> {
    pub(super) fn new(inner: &'a Inner, key: &'a Key, credential: Option<&'a Credential>, hosts: &'a [Host]) -> Self {
        let stops = hosts.iter().map(|host| Stop {
            way: match host {
                Host::Usable(endpoint) => Way::Open(Box::new(Session::new(inner, key, credential, endpoint))),
                Host::Unusable(unusable) => Way::Closed(Box::new(closed(unusable))),
            },
            host,
        });
        Self {
            inner,
            key,
            stops: stops.collect(),
            passed: Vec::new(),
        }
    }

    /// Another one that knows what this one has learned: who is silent, and what was granted.
    pub(super) fn again(&self) -> Self {
        Self {
            inner: self.inner,
            key: self.key,
            stops: self.stops.clone(),
            passed: Vec::new(),
        }
    }

    async fn image(&mut self) -> Outcome {
        let (at, resolved) = self.resolve().await?;
        let content = match resolved.form {
            Form::Schema1 => Content::Schema1,
            Form::Manifest | Form::Index | Form::Other => match self.content(&resolved).await {
                Ok(content) => content,
                Err(failures) => return Err(self.fails(failures).await),
            },
        };
        let sessions = || self.stops.iter().filter_map(Stop::session);
        Ok(ImageFacts {
            quota: sessions()
                .filter_map(|session| session.quota)
                .min_by_key(|quota| quota.remaining),
            authenticated: self.stops.get(at).and_then(Stop::session).is_some_and(Session::authenticated),
            digest: resolved.digest,
            media_type: resolved.media_type,
            content,
            stale: false,
            builds: Vec::new(),
        })
    }

    /// From host to host until one resolves the target; any failure moves on, with few exceptions.
    async fn resolve(&mut self) -> Result<(usize, Resolved), Failure> {
        let able: Vec<usize> = self
            .stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| stop.resolves(&self.key.target))
            .map(|(at, _)| at)
            .collect();
        let Some(last) = able.last().copied() else {
            return Err(plain(Evidence::Rejected(Rejection::NoHost), self.key.registry.clone()));
        };
        for at in able {
            let place = if at == last { Place::Last } else { Place::BeforeOthers };
            let Some(stop) = self.stops.get_mut(at) else { continue };
            match stop.resolve(place).await {
                Ok(resolved) => return Ok((at, resolved)),
                Err(Stopped::Final(failure)) => {
                    stop.note(self.inner, &failure).await;
                    return Err(self.fails(vec![failure]).await);
                }
                Err(Stopped::Failed(failure)) => {
                    // Whatever the others say: a host that is down is of interest to its operator.
                    stop.note(self.inner, &failure).await;
                    self.passed.push((at, Stopped::Failed(failure)));
                }
                Err(stopped @ Stopped::Answered(_)) => self.passed.push((at, stopped)),
            }
        }
        let passed = std::mem::take(&mut self.passed);
        let failures = self.understood(passed).await;
        Err(self.fails(failures).await)
    }

    /// The failures behind what sent us on: those that refused are asked for their reasons now.
    async fn understood(&self, passed: Vec<(usize, Stopped)>) -> Vec<Failure> {
        join_all(passed.into_iter().map(|(at, stopped)| async move {
            let stop = self.stops.get(at);
            match (stopped, stop.and_then(Stop::session)) {
                (Stopped::Failed(failure) | Stopped::Final(failure), _) => failure,
                (Stopped::Answered(answer), Some(session)) => {
                    let failure = session.refusal(&answer).await;
                    session.note(&failure).await;
                    failure
                }
                // An answer leaves its session open.
                (Stopped::Answered(_), None) => plain(Evidence::Internal, self.key.registry.clone()),
            }
        }))
        .await
    }

    /// The failure of the look-up, when it ends with these.
    pub(super) async fn fails(&mut self, failures: Vec<Failure>) -> Failure {
        let passed = std::mem::take(&mut self.passed);
        let doubts = self.understood(passed).await;
        choose(doubts, failures).unwrap_or_else(|| plain(Evidence::Internal, self.key.registry.clone()))
    }

    /// What the digest stands for: from the cache, now that the credential was shown to read it, or by GET.
    async fn content(&mut self, resolved: &Resolved) -> Result<Content, Vec<Failure>> {
        let key = ContentKey {
            registry: self.key.registry.clone(),
            route: self.key.route,
            repository: self.key.repository.clone(),
            digest: resolved.digest.clone(),
            media_type: resolved.media_type.clone(),
            length: resolved.length,
        };
        if let Some(content) = self.inner.contents.get(&key).await {
            return Ok(content);
        }
        let invalid = |fault| Evidence::ContentInvalid(fault);
        let wanted = Wanted {
            rest: format!("manifests/{}", resolved.digest),
            accept: format!("{}, */*", resolved.media_type),
            cap: limits::IMAGE_MANIFEST,
            absent: &|| invalid(ContentFault::DigestWrong),
        };
        let (session, answer) = self.fetch(&wanted).await?;
        if answer.truncated {
            return Err(vec![session.failure_without_body(&answer, too_long(&answer))]);
        }
        if !resolved.digest.matches(&answer.body) {
            return Err(vec![
                session.failure_without_body(&answer, invalid(ContentFault::DigestWrong)),
            ]);
        }
        let has = answer.body.len();
        if let Some(says) = resolved.length.filter(|says| u64::try_from(has).ok() != Some(*says)) {
            let fault = ContentFault::OtherSize {
                part: if resolved.form == Form::Index { "index" } else { "manifest" },
                by: "answer to HEAD",
                has: i64::try_from(has).unwrap_or(i64::MAX),
                says: i64::try_from(says).unwrap_or(i64::MAX),
            };
            return Err(vec![
                session.failure_without_body(&answer, invalid(fault)).about(&resolved.digest),
            ]);
        }
        let parsed = crate::runtime::content::document(&answer.body)
            .and_then(|document| manifest::read(&resolved.media_type, &document))
            .map_err(|fault| {
                let failure = session.failure_without_body(&answer, invalid(fault));
                vec![failure.about(&resolved.digest)]
            })?;
        let content = match parsed {
            Parsed::Index(entries) => Content::Index(entries),
            Parsed::Artifact { kind, unpack, body } => Content::Artifact { kind, unpack, body },
            Parsed::Image { config, body } => Content::Image {
                platform: self.config(&config).await?,
                body,
            },
        };
        self.inner.contents.put(key, content.clone()).await;
        Ok(content)
    }

    /// The config of a single manifest: its platform, and whether its layers add up.
    pub(super) async fn config(&mut self, config: &Config) -> Result<Option<Platform>, Vec<Failure>> {
        if let Some(host) = &config.elsewhere {
            let evidence = Evidence::Elsewhere {
                part: "config",
                host: host.clone(),
                digest: config.digest.to_string(),
            };
            return Err(vec![plain(evidence, self.key.registry.clone())]);
        }
        let wanted = Wanted {
            rest: format!("blobs/{}", config.digest),
            accept: format!("{}, */*", config.media_type),
            cap: limits::IMAGE_CONFIG,
            absent: &|| Evidence::ContentMissing {
                part: "config",
                digest: config.digest.to_string(),
                media_type: config.media_type.clone(),
            },
        };
        let (session, answer) = self.fetch(&wanted).await?;
        if answer.truncated {
            return Ok(None);
        }
        let invalid = |fault| {
            let failure = session.failure_without_body(&answer, Evidence::ContentInvalid(fault));
            vec![failure.about(&config.digest)]
        };
        let has = i64::try_from(answer.body.len()).unwrap_or(i64::MAX);
        if has != config.size {
            return Err(invalid(ContentFault::OtherSize {
                part: "config",
                by: "manifest",
                has,
                says: config.size,
            }));
        }
        if !config.digest.matches(&answer.body) {
            let fault = ContentFault::Structure("the config served does not have the digest that the manifest names".to_owned());
            return Err(invalid(fault));
        }
        let read = crate::runtime::content::config(&answer.body).map_err(invalid)?;
        config.claims.hold(&read).map_err(invalid)?;
        Ok(Some(read.platform))
    }

    /// GET of something by digest: from host to host, whatever their capabilities, until one has it. What it serves is final.
    pub(super) async fn fetch(&mut self, wanted: &Wanted<'_>) -> Result<(&Session<'_>, Answer), Vec<Failure>> {
        self.ask(Method::GET, wanted).await
    }

    /// The same by `method`. HEAD where GET was not answered well proves nothing.
    pub(super) async fn ask(&mut self, method: Method, wanted: &Wanted<'_>) -> Result<(&Session<'_>, Answer), Vec<Failure>> {
        let mut failures = Vec::new();
        let mut found = None;
        for (at, stop) in self.stops.iter_mut().enumerate() {
            match stop.fetch(self.inner, &method, wanted).await {
                Ok(answer) => {
                    found = Some((at, answer));
                    break;
                }
                Err(failure) => failures.push((at, failure)),
            }
        }
        let Some((at, answer)) = found else {
            return Err(failures.into_iter().map(|(_, failure)| failure).collect());
        };
        let passed = failures.into_iter().map(|(at, failure)| (at, Stopped::Failed(failure)));
        self.passed.extend(passed);
        match self.stops.get(at).and_then(Stop::session) {
            Some(session) => Ok((session, answer)),
            None => Err(vec![plain(Evidence::Internal, self.key.registry.clone())]),
        }
    }
}

impl<'a> Stop<'a> {
    fn session(&self) -> Option<&Session<'a>> {
        match &self.way {
            Way::Open(session) => Some(session),
            Way::Closed(_) => None,
        }
    }

    /// Whether it is asked for `target` at all.
    fn resolves(&self, target: &Target) -> bool {
        let capabilities = self.host.capabilities();
        match target {
            Target::Tag(_) => capabilities.pull && capabilities.resolve,
            Target::Digest(_) => capabilities.pull,
        }
    }

    async fn resolve(&mut self, place: Place) -> Result<Resolved, Stopped> {
        let session = match &mut self.way {
            Way::Open(session) => session,
            Way::Closed(failure) => return Err(Stopped::Failed(Failure::clone(failure))),
        };
        if let Some(left) = session.left(Lane::All).await {
            return Err(Stopped::Failed(session.throttled(left)));
        }
        let result = session.resolve(place).await;
        if let Err(Stopped::Failed(failure)) = &result {
            self.close(failure);
        }
        result
    }

    async fn fetch(&mut self, inner: &Inner, method: &Method, wanted: &Wanted<'_>) -> Result<Answer, Failure> {
        let session = match &mut self.way {
            Way::Open(session) => session,
            Way::Closed(failure) => return Err(Failure::clone(failure)),
        };
        session.lane = Lane::Content;
        for lane in [Lane::All, Lane::Content] {
            if let Some(left) = session.left(lane).await {
                return Err(session.throttled(left));
            }
        }
        let mut asked = session.ask(method.clone(), &wanted.rest, &wanted.accept, wanted.cap).await;
        let in_doubt = |asked: &Result<Answer, Failure>| match asked {
            Ok(answer) => answer.status.is_client_error() && !matches!(answer.status.as_u16(), 408 | 429),
            Err(failure) => failure.status.is_some(),
        };
        if *method == Method::HEAD && in_doubt(&asked) {
            // A node asks by GET; where HEAD is refused, and most of all behind redirects that are signed for GET, that may do.
            asked = session.ask(Method::GET, &wanted.rest, &wanted.accept, wanted.cap).await;
        }
        let failure = match asked {
            Ok(answer) if answer.status.is_success() => return Ok(answer),
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => session.failure(&answer, (wanted.absent)()),
            Ok(answer) => session.turned_away_at(&answer, &wanted.rest).await,
            Err(failure) => failure,
        };
        self.note(inner, &failure).await;
        self.close(&failure);
        Err(failure)
    }

    /// A host that does not answer is not waited for again in this look-up.
    fn close(&mut self, failure: &Failure) {
        // What a host redirects to is not the host.
        let sent_on = matches!(failure.evidence, Evidence::SentOn { .. });
        let silent = !sent_on && failure.status.is_none() && cause::kind(&failure.evidence) == Kind::Down;
        if silent {
            self.way = Way::Closed(Box::new(failure.clone()));
        }
    }

    /// Remembers and logs what others should know of a failure.
    async fn note(&self, inner: &Inner, failure: &Failure) {
        match &self.way {
            Way::Open(session) => session.note(failure).await,
            Way::Closed(_) => inner.quiet.say(failure),
        }
    }
}
