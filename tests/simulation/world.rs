//! The world: registries and cluster over time, what is wrong at the moment, the tokens that are about, and a watchman who looks at every
//! request.

use crate::cluster::{Cluster, NAMESPACES};
use crate::images::object;
use crate::random::hashed;
use crate::registries::{CDN, Caller, Content, Reply, TRAP, blob};
use crate::script::HOSTS;
use base64::Engine as _;
use futures_util::future::BoxFuture;
use pullgate::registry::Network;
use pullgate::runtime::answer::FaultKind;
use pullgate::runtime::outcome::{ConnectionFault, TlsFault};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Milliseconds since the world began.
pub type Time = u64;

/// What is wrong with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Refuses,
    HangsUp,
    NoName,
    BadCertificate,
    Hangs,
    /// Every answer takes so many milliseconds more.
    Slow(u64),
    Status(u16),
    /// An ingress without a backend.
    Ingress,
    LoginPage,
    Firewall,
    /// 429 to everybody, or for one repository; with so many seconds to wait, or none.
    Throttles(Option<&'static str>, Option<u64>),
    /// Bodies break off.
    Cut,
}

/// A token that a server has granted.
#[derive(Debug)]
struct Token {
    registry: usize,
    user: Option<String>,
    repositories: BTreeSet<String>,
    until: Time,
}

#[derive(Debug)]
pub struct World(Mutex<Inside>);

