//! Secrets: credentials and tokens, and the headers and bodies made from them. Nothing here implements `Debug`; no other module holds a
//! secret.

use crate::credentials::{Credential, Fingerprint};
use crate::runtime::answer::Response;
use crate::runtime::request::{Grant, TokenRequest, Who};
use base64::Engine as _;
use http::HeaderValue;
use moka::Expiry;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use url::form_urlencoded;

/// How many credentials are remembered: a cluster has thousands of pull secrets.
const CREDENTIALS: u64 = 50_000;
/// How long a credential is remembered while nobody uses it.
const CREDENTIALS_FOR: Duration = Duration::from_hours(1);
/// Where the server names no lifetime of a token, in seconds.
const USUAL_LIFETIME: u64 = 60;
/// The longest lifetime that is believed, in seconds: rights change.
const LONGEST_LIFETIME: u64 = 3600;
/// Tokens are not handed out in the last tenth of their life, or the last seconds if these are more: a token must outlive the pull that it
/// is for.
const SLACK: u64 = 5;
/// A pull takes about so long.
const JUST_GRANTED: Duration = Duration::from_secs(3);

/// A token that a server granted.
pub(super) struct FreshToken {
    /// `Bearer …`, marked sensitive.
    header: HeaderValue,
    /// In seconds.
    lifetime: u64,
}

impl FreshToken {
    /// `None` where it cannot be sent.
    pub(super) fn new(token: &str, expires_in: Option<i64>) -> Option<Self> {
        let named = expires_in.and_then(|seconds| u64::try_from(seconds).ok());
        Some(Self {
            header: sensitive(&format!("Bearer {token}"))?,
            lifetime: named.unwrap_or(USUAL_LIFETIME).min(LONGEST_LIFETIME),
        })
    }
}

/// A token that is kept.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// Until when it is taken for a new pull.
    until: Instant,
    /// Until when it may still be sent.
    sent_until: Instant,
    /// When it was granted.
    since: Instant,
    /// It was sent before.
    used: AtomicBool,
    /// What granted it.
    granted: Arc<Response>,
}

impl Token {
    /// Whether the registry may have revoked it since it was sent before; from now on it was. A pull begins with a manifest, for which a node
    /// would have a new one; where a blob is refused to one that was granted just now, it would be refused to the node's, too.
    pub(super) fn may_be_revoked(&self, path: &str) -> bool {
        let used = self.used.swap(true, Ordering::Relaxed);
        used && !(path.contains("/blobs/") && self.since.elapsed() < JUST_GRANTED)
    }

    /// Whether it may have ended on the way: a slow registry looks at it long after it was sent.
    pub(super) fn may_have_expired(&self) -> bool {
        Instant::now() >= self.sent_until
    }

    /// The token alone.
    fn secret(&self) -> Option<&str> {
        self.header.to_str().ok()?.strip_prefix("Bearer ")
    }
}

struct AsLongAsSent;

impl Expiry<Arc<TokenRequest>, Arc<Token>> for AsLongAsSent {
    fn expire_after_create(&self, _: &Arc<TokenRequest>, token: &Arc<Token>, _: std::time::Instant) -> Option<Duration> {
        Some(token.sent_until.saturating_duration_since(Instant::now()))
    }

    fn expire_after_update(
        &self,
        _: &Arc<TokenRequest>,
        token: &Arc<Token>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(token.sent_until.saturating_duration_since(Instant::now()))
    }
}

/// All secrets.
pub(super) struct Vault {
    credentials: Cache<Fingerprint, Arc<Credential>>,
    tokens: Cache<Arc<TokenRequest>, Arc<Token>>,
}

