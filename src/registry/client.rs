//! One request to a registry or a token server: guarded, capped, counted; redirects by hand (contract 7).

use super::SetupError;
use super::cause::{self, Answer, failure};
use super::clients::{Factory, Profile, Trust, Verification};
use super::guard;
use super::host::{self, Endpoint, Schemes, Standing};
use super::proxy::Proxy;
use super::throttle::{Crowded, Hosts, Lanes};
use super::transport;
use super::words;
use crate::limits;
use crate::net::{Origin, Reach, Refused};
use crate::runtime::outcome::{ConnectionFault, Evidence, Purpose, Refusal, Rejection, TimeoutStage};
use crate::telemetry::Metrics;
use crate::verdict::Failure;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use moka::future::Cache;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Requests of one chain: containerd stops at the tenth redirect, before it asks an eleventh time.
const REQUESTS: usize = 10;
/// Why a request was not sent.
const CROWDED: &str = "too many requests wait for registries that do not answer";
const VETTED_FOR: Duration = Duration::from_secs(30);

/// An `Authorization` for one origin; it is sent nowhere else.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) origin: Origin,
    /// Marked sensitive.
    pub(super) value: HeaderValue,
}

/// A request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'a str,
    pub(super) authorizations: &'a [Authorization],
    /// Of a POST.
    pub(super) form: Option<String>,
    /// The longest body of a good answer, in bytes.
    pub(super) cap: usize,
    pub(super) purpose: Purpose,
    /// The host on whose behalf it is sent: itself, or its token server.
    pub(super) endpoint: &'a Endpoint,
}

/// The HTTP clients and what bounds them.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) factory: Arc<Factory>,
    verified: Arc<Profile>,
    /// For loopback names, as containerd does (pull-semantics 5.4).
    unverified: Arc<Profile>,
    reach: Arc<Reach>,
    proxy: Option<Proxy>,
    /// What names resolve to here, for those that are reached through the proxy.
    vetted: Cache<String, Arc<Vec<IpAddr>>>,
    pub(super) hosts: Hosts,
    lanes: Lanes,
    request_limit: Duration,
    pub(super) metrics: Metrics,
}

/// Which client a request is given to.
enum Way<'a> {
    Direct(&'a reqwest::Client),
    Proxied(&'a reqwest::Client, &'a Proxy),
}

impl Client {
    /// `entries` are static host entries, `bundles` CA bundles (PEM), `look_up_limit` what one look-up may take in all.
    pub(super) fn new(
        reach: Reach,
        entries: &[(String, SocketAddr)],
        bundles: &[Vec<u8>],
        proxy: Option<Proxy>,
        look_up_limit: Duration,
        metrics: Metrics,
    ) -> Result<Self, SetupError> {
        let reach = Arc::new(reach);
        let request_limit = limits::REQUEST.min(look_up_limit / 2);
        let factory = Arc::new(Factory::new(&reach, entries, bundles, proxy.as_ref(), request_limit)?);
        let profile = |trust: &Trust| {
            factory
                .profile(trust)
                .map_err(|why| SetupError(format!("{why}; install the system's CA certificates or name a CA bundle")))
        };
        Ok(Self {
            verified: profile(&Trust::default())?,
            unverified: profile(&Trust {
                verification: Verification::None,
                ..Trust::default()
            })?,
            factory,
            reach,
            proxy,
            vetted: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(VETTED_FOR)
                .build(),
            hosts: Hosts::new(),
            lanes: Lanes::new(),
            request_limit,
            metrics,
        })
    }

    /// Sends a request and follows its redirects. `Err` is what kept us from an answer; any status is an answer.
    pub(super) async fn send(&self, mut ask: Ask<'_>) -> Result<Answer, Failure> {
        let by = ask.url.clone();
        let mut as_somebody = false;
        for _ in 0..REQUESTS {
            let answer = Box::pin(self.counted(&ask))
                .await
                .map_err(|failure| sent_on(failure, &ask, &by))?;
            let location = match answer.status.as_u16() {
                301 | 302 | 303 | 307 | 308 => answer.headers.get(header::LOCATION).map(guard::location),
                _ => None,
            };
            let refused = |refusal, to: &Url| failure(Evidence::Refused(refusal), &ask.method, to, ask.purpose);
            // An empty one leads nowhere, to Go as well.
            let Some(location) = location.filter(|location| !location.is_empty()) else {
                if as_somebody && answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS {
                    return Err(refused(Refusal::Withheld, &ask.url));
                }
                return Ok(answer);
            };
            as_somebody |= guard::names_somebody(&ask.url, &location);
            let to = match guard::redirect(&ask.url, &location) {
                Ok(to) => to,
                Err((refusal, to)) => return Err(refused(refusal, to.as_ref().unwrap_or(&ask.url))),
            };
            if ask.method == Method::POST {
                if matches!(answer.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
                    // Such a redirect asks to send the form, and the credential in it, once more.
                    if !host::is_on(&to, &Origin::of(&ask.url)) {
                        return Err(refused(Refusal::Redirect, &to));
                    }
                } else {
                    ask.method = Method::GET;
                    ask.form = None;
                }
            }
            ask.url = to;
        }
        Err(failure(
            Evidence::Rejected(Rejection::RedirectLoop),
            &ask.method,
            &ask.url,
            ask.purpose,
        ))
    }

