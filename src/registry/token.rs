//! Tokens, fetched as containerd fetches them and kept until they expire (pull-semantics 5.3).

use super::cause::Answer;
use super::client::{Ask, Authorization, Client};
use super::host::Endpoint;
use super::words;
use crate::credentials::{Credential, Fingerprint};
use crate::go::json::{self, loose};
use crate::limits;
use crate::net::Origin;
use crate::runtime::challenge::Bearer;
use crate::runtime::outcome::{AuthStage, Evidence, Purpose, Rejection, WEB_PAGE};
use crate::telemetry::{CacheName, CacheResult, Metrics};
use crate::verdict::Failure;
use base64::Engine as _;
use http::{HeaderValue, Method};
use moka::Expiry;
use moka::future::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use url::Url;
use url::form_urlencoded;

/// Where the server names no lifetime.
const USUAL_LIFETIME: u64 = 60;
/// The longest lifetime that is believed, in seconds: rights change.
const LONGEST_LIFETIME: u64 = 3600;

/// What containerd would send of a credential.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sending<'a> {
    /// Nothing: no credential, an empty one, or a user name without a password.
    Nothing,
    /// User name and password.
    Password(&'a Credential),
    /// An identity token.
    Refresh(&'a Credential),
}

impl<'a> Sending<'a> {
    /// A user name wins over an identity token; a half-empty pair is nothing (CRI's `ParseAuth`).
    pub(super) fn of(credential: Option<&'a Credential>) -> Self {
        match credential {
            Some(c) if !c.username.is_empty() && !c.password.is_empty() => Self::Password(c),
            Some(c) if c.username.is_empty() && !c.identity_token.is_empty() => Self::Refresh(c),
            Some(_) | None => Self::Nothing,
        }
    }

    /// The identity for caches; nothing sent is nobody.
    pub(super) fn fingerprint(self) -> Option<Fingerprint> {
        match self {
            Self::Nothing => None,
            Self::Password(c) | Self::Refresh(c) => Some(c.fingerprint()),
        }
    }

    /// What a token is asked for with it.
    fn purpose(self) -> Purpose {
        match self {
            Self::Nothing => Purpose::AnonymousToken,
            Self::Password(_) | Self::Refresh(_) => Purpose::OauthToken,
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// What must not be shown, should a server echo it: as text, and as a server reads it that takes bytes for Latin-1.
    pub(super) fn secrets(self) -> Vec<String> {
        let (user, secret): (&[u8], _) = match self {
            Self::Nothing => return Vec::new(),
            Self::Password(c) => (c.username.bytes(), &c.password),
            Self::Refresh(c) => (b"", &c.identity_token),
        };
        let mut secrets = vec![secret.expose().into_owned(), basic(user, secret.bytes())];
        if !secret.bytes().is_ascii() {
            secrets.push(secret.bytes().iter().copied().map(char::from).collect());
        }
        secrets
    }

    /// The `Authorization` of a Basic challenge, or of a token request by GET.
    pub(super) fn basic_header(self) -> Option<HeaderValue> {
        let encoded = match self {
            Self::Nothing => return None,
            Self::Password(c) => basic(c.username.bytes(), c.password.bytes()),
            Self::Refresh(c) => basic(b"", c.identity_token.bytes()),
        };
        sensitive(&format!("Basic {encoded}"))
    }
}

fn basic(user: &[u8], password: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode([user, b":", password].concat())
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A token, as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// `Bearer …`, marked sensitive.
    pub(super) header: HeaderValue,
    lifetime: Duration,
}

impl Token {
    /// The token alone, to be kept out of what people see.
    pub(super) fn secret(&self) -> Option<String> {
        let text = self.header.to_str().ok()?;
        text.strip_prefix("Bearer ").map(str::to_owned)
    }
}

/// What a token is for. The origin is part of it: a token obtained for one registry is not shown to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    origin: Origin,
    realm: Url,
    service: Option<String>,
    scopes: Vec<String>,
    fingerprint: Option<Fingerprint>,
}

struct Lifetime;

impl Expiry<Key, Arc<Token>> for Lifetime {
    fn expire_after_create(&self, _key: &Key, token: &Arc<Token>, _now: std::time::Instant) -> Option<Duration> {
        Some(token.lifetime)
    }

    fn expire_after_update(
        &self,
        _key: &Key,
        token: &Arc<Token>,
        _now: std::time::Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(token.lifetime)
    }
}

/// A request for a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// Who asked for it.
    pub(super) origin: &'a Origin,
    /// Admitted by the guard.
    pub(super) realm: &'a Url,
    pub(super) challenge: &'a Bearer,
    pub(super) scopes: &'a [String],
    pub(super) sending: Sending<'a>,
    pub(super) endpoint: &'a Endpoint,
}

/// Whether a token was just fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    Kept,
}

