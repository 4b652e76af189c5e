//! One request to one host as containerd makes it: what it sends along, and when it sends it again (`doWithRetries`, `retryRequest` in
//! `core/remotes/docker/resolver.go`).

use crate::ask::Ask;
use crate::runtime::Pull;
use crate::runtime::answer::{Answer, FaultKind, Response};
use crate::runtime::containerd::authorizer::{Authorizer, Scope};
use crate::runtime::containerd::hosts::{Host, Schemes, Server, is_odd_literal};
use crate::runtime::containerd::version::Version;
use crate::runtime::containerd::{Got, Stop};
use crate::runtime::outcome::{
    ConnectionFault, Evidence, Failure, GuardRule, NodeSettingsFault, Purpose, Quota, TimeoutStage, TlsFault,
};
use crate::runtime::request::{Agent, Method, Origin, Request, Retry, Want, Who};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use url::form_urlencoded::Serializer;

/// The pause before a failed request is sent again (`doWithTransportRetries`).
const PAUSE: Duration = Duration::from_millis(50);

/// One host in one pull, and what was learned about it.
#[derive(Debug, Clone)]
pub(super) struct Session<'a> {
    host: &'a Host,
    version: Version,
    agent: Agent,
    /// The repository, by the name that it has at this host.
    repository: Cow<'a, str>,
    pub(super) auth: Authorizer,
    /// The host does not speak TLS, and is asked over plain HTTP (`NewHTTPFallback`).
    plain: bool,
    /// The pull quota, as the latest successful answer stated it.
    pub(super) quota: Option<Quota>,
    /// The last request.
    pub(super) latest: Option<Box<Request>>,
}

/// A request to a host, without what the session adds.
#[derive(Debug, Clone)]
pub(super) struct HostRequest<'a> {
    pub(super) method: Method,
    /// `manifests/latest`, `blobs/sha256:…`
    pub(super) rest: &'a str,
    pub(super) accept: &'a Arc<str>,
    pub(super) want: Want,
    /// Whether this is the last host.
    pub(super) last: bool,
}

/// Whether a request is sent again.
enum Again {
    No,
    Same,
    ByGet,
}

impl<'a> Session<'a> {
    pub(super) fn new(host: &'a Host, version: Version, pull: &'a Pull, repository: Cow<'a, str>) -> Self {
        // Any credential of the kubelet's displaces the node's own (`registryHosts` in `image_pull.go`).
        let who = if pull.who == Who::default() { host.node } else { pull.who };
        Self {
            host,
            version,
            agent: pull.agent,
            repository,
            auth: Authorizer::new(who),
            plain: false,
            quota: None,
            latest: None,
        }
    }

    /// The same host, as if nothing were known about it yet.
    pub(super) fn fresh(&self) -> Self {
        Self {
            auth: Authorizer::new(self.auth.given()),
            repository: self.repository.clone(),
            plain: false,
            quota: None,
            latest: None,
            ..*self
        }
    }