impl Vault {
    /// `bytes` bounds the weight of the tokens.
    pub(super) fn new(bytes: u64) -> Self {
        let tokens = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Arc<TokenRequest>, token: &Arc<Token>| {
                let scopes: usize = key.scopes.iter().map(|scope| scope.len()).sum();
                u32::try_from(600 + scopes + key.realm.len() + token.header.len()).unwrap_or(u32::MAX)
            })
            .expire_after(AsLongAsSent)
            .build();
        Self {
            credentials: Cache::builder()
                .max_capacity(CREDENTIALS)
                .time_to_idle(CREDENTIALS_FOR)
                .build(),
            tokens,
        }
    }

    /// Remembers a credential. By what comes back a runtime asks with it.
    pub(super) fn knows(&self, credential: &Credential) -> Who {
        let who = Who::of(credential);
        if let Some(id) = who.id
            && self.credentials.get(&id).is_none()
        {
            self.credentials.insert(id, Arc::new(credential.clone()));
        }
        who
    }

    /// The credential of `who`; `None` for an anonymous pull, or if it was not used for an hour.
    pub(super) fn credential(&self, who: Who) -> Option<Arc<Credential>> {
        self.credentials.get(&who.id?)
    }

    /// The answer that granted a token, as long as that is good for a new pull; with `since`, only one that was granted since then.
    pub(super) fn granted(&self, request: &Arc<TokenRequest>, since: Option<Instant>) -> Option<Arc<Response>> {
        let token = self.tokens.get(request)?;
        let is_good = Instant::now() < token.until && since.is_none_or(|since| token.since >= since);
        is_good.then(|| Arc::clone(&token.granted))
    }

    /// When the token was granted.
    pub(super) fn granted_at(&self, request: &Arc<TokenRequest>) -> Option<Instant> {
        Some(self.tokens.get(request)?.since)
    }

    /// The token, as long as it may be sent.
    pub(super) fn token(&self, request: &Arc<TokenRequest>) -> Option<Arc<Token>> {
        let token = self.tokens.get(request)?;
        (Instant::now() < token.sent_until).then_some(token)
    }

    /// Keeps a token. Returns how long it is good for a new pull.
    pub(super) fn keep(&self, request: &Arc<TokenRequest>, fresh: FreshToken, granted: &Arc<Response>) -> Duration {
        let FreshToken { header, lifetime } = fresh;
        let slack = (lifetime / 10).max(SLACK);
        let good_for = Duration::from_secs(lifetime.saturating_sub(slack));
        let now = Instant::now();
        let token = Token {
            header,
            until: now + good_for,
            // Whoever has just got it will send it, however short its life.
            sent_until: now + Duration::from_secs(lifetime.max(SLACK)),
            since: now,
            used: AtomicBool::new(false),
            granted: Arc::clone(granted),
        };
        self.tokens.insert(Arc::clone(request), Arc::new(token));
        good_for
    }

    /// Forgets a token that its registry no longer takes, unless another one has taken its place.
    pub(super) fn forget(&self, request: &Arc<TokenRequest>, token: &Arc<Token>) {
        if self.tokens.get(request).is_some_and(|kept| Arc::ptr_eq(&kept, token)) {
            self.tokens.invalidate(request);
        }
    }

    /// What the tokens weigh, in bytes, roughly.
    pub(super) fn weight(&self) -> u64 {
        self.tokens.weighted_size()
    }
}

/// The `Authorization` of a Basic challenge, or of a token request by GET: user name and password, or the identity token as the password
/// of nobody. `None` where it cannot be sent.
pub(super) fn basic(credential: &Credential) -> Option<HeaderValue> {
    sensitive(&format!("Basic {}", pair(credential)))
}

/// The user name as it is in a query. It need not be UTF-8.
pub(super) fn account(credential: &Credential) -> String {
    form_urlencoded::byte_serialize(credential.username.bytes()).collect()
}