    /// One hop, counted.
    async fn counted(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let host = self.hosts.get(host::key(&ask.url, ask.endpoint.standing_at(&ask.url))).await;
        let places = self.lanes.enter(&host).await;
        let broken = match &places {
            Ok(_) => host.broken(),
            Err(Crowded) => Some((Evidence::TimedOut(TimeoutStage::Deadline), CROWDED.to_owned())),
        };
        let asked = broken.is_none();
        let started = Instant::now();
        let result = match broken {
            Some(broken) => Err(broken),
            None => match self.hop(ask).await {
                // A kept connection that the server closed in the meantime; whatever it was, asking again does no harm.
                Err((Evidence::ConnectionFailed(ConnectionFault::Interrupted), _)) if ask.method != Method::POST => {
                    self.hop(ask).await
                }
                result => result,
            },
        };
        let took = started.elapsed();
        match result {
            Ok(answer) => {
                host.answered();
                self.metrics
                    .registry_request(host::class(&ask.url), cause::status_label(answer.status), took);
                Ok(answer)
            }
            Err((evidence, words)) => {
                let mut failed = failure(evidence, &ask.method, &ask.url, ask.purpose);
                failed.detail = words::line(&words, &[]);
                if asked {
                    self.metrics
                        .registry_request(host::class(&ask.url), cause::label(&failed.evidence), took);
                }
                // A host that speaks no TLS is asked over http next; that is no failure.
                let tentative = ask.endpoint.schemes == Schemes::HttpsThenHttp
                    && ask.endpoint.is_at(&ask.url)
                    && ask.url.scheme() == "https"
                    && matches!(
                        failed.evidence,
                        Evidence::Tls(_) | Evidence::ConnectionFailed(ConnectionFault::Interrupted)
                    );
                if asked && !tentative {
                    host.failed(&failed.evidence, &words);
                }
                Err(failed)
            }
        }
    }

    /// One hop.
    async fn hop(&self, ask: &Ask<'_>) -> Result<Answer, (Evidence, String)> {
        let way = self.way(ask).await?;
        let client = match &way {
            Way::Direct(client) | Way::Proxied(client, _) => *client,
        };
        let mut headers = HeaderMap::new();
        if let Ok(accept) = HeaderValue::from_str(ask.accept) {
            headers.insert(header::ACCEPT, accept);
        }
        if ask.method != Method::HEAD {
            // Nodes, too, ask by HEAD without a word about it.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if ask.endpoint.is_at(&ask.url) {
            own_headers(&ask.endpoint.headers, &mut headers);
        }
        let origin = Origin::of(&ask.url);
        if let Some(authorization) = ask.authorizations.iter().find(|authorization| authorization.origin == origin) {
            headers.insert(header::AUTHORIZATION, authorization.value.clone());
        }
        let mut request = client.request(ask.method.clone(), ask.url.clone()).headers(headers);
        if let Some(form) = &ask.form {
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone());
        }
        let exchange = async {
            let response = request.send().await.map_err(|error| match &way {
                Way::Direct(_) => transport::evidence(&error),
                Way::Proxied(_, proxy) => transport::evidence_through(&error, &proxy.shown()),
            })?;
            read(response, ask).await
        };
        match tokio::time::timeout(self.request_limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err((Evidence::TimedOut(TimeoutStage::Response), "no answer in time".to_owned())),
        }
    }

    /// The client for this hop, if the guard admits the host.
    async fn way<'a>(&'a self, ask: &Ask<'a>) -> Result<Way<'a>, (Evidence, String)> {
        let named = ask.endpoint.standing_at(&ask.url) == Standing::Named;
        let reach = if named { &Reach::Everything } else { &*self.reach };
        let refused = |refusal| {
            (
                Evidence::Refused(Refused::into(refusal)),
                "the address is not admitted".to_owned(),
            )
        };
        reach.admits_literal(&ask.url).map_err(refused)?;
        // containerd has one client for a host, which goes with its redirects and to its token server.
        let profile = match &ask.endpoint.profile {
            Some(profile) => profile,
            None if ask.endpoint.standing == Standing::Stranger && host::is_unverified(&ask.url) => &self.unverified,
            None => &self.verified,
        };
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.covers(&ask.url));
        if let Some(why) = proxy.and_then(Proxy::fault) {
            return Err((Evidence::ConnectionFailed(ConnectionFault::Unreachable), why.to_owned()));
        }
        if let Some(proxy) = proxy
            && let Some(client) = &profile.proxied
        {
            // The proxy resolves the name, and reaches what we would not: what this machine knows of the name must do.
            let addresses = self.vetted(&ask.url).await;
            for ip in addresses.iter() {
                reach.admits(*ip).map_err(refused)?;
            }
            return Ok(Way::Proxied(client, proxy));
        }
        Ok(Way::Direct(if named { &profile.open } else { &profile.strict }))
    }

    /// The addresses of a host that is reached through the proxy, as far as they are known here.
    async fn vetted(&self, url: &Url) -> Arc<Vec<IpAddr>> {
        let Some(url::Host::Domain(name)) = url.host() else {
            return Arc::default();
        };
        let look_up = async {
            let found = tokio::time::timeout(limits::RESOLVE_BEFORE_PROXY, self.factory.addresses(name)).await;
            Arc::new(found.unwrap_or_default().iter().map(SocketAddr::ip).collect())
        };
        self.vetted.get_with(name.to_owned(), look_up).await
    }
}

