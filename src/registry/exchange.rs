//! One request to a registry or a token server, one answer: guarded, bounded, counted; redirects by the rule of
//! [`crate::runtime::redirect`] (contract 7).

use super::body::{BodyReader, Parsing, TooMuch};
use super::client::{Client, Received};
use super::error_body;
use super::headers;
use super::host_settings::{HostSettings, HostSettingsTable};
use super::identify;
use super::io_threads;
use super::log_throttle::LogThrottle;
use super::long_answers::LongAnswers;
use super::network::{self, Network};
use super::proxy::Proxy;
use super::queue::{Crowded, on_behalf_of, share};
use super::servers::{self, Server, Servers};
use super::transport::{self, Failed};
use super::vault::{FreshToken, Masks};
use crate::files;
use crate::limits;
use crate::net::{NotAdmitted, Reach};
use crate::runtime::answer::{Answer, AnsweredBy, AskedAt, Body, Fault, FaultKind, NotSent, Response, Withheld};
use crate::runtime::challenge;
use crate::runtime::outcome::{ConnectionFault, GuardRule, Level, Quota, TimeoutStage};
use crate::runtime::redirect::{self, Next};
use crate::runtime::request::{Agent, Method, Origin, Request, Scheme, Want};
use crate::telemetry::{Metrics, QuotaLevel, RequestOutcome};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::Full;
use hyper::body::Bytes;
use moka::future::Cache;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Why a request was not sent.
const CROWDED: &str = "too many requests wait for registries that do not answer";
const NOT_ADMITTED: &str = "the address is not admitted";
const UNSEEN: &str = "the name does not resolve in time, and pullgate sends no unchecked name to the proxy";
const COMPRESSED: &str = "the answer is compressed, although identity was asked for";
const VETTED_FOR: Duration = Duration::from_secs(30);
const DIGEST: &str = "docker-content-digest";

/// The secret parts of a request.
#[derive(Default)]
pub(super) struct Secrets {
    /// An `Authorization` for one origin each; it is sent nowhere else. Marked sensitive.
    pub(super) authorizations: Vec<(Origin, HeaderValue)>,
    /// Of a POST.
    pub(super) form: Option<String>,
    /// The user name in the query of a token request, encoded.
    pub(super) account: Option<String>,
    pub(super) masks: Masks,
}

/// The answer.
pub(super) struct Exchanged {
    pub(super) answer: Answer,
    /// Where a token was granted.
    pub(super) token: Option<FreshToken>,
}

/// The way to all servers.
pub(super) struct Exchange {
    pub(super) settings_table: Arc<HostSettingsTable>,
    reach: Arc<Reach>,
    proxy: Option<Proxy>,
    /// As whom everything is asked, where the settings say it.
    user_agent: Option<HeaderValue>,
    network: Option<Arc<dyn Network>>,
    /// What names resolve to here, for those that are reached through the proxy.
    vetted: Cache<String, Arc<Vec<IpAddr>>>,
    /// When a name was last answered for in time, of those.
    resolver_answered: Arc<Mutex<Option<Instant>>>,
    servers: Servers,
    /// Bytes of bodies that are longer than usual.
    long_bodies: LongAnswers,
    parsing: Arc<Parsing>,
    /// Where a registry has answered, by host and port.
    spoke: moka::sync::Cache<(Arc<str>, u16), ()>,
    limit: Duration,
    log_throttle: LogThrottle,
    metrics: Metrics,
}

/// Who asks. Some registries and the proxies before them answer nobody but the clients they know: what is wanted is their answer to a
/// node, and so this begins as that node's does, and goes on to say who it is (docs/decisions/0014).
fn introduction(agent: Agent) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{agent} (compatible; pullgate/{})", env!("CARGO_PKG_VERSION"))).ok()
}

/// A request on its way: what a redirect changes, and what it does not.
struct Hop<'a> {
    request: &'a Request,
    secrets: &'a Secrets,
    host_settings: &'a HostSettings,
    method: Method,
    url: Url,
    origin: Origin,
    form: Option<&'a str>,
}

/// An answer to one hop.
struct Got {
    status: u16,
    headers: HeaderMap,
    next: Next,
    body: Body,
    token: Option<FreshToken>,
}

/// Which client a request is given to.
enum ClientChoice<'a> {
    Direct(&'a Client),
    Proxied(&'a Client, &'a Proxy),
}

