//! Requests to one host for one image with one credential: the scheme it speaks, what was granted, and what a 401 asks for
//! (pull-semantics 5.3, 5.4).

use super::Inner;
use super::cache::Key;
use super::cause::{self, Answer, plain};
use super::client::{Ask, Authorization};
use super::guard;
use super::host::{self, Endpoint, Scheme, Schemes};
use super::throttle::Lane;
use super::token::{self, Age, Sending};
use crate::credentials::Credential;
use crate::image::Target;
use crate::limits;
use crate::net::Origin;
use crate::runtime::challenge::{self, Bearer, Challenge};
use crate::runtime::containerd::manifest;
use crate::runtime::outcome::{
    AuthStage, ConnectionFault, Evidence, Level, Purpose, Quota, Refusal, Rejection, TimeoutStage, TlsFault, Told,
};
use crate::telemetry::QuotaLevel;
use crate::verdict::Failure;
use http::{Method, StatusCode};
use std::time::Duration;
use url::Url;

/// What is sent to one origin, and how it came about.
#[derive(Debug, Clone)]
struct Grant {
    authorization: Authorization,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// A token. A kept one may have been revoked in the meantime.
    Token(Age, Bearer),
    /// User name and password, at once.
    Basic(Age),
    /// User name and password, after a fresh token was not enough (Harbor).
    BasicAfterToken(Age),
}

/// Whether the scheme of a host is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Yes,
    /// https, and http if it does not speak TLS.
    NotYet,
}