#[derive(Debug)]
pub struct Inside {
    seed: u64,
    began: Instant,
    /// With the time since when; the last holds now.
    pub contents: Vec<(Time, Arc<Content>)>,
    /// Of each, by registry, the first that was the same there.
    alike: Vec<[usize; HOSTS.len()]>,
    pub clusters: Vec<(Time, Arc<Cluster>)>,
    pub troubles: BTreeMap<String, Trouble>,
    /// When anything was slow last.
    pub slow: Time,
    tokens: HashMap<String, Token>,
    /// Every password that there ever was: for which host, and of which namespace.
    passwords: HashMap<String, (usize, usize)>,
    /// When each namespace has asked last.
    pub asked: [Option<Time>; NAMESPACES.len()],
    pub requests: u64,
    /// Whether whoever asks dies of it.
    pub dies: bool,
    /// What must never happen, and did.
    pub wrongs: Vec<(&'static str, String)>,
    /// Every request, where the story is to be told.
    pub story: Option<Vec<String>>,
}

/// How long a look-up may go on that a review began.
const LOOK_UP: Time = 45_000;

impl World {
    pub fn new(seed: u64, content: Content, cluster: Cluster, tells: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inside {
            seed,
            began: Instant::now(),
            contents: vec![(0, Arc::new(content))],
            alike: vec![[0; HOSTS.len()]],
            clusters: vec![(0, Arc::new(cluster))],
            troubles: BTreeMap::new(),
            slow: 0,
            tokens: HashMap::new(),
            passwords: HashMap::new(),
            asked: [None; NAMESPACES.len()],
            requests: 0,
            dies: false,
            wrongs: Vec::new(),
            story: tells.then(Vec::new),
        })))
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    pub fn now(&self) -> Time {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.story.is_none() {
            return;
        }
        let now = self.now();
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9.3} s  {}", now as f64 / 1000.0, text()));
        }
    }

    pub fn content(&self) -> &Arc<Content> {
        &self.contents.last().unwrap().1
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.clusters.last().unwrap().1
    }

    /// The cluster as a watch shows it that is so far behind, and which version of it that is.
    pub fn cluster_before(&self, lag: Time) -> (usize, Arc<Cluster>) {
        let at = self.now().saturating_sub(lag);
        let version = self.clusters.iter().rposition(|(since, _)| *since <= at).unwrap_or(0);
        (version, Arc::clone(&self.clusters[version].1))
    }

    /// The first of the contents that was the same as this one at a host.
    pub fn first_like(&self, version: usize, host: &str) -> usize {
        let registry = HOSTS.iter().position(|known| *known == host).unwrap_or(0);
        self.alike[version][registry]
    }

    pub fn change_content(&mut self, registry: usize, change: impl FnOnce(&mut Content)) {
        let mut content = Content::clone(self.content());
        change(&mut content);
        let mut alike = *self.alike.last().unwrap();
        alike[registry] = self.contents.len();
        self.alike.push(alike);
        self.contents.push((self.now(), Arc::new(content)));
    }

    pub fn change_cluster(&mut self, change: impl FnOnce(&mut Cluster)) {
        let mut cluster = Cluster::clone(self.cluster());
        change(&mut cluster);
        self.clusters.push((self.now(), Arc::new(cluster)));
    }

    /// From now on this password is about: whose, and for which registry.
    pub fn know_password(&mut self, password: &str, registry: usize, namespace: usize) {
        self.passwords.insert(password.to_owned(), (registry, namespace));
    }

    pub fn wrong(&mut self, check: &'static str, text: String) {
        self.tell(|| format!("WRONG ({check}): {text}"));
        self.wrongs.push((check, text));
    }

    /// Looks whether what is secret of a request may go where it goes.
    fn watch(&mut self, to: &To, request: &http::Request<Vec<u8>>, header: Option<&str>) {
        let shown = header.map(decoded).unwrap_or_default();
        let body = String::from_utf8_lossy(request.body());
        let headers = request.headers().iter();
        let elsewhere = headers.filter(|(name, _)| *name != http::header::AUTHORIZATION);
        self.look(to, &shown, true);
        self.look(to, &body, true);
        for (_, value) in elsewhere {
            self.look(to, &String::from_utf8_lossy(value.as_bytes()), false);
        }
        self.look(to, to.url.as_str(), false);
    }

    /// The same of a text of it.
    fn look(&mut self, to: &To, text: &str, may_hold_one: bool) {
        let To { url, host, place } = to;
        for password in secrets(text, "pw-") {
            let Some((registry, namespace)) = self.passwords.get(password).copied() else {
                continue;
            };
            let content = Arc::clone(self.content());
            let of = &content.registries[registry];
            let by_realm = content.by_realm(place).is_some_and(|(own, _)| own == registry);
            let is_there = url.scheme() == "https" && (host == of.host || by_realm);
            if !is_there || !may_hold_one {
                let whose = NAMESPACES[namespace];
                self.wrong(
                    "credentials",
                    format!("a password of {whose} for {} goes to {place}", of.host),
                );
            }
            let since = self.now().saturating_sub(LOOK_UP);
            if self.asked[namespace].is_none_or(|at| at < since) {
                let whose = NAMESPACES[namespace];
                self.wrong("namespaces", format!("a password of {whose} is used and nobody asked for it"));
            }
        }
        for token in secrets(text, "tok-") {
            let Some(known) = self.tokens.get(token) else { continue };
            let of = self.content().registries[known.registry].host;
            if host != of || url.scheme() != "https" {
                self.wrong("credentials", format!("a token of {of} goes to {place}"));
            }
        }
    }

    fn caller(&self, registry: usize, header: Option<&str>) -> Caller {
        let Some(header) = header else { return Caller::Nobody };
        if let Some(token) = header.strip_prefix("Bearer ") {
            return match self.tokens.get(token) {
                Some(known) if known.registry == registry && self.now() < known.until => Caller::Token {
                    user: known.user.clone(),
                    repositories: known.repositories.clone(),
                },
                _ => Caller::Wrong,
            };
        }
        let pair = decoded(header);
        let pair = pair.strip_prefix("Basic ").and_then(|pair| pair.split_once(':'));
        pair.map_or(Caller::Wrong, |(user, password)| {
            self.content().caller(registry, user, password)
        })
    }

    fn reply(&mut self, to: &To, posted: bool, body: &[u8], header: Option<&str>) -> Result<Reply, FaultKind> {
        let To { url, host, place } = to;
        let content = Arc::clone(self.content());
        if let Some((at, registry)) = content.by_realm(place) {
            let form: HashMap<String, String> = url::form_urlencoded::parse(if posted { body } else { b"" })
                .into_owned()
                .collect();
            let caller = match (form.get("username"), form.get("password")) {
                (Some(user), Some(password)) => content.caller(at, user, password),
                _ => self.caller(at, header),
            };
            let query = url
                .query_pairs()
                .filter(|(key, _)| key == "scope")
                .map(|(_, scope)| scope.into_owned());
            let scopes: Vec<String> = query
                .chain(form.get("scope").cloned())
                .flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>())
                .collect();
            let mut reply = registry.token(posted, &scopes, &caller);
            if let Some((user, repositories)) = reply.grants.take() {
                let token = format!("tok-{:016x}", hashed(self.seed, &[&self.tokens.len().to_string()]));
                let life = registry.token_life;
                let text = format!(r#"{{"token":"{token}","access_token":"{token}","expires_in":{life}}}"#);
                let until = self.now() + life * 1000;
                self.tokens.insert(
                    token,
                    Token {
                        registry: at,
                        user,
                        repositories,
                        until,
                    },
                );
                reply = reply.body("application/json", text);
            }
            return Ok(reply);
        }
        if host == CDN {
            return Ok(object(url.path().trim_start_matches('/')).map_or_else(|| Reply::new(404), blob));
        }
        match content.at(host) {
            Some((at, registry)) if url.scheme() == "https" => Ok(registry.reply(url.path(), &self.caller(at, header))),
            _ if host == TRAP => Ok(Reply::new(200).body("application/json", r#"{"token":"trapped"}"#)),
            _ => Err(FaultKind::NameNotResolved),
        }
    }

    /// What comes back over the wire.
    fn exchange(&mut self, request: &http::Request<Vec<u8>>) -> Result<Reply, FaultKind> {
        let to = To::of(Url::parse(&request.uri().to_string()).unwrap());
        let header = request.headers().get(http::header::AUTHORIZATION);
        let header = header.map(|value| value.to_str().unwrap_or_default().to_owned());
        self.requests += 1;
        self.watch(&to, request, header.as_deref());
        let To { url, host, place } = &to;
        let throttled = |retry: Option<u64>| {
            let reply = Reply::new(429).body("application/json", r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#);
            match retry {
                Some(seconds) => reply.header("retry-after", seconds.to_string()),
                None => reply,
            }
        };
        let trouble = self.troubles.get(host).copied();
        // Whatever a token server answers counts as its word (contract 3), so a page there is no trouble but a refusal.
        let is_page = matches!(trouble, Some(Trouble::Ingress | Trouble::LoginPage | Trouble::Firewall));
        let trouble = match trouble {
            Some(_) if is_page && self.content().by_realm(place).is_some() => Some(Trouble::Status(503)),
            trouble => trouble,
        };
        let result = match trouble {
            Some(Trouble::Refuses) => Err(FaultKind::Connection(ConnectionFault::Refused)),
            Some(Trouble::HangsUp) => Err(FaultKind::Connection(ConnectionFault::Interrupted)),
            Some(Trouble::NoName) => Err(FaultKind::NameNotResolved),
            Some(Trouble::BadCertificate) => Err(FaultKind::Tls(TlsFault::Expired)),
            Some(Trouble::Status(status)) => Ok(Reply::new(status).body("text/plain", "try again later")),
            Some(Trouble::Ingress) => Ok(Reply::new(404).body("text/plain", "default backend - 404")),
            Some(Trouble::LoginPage) => Ok(Reply::new(200).body("text/html", "<html>who are you?</html>")),
            Some(Trouble::Firewall) => Ok(Reply::new(403).body("text/html", "<html>blocked</html>")),
            Some(Trouble::Throttles(None, retry)) => Ok(throttled(retry)),
            Some(Trouble::Throttles(Some(repository), retry)) if url.path().contains(repository) => Ok(throttled(retry)),
            Some(Trouble::Cut | Trouble::Hangs | Trouble::Slow(_) | Trouble::Throttles(..)) | None => {
                let posted = request.method() == http::Method::POST;
                self.reply(&to, posted, request.body(), header.as_deref())
            }
        };
        let result = match (trouble, result) {
            (Some(Trouble::Cut), Ok(reply)) if !reply.body.is_empty() => Err(FaultKind::Connection(ConnectionFault::Interrupted)),
            (_, result) => result,
        };
        self.tell(|| {
            let what = match &result {
                Ok(reply) => reply.status.to_string(),
                Err(fault) => format!("{fault:?}"),
            };
            let by = match &header {
                Some(header) if header.starts_with("Basic") => " with a password",
                Some(_) => " with a token",
                None => "",
            };
            format!(
                "    {} {}{by}: {what}",
                request.method(),
                url.as_str().split('?').next().unwrap_or_default()
            )
        });
        result
    }
}

impl Network for World {
    fn exchange(&self, request: http::Request<Vec<u8>>) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, FaultKind>> {
        Box::pin(async move {
            let dies = self.inside().dies;
            assert!(!dies, "a look-up dies on purpose");
            let is_head = request.method() == http::Method::HEAD;
            let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let after = {
                let mut inside = self.inside();
                let usual = hashed(inside.seed, &[&host, request.uri().path()]) % 40;
                // Most answers come at once.
                let usual = usual.saturating_sub(25);
                match inside.troubles.get(&host) {
                    Some(Trouble::Hangs) => 3_600_000,
                    Some(Trouble::Slow(more)) => {
                        let more = *more;
                        inside.slow = inside.now() + more;
                        usual + more
                    }
                    _ => usual,
                }
            };
            if after > 0 {
                tokio::time::sleep(Duration::from_millis(after)).await;
            }
            let reply = self.inside().exchange(&request)?;
            let mut response = http::Response::new(if is_head { Vec::new() } else { reply.body.clone() });
            *response.status_mut() = http::StatusCode::from_u16(reply.status).unwrap();
            for (name, value) in &reply.headers {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            response
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, reply.body.len().into());
            Ok(response)
        })
    }
}

/// Where a request goes.
struct To {
    url: Url,
    /// With its port, where that is named.
    host: String,
    /// The URL without its query.
    place: String,
}

impl To {
    fn of(url: Url) -> Self {
        let host = authority(&url);
        let place = format!("{}://{host}{}", url.scheme(), url.path());
        Self { url, host, place }
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A header with what is packed in it.
fn decoded(header: &str) -> String {
    let Some(packed) = header.strip_prefix("Basic ") else {
        return header.to_owned();
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap_or_default();
    format!("Basic {}", String::from_utf8_lossy(&bytes))
}

/// The secrets in a text: they begin with `mark`, and are letters, digits and hyphens.
fn secrets<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    text.match_indices(mark).map(|(at, _)| {
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}