impl Exchange {
    /// `limit` is what one request may take.
    pub(super) fn new(
        settings_table: Arc<HostSettingsTable>,
        reach: Arc<Reach>,
        proxy: Option<Proxy>,
        user_agent: Option<HeaderValue>,
        network: Option<Arc<dyn Network>>,
        limit: Duration,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings_table,
            reach,
            proxy,
            user_agent,
            network,
            vetted: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(VETTED_FOR)
                .build(),
            resolver_answered: Arc::default(),
            servers: Servers::new(limits::descriptors(files::most_open()).registries),
            long_bodies: LongAnswers::new(limits::LONG_ANSWERS),
            parsing: Arc::new(Parsing::new()),
            spoke: moka::sync::Cache::new(limits::REMEMBERED),
            limit,
            log_throttle: LogThrottle::default(),
            metrics,
        }
    }

    /// Sends a request and follows its redirects; any status is an answer.
    pub(super) async fn send(&self, request: &Request, secrets: &Secrets) -> Exchanged {
        let Some(host_settings) = self.settings_table.get(request.host_settings) else {
            return Exchanged::from(Answer::NotSent(Arc::new(NotSent {
                asked_at: asked(request),
                why: Withheld::Unusable(Arc::from("the settings of this host have been replaced in the meantime")),
            })));
        };
        let exchanged = self.follow(request, secrets, &host_settings).await;
        self.tell(&exchanged.answer, &host_settings);
        exchanged
    }

    async fn follow(&self, request: &Request, secrets: &Secrets, host_settings: &HostSettings) -> Exchanged {
        let path = match &secrets.account {
            Some(account) => with_account(&request.path, account),
            None => request.path.to_string(),
        };
        let Ok(url) = Url::parse(&format!("{}{path}", request.origin)) else {
            return Exchanged::from(internal(request, "it does not form a valid URL"));
        };
        let mut hop = Hop {
            request,
            secrets,
            host_settings,
            method: request.method,
            url,
            origin: request.origin.clone(),
            form: secrets.form.as_deref(),
        };
        let mut as_somebody = false;
        for _ in 0..redirect::REQUESTS {
            // A hop's future is large.
            let got = match Box::pin(self.counted(&hop)).await {
                Ok(got) => got,
                Err((failed, words)) => return Exchanged::from(hop.failed(failed, &words)),
            };
            match got.next {
                Next::Stay => {
                    let Got {
                        status,
                        headers,
                        body,
                        token,
                        ..
                    } = got;
                    let mut response = hop.response(status, &headers, body, as_somebody);
                    self.note_who_answered(&mut response);
                    self.count_quota(&response);
                    let answer = Answer::Response(Arc::new(response));
                    return Exchanged { answer, token };
                }
                Next::Withhold(rule, to) => {
                    if let Some(origin) = Origin::of(&to) {
                        (hop.origin, hop.url) = (origin, to);
                    }
                    return Exchanged::from(hop.failed(Failed::StoppedByGuard(rule), ""));
                }
                Next::Follow {
                    method,
                    url,
                    as_somebody: named,
                } => {
                    as_somebody |= named;
                    let Some(origin) = Origin::of(&url) else {
                        return Exchanged::from(hop.failed(Failed::StoppedByGuard(GuardRule::Redirect), ""));
                    };
                    if method != Method::Post {
                        hop.form = None;
                    }
                    (hop.method, hop.url, hop.origin) = (method, url, origin);
                }
            }
        }
        Exchanged::from(hop.failed(Failed::Fault(FaultKind::RedirectLoop), ""))
    }

    /// One hop, counted.
    async fn counted(&self, hop: &Hop<'_>) -> Result<Got, (Failed, String)> {
        let server = self.servers.get(&hop.origin, hop.host_settings.names(&hop.origin));
        // What is broken waits for no place, and looks again once it has one.
        let places = match server.broken(hop.url.path()) {
            None => self.servers.enter(&server, hop.url.path()).await,
            Some((kind, words)) => return Err((Failed::Fault(kind), words)),
        };
        let broken = match &places {
            Ok(_) => server.broken(hop.url.path()),
            Err(Crowded) => Some((FaultKind::TimedOut(TimeoutStage::Deadline), CROWDED.to_owned())),
        };
        if let Some((kind, words)) = broken {
            return Err((Failed::Fault(kind), words));
        }
        let started = Instant::now();
        let result = match self.staged(hop, &server).await {
            // A kept connection that the server closed in the meantime; whatever it was, asking again does no harm.
            Err((Failed::Fault(FaultKind::Connection(ConnectionFault::Interrupted)), _)) if hop.method != Method::Post => {
                self.staged(hop, &server).await
            }
            result => result,
        };
        let class = servers::class(&hop.origin);
        match &result {
            Ok(got) => {
                server.answered(hop.url.path());
                self.metrics
                    .registry_request(class, status_label(got.status), started.elapsed());
            }
            Err((failed, words)) => {
                self.metrics.registry_request(class, failure_label(failed), started.elapsed());
                if let Failed::Fault(kind) = failed
                    && !hop.goes_on_over_http(*kind)
                {
                    server.failed(hop.url.path(), *kind, words);
                }
            }
        }
        result
    }

    /// One hop; of a connection that did not come about in time, how far it came.
    async fn staged(&self, hop: &Hop<'_>, server: &Server) -> Result<Got, (Failed, String)> {
        let started = Instant::now();
        let result = self.hop(hop, server).await;
        match result {
            Err((Failed::Fault(FaultKind::TimedOut(TimeoutStage::Connect)), words)) if self.shakes_hands(hop, started) => {
                Err((Failed::Fault(FaultKind::TimedOut(TimeoutStage::Handshake)), words))
            }
            result => result,
        }
    }

    /// One hop.
    async fn hop(&self, hop: &Hop<'_>, server: &Server) -> Result<Got, (Failed, String)> {
        let choice = self.client_for(hop).await?;
        let client = match &choice {
            ClientChoice::Direct(client) | ClientChoice::Proxied(client, _) => *client,
        };
        let agent = self.user_agent.clone().or_else(|| introduction(hop.request.agent));
        let request = hop.to_send(agent)?;
        let died = |_| (Failed::Fault(FaultKind::Internal), "the connection's task died".to_owned());
        let exchange = async {
            let response = if let Some(network) = &self.network {
                network::exchange(&**network, request).await?
            } else {
                let request = request.map(|form| Full::from(Bytes::from(form)));
                let sent = io_threads::spawn(on_behalf_of(share(), client.send(request)))
                    .await
                    .map_err(died)?;
                sent.map_err(|error| match &choice {
                    ClientChoice::Direct(_) => transport::failed(&error),
                    ClientChoice::Proxied(_, proxy) => transport::failed_through(&error, &proxy.shown()),
                })?
            };
            if let (ClientChoice::Direct(_), Some(address)) = (&choice, response.from) {
                server.is_at(address.to_canonical());
            }
            self.read(response, hop, server).await
        };
        let late = || {
            (
                Failed::Fault(FaultKind::TimedOut(TimeoutStage::Response)),
                "no answer in time".to_owned(),
            )
        };
        tokio::time::timeout(self.limit, exchange).await.map_err(|_| late())?
    }

    /// The client for this hop, if the guard admits the host.
    async fn client_for<'a>(&'a self, hop: &Hop<'a>) -> Result<ClientChoice<'a>, (Failed, String)> {
        let named = hop.host_settings.names(&hop.origin);
        let reach = if named { &Reach::Everything } else { &*self.reach };
        let not_admitted = |why: NotAdmitted| (Failed::StoppedByGuard(why.into()), NOT_ADMITTED.to_owned());
        reach.admits_host(&hop.url).map_err(not_admitted)?;
        let profile = self.settings_table.profile(hop.host_settings, &hop.origin);
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.covers(&hop.url));
        if let Some(why) = proxy.and_then(Proxy::fault) {
            let unreachable = FaultKind::Connection(ConnectionFault::Unreachable);
            return Err((Failed::Fault(unreachable), why.to_owned()));
        }
        if let Some(proxy) = proxy
            && let Some(client) = &profile.proxied
        {
            // The proxy resolves the name, and reaches what we would not: what this machine knows of the name must do.
            for ip in self.vetted(&hop.url).await?.iter() {
                reach.admits(*ip).map_err(not_admitted)?;
            }
            return Ok(ClientChoice::Proxied(client, proxy));
        }
        Ok(ClientChoice::Direct(if named { &profile.open } else { &profile.strict }))
    }

    /// The addresses of a host that is reached through the proxy, as far as they are known here. A name whose resolution takes long may be an
    /// attacker's, who hopes that nobody waits for it: it is not sent on unseen, unless nothing resolves here.
    async fn vetted(&self, url: &Url) -> Result<Arc<Vec<IpAddr>>, (Failed, String)> {
        let Some(url::Host::Domain(name)) = url.host() else {
            return Ok(Arc::default());
        };
        let (settings_table, vetted, resolver, name) = (
            Arc::clone(&self.settings_table),
            self.vetted.clone(),
            Arc::clone(&self.resolver_answered),
            name.to_owned(),
        );
        // Goes on when its time is up, so that the next request knows the answer.
        let look_up = tokio::spawn(async move {
            let own = name.clone();
            let addresses = async {
                let began = Instant::now();
                let found = settings_table.factory.addresses(&own).await;
                if began.elapsed() < limits::RESOLVE_BEFORE_PROXY && !settings_table.factory.is_static(&own) {
                    *resolver.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                }
                Arc::new(found.iter().map(SocketAddr::ip).collect())
            };
            vetted.get_with(name, addresses).await
        });
        match tokio::time::timeout(limits::RESOLVE_BEFORE_PROXY, look_up).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) => Err((Failed::Fault(FaultKind::Internal), "the look-up of the name died".to_owned())),
            Err(_) if self.nothing_resolves_here() => Ok(Arc::default()),
            Err(_) => Err((Failed::Fault(FaultKind::TimedOut(TimeoutStage::Connect)), UNSEEN.to_owned())),
        }
    }

    /// Whether this machine's resolver has answered nothing of late, as behind proxies that resolve for everybody.
    fn nothing_resolves_here(&self) -> bool {
        let answered = *self.resolver_answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_none_or(|at| at.elapsed() >= limits::ANSWERING)
    }

    async fn read(&self, response: Received, hop: &Hop<'_>, server: &Server) -> Result<Got, (Failed, String)> {
        let status = response.status.as_u16();
        let headers = response.headers.clone();
        let location = headers.get(header::LOCATION).map(HeaderValue::as_bytes);
        let next = redirect::next(hop.method, &hop.url, status, location);
        let (body, token) = if next == Next::Stay {
            self.body(response, &headers, hop, server).await?
        } else {
            (Body::Unread, None)
        };
        Ok(Got {
            status,
            headers,
            next,
            body,
            token,
        })
    }

    async fn body(
        &self,
        mut response: Received,
        headers: &HeaderMap,
        hop: &Hop<'_>,
        server: &Server,
    ) -> Result<(Body, Option<FreshToken>), (Failed, String)> {
        let nothing = Ok((Body::Unread, None));
        if hop.method == Method::Head {
            return match headers::odd_length(headers) {
                Some(odd) => {
                    let broken = FaultKind::Connection(ConnectionFault::Interrupted);
                    Err((Failed::Fault(broken), format!("bad Content-Length \"{odd}\"")))
                }
                None => nothing,
            };
        }
        let Some(mut reader) = BodyReader::of(&hop.request.want, response.status.as_u16()) else {
            return nothing;
        };
        if headers::is_encoded(headers) {
            // A runtime would decode it. We asked for it uncompressed, and cannot read it.
            return if reader.is_optional() {
                nothing
            } else {
                Err((Failed::Fault(FaultKind::Unreadable), COMPRESSED.to_owned()))
            };
        }
        let is_optional = reader.is_optional();
        let share = reader.share(response.length);
        response.make_room(reader.limit());
        let fill = async {
            // Held until the bytes are gone.
            let mut place = None;
            while let Some(chunk) = match response.chunk().await {
                // More was announced, and what was asked for is here: whether that will do is for the runtime to say.
                Err(_) if response.length.is_some() && reader.is_whole() => None,
                read => read.map_err(|error| transport::failed_within(&error))?,
            } {
                if place.is_none()
                    && !reader.is_short_with(&chunk)
                    && let Some(share) = share
                {
                    let own = self.long_bodies.own_part(share).await;
                    // Never closed.
                    let of_server = server.long_bodies.acquire().await;
                    place = Some((own, of_server, self.long_bodies.room(share).await));
                }
                if reader.push(&chunk).is_err() {
                    break;
                }
            }
            drop(response);
            Ok::<_, (Failed, String)>(place)
        };
        let masks = hop.secrets.masks.list();
        if is_optional {
            // The status says enough; the words may be missing or slow.
            let place = tokio::time::timeout(limits::ERROR_BODY_WAIT, fill).await;
            let read = reader.finish(&masks, &self.parsing).await;
            drop(place);
            return Ok((read.map_or(Body::Unread, |read| read.body), None));
        }
        let place = fill.await?;
        let read = reader.finish(&masks, &self.parsing).await;
        drop(place);
        let read = read.map_err(|TooMuch(why)| (Failed::Fault(FaultKind::Unreadable), why.to_owned()))?;
        Ok((read.body, read.token))
    }

    /// Remembers where a registry has answered, and says of an answer that shows none whether one did so before.
    fn note_who_answered(&self, response: &mut Response) {
        let Origin { host, port, .. } = &response.asked_at.origin;
        let key = (Arc::clone(host), *port);
        match response.answered_by {
            AnsweredBy::Registry => self.spoke.insert(key, ()),
            AnsweredBy::Other | AnsweredBy::OtherThanBefore if self.spoke.contains_key(&key) => {
                response.answered_by = AnsweredBy::OtherThanBefore;
            }
            AnsweredBy::Other | AnsweredBy::OtherThanBefore => {}
        }
    }

    /// Whether a TLS handshake has begun since then.
    fn shakes_hands(&self, hop: &Hop<'_>, since: Instant) -> bool {
        let host = hop.origin.host.trim_start_matches('[').trim_end_matches(']');
        let profile = self.settings_table.profile(hop.host_settings, &hop.origin);
        hop.origin.scheme == Scheme::Https && profile.handshakes.begun_since(host, since)
    }

    fn count_quota(&self, response: &Response) {
        match response.quota.as_ref().map(Quota::level) {
            Some(Level::Low) => self.metrics.pull_quota(QuotaLevel::Low),
            Some(Level::Exhausted) => self.metrics.pull_quota(QuotaLevel::Exhausted),
            Some(Level::Plenty) | None => {}
        }
    }

    /// Logs what an operator may want to know of; what the registry merely refuses is the user's business.
    fn tell(&self, answer: &Answer, host_settings: &HostSettings) {
        let tell = |at: &AskedAt, cause: RequestOutcome, status, detail: Option<&str>| {
            self.log_throttle.tell(&at.origin.authority(), cause.name(), status, detail);
        };
        match answer {
            Answer::Response(response) => {
                let label = status_label(response.status);
                if matches!(label, RequestOutcome::RateLimited | RequestOutcome::ServerError) {
                    tell(
                        &response.asked_at,
                        label,
                        Some(response.status),
                        response.error_text().detail.as_deref(),
                    );
                }
            }
            Answer::Fault(fault) => {
                let goes_on = host_settings.falls_back(&fault.asked_at.origin) && speaks_no_tls(fault.what);
                if fault.what != FaultKind::RedirectLoop && !goes_on {
                    tell(&fault.asked_at, fault_label(fault.what), None, fault.detail.as_deref());
                }
            }
            Answer::NotSent(not_sent) => {
                if let Withheld::Guard(rule) = &not_sent.why {
                    let is_address = matches!(
                        rule,
                        GuardRule::Address { .. } | GuardRule::NeverAdmitted { .. } | GuardRule::Metadata { .. }
                    );
                    tell(
                        &not_sent.asked_at,
                        RequestOutcome::Refused,
                        None,
                        is_address.then_some(NOT_ADMITTED),
                    );
                }
            }
            Answer::Late => {}
        }
    }
}