fn pair(credential: &Credential) -> String {
    let (user, password) = if credential.username.is_empty() {
        (&b""[..], credential.identity_token.bytes())
    } else {
        (credential.username.bytes(), credential.password.bytes())
    };
    base64::engine::general_purpose::STANDARD.encode([user, b":", password].concat())
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The form of a token request by POST, as containerd writes it. A password need not be text.
pub(super) fn form(request: &TokenRequest, credential: &Credential) -> String {
    let mut form = String::from("client_id=containerd-client");
    let mut pair = |name: &str, value: &[u8]| {
        form.push('&');
        form.push_str(name);
        form.push('=');
        form.extend(form_urlencoded::byte_serialize(value));
    };
    if request.by == Grant::Refresh {
        pair("grant_type", b"refresh_token");
        pair("refresh_token", credential.identity_token.bytes());
    } else {
        pair("grant_type", b"password");
        pair("password", credential.password.bytes());
        pair("username", credential.username.bytes());
    }
    pair("scope", request.scopes.join(" ").as_bytes());
    // Empty where the challenge names none, as containerd writes it.
    pair("service", request.service.as_deref().unwrap_or_default().as_bytes());
    form
}

/// What must not be shown, should a server echo it.
#[derive(Default)]
pub(super) struct Masks(Vec<String>);

impl Masks {
    /// A credential's secrets: as text, as they are sent, and as a server reads them that takes bytes for Latin-1.
    pub(super) fn add(&mut self, credential: &Credential) {
        for secret in [&credential.password, &credential.identity_token] {
            if secret.is_empty() {
                continue;
            }
            self.0.push(secret.expose().into_owned());
            if !secret.bytes().is_ascii() {
                self.0.push(secret.bytes().iter().copied().map(char::from).collect());
            }
        }
        self.0.push(pair(credential));
    }

    /// A token.
    pub(super) fn add_token(&mut self, token: &Token) {
        self.0.extend(token.secret().map(str::to_owned));
    }

    pub(super) fn list(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Hidden;
    use crate::runtime::answer::{AskedAt, Body};
    use crate::runtime::request::{Method, Origin, Scheme};

    fn credential(user: &str, password: &str, identity: &str) -> Credential {
        Credential {
            username: Hidden::new(user),
            password: Hidden::new(password),
            identity_token: Hidden::new(identity),
        }
    }

    fn request(by: Grant) -> Arc<TokenRequest> {
        Arc::new(TokenRequest {
            origin: Origin::new(Scheme::Https, "r.example").unwrap(),
            realm: Arc::from("https://t.example/token"),
            service: None,
            scopes: vec![Arc::from("repository:a:pull"), Arc::from("x y")],
            who: Who::default(),
            by,
        })
    }

    fn granted() -> Arc<Response> {
        Arc::new(Response {
            asked_at: AskedAt {
                method: Method::Get,
                origin: Origin::new(Scheme::Https, "t.example").unwrap(),
                path: Arc::from("/token"),
            },
            status: 200,
            as_somebody: false,
            challenges: Vec::new(),
            content_type: Arc::from(""),
            length: None,
            encoded: false,
            digest: None,
            body: Body::Granted,
            quota: None,
            retry_after: None,
            answered_by: crate::runtime::answer::AnsweredBy::Other,
        })
    }

    #[test]
    fn what_of_a_credential_is_sent() {
        let both = credential("u", "p", "t");
        assert_eq!(basic(&both).unwrap(), "Basic dTpw");
        assert!(basic(&both).unwrap().is_sensitive());
        assert_eq!(basic(&credential("", "", "t")).unwrap(), "Basic OnQ=");
        assert_eq!(
            form(&request(Grant::Password), &both),
            "client_id=containerd-client&grant_type=password&password=p&username=u&scope=repository%3Aa%3Apull+x+y&service="
        );
        assert_eq!(
            form(&request(Grant::Refresh), &both),
            "client_id=containerd-client&grant_type=refresh_token&refresh_token=t&scope=repository%3Aa%3Apull+x+y&service="
        );
        let odd = Credential {
            username: Hidden::new("u"),
            password: Hidden::new(vec![0xe4]),
            identity_token: Hidden::default(),
        };
        assert!(form(&request(Grant::Password), &odd).contains("&password=%E4&"));
        let mut masks = Masks::default();
        masks.add(&odd);
        assert_eq!(masks.list(), ["\u{fffd}", "ä", "dTrk"]);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_live_as_long_as_they_say_and_a_little_less() {
        let lifetime = |expires_in| FreshToken::new("a", expires_in).map(|token| token.lifetime);
        assert_eq!(lifetime(None), Some(60));
        assert_eq!(lifetime(Some(-1)), Some(60));
        assert_eq!(lifetime(Some(99_999_999)), Some(3600));
        assert!(FreshToken::new("a\nb", None).is_none());
        let (vault, request) = (Vault::new(1 << 20), request(Grant::Anonymous));
        assert!(vault.granted(&request, None).is_none());
        let good_for = vault.keep(&request, FreshToken::new("a", Some(300)).unwrap(), &granted());
        assert_eq!(good_for, Duration::from_secs(270));
        assert!(vault.granted(&request, None).is_some());
        tokio::time::advance(Duration::from_secs(271)).await;
        assert!(vault.granted(&request, None).is_none());
        let sent = vault.token(&request).unwrap();
        assert_eq!(sent.header, "Bearer a");
        assert!(!sent.may_have_expired());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(vault.token(&request).is_none());
        assert!(sent.may_have_expired());
        // One that is granted for no time at all can be sent once all the same.
        assert_eq!(
            vault.keep(&request, FreshToken::new("b", Some(0)).unwrap(), &granted()),
            Duration::ZERO
        );
        assert!(vault.granted(&request, None).is_none());
        let first = vault.token(&request).unwrap();
        let (manifest, blob) = ("/v2/a/manifests/1", "/v2/a/blobs/sha256:1");
        assert!(!first.may_be_revoked(manifest) && !first.may_be_revoked(blob));
        assert!(first.may_be_revoked(manifest));
        tokio::time::advance(JUST_GRANTED).await;
        assert!(first.may_be_revoked(blob));
        vault.keep(&request, FreshToken::new("c", None).unwrap(), &granted());
        vault.forget(&request, &first);
        assert_eq!(vault.token(&request).unwrap().header, "Bearer c", "that is another one");
        let second = vault.token(&request).unwrap();
        vault.forget(&request, &second);
        assert!(vault.token(&request).is_none());
    }

    #[test]
    fn credentials_are_found_by_what_a_runtime_may_know() {
        let vault = Vault::new(1 << 20);
        let who = vault.knows(&credential("u", "p", ""));
        assert!(who.user && who.password && !who.identity_token);
        assert_eq!(vault.credential(who).unwrap().password.bytes(), b"p");
        assert!(vault.credential(Who::default()).is_none());
        assert!(vault.credential(Who::of(&credential("u", "q", ""))).is_none());
    }
}