    pub(super) fn host(&self) -> &'a Host {
        self.host
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.auth.is_authenticated()
    }

    /// Takes over what a concurrent part of the pull has learned.
    pub(super) fn learn(&mut self, other: &Self) {
        self.auth.learn(&other.auth);
        self.plain |= other.plain;
        self.quota = other.quota.or(self.quota);
    }

    /// Sends a request as often as containerd does; any status.
    pub(super) fn exchange(&mut self, ask: &mut Ask<'_, Request>, request: HostRequest<'_>) -> Got<Arc<Response>> {
        if self.version.wants_addresses_in_brackets() && is_odd_literal(&self.host.shown) {
            let evidence = Evidence::NodeSettings(NodeSettingsFault::NoAddress);
            return Err(Failure::plain(evidence, self.host.shown.to_string()).into());
        }
        let Some(server) = &self.host.server else {
            let why = if is_odd_literal(&self.host.shown) {
                "a name in brackets that is not an IPv6 address: built with a Go from 1.24.8 or 1.25.2 on, containerd refuses it, and with one before it \
                 looks the name up"
            } else {
                "its name and port do not form an address"
            };
            return Err(Stop::from(self.closed(why)));
        };
        if let Some(why) = &self.host.unusable {
            return Err(Stop::from(self.closed(why)));
        }
        let mut request = request;
        let mut answers: Vec<(Method, Arc<Response>)> = Vec::new();
        let mut sent: Vec<Request> = Vec::new();
        loop {
            let response = self.send(ask, server, &request, &mut sent)?;
            self.withheld(server, &response)?;
            answers.push((request.method, Arc::clone(&response)));
            let no_more = !self.version.counts_attempts() && answers.len() >= self.version.requests();
            let again = if no_more { Again::No } else { self.again(&answers, &request)? };
            match again {
                Again::Same if sent.len() < self.version.requests() => continue,
                Again::ByGet if sent.len() < self.version.requests() => {
                    request.method = Method::Get;
                    continue;
                }
                Again::No | Again::Same | Again::ByGet => {}
            }
            if response.is_success() {
                self.quota = response.quota.or(self.quota);
            }
            return Ok(response);
        }
    }

    /// Sends it once, or until the connection holds.
    fn send(
        &mut self,
        ask: &mut Ask<'_, Request>,
        server: &Server,
        what: &HostRequest<'_>,
        sent: &mut Vec<Request>,
    ) -> Got<Arc<Response>> {
        let mut after = Duration::ZERO;
        loop {
            let scope = Scope {
                repository: &self.repository,
                host_settings: self.host.settings,
                agent: self.agent,
            };
            let auth = self.auth.authorize(ask, &scope)?;
            let plain = self.is_plain(server);
            let mut request = Request {
                asker: self.auth.who(),
                method: what.method,
                origin: if plain { server.http.clone() } else { server.https.clone() },
                path: self.path(server, what.rest),
                accept: Arc::clone(what.accept),
                auth,
                want: what.want.clone(),
                host_settings: self.host.settings,
                agent: self.agent,
                retry: Retry::default(),
            };
            let nth = sent.iter().filter(|before| is_repeated(before, &request)).count();
            request.retry = Retry {
                nth: u8::try_from(nth).unwrap_or(u8::MAX),
                after,
            };
            let answer = ask.get(request.clone())?;
            if !plain && server.schemes == Schemes::HttpsThenHttp && is_asked_without_tls(&answer, server) {
                self.plain = true;
                continue;
            }
            sent.push(request.clone());
            self.latest = Some(Box::new(request.clone()));
            let transient = matches!(&answer, Answer::Fault(fault) if is_transient(fault.what));
            let left = self.version.requests().saturating_sub(sent.len());
            if transient && what.last && self.version.repeats_failed_connections() && left > 0 {
                after = PAUSE;
                continue;
            }
            return answer.response(&request).map_err(Stop::from);
        }
    }

    /// Whether the host is asked over plain HTTP, as far as is known.
    fn is_plain(&self, server: &Server) -> bool {
        match server.schemes {
            Schemes::Https => false,
            Schemes::Http => true,
            Schemes::HttpsThenHttp => self.plain,
        }
    }

    /// `/v2/REPOSITORY/REST`, with `ns` if the host stands in for another registry.
    fn path(&self, server: &Server, rest: &str) -> Arc<str> {
        // A rewritten name may begin or end with a slash, or hold two: Go joins the parts of a path.
        let name: String = self
            .repository
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(String::new(), |mut name, part| {
                name.push('/');
                name.push_str(part);
                name
            });
        let path = format!("{}{name}/{rest}", server.path);
        Arc::from(match &server.namespace {
            Some(namespace) => {
                let query = Serializer::new(String::new()).append_pair("ns", namespace).finish();
                format!("{path}?{query}")
            }
            None => path,
        })
    }

    /// Decides about a repetition (`retryRequest`).
    fn again(&mut self, answers: &[(Method, Arc<Response>)], request: &HostRequest<'_>) -> Got<Again> {
        let Some((_, last)) = answers.last() else {
            return Ok(Again::No);
        };
        let before = answers
            .len()
            .checked_sub(2)
            .and_then(|at| answers.get(at))
            .map(|(_, response)| response);
        Ok(match last.status {
            401 => {
                let same = before.is_some_and(|before| before.asked_at == last.asked_at);
                if self.auth.add(last, same).map_err(Stop::from)? {
                    Again::Same
                } else {
                    Again::No
                }
            }
            405 if request.method == Method::Head && request.rest.starts_with("manifests/") => Again::ByGet,
            408 | 429 => Again::Same,
            500 | 503 | 504 if self.version.repeats_server_errors() => {
                let same = before.is_some_and(|before| before.status == last.status);
                if request.last && !same { Again::Same } else { Again::No }
            }
            _ => Again::No,
        })
    }

    /// Nodes pass their `Authorization` on to some hosts that this one redirects to (Go, net/http), and log in as a user that a redirect's
    /// URL names. We do neither, so a refusal that may be due to that proves nothing.
    fn withheld(&self, server: &Server, response: &Response) -> Got<()> {
        let refused = matches!(response.status, 401 | 403 | 404);
        let there = &response.asked_at.origin;
        let here = if self.is_plain(server) { &server.http } else { &server.https };
        let handed = here.hands_to(there) && self.auth.is_authenticated();
        let elsewhere = !server.https.is_same_server(there) && !server.http.is_same_server(there);
        let asks_for_it = response.status == 401 && elsewhere && self.auth.has_credential();
        let as_somebody = response.as_somebody && (400..500).contains(&response.status) && response.status != 429;
        if (refused && handed) || asks_for_it || as_somebody {
            let failure = Failure::of(
                Evidence::StoppedByGuard(GuardRule::CredentialNotSent),
                response,
                Purpose::Content,
            );
            return Err(Stop::from(failure));
        }
        Ok(())
    }

    /// Whether this is the host itself, not one that it redirects to.
    pub(super) fn is_at(&self, origin: &Origin) -> bool {
        let server = self.host.server.as_ref();
        server.is_some_and(|server| server.https.is_same_server(origin) || server.http.is_same_server(origin))
    }

    /// What a refusal proves, except for a 404.
    pub(super) fn refused(&self, response: &Response) -> Evidence {
        match response.status {
            401 => self.auth.refused(response),
            _ => Evidence::of_status(response, self.auth.is_authenticated()),
        }
    }

    /// A host that cannot be asked from here.
    fn closed(&self, why: &str) -> Failure {
        Failure {
            detail: Some(why.to_owned()),
            ..Failure::plain(
                Evidence::ConnectionFailed(ConnectionFault::Unreachable),
                self.host.shown.to_string(),
            )
        }
    }
}