impl From<Answer> for Exchanged {
    fn from(answer: Answer) -> Self {
        Self { answer, token: None }
    }
}

impl Hop<'_> {
    fn asked_at(&self) -> AskedAt {
        let path = match self.url.query() {
            Some(query) => shown(&format!("{}?{query}", self.url.path()), &self.request.want),
            None => Arc::from(self.url.path()),
        };
        AskedAt {
            method: self.method,
            origin: self.origin.clone(),
            path,
        }
    }

    /// The request as it is sent.
    fn to_send(&self, agent: Option<HeaderValue>) -> Result<http::Request<String>, (Failed, String)> {
        let mut url = self.url.clone();
        let of_url = headers::take_userinfo(&mut url);
        let mut request = http::Request::new(self.form.unwrap_or_default().to_owned());
        *request.method_mut() = match self.method {
            Method::Head => http::Method::HEAD,
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        };
        let no_uri = |_| {
            (
                Failed::Fault(FaultKind::Internal),
                "no request can be made of the URL".to_owned(),
            )
        };
        *request.uri_mut() = url.as_str().parse().map_err(no_uri)?;
        let mut headers = self.headers();
        if let Some(agent) = agent {
            headers.insert(header::USER_AGENT, agent);
        }
        if let Some(authorization) = of_url {
            headers.entry(header::AUTHORIZATION).or_insert(authorization);
        }
        if self.form.is_some() {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, form);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let accept = if self.request.accept.is_empty() {
            "*/*"
        } else {
            &*self.request.accept
        };
        if let Ok(accept) = HeaderValue::from_str(accept) {
            headers.insert(header::ACCEPT, accept);
        }
        if self.method != Method::Head {
            // Nodes, too, ask by HEAD without a word about it.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        for (name, value) in self.host_settings.headers(&self.origin) {
            headers.append(name.clone(), value.clone());
        }
        let own = self.secrets.authorizations.iter().find(|(origin, _)| *origin == self.origin);
        if let Some((_, value)) = own {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        headers
    }

    fn response(&self, status: u16, headers: &HeaderMap, body: Body, as_somebody: bool) -> Response {
        let text = |name| headers::text(headers, name).unwrap_or_default();
        let digest = headers::text(headers, DIGEST).filter(|text| !text.is_empty());
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let good = (200..300).contains(&status);
        let answered_by = if identify::is_registry(
            status,
            headers,
            &body,
            &self.request.want,
            self.request.path.contains("/blobs/"),
        ) {
            AnsweredBy::Registry
        } else {
            AnsweredBy::Other
        };
        Response {
            asked_at: self.asked_at(),
            status,
            as_somebody,
            challenges: challenge::read(values.map(HeaderValue::as_bytes)),
            content_type: Arc::from(text(header::CONTENT_TYPE)),
            length: text(header::CONTENT_LENGTH).parse().ok(),
            encoded: headers::is_encoded(headers),
            digest: digest.map(Arc::from),
            body,
            quota: good.then(|| headers::quota(headers)).flatten(),
            retry_after: headers::retry_after(headers),
            answered_by,
        }
    }

    fn failed(&self, failed: Failed, words: &str) -> Answer {
        let asked_at = self.asked_at();
        match failed {
            Failed::StoppedByGuard(rule) => Answer::NotSent(Arc::new(NotSent {
                asked_at,
                why: Withheld::Guard(rule),
            })),
            Failed::Fault(what) => Answer::Fault(Arc::new(Fault {
                asked_at,
                what,
                detail: error_body::line(words, &self.secrets.masks.list()).map(Arc::from),
            })),
        }
    }

    /// Whether a host that failed over TLS is asked over http next: that is not a failure yet.
    fn goes_on_over_http(&self, kind: FaultKind) -> bool {
        self.host_settings.falls_back(&self.origin) && speaks_no_tls(kind)
    }
}