/// One host, one image, one credential or none.
#[derive(Clone)]
pub(super) struct Session<'a> {
    pub(super) inner: &'a Inner,
    pub(super) key: &'a Key,
    pub(super) endpoint: &'a Endpoint,
    scheme: Scheme,
    settled: Settled,
    /// What a 429 would be about.
    pub(super) lane: Lane,
    /// What the latest good answer said of the pull quota.
    pub(super) quota: Option<Quota>,
    sending: Sending<'a>,
    secrets: Vec<String>,
    grants: Vec<Grant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(inner: &'a Inner, key: &'a Key, credential: Option<&'a Credential>, endpoint: &'a Endpoint) -> Self {
        let sending = Sending::of(credential);
        let (scheme, settled) = match endpoint.schemes {
            Schemes::Https => (Scheme::Https, Settled::Yes),
            Schemes::Http => (Scheme::Http, Settled::Yes),
            Schemes::HttpsThenHttp => (Scheme::Https, Settled::NotYet),
        };
        Self {
            inner,
            key,
            endpoint,
            scheme,
            settled,
            lane: Lane::All,
            quota: None,
            sending,
            secrets: sending.secrets(),
            grants: Vec::new(),
        }
    }

    /// Whether a credential was sent (and not refused since).
    pub(super) fn authenticated(&self) -> bool {
        !self.sending.is_nothing() && !self.grants.is_empty()
    }

    /// `manifests/TAG` or `manifests/DIGEST`.
    pub(super) fn target(&self) -> String {
        match &self.key.target {
            Target::Tag(tag) => format!("manifests/{tag}"),
            Target::Digest(digest) => format!("manifests/{digest}"),
        }
    }

    fn base(&self) -> &'a Url {
        self.endpoint.base(self.scheme)
    }

    /// One request with what was granted so far; any status.
    pub(super) async fn send(&self, method: Method, rest: &str, accept: &str, cap: usize) -> Result<Answer, Failure> {
        let authorizations: Vec<Authorization> = self.grants.iter().map(|grant| grant.authorization.clone()).collect();
        self.inner
            .client
            .send(Ask {
                method,
                url: self.endpoint.url(self.scheme, &self.key.repository, rest),
                accept,
                authorizations: &authorizations,
                form: None,
                cap,
                purpose: Purpose::Content,
                endpoint: self.endpoint,
            })
            .await
    }

    /// One request, and the authentication that it asks for; any status but 401.
    pub(super) async fn ask(&mut self, method: Method, rest: &str, accept: &str, cap: usize) -> Result<Answer, Failure> {
        self.recall().await;
        self.grow_old();
        let mut answer = match self.send(method.clone(), rest, accept, cap).await {
            Err(failure) if self.may_be_plain(&failure) => {
                self.scheme = Scheme::Http;
                let answer = self.send(method.clone(), rest, accept, cap).await;
                if answer.is_ok() {
                    self.inner
                        .client
                        .hosts
                        .get(host::key(self.endpoint.base(Scheme::Https), self.endpoint.standing))
                        .await
                        .speaks(Scheme::Http);
                }
                answer?
            }
            answer => answer?,
        };
        self.settled = Settled::Yes;
        for _ in 0..limits::AUTHENTICATION_ROUNDS {
            if answer.status != StatusCode::UNAUTHORIZED {
                break;
            }
            self.authenticate(&answer, rest).await?;
            answer = self.send(method.clone(), rest, accept, cap).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(self.token_refused(&answer, rest).await);
        }
        if answer.status.is_success() {
            self.count(&answer);
        } else if matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) && self.withholds_from(&answer) {
            // Some hide from strangers what is there.
            return Err(self.withheld(&answer));
        }
        Ok(answer)
    }

    /// What an earlier request was granted is not fresh to this one: a 401 to it may pass, and runtimes ask again.
    fn grow_old(&mut self) {
        for grant in &mut self.grants {
            match &mut grant.stage {
                Stage::Token(age, _) | Stage::Basic(age) | Stage::BasicAfterToken(age) => *age = Age::Kept,
            }
        }
    }

    /// Whether a node would have handed what was granted to the host that a redirect led to.
    fn withholds_from(&self, answer: &Answer) -> bool {
        let (here, there) = (Origin::of(self.base()), answer.origin());
        here.hands_to(&there) && self.grants.iter().any(|grant| grant.authorization.origin == here)
    }

    fn withheld(&self, answer: &Answer) -> Failure {
        self.failure(answer, Evidence::Refused(Refusal::Withheld))
    }

    /// Notes what a good answer says of the pull quota.
    fn count(&mut self, answer: &Answer) {
        let Some(quota) = cause::quota(&answer.headers) else { return };
        match quota.level() {
            Level::Plenty => {}
            Level::Low => self.inner.client.metrics.pull_quota(QuotaLevel::Low),
            Level::Exhausted => self.inner.client.metrics.pull_quota(QuotaLevel::Exhausted),
        }
        self.quota = Some(quota);
    }

    /// The scheme that the host was found to speak before.
    async fn recall(&mut self) {
        if self.settled == Settled::NotYet {
            let host = self
                .inner
                .client
                .hosts
                .get(host::key(self.base(), self.endpoint.standing))
                .await;
            if host.scheme() == Some(Scheme::Http) {
                (self.scheme, self.settled) = (Scheme::Http, Settled::Yes);
            }
        }
    }

    /// Whether a host that failed over https is worth a try over http.
    fn may_be_plain(&self, failure: &Failure) -> bool {
        let here = || {
            let asked = failure.request.as_ref().and_then(|request| Url::parse(&request.url).ok());
            asked.is_some_and(|url| self.endpoint.is_at(&url))
        };
        let no_tls = matches!(
            failure.evidence,
            Evidence::Tls(TlsFault::PlainHttp) | Evidence::ConnectionFailed(ConnectionFault::Interrupted)
        );
        // Another port may listen: containerd tries it where none is written.
        let no_port = self.endpoint.is_without_port()
            && matches!(
                failure.evidence,
                Evidence::ConnectionFailed(_) | Evidence::TimedOut(TimeoutStage::Connect)
            );
        self.settled == Settled::NotYet && failure.status.is_none() && (no_tls || no_port) && here()
    }

    /// Answers a 401, after which the request is sent again. `Err` when the 401 is final.
    async fn authenticate(&mut self, answer: &Answer, rest: &str) -> Result<(), Failure> {
        let origin = answer.origin();
        if self.withholds_from(answer) || origin != Origin::of(self.base()) && !self.sending.is_nothing() {
            return Err(self.withheld(answer));
        }
        let stage = self
            .grants
            .iter()
            .find(|grant| grant.authorization.origin == origin)
            .map(|grant| grant.stage.clone());
        match (stage, challenge::containerds(&answer.challenges()).clone()) {
            (None, Challenge::Bearer(bearer)) => self.token(answer, bearer).await,
            (None, Challenge::Basic) | (Some(Stage::Basic(Age::Kept)), _) => self.basic(answer, Stage::Basic(Age::Fresh)),
            (None, Challenge::Other) => {
                // Harbor says here that there is no such project.
                let words = self.words(answer, rest).await;
                let evidence = Evidence::Rejected(Rejection::NoUsableChallenge);
                Err(self.failure_in_words_of(answer, words.as_ref(), evidence))
            }
            (Some(Stage::Token(Age::Kept, kept)), challenge) => {
                self.forget(&origin, &kept).await;
                match challenge {
                    Challenge::Bearer(bearer) if bearer.realm.is_some() => self.token(answer, bearer).await,
                    Challenge::Bearer(_) | Challenge::Basic | Challenge::Other => self.token(answer, kept).await,
                }
            }
            (Some(Stage::Token(Age::Fresh, _)), Challenge::Basic) | (Some(Stage::BasicAfterToken(Age::Kept)), _) => {
                self.basic(answer, Stage::BasicAfterToken(Age::Fresh))
            }
            (Some(Stage::Token(Age::Fresh, _)), Challenge::Bearer(_) | Challenge::Other) => {
                Err(self.token_refused(answer, rest).await)
            }
            (Some(Stage::Basic(Age::Fresh)), _) => Err(self.failure(answer, Evidence::CredentialRefused { at: AuthStage::Basic })),
            // The credential was good enough for a token.
            (Some(Stage::BasicAfterToken(Age::Fresh)), _) => Err(self.failure(
                answer,
                Evidence::InsufficientScope {
                    with_credential: true,
                    told: Told::Nothing,
                },
            )),
        }
    }

    fn basic(&mut self, answer: &Answer, stage: Stage) -> Result<(), Failure> {
        let value = match self.sending {
            Sending::Password(_) => self.sending.basic_header(),
            // containerd: "no basic auth credentials".
            Sending::Nothing | Sending::Refresh(_) => None,
        };
        let Some(value) = value else {
            return Err(self.failure(answer, Evidence::AuthenticationRequired { at: AuthStage::Basic }));
        };
        self.grant(
            Authorization {
                origin: answer.origin(),
                value,
            },
            stage,
        );
        Ok(())
    }

    async fn token(&mut self, answer: &Answer, bearer: Bearer) -> Result<(), Failure> {
        let Some(text) = &bearer.realm else {
            return Err(self.failure(answer, Evidence::Rejected(Rejection::NoRealm)));
        };
        let origin = answer.origin();
        let realm = guard::realm(&origin, text).map_err(|refusal| {
            let mut failure = self.failure(answer, Evidence::Refused(refusal));
            failure.detail = Some("the registry names a token server that is neither https nor the registry itself".to_owned());
            if let Some(named) = Url::parse(text.trim()).ok().filter(Url::has_host) {
                failure.host = host::authority(&named);
            }
            failure
        })?;
        let scopes: Vec<String> = challenge::scopes(&self.key.repository, bearer.scope.as_deref())
            .iter()
            .map(ToString::to_string)
            .collect();
        let request = token::Request {
            origin: &origin,
            realm: &realm,
            challenge: &bearer,
            scopes: &scopes,
            sending: self.sending,
            endpoint: self.endpoint,
        };
        let (token, age) = self.inner.tokens.get(&self.inner.client, request).await?;
        let value = token.header.clone();
        self.secrets.extend(token.secret());
        self.grant(Authorization { origin, value }, Stage::Token(age, bearer));
        Ok(())
    }

    async fn forget(&self, origin: &Origin, bearer: &Bearer) {
        let realm = bearer.realm.as_deref().and_then(|text| guard::realm(origin, text).ok());
        if let Some(realm) = realm {
            let scopes: Vec<String> = challenge::scopes(&self.key.repository, bearer.scope.as_deref())
                .iter()
                .map(ToString::to_string)
                .collect();
            let request = token::Request {
                origin,
                realm: &realm,
                challenge: bearer,
                scopes: &scopes,
                sending: self.sending,
                endpoint: self.endpoint,
            };
            self.inner.tokens.forget(request).await;
        }
    }

    fn grant(&mut self, authorization: Authorization, stage: Stage) {
        self.grants.retain(|grant| grant.authorization.origin != authorization.origin);
        self.grants.push(Grant { authorization, stage });
    }

    /// 401 with a fresh token.
    async fn token_refused(&self, answer: &Answer, rest: &str) -> Failure {
        let with_credential = !self.sending.is_nothing();
        let error = match challenge::containerds(&answer.challenges()).clone() {
            Challenge::Bearer(bearer) => bearer.error,
            Challenge::Basic | Challenge::Other => None,
        };
        if error.as_deref() == Some("insufficient_scope") {
            let told = Told::InsufficientScope;
            return self.failure(answer, Evidence::InsufficientScope { with_credential, told });
        }
        if !with_credential {
            return self.failure(answer, Evidence::AuthenticationRequired { at: AuthStage::Registry });
        }
        let words = self.words(answer, rest).await;
        // The token server took the credential: what is missing is the right, unless the registry finds fault with the token.
        let evidence = if error.is_some() {
            Evidence::Rejected(Rejection::UnauthorizedAgain)
        } else {
            Evidence::InsufficientScope {
                with_credential,
                told: Told::Nothing,
            }
        };
        self.failure_in_words_of(answer, words.as_ref(), evidence)
    }

    /// The body that goes with a refused HEAD: one GET, which never makes it a success.
    pub(super) async fn words(&self, answer: &Answer, rest: &str) -> Option<Answer> {
        if answer.method != Method::HEAD || self.left(Lane::Content).await.is_some() {
            return None;
        }
        let asked = self.send(Method::GET, rest, manifest::ACCEPT, limits::ERROR_BODY);
        let said = tokio::time::timeout(limits::DETAILS, asked).await.ok()?.ok()?;
        (said.status == answer.status).then_some(said)
    }

    /// A failure that rests on `answer`.
    pub(super) fn failure(&self, answer: &Answer, evidence: Evidence) -> Failure {
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        answer.failure(evidence, Purpose::Content, &secrets)
    }

    /// A failure that rests on `answer`, in the words of another answer: those to HEAD have none.
    pub(super) fn failure_in_words_of(&self, answer: &Answer, words: Option<&Answer>, evidence: Evidence) -> Failure {
        let mut failure = self.failure(answer, evidence);
        if let Some(words) = words {
            let spoken = self.failure(words, Evidence::Internal);
            failure.code = failure.code.or(spoken.code);
            failure.detail = failure.detail.or(spoken.detail);
        }
        failure
    }

    /// How long a 429 of before still holds.
    pub(super) async fn left(&self, lane: Lane) -> Option<Duration> {
        let host = self.endpoint.shown();
        self.inner.throttle.left(&host, self.key.fingerprint, lane).await
    }

    /// The answer while a 429 still holds; nothing is sent.
    pub(super) fn throttled(&self, left: Duration) -> Failure {
        Failure {
            status: Some(429),
            detail: Some("the registry asked to wait, and was not asked again".to_owned()),
            retry_after: Some(left),
            ..plain(Evidence::RateLimited, self.endpoint.shown())
        }
    }

    /// Remembers and logs what others should know of a failure.
    pub(super) async fn note(&self, failure: &Failure) {
        self.inner.quiet.say(failure);
        if failure.evidence == Evidence::RateLimited && failure.request.is_some() {
            let host = self.endpoint.shown();
            let (fingerprint, wait) = (self.key.fingerprint, failure.retry_after);
            self.inner.throttle.remember(&host, fingerprint, self.lane, wait).await;
        }
    }
}