/// Whether two requests differ only in their number and their authorization.
fn is_repeated(before: &Request, request: &Request) -> bool {
    before.method == request.method && before.origin == request.origin && before.auth == request.auth && before.path == request.path
}

/// Whether a host that failed over TLS is asked without (`isTLSError`, `isPortError`).
fn is_asked_without_tls(answer: &Answer, server: &Server) -> bool {
    let Answer::Fault(fault) = answer else {
        return false;
    };
    let no_tls = matches!(
        fault.what,
        FaultKind::Tls(TlsFault::PlainHttp) | FaultKind::Connection(ConnectionFault::Interrupted)
    );
    // Without a port, plain HTTP is on another port than HTTPS.
    let no_port = !server.names_port
        && matches!(
            fault.what,
            FaultKind::Connection(_) | FaultKind::TimedOut(TimeoutStage::Connect | TimeoutStage::Handshake)
        );
    fault.asked_at.origin.is_same_server(&server.https) && (no_tls || no_port)
}

/// `isTransientTransportErr`: time-outs, and connections that end early.
fn is_transient(what: FaultKind) -> bool {
    matches!(
        what,
        FaultKind::TimedOut(TimeoutStage::Connect | TimeoutStage::Handshake | TimeoutStage::Response)
            | FaultKind::Connection(ConnectionFault::Interrupted)
    )
}