fn speaks_no_tls(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Tls(_) | FaultKind::Connection(ConnectionFault::Interrupted))
}

/// A bug, or something that was forgotten: nothing is concluded from it.
pub(super) fn internal(request: &Request, why: &str) -> Answer {
    Answer::Fault(Arc::new(Fault {
        asked_at: asked(request),
        what: FaultKind::Internal,
        detail: Some(Arc::from(why)),
    }))
}

/// The path with `account` in its query, in the order of names (Go, net/url `Values.Encode`).
fn with_account(path: &str, account: &str) -> String {
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let own = format!("account={account}");
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    let behind = |pair: &&str| pair.split('=').next() > Some("account");
    let at = pairs.iter().position(behind).unwrap_or(pairs.len());
    pairs.insert(at, &own);
    format!("{bare}?{}", pairs.join("&"))
}

/// Where a request goes.
pub(super) fn asked(request: &Request) -> AskedAt {
    AskedAt {
        method: request.method,
        origin: request.origin.clone(),
        path: shown(&request.path, &request.want),
    }
}

/// Path and query fit to show: of a query only the registry that a mirror is asked for, and the scope and service of a token request.
pub(super) fn shown(path: &str, want: &Want) -> Arc<str> {
    let Some((bare, query)) = path.split_once('?') else {
        return Arc::from(path);
    };
    let is_kept = |key: &str| match want {
        Want::Token(_) => matches!(key, "scope" | "service"),
        _ => key == "ns",
    };
    let kept: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| is_kept(key))
        .collect();
    if kept.is_empty() {
        return Arc::from(bare);
    }
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .finish();
    Arc::from(format!("{bare}?{query}"))
}