/// A failure behind a redirect to another host: no fault of the host that was asked.
fn sent_on(failure: Failure, ask: &Ask<'_>, by: &Url) -> Failure {
    let silent = matches!(
        failure.evidence,
        Evidence::NameNotResolved | Evidence::ConnectionFailed(_) | Evidence::TimedOut(_) | Evidence::Tls(_)
    );
    if !silent || ask.purpose != Purpose::Content || ask.endpoint.is_at(&ask.url) {
        return failure;
    }
    Failure {
        evidence: Evidence::SentOn {
            by: host::authority(by),
            fails: Box::new(failure.evidence),
        },
        ..failure
    }
}

/// The headers that a `hosts.toml` writes, beside ours; those that are about the connection are not its business.
fn own_headers(written: &HeaderMap, headers: &mut HeaderMap) {
    let about_the_connection = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::ACCEPT_ENCODING,
        header::USER_AGENT,
    ];
    for (name, value) in written {
        if !about_the_connection.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

async fn read(mut response: reqwest::Response, ask: &Ask<'_>) -> Result<Answer, (Evidence, String)> {
    let status = response.status();
    let mut answer = Answer {
        method: ask.method.clone(),
        url: ask.url.clone(),
        status,
        headers: response.headers().clone(),
        body: Vec::new(),
        truncated: false,
    };
    if ask.method == Method::HEAD {
        // Where there is a body, the transport sees to this.
        let lengths = answer.headers.get_all(header::CONTENT_LENGTH).iter();
        let odd = lengths.map(HeaderValue::as_bytes).find(|text| {
            let text = text.trim_ascii();
            text.is_empty() || !text.iter().all(u8::is_ascii_digit)
        });
        return match odd {
            Some(odd) => Err((
                Evidence::ConnectionFailed(ConnectionFault::Interrupted),
                format!("bad Content-Length \"{}\"", String::from_utf8_lossy(odd)),
            )),
            None => Ok(answer),
        };
    }
    let encoded = answer
        .header(header::CONTENT_ENCODING)
        .is_some_and(|coding| !matches!(coding, "" | "identity"));
    if encoded {
        // A runtime would decode it; we asked for it plain, and cannot tell what it says.
        return if status.is_success() {
            Err((
                Evidence::ServerError { token_server: false },
                "the answer is compressed, although identity was asked for".to_owned(),
            ))
        } else {
            Ok(answer)
        };
    }
    if !status.is_success() {
        // The status says enough; the words may be missing or slow.
        let cap = ask.cap.min(limits::ERROR_BODY);
        let _ = tokio::time::timeout(limits::ERROR_BODY_WAIT, fill(&mut response, &mut answer, cap)).await;
        return Ok(answer);
    }
    fill(&mut response, &mut answer, ask.cap)
        .await
        .map_err(|error| transport::evidence(&error))?;
    Ok(answer)
}

/// Reads the body up to `cap` bytes, chunk by chunk.
async fn fill(response: &mut reqwest::Response, answer: &mut Answer, cap: usize) -> Result<(), reqwest::Error> {
    loop {
        match response.chunk().await? {
            Some(chunk) => {
                let room = cap.saturating_sub(answer.body.len());
                answer.body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    answer.truncated = true;
                    return Ok(());
                }
            }
            None => return Ok(()),
        }
    }
}