/// Tokens by what they are for; one request at a time for each.
#[derive(Debug)]
pub(super) struct Tokens {
    cache: Cache<Key, Arc<Token>>,
    metrics: Metrics,
}

impl Tokens {
    pub(super) fn new(bytes: u64, metrics: Metrics) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Key, token: &Arc<Token>| {
                let scopes: usize = key.scopes.iter().map(String::len).sum();
                let bytes = 400 + scopes + key.realm.as_str().len() + token.header.len();
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(Lifetime)
            .build();
        Self { cache, metrics }
    }

    /// What is kept, in bytes, roughly.
    pub(super) fn weight(&self) -> u64 {
        self.cache.weighted_size()
    }

    /// A token, kept or fetched.
    pub(super) async fn get(&self, client: &Client, request: Request<'_>) -> Result<(Arc<Token>, Age), Failure> {
        let fetched = AtomicBool::new(false);
        let load = async {
            fetched.store(true, Ordering::Relaxed);
            fetch(client, request).await.map(Arc::new)
        };
        let result = self.cache.try_get_with(key(request), load).await;
        let age = if fetched.load(Ordering::Relaxed) {
            Age::Fresh
        } else {
            Age::Kept
        };
        self.metrics.cache(
            CacheName::Tokens,
            match age {
                Age::Fresh => CacheResult::Miss,
                Age::Kept => CacheResult::Hit,
            },
        );
        match result {
            Ok(token) => Ok((token, age)),
            Err(failure) => Err(Arc::unwrap_or_clone(failure)),
        }
    }

    /// Forgets a token that its registry no longer takes.
    pub(super) async fn forget(&self, request: Request<'_>) {
        self.cache.invalidate(&key(request)).await;
    }
}

fn key(request: Request<'_>) -> Key {
    Key {
        origin: request.origin.clone(),
        realm: request.realm.clone(),
        service: request.challenge.service.clone(),
        scopes: request.scopes.to_vec(),
        fingerprint: request.sending.fingerprint(),
    }
}

/// POST with a credential, then GET with Basic where the server knows no POST; GET without a credential.
async fn fetch(client: &Client, request: Request<'_>) -> Result<Token, Failure> {
    let posted = match request.sending {
        Sending::Nothing => None,
        Sending::Password(_) | Sending::Refresh(_) => {
            let answer = client.send(post(request)).await?;
            let status = answer.status.as_u16();
            let by_get = matches!(status, 400 | 401 | 404) || (status == 405 && matches!(request.sending, Sending::Password(_)));
            if !by_get {
                return token(&answer, request, None, Field::AccessOnly);
            }
            Some(answer)
        }
    };
    let mut url = request.realm.clone();
    // Sorted by key, as Go encodes them; what the realm holds already stays.
    let mut query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    query.extend(request.scopes.iter().map(|scope| ("scope".to_owned(), scope.clone())));
    query.extend(
        request
            .challenge
            .service
            .iter()
            .map(|service| ("service".to_owned(), service.clone())),
    );
    query.sort_by(|a, b| a.0.cmp(&b.0));
    url.query_pairs_mut().clear().extend_pairs(query);
    let authorizations: Vec<Authorization> = request
        .sending
        .basic_header()
        .map(|value| Authorization {
            origin: Origin::of(&url),
            value,
        })
        .into_iter()
        .collect();
    let answer = client
        .send(Ask {
            method: Method::GET,
            url,
            accept: "*/*",
            authorizations: &authorizations,
            form: None,
            cap: limits::TOKEN_ANSWER,
            purpose: request.sending.purpose(),
            endpoint: request.endpoint,
        })
        .await?;
    token(&answer, request, posted.as_ref(), Field::Either)
}

fn post(request: Request<'_>) -> Ask<'_> {
    let mut form = String::from("client_id=containerd-client");
    // A password need not be text.
    let mut pair = |name: &str, value: &[u8]| {
        form.push('&');
        form.push_str(name);
        form.push('=');
        form.extend(form_urlencoded::byte_serialize(value));
    };
    match request.sending {
        Sending::Nothing => {}
        Sending::Password(c) => {
            pair("grant_type", b"password");
            pair("password", c.password.bytes());
            pair("username", c.username.bytes());
        }
        Sending::Refresh(c) => {
            pair("grant_type", b"refresh_token");
            pair("refresh_token", c.identity_token.bytes());
        }
    }
    pair("scope", request.scopes.join(" ").as_bytes());
    // Empty where the challenge names none, as containerd writes it.
    pair("service", request.challenge.service.as_deref().unwrap_or_default().as_bytes());
    Ask {
        method: Method::POST,
        url: request.realm.clone(),
        accept: "*/*",
        authorizations: &[],
        form: Some(form),
        cap: limits::TOKEN_ANSWER,
        purpose: request.sending.purpose(),
        endpoint: request.endpoint,
    }
}

/// Which members of an answer hold the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Of a POST.
    AccessOnly,
    /// Of a GET.
    Either,
}

