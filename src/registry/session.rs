//! Requests for one image with one credential: what was granted, and what a 401 asks for (pull-semantics 5.3).

use super::Inner;
use super::cache::Key;
use super::cause::{self, Answer, Server, plain};
use super::challenge::{self, Bearer, Challenge};
use super::client::{Ask, Authorization};
use super::guard::{self, Origin};
use super::host;
use super::limits::Lane;
use super::manifest;
use super::token::{self, Age, Sending};
use crate::credentials::Credential;
use crate::image::Target;
use crate::verdict::Failure;
use crate::verdict::evidence::{AuthStage, Evidence, Refusal, Rejection};
use http::{Method, StatusCode};
use std::time::Duration;
use url::Url;

/// The longest body that is read for its words only, in bytes.
const WORDS: usize = 64 << 10;
/// How long the words of a refused HEAD are waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// 401s that are answered before a request is given up: a kept token, a fresh one, Basic; here and behind a redirect.
const ROUNDS: usize = 6;

/// What is sent to one origin, and how it came about.
#[derive(Debug)]
struct Grant {
    authorization: Authorization,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// A token. A kept one may have been revoked in the meantime.
    Token(Age, Bearer),
    /// User name and password, at once.
    Basic,
    /// User name and password, after a fresh token was not enough (Harbor).
    BasicAfterToken,
}

/// One image, one credential or none.
pub(super) struct Session<'a> {
    pub(super) inner: &'a Inner,
    pub(super) key: &'a Key,
    /// `https://host/`, or `http://host/` at a loopback name.
    pub(super) base: Url,
    /// What a 429 would be about.
    pub(super) lane: Lane,
    /// `ratelimit-remaining: 0` was seen.
    pub(super) quota_exhausted: bool,
    sending: Sending<'a>,
    secrets: Vec<String>,
    grants: Vec<Grant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(inner: &'a Inner, key: &'a Key, credential: Option<&'a Credential>, base: Url) -> Self {
        let sending = Sending::of(credential);
        Self {
            inner,
            key,
            base,
            lane: Lane::All,
            quota_exhausted: false,
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

    fn url(&self, rest: &str) -> Url {
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let mut url = self.base.clone();
        // Repositories, tags and digests hold nothing that a URL's path would take for something else.
        url.set_path(&format!("/v2/{}/{path}", self.key.repository));
        url.set_query(query);
        url
    }

    /// One request with what was granted so far; any status.
    pub(super) async fn send(&self, method: Method, rest: &str, accept: &str, cap: usize) -> Result<Answer, Failure> {
        let authorizations: Vec<Authorization> = self.grants.iter().map(|grant| grant.authorization.clone()).collect();
        self.inner
            .client
            .send(Ask {
                method,
                url: self.url(rest),
                accept,
                authorizations: &authorizations,
                form: None,
                cap,
                server: Server::Registry,
            })
            .await
    }

    /// One request, and the authentication that it asks for; any status but 401.
    pub(super) async fn ask(&mut self, method: Method, rest: &str, accept: &str, cap: usize) -> Result<Answer, Failure> {
        let mut answer = self.send(method.clone(), rest, accept, cap).await?;
        for _ in 0..ROUNDS {
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
            self.quota_exhausted |= cause::quota_exhausted(&answer.headers);
        }
        Ok(answer)
    }

    /// Answers a 401, after which the request is sent again. `Err` when the 401 is final.
    async fn authenticate(&mut self, answer: &Answer, rest: &str) -> Result<(), Failure> {
        let origin = answer.origin();
        if origin != Origin::of(&self.base) && !self.sending.is_nothing() {
            let mut failure = self.failure(answer, Evidence::Refused(Refusal::Redirect));
            failure.detail = Some("the registry redirects to a host that asks for credentials; they are not sent there".to_owned());
            return Err(failure);
        }
        let stage = self
            .grants
            .iter()
            .find(|grant| grant.authorization.origin == origin)
            .map(|grant| grant.stage.clone());
        match (stage, challenge::choose(&answer.headers)) {
            (None, Challenge::Bearer(bearer)) => self.token(answer, bearer).await,
            (None, Challenge::Basic) => self.basic(answer, Stage::Basic),
            (None, Challenge::Unusable) => Err(self.failure(answer, Evidence::Rejected(Rejection::NoUsableChallenge))),
            (Some(Stage::Token(Age::Kept, kept)), challenge) => {
                self.forget(&origin, &kept).await;
                match challenge {
                    Challenge::Bearer(bearer) if bearer.realm.is_some() => self.token(answer, bearer).await,
                    Challenge::Bearer(_) | Challenge::Basic | Challenge::Unusable => self.token(answer, kept).await,
                }
            }
            (Some(Stage::Token(Age::Fresh, _)), Challenge::Basic) => self.basic(answer, Stage::BasicAfterToken),
            (Some(Stage::Token(Age::Fresh, _)), Challenge::Bearer(_) | Challenge::Unusable) => {
                Err(self.token_refused(answer, rest).await)
            }
            (Some(Stage::Basic), _) => Err(self.failure(answer, Evidence::CredentialRefused { at: AuthStage::Basic })),
            // The credential was good enough for a token.
            (Some(Stage::BasicAfterToken), _) => Err(self.failure(answer, Evidence::Rejected(Rejection::UnauthorizedAgain))),
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
        let scopes = challenge::scopes(&self.key.repository, bearer.scope.as_deref());
        let request = token::Request {
            origin: &origin,
            realm: &realm,
            challenge: &bearer,
            scopes: &scopes,
            sending: self.sending,
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
            let scopes = challenge::scopes(&self.key.repository, bearer.scope.as_deref());
            let request = token::Request {
                origin,
                realm: &realm,
                challenge: bearer,
                scopes: &scopes,
                sending: self.sending,
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
        let error = match challenge::choose(&answer.headers) {
            Challenge::Bearer(bearer) => bearer.error,
            Challenge::Basic | Challenge::Unusable => None,
        };
        if error.as_deref() == Some("insufficient_scope") {
            return self.failure(answer, Evidence::InsufficientScope { with_credential });
        }
        if !with_credential {
            return self.failure(answer, Evidence::AuthenticationRequired { at: AuthStage::Registry });
        }
        let words = self.words(answer, rest).await;
        let failure = self.failure_in_words_of(answer, words.as_ref(), Evidence::Rejected(Rejection::UnauthorizedAgain));
        let evidence = if failure.code.as_deref() == Some("DENIED") {
            Evidence::InsufficientScope { with_credential }
        } else {
            failure.evidence
        };
        Failure { evidence, ..failure }
    }

    /// The body that goes with a refused HEAD: one GET, which never makes it a success.
    pub(super) async fn words(&self, answer: &Answer, rest: &str) -> Option<Answer> {
        if answer.method != Method::HEAD || self.left(Lane::Content).await.is_some() {
            return None;
        }
        let asked = self.send(Method::GET, rest, manifest::ACCEPT, WORDS);
        let said = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
        (said.status == answer.status).then_some(said)
    }

    /// A failure that rests on `answer`.
    pub(super) fn failure(&self, answer: &Answer, evidence: Evidence) -> Failure {
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        answer.failure(evidence, Server::Registry, &secrets)
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
        self.inner.throttle.left(&self.key.registry, self.key.fingerprint, lane).await
    }

    /// The answer while a 429 still holds; nothing is sent.
    pub(super) fn throttled(left: Duration, host: String) -> Failure {
        Failure {
            status: Some(429),
            detail: Some("the registry asked to wait, and was not asked again".to_owned()),
            retry_after: Some(left),
            ..plain(Evidence::RateLimited, host)
        }
    }
}