/// The metrics label of an answer by its status.
fn status_label(status: u16) -> RequestOutcome {
    match status {
        200..=399 => RequestOutcome::Ok,
        401 => RequestOutcome::Unauthorized,
        403 | 412 | 451 => RequestOutcome::Forbidden,
        404 => RequestOutcome::NotFound,
        429 => RequestOutcome::RateLimited,
        400..=407 | 409..=499 => RequestOutcome::ClientError,
        _ => RequestOutcome::ServerError,
    }
}

fn failure_label(failed: &Failed) -> RequestOutcome {
    match failed {
        Failed::Fault(kind) => fault_label(*kind),
        Failed::StoppedByGuard(_) => RequestOutcome::Refused,
    }
}

/// The label of a fault in metrics, and its cause in the log.
fn fault_label(kind: FaultKind) -> RequestOutcome {
    match kind {
        FaultKind::NameNotResolved => RequestOutcome::Dns,
        FaultKind::Connection(_) => RequestOutcome::Connect,
        FaultKind::TimedOut(_) => RequestOutcome::Timeout,
        FaultKind::Tls(_) => RequestOutcome::Tls,
        FaultKind::Unreadable => RequestOutcome::ServerError,
        FaultKind::RedirectLoop => RequestOutcome::ClientError,
        FaultKind::Internal => RequestOutcome::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(entries: &[(String, SocketAddr)]) -> Exchange {
        let proxy = Proxy::new("http://127.0.0.1:1", &[""; 0]).unwrap();
        let reach = Arc::new(Reach::Listed(Vec::new()));
        let factory = super::super::clients::Factory::new(&reach, entries, &[], Some(&proxy), limits::REQUEST).unwrap();
        let settings_table = Arc::new(HostSettingsTable::new(factory).unwrap());
        Exchange::new(
            settings_table,
            reach,
            Some(proxy),
            None,
            None,
            limits::REQUEST,
            Metrics::new(),
        )
    }

    #[tokio::test]
    async fn a_name_that_resolves_late_is_not_sent_to_the_proxy_unseen() {
        let entries = [("private.test".to_owned(), "10.1.2.3:443".parse().unwrap())];
        let exchange = exchange(&entries);
        let url = |host: &str| Url::parse(&format!("https://{host}/v2/")).unwrap();
        assert_eq!(
            *exchange.vetted(&url("private.test")).await.unwrap(),
            ["10.1.2.3".parse::<IpAddr>().unwrap()]
        );
        let held = exchange.settings_table.factory.stick();
        tokio::time::pause();
        assert!(
            exchange.vetted(&url("late.test")).await.unwrap().is_empty(),
            "nothing resolves here"
        );
        tokio::time::resume();
        *exchange.resolver_answered.lock().unwrap() = Some(Instant::now());
        tokio::time::pause();
        let (failed, words) = exchange.vetted(&url("late.test")).await.unwrap_err();
        assert_eq!(failed, Failed::Fault(FaultKind::TimedOut(TimeoutStage::Connect)));
        assert_eq!(words, UNSEEN);
        drop(held);
    }

    #[test]
    fn accounts_stand_in_the_order_of_names() {
        for (path, expected) in [
            ("/token", "/token?account=me"),
            ("/token?scope=a&service=s", "/token?account=me&scope=a&service=s"),
            ("/token?a=1&service=s", "/token?a=1&account=me&service=s"),
            ("/token?Z=1", "/token?Z=1&account=me"),
        ] {
            assert_eq!(with_account(path, "me"), expected);
        }
    }

    #[test]
    fn what_is_shown_of_a_query() {
        let words = |path: &str| shown(path, &Want::ErrorText).to_string();
        assert_eq!(words("/v2/a/tags/list?n=1000&ns=docker.io"), "/v2/a/tags/list?ns=docker.io");
        assert_eq!(words("/x?X-Amz-Signature=abc"), "/x");
        assert_eq!(words("/x"), "/x");
    }
}