loose! {
    /// An answer by GET.
    struct Got<'a> {
        "token" => token: String,
        "access_token" => access_token: String,
        "expires_in" => expires_in: i64,
        "issued_at" => issued_at: String,
        "refresh_token" => _refresh_token: String,
    }
}

loose! {
    /// An answer by POST.
    struct Posted<'a> {
        "access_token" => access_token: String,
        "refresh_token" => _refresh_token: String,
        "expires_in" => expires_in: i64,
        "issued_at" => issued_at: String,
        "scope" => _scope: String,
    }
}

fn token(answer: &Answer, request: Request<'_>, posted: Option<&Answer>, field: Field) -> Result<Token, Failure> {
    let secrets = request.sending.secrets();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    if !(200..400).contains(&answer.status.as_u16()) {
        return Err(answer.failure(refusal(answer, request.sending, posted), request.sending.purpose(), &secrets));
    }
    if answer.truncated && answer.body.trim_ascii_start().starts_with(b"{") {
        // A runtime would read on.
        let evidence = Evidence::ServerError { token_server: true };
        let mut failure = answer.failure(evidence, request.sending.purpose(), &secrets);
        failure.detail = Some(format!(
            "its answer is longer than {} bytes, and was not read",
            limits::TOKEN_ANSWER
        ));
        return Err(failure);
    }
    read(&answer.body, field).ok_or_else(|| {
        // The body may be a login page, or a token that cannot be sent: nothing of it is shown.
        let mut failure = answer.failure(Evidence::Rejected(Rejection::NoToken), request.sending.purpose(), &secrets);
        failure.code = None;
        let is_page = answer.body.trim_ascii_start().starts_with(b"<");
        let said = if is_page {
            WEB_PAGE
        } else {
            "the authorization server did not include a usable token in its answer"
        };
        failure.detail = Some(said.to_owned());
        failure
    })
}

fn read(body: &[u8], field: Field) -> Option<Token> {
    let text = json::text(body);
    let (token, issued_at, expires_in) = match field {
        Field::AccessOnly => {
            let body: Posted<'_> = json::first(&text)?;
            (body.access_token, body.issued_at, body.expires_in)
        }
        Field::Either => {
            let body: Got<'_> = json::first(&text)?;
            let access_token = body.access_token.filter(|token| !token.is_empty());
            (access_token.or(body.token), body.issued_at, body.expires_in)
        }
    };
    // A runtime reads the date too, and stumbles.
    if !issued_at.is_none_or(|date| json::is_date(&date)) {
        return None;
    }
    let token = token.filter(|token| !token.is_empty())?;
    let header = sensitive(&format!("Bearer {token}"))?;
    let seconds = expires_in
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(USUAL_LIFETIME)
        .min(LONGEST_LIFETIME);
    // A token must outlive the look-up that it is taken for.
    let slack = (seconds / 10).max(5);
    Some(Token {
        header,
        lifetime: Duration::from_secs(seconds.saturating_sub(slack)),
    })
}

/// What a token server's refusal proves.
fn refusal(answer: &Answer, sending: Sending<'_>, posted: Option<&Answer>) -> Evidence {
    let refused = |body: &[u8]| {
        words::read(body, &[]).code.is_some_and(|code| {
            let code = code.to_ascii_lowercase();
            matches!(
                code.as_str(),
                "invalid_grant" | "invalid_client" | "unauthorized_client" | "access_denied" | "unauthorized" | "denied"
            )
        })
    };
    match answer.status.as_u16() {
        429 => Evidence::RateLimited,
        // A firewall stands before the token server too (ACR): that is about the caller, not the credential.
        403 if words::speaks_of_address(&answer.body) => Evidence::Forbidden {
            address_bound: true,
            with_credential: !sending.is_nothing(),
        },
        401 | 403 if sending.is_nothing() => Evidence::AuthenticationRequired {
            at: AuthStage::TokenServer,
        },
        401 | 403 => Evidence::CredentialRefused {
            at: AuthStage::TokenServer,
        },
        400..=407 | 409..=499 => {
            // The last answer is of the GET; the POST before it may have said that the credential is at fault.
            let at_post = posted.is_some_and(|posted| posted.status.as_u16() == 401 || refused(&posted.body));
            if !sending.is_nothing() && (at_post || refused(&answer.body)) {
                Evidence::CredentialRefused {
                    at: AuthStage::TokenServer,
                }
            } else {
                Evidence::Rejected(Rejection::TokenStatus)
            }
        }
        _ => Evidence::ServerError { token_server: true },
    }
}

#[cfg(test)]
mod tests;
