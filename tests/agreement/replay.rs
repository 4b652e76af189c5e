//! Recorded conversations of real runtimes, played to our machines: at each point the request that was recorded must be among those that the
//! machine asks, and at the end nothing may be missing or left over.

use crate::cases::{self, Case, Certificates};
use pullgate::ask::{Ask, Log, Missing, Nothing, Step, step};
use pullgate::image::{Digest, Platform, Reference};
use pullgate::runtime::answer::{Answer, AnsweredBy, AskedAt, Body, ErrorText, Fault, FaultKind, NotSent, Response, Withheld};
use pullgate::runtime::containerd::hosts::{Host, Hosts, Schemes, Server};
use pullgate::runtime::containerd::rewrites::Rewrites;
use pullgate::runtime::containerd::version::Version;
use pullgate::runtime::containerd::{Containerd, Fork, PullPath};
use pullgate::runtime::crio::registries_conf::RegistriesConf;
use pullgate::runtime::crio::{self, Crio, short_names};
use pullgate::runtime::outcome::{ConnectionFault, ContentFault, Evidence, TlsFault};
use pullgate::runtime::redirect::{self, Next};
use pullgate::runtime::request::{Agent, Auth, Grant, HostSettingsId, Method, Origin, Request, Want, Who};
use pullgate::runtime::{Depth, End, NodeConfig, Outcome, Pull, challenge, content};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What the placeholders of a recording stand for here.
const PLACES: &[(&str, &str)] = &[
    ("{registry}", "127.0.0.1:5001"),
    ("{mirror}", "127.0.0.1:5002"),
    ("{named}", "127.0.0.1:5003"),
    ("{port}", "5001"),
    ("{mirror-port}", "5002"),
    ("{named-port}", "5003"),
    ("{closed}", "127.0.0.1:1"),
];

/// `{}`, which several cases share and recordings leave out.
const EMPTY_JSON: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Recordings that a machine does not replay: the case, the beginning of the runtime's name, and why.
const NOT_REPLAYED: &[(&str, &str, &str)] = &[
    (
        "answers-digest-blobs-manifest-type",
        "containerd",
        "a registry that knows a manifest as a blob only is in trouble",
    ),
    ("challenges-realm-userinfo", "", "we are nobody's user at a token server"),
    (
        "child-longer-than-the-limit",
        "containerd",
        "we read no more of a manifest than runtimes read of a tag's",
    ),
    ("cut-short-config", "crio", "CRI-O asks for the rest of a blob; there is none"),
    ("layer-not-an-archive", "", "we do not read layers"),
    (
        "redirects-layer-to-html",
        "crio",
        "what is served where a layer is redirected to was not recorded",
    ),
    (
        "odd-blobs-at-another-host",
        "",
        "we follow no redirect to plain HTTP elsewhere",
    ),
    ("odd-config-diff-id-wrong", "", "we do not read layers"),
    (
        "odd-realm-of-another-host",
        "",
        "we ask no token server by plain HTTP elsewhere",
    ),
    (
        "odd-redirect-to-another-host",
        "",
        "we follow no redirect to plain HTTP elsewhere",
    ),
    ("tokens-issued-good", "crio", "how long a token holds is for the wire to know"),
    (
        "parts-layer-docker-zstd",
        "containerd-1.7",
        "which layers are unpacked is not told by version",
    ),
    (
        "parts-noplatform-config-v2",
        "containerd-1.7",
        "what is compared of a config's variant is not told by version",
    ),
];

fn fill(text: &str) -> String {
    PLACES
        .iter()
        .fold(text.to_owned(), |text, (name, place)| text.replace(name, place))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agreement/recordings")
}

/// One exchange of a recording.
#[derive(Debug, Clone)]
struct Exchange {
    url: Url,
    method: String,
    accept: Vec<String>,
    authorization: String,
    form: String,
    together: bool,
    closed: bool,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// One pull of a recording.
#[derive(Debug, Clone)]
struct Recorded {
    runtimes: Vec<String>,
    image: String,
    user: Option<String>,
    pulled: bool,
    exchanges: Vec<Exchange>,
}

/// What the recordings have in common.
struct Shared {
    bodies: HashMap<String, Vec<u8>>,
    /// How long configs are, by their digests, as manifests say.
    configs: HashMap<String, u64>,
    accepts: HashMap<String, Vec<String>>,
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Shared {
    fn read() -> Self {
        let body = |line: &Value| -> Vec<u8> {
            let Some(text) = line["text"].as_str() else {
                return vec![0; usize::try_from(line["bytes"].as_u64().unwrap()).unwrap()];
            };
            let mut bytes = fill(text).into_bytes();
            let spaces = line["spaces"].as_u64().unwrap_or(0);
            bytes.resize(bytes.len() + usize::try_from(spaces).unwrap(), b' ');
            bytes
        };
        let bodies = lines(&folder().join("_bodies.jsonl"));
        let accepts = lines(&folder().join("_accepts.jsonl"));
        let bodies: HashMap<String, Vec<u8>> = bodies.iter().map(|line| (text(&line["body"]), body(line))).collect();
        let manifests = bodies.values().filter_map(|body| serde_json::from_slice::<Value>(body).ok());
        let config = |manifest: Value| Some((text(&manifest["config"]["digest"]), manifest["config"]["size"].as_u64()?));
        Self {
            configs: manifests.filter_map(config).collect(),
            bodies,
            accepts: accepts
                .iter()
                .map(|line| (text(&line["accept"]), texts(&line["types"])))
                .collect(),
        }
    }

    fn recording(&self, name: &str) -> Vec<Recorded> {
        let mut pulls: Vec<Recorded> = Vec::new();
        for line in lines(&folder().join(format!("{name}.jsonl"))) {
            if line["runtimes"].is_array() {
                pulls.push(Recorded {
                    runtimes: texts(&line["runtimes"]),
                    image: fill(&text(&line["image"])),
                    user: line["user"].as_str().map(str::to_owned),
                    pulled: line["pulled"].as_bool().unwrap(),
                    exchanges: Vec::new(),
                });
                continue;
            }
            let accept = match &line["accept"] {
                Value::String(name) => self.accepts[name].clone(),
                types => texts(types),
            };
            let headers = line["headers"].as_array().into_iter().flatten();
            let exchange = Exchange {
                url: Url::parse(&fill(&format!("{}{}", text(&line["at"]), text(&line["path"])))).unwrap(),
                method: text(&line["method"]),
                accept,
                authorization: text(&line["authorization"]),
                form: fill(&text(&line["form"])),
                together: line["together"].as_bool().unwrap_or(false),
                closed: line["closed"].as_bool().unwrap_or(false),
                status: u16::try_from(line["status"].as_u64().unwrap_or(0)).unwrap(),
                headers: headers.map(|pair| (text(&pair[0]), fill(&text(&pair[1])))).collect(),
                body: line["body"].as_str().map_or_else(Vec::new, |key| self.bodies[key].clone()),
            };
            pulls.last_mut().unwrap().exchanges.push(exchange);
        }
        pulls
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// A machine that plays a recorded pull.
type Machine = Box<dyn Fn(&Pull, &mut Ask<'_, Request>) -> Result<Outcome, Missing>>;

/// The machine for a name of `tests/cluster/runtimes`.
fn machine(runtime: &str) -> Option<Machine> {
    let (version, path) = match runtime {
        "containerd-1.7" => (Version(1, 7, 34), PullPath::Local),
        "containerd-2.1-transfer" => (Version(2, 1, 9), PullPath::Transfer),
        "containerd-2.1-local" => (Version(2, 1, 9), PullPath::Local),
        "containerd-2.4-transfer" => (Version(2, 4, 2), PullPath::Transfer),
        "containerd-2.4-local" => (Version(2, 4, 2), PullPath::Local),
        "k3s-2.1-transfer" => (Version(2, 1, 5), PullPath::Transfer),
        "k3s-2.1-local" => (Version(2, 1, 5), PullPath::Local),
        "crio" => {
            let version = crio::version::Version(1, 36, 3);
            return Some(Box::new(move |pull, ask| Crio { version }.pull(pull, ask)));
        }
        _ => return None,
    };
    let fork = if runtime.starts_with("k3s") {
        Fork::K3s
    } else {
        Fork::Upstream
    };
    let containerd = Containerd { version, path, fork };
    Some(Box::new(move |pull, ask| containerd.pull(pull, ask)))
}

/// What the test's `hosts.toml` tree has for a registry.
fn node(case: &Case, registry: &str) -> Option<NodeConfig> {
    if !case.hosts.is_empty() || !case.files.is_empty() {
        return None;
    }
    let name = registry.split(':').next().unwrap();
    let port = registry.split_once(':').map(|(_, port)| port);
    let is_named = crate::server::NAMED.contains(&name) && port.is_none_or(|port| ["5003", "443"].contains(&port));
    if !is_named {
        return Some(NodeConfig::Default);
    }
    // The one host stands there twice: as the server and before it.
    let host = Host {
        server: Server::new("127.0.0.1:5003", Schemes::Http, "/v2", Some(registry)),
        shown: Arc::from("127.0.0.1:5003"),
        unusable: None,
        pull: true,
        resolve: true,
        settings: HostSettingsId([1; 16]),
        rewrites: Rewrites::default(),
        node: Who::default(),
    };
    Some(NodeConfig::Containerd(Arc::new(Hosts {
        hosts: vec![host.clone(), host],
        by_1_x: None,
        by_k3s: None,
        by_client: false,
    })))
}

/// The test's `registries.conf` (`tests/cluster/runtimes`, and `write_registries_conf` in `server.rs`).
fn crios_node(reference: &Reference) -> NodeConfig {
    let mut drop_in = "unqualified-search-registries = [\"docker.io\"]\n".to_owned();
    let (domain, path) = (reference.domain(), reference.path());
    if crate::server::NAMED.contains(&domain.split(':').next().unwrap()) {
        let name = reference.name();
        writeln!(
            drop_in,
            "[[registry]]\nprefix = \"{name}\"\nlocation = \"127.0.0.1:5001/{path}\"\ninsecure = true"
        )
        .unwrap();
    }
    NodeConfig::Crio(Arc::new(
        RegistriesConf::parse(crate::server::OWN_CONF, &[&drop_in]).unwrap().into(),
    ))
}

fn rests_on_unread_layers(outcome: &Outcome) -> bool {
    let unread = |end: &End| matches!(end, End::Failed(failure) if matches!(failure.evidence, Evidence::ContentInvalid(ContentFault::CrioMayFail(_))));
    outcome.ends.iter().any(unread)
}

/// A recorded pull being played.
struct Replay<'a> {
    case: &'a Case,
    shared: &'a Shared,
    recorded: &'a Recorded,
    left: Vec<Exchange>,
    /// It has a resolver and a fetcher, each of which gets a token of its own.
    resolves_first: bool,
    /// Whether the node's settings name a host twice.
    pull_has_a_host_twice: bool,
    /// What failed last was asked for together with others, of which only those are kept that failed too.
    beside_a_failure: bool,
    /// What was answered and may be asked again.
    answered: Vec<String>,
}

impl Replay<'_> {
    fn run(&mut self, machine: &Machine, pull: &Pull) -> Result<Outcome, String> {
        let mut log = Log::default();
        for _ in 0..500 {
            match step(&mut log, &Nothing, |ask| machine(pull, ask)) {
                // What reading the layers would show: the real one read them, and may have ended either way.
                Step::Done(outcome) if rests_on_unread_layers(&outcome) => return Ok(outcome),
                Step::Done(outcome) => {
                    self.left.retain(|left| !self.answered.contains(&shown(left)));
                    // What a runtime asks beside a part that fails it is chance.
                    let beside = !self.recorded.pulled && !outcome.is_pulled();
                    if let Some(left) = self.left.iter().find(|left| !beside || !left.together) {
                        return Err(format!("it does not ask {}", shown(left)));
                    }
                    if outcome.is_pulled() != self.recorded.pulled {
                        return Err(format!(
                            "it pulled: {}; the machine: {:?}",
                            self.recorded.pulled, outcome.ends
                        ));
                    }
                    return Ok(outcome);
                }
                Step::Ask(wanted) => {
                    let unheard: Vec<(Request, Answer)> = wanted
                        .iter()
                        .filter_map(|request| Some((request.clone(), self.unheard(request)?)))
                        .collect();
                    if !unheard.is_empty() {
                        for (request, answer) in unheard {
                            log.insert(request, answer);
                        }
                        continue;
                    }
                    let (request, answer) = self.next(&wanted)?;
                    log.insert(request, answer);
                }
            }
        }
        Err("it does not end".to_owned())
    }

    /// The next exchange of the recording, and to which of the wanted requests it belongs.
    fn next(&mut self, wanted: &[Request]) -> Result<(Request, Answer), String> {
        let block = if self.left.first().is_some_and(|first| first.together) {
            self.left.iter().take_while(|exchange| exchange.together).count()
        } else {
            usize::from(!self.left.is_empty())
        };
        for at in 0..block {
            if let Some(request) = wanted.iter().find(|request| self.is(&self.left[at], request)) {
                let exchange = self.left.remove(at);
                self.beside_a_failure = is_failed_beside_others(&exchange);
                if (matches!(request.want, Want::Token(_)) && self.resolves_first) || self.pull_has_a_host_twice {
                    self.answered.push(shown(&exchange));
                }
                let answer = self.answer(request, exchange);
                return Ok((request.clone(), answer));
            }
        }
        // The resolver and the fetcher of containerd each get a token of their own, and ask a host that stands there twice twice: to a machine
        // that is one question.
        let first = self.left.first().map(shown).unwrap_or_default();
        if self.answered.contains(&first) {
            self.left.remove(0);
            return self.next(wanted);
        }
        // A pull that failed: what was still asked for beside that is chance, and not kept.
        if !self.recorded.pulled {
            let at_the_end = self.resolves_first && self.left.iter().all(|exchange| exchange.together);
            let goes_on = block > 0 && self.left[..block].iter().all(is_failed_beside_others);
            let is_part = |request: &&Request| request.path.contains("/blobs/") || request.path.contains("/manifests/sha256:");
            let beside = if at_the_end {
                wanted.first()
            } else {
                wanted.iter().filter(|_| goes_on || self.beside_a_failure).find(is_part)
            };
            if let Some(request) = beside {
                return Ok((request.clone(), self.beside(request)));
            }
        }
        let expected = self.left.first().map_or_else(|| "nothing".to_owned(), shown);
        let wanted: Vec<String> = wanted.iter().map(|request| self.told(request)).collect();
        Err(format!(
            "it asks {expected}\n      the machine: {}",
            wanted.join("\n                   ")
        ))
    }

    /// Whether an exchange is about a request.
    fn is(&self, exchange: &Exchange, request: &Request) -> bool {
        shown(exchange) == self.told(request)
    }

    /// A request as [`shown`] has exchanges.
    fn told(&self, request: &Request) -> String {
        let user = self.recorded.user.as_deref().unwrap_or_default();
        let auth = request
            .auth
            .iter()
            .find(|(origin, _)| *origin == request.origin)
            .map(|(_, auth)| auth);
        let authorization = match auth {
            None => String::new(),
            Some(Auth::Basic(who)) if *who == Who::default() => "Basic ".to_owned(),
            Some(Auth::Basic(who)) if !who.user => "Basic ".to_owned(),
            Some(Auth::Basic(_)) => format!("Basic {user}"),
            Some(Auth::Bearer(_)) => "Bearer".to_owned(),
        };
        let form = match &request.want {
            Want::Token(token) if token.by.method() == Method::Post => {
                let mut form = vec![
                    "client_id=containerd-client".to_owned(),
                    format!("scope={}", token.scopes.join(" ")),
                    format!("service={}", token.service.as_deref().unwrap_or_default()),
                ];
                form.push(match token.by {
                    Grant::Refresh => "grant_type=refresh_token".to_owned(),
                    _ => "grant_type=password".to_owned(),
                });
                if token.by == Grant::Password {
                    form.push(format!("username={user}"));
                }
                form.sort();
                form.join("&")
            }
            _ => String::new(),
        };
        let mut url = Url::parse(&format!("{}{}", request.origin, request.path)).unwrap();
        if let Want::Token(token) = &request.want
            && token.by == Grant::Account
            && token.who.user
        {
            let mut query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            query.push(("account".to_owned(), user.to_owned()));
            query.sort_by(|a, b| a.0.cmp(&b.0));
            url.query_pairs_mut().clear().extend_pairs(query);
        }
        // Other names of this machine lead to the same registry.
        if request.origin.port == 5001 {
            url.set_host(Some("127.0.0.1")).unwrap();
        }
        let accept: Vec<&str> = request
            .accept
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .collect();
        format!(
            "{} {url} [{}] {authorization:?} {form}",
            request.method.name(),
            accept.join(", ")
        )
    }

    /// The answer to a request that no registry of the test hears: `None` where one should.
    fn unheard(&self, request: &Request) -> Option<Answer> {
        let host = format!("{}:{}", request.origin.host, request.origin.port);
        let fault = |what| {
            Some(Answer::Fault(Arc::new(Fault {
                asked_at: at(request.method, &request.origin, &request.path),
                what,
                detail: None,
            })))
        };
        if request.path.contains(EMPTY_JSON) {
            return Some(respond(request, 200, &[("Content-Length".to_owned(), "2".to_owned())], b"{}"));
        }
        let tls = match host.as_str() {
            "127.0.0.1:5001" | "localhost:5001" | "[::ffff:7f00:1]:5001" => self.case.registry.tls,
            "127.0.0.1:5002" => self.case.mirror.as_ref().and_then(|mirror| mirror.registry.tls),
            "127.0.0.1:5003" => None,
            "127.0.0.1:1" => return fault(FaultKind::Connection(ConnectionFault::Refused)),
            _ if request.origin.host.starts_with("127.") || &*request.origin.host == "localhost" => {
                return fault(FaultKind::Connection(ConnectionFault::Refused));
            }
            _ => return fault(FaultKind::NameNotResolved),
        };
        let https = request.origin.scheme.name() == "https";
        match tls {
            None if https => fault(FaultKind::Tls(TlsFault::PlainHttp)),
            Some(Certificates::Expired) if https && is_verified(request) => fault(FaultKind::Tls(TlsFault::Expired)),
            Some(Certificates::OtherName) if https && is_verified(request) => fault(FaultKind::Tls(TlsFault::WrongName)),
            _ => None,
        }
    }

    /// The answer to what a failed pull may have asked beside the request that failed.
    fn beside(&self, request: &Request) -> Answer {
        let key = request.path.rsplit(':').next().unwrap_or_default();
        let key: String = key.chars().take_while(char::is_ascii_hexdigit).take(12).collect();
        match self.shared.bodies.get(&key) {
            _ if matches!(request.want, Want::Token(_)) => respond(request, 200, &[], br#"{"token":"t","access_token":"t"}"#),
            Some(body) => {
                let length = ("Content-Length".to_owned(), body.len().to_string());
                let says: Option<Value> = serde_json::from_slice(body).ok();
                let says = says.and_then(|says| says["mediaType"].as_str().map(str::to_owned));
                let media_type = says.unwrap_or_else(|| "application/vnd.oci.image.manifest.v1+json".to_owned());
                respond(request, 200, &[length, ("Content-Type".to_owned(), media_type)], body)
            }
            None => self.config_beside(request).unwrap_or_else(|| respond(request, 200, &[], b"")),
        }
    }

    /// The answer to what was asked for a config that no recording has: one that fits.
    fn config_beside(&self, request: &Request) -> Option<Answer> {
        let Want::Config { by } = &request.want else { return None };
        let length = *self.shared.configs.get(by.as_str())?;
        let Answer::Response(response) = respond(request, 200, &[], b"{}") else {
            return None;
        };
        let mut response = Arc::unwrap_or_clone(response);
        response.body = Body::Config {
            config: content::config(b"{}").map(Arc::new),
            digest: by.clone(),
            length,
        };
        Some(Answer::Response(Arc::new(response)))
    }

    /// The answer that a recording has, redirects followed.
    fn answer(&mut self, request: &Request, exchange: Exchange) -> Answer {
        let mut method = request.method;
        let mut exchange = exchange;
        for _ in 0..redirect::REQUESTS {
            let header = |name: &str| exchange.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let location = header("location").map(|(_, value)| value.as_bytes());
            match redirect::next(method, &exchange.url, exchange.status, location) {
                Next::Stay => return answer_at(request, method, &exchange),
                Next::Withhold(refusal, url) => {
                    return Answer::NotSent(Arc::new(NotSent {
                        asked_at: at(
                            method,
                            &Origin::of(&url).unwrap_or_else(|| request.origin.clone()),
                            url.path(),
                        ),
                        why: Withheld::Guard(refusal),
                    }));
                }
                Next::Follow { method: by, url, .. } => {
                    method = by;
                    let Some(next) = self.left.iter().position(|next| next.url == url) else {
                        if self.beside_a_failure && url.port().is_some_and(|port| (5001..=5003).contains(&port)) {
                            // It was good, and is not kept.
                            return respond(request, 200, &[], b"");
                        }
                        return Answer::Fault(Arc::new(Fault {
                            asked_at: AskedAt {
                                method,
                                origin: Origin::of(&url).unwrap(),
                                path: Arc::from(url.path()),
                            },
                            what: FaultKind::NameNotResolved,
                            detail: None,
                        }));
                    };
                    exchange = self.left.remove(next);
                    if matches!(request.want, Want::Token(_)) && self.resolves_first {
                        self.answered.push(shown(&exchange));
                    }
                }
            }
        }
        Answer::Fault(Arc::new(Fault {
            asked_at: at(request.method, &request.origin, &request.path),
            what: FaultKind::RedirectLoop,
            detail: None,
        }))
    }
}

/// Whether it failed where several were asked at the same time.
fn is_failed_beside_others(exchange: &Exchange) -> bool {
    exchange.together && !(200..300).contains(&exchange.status)
}

fn at(method: Method, origin: &Origin, path: &str) -> AskedAt {
    AskedAt {
        method,
        origin: origin.clone(),
        path: Arc::from(path),
    }
}

/// `GET http://127.0.0.1:5001/v2/x/manifests/v1 [types] "Basic ci" form`
fn shown(exchange: &Exchange) -> String {
    format!(
        "{} {} [{}] {:?} {}",
        exchange.method,
        exchange.url,
        exchange.accept.join(", "),
        exchange.authorization,
        exchange.form
    )
}

/// Loopback hosts are not verified, unless a `hosts.toml` names them.
fn is_verified(request: &Request) -> bool {
    ![HostSettingsId::default(), HostSettingsId::UNVERIFIED].contains(&request.host_settings)
}

fn answer_at(request: &Request, method: Method, exchange: &Exchange) -> Answer {
    if exchange.closed {
        return Answer::Fault(Arc::new(Fault {
            asked_at: AskedAt {
                method,
                origin: Origin::of(&exchange.url).unwrap(),
                path: Arc::from(exchange.url.path()),
            },
            what: FaultKind::Connection(ConnectionFault::Interrupted),
            detail: None,
        }));
    }
    let Answer::Response(response) = respond(request, exchange.status, &exchange.headers, &exchange.body) else {
        unreachable!()
    };
    let mut response = Arc::unwrap_or_clone(response);
    let query = exchange.url.query().map_or_else(String::new, |query| format!("?{query}"));
    response.asked_at = AskedAt {
        method,
        origin: Origin::of(&exchange.url).unwrap(),
        path: Arc::from(format!("{}{query}", exchange.url.path())),
    };
    Answer::Response(Arc::new(response))
}

/// What the wire makes of an answer.
fn respond(request: &Request, status: u16, headers: &[(String, String)], body: &[u8]) -> Answer {
    let all = |name: &str| -> Vec<&str> {
        let these = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        these.map(|(_, value)| value.as_str()).collect()
    };
    let one = |name: &str| all(name).first().map(|value| value.trim().to_owned());
    let success = (200..300).contains(&status);
    let digest_of = |by: Option<&Digest>| match by {
        Some(by) if by.matches(body) => by.clone(),
        _ => Digest::sha256(body),
    };
    let length = body.len() as u64;
    let read = match &request.want {
        _ if request.method == Method::Head => Body::Unread,
        Want::Token(token) => {
            let read: Option<Value> = serde_json::Deserializer::from_slice(body)
                .into_iter()
                .next()
                .and_then(Result::ok);
            let field = |name: &str| {
                let members = read.as_ref().and_then(Value::as_object);
                let found = members.and_then(|members| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
                found
                    .and_then(|(_, value)| value.as_str())
                    .is_some_and(|token| !token.is_empty())
            };
            let granted = if token.by == Grant::Account {
                is_strict_token(body)
            } else {
                field("access_token") || (token.by.method() == Method::Get && field("token"))
            };
            if granted && success {
                Body::Granted
            } else {
                Body::NoToken { page: false }
            }
        }
        _ if !success => Body::ErrorText(ErrorText::default()),
        Want::Manifest { .. } if length > 4_393_216 => Body::TooLong(length),
        Want::Manifest { by } => Body::Manifest {
            document: content::document(body).map(Arc::new),
            digest: digest_of(by.as_ref()),
            length,
        },
        Want::Config { by } => Body::Config {
            config: content::config(body).map(Arc::new),
            digest: digest_of(Some(by)),
            length,
        },
        Want::Nothing | Want::Blob { .. } | Want::Tags { .. } | Want::ErrorText => Body::Unread,
    };
    let challenges = all("www-authenticate");
    Answer::Response(Arc::new(Response {
        asked_at: at(request.method, &request.origin, &request.path),
        status,
        as_somebody: false,
        challenges: challenge::read(challenges.iter().map(|value| value.as_bytes())),
        content_type: Arc::from(one("content-type").unwrap_or_default()),
        length: one("content-length").and_then(|length| length.parse().ok()),
        encoded: one("content-encoding").is_some_and(|coding| !["", "identity"].contains(&coding.as_str())),
        digest: one("docker-content-digest")
            .filter(|digest| !digest.is_empty())
            .map(Arc::from),
        body: read,
        quota: None,
        retry_after: one("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs),
        // To runtimes it makes no difference.
        answered_by: AnsweredBy::Registry,
    }))
}

/// Whether containers/image reads it: one JSON value, an integer and a time where these stand.
fn is_strict_token(body: &[u8]) -> bool {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return false;
    };
    members.iter().all(|(name, value)| match name.to_ascii_lowercase().as_str() {
        _ if value.is_null() => true,
        "token" | "access_token" => value.is_string(),
        "expires_in" => value.is_i64(),
        "issued_at" => value.as_str().is_some_and(|text| text.contains('T')),
        _ => true,
    })
}

/// Whose credential a recorded pull had. What it is does not matter, only what it has.
fn who(case: &Case, user: Option<&str>) -> Who {
    let Some(user) = user else {
        return Who::default();
    };
    let without_password = case.secrets.values().any(|secret| {
        let auths = secret.auths.as_ref().map(Value::to_string).unwrap_or_default();
        secret.password.as_deref() == Some("") || (auths.contains("username") && !auths.contains("password"))
    });
    Who {
        id: None,
        user: !user.is_empty(),
        password: !without_password,
        identity_token: false,
    }
}

#[test]
fn machines_ask_what_runtimes_ask() {
    let shared = Shared::read();
    let cases: BTreeMap<String, Case> = cases::all().into_iter().map(|case| (case.name.clone(), case)).collect();
    let mut wrong = String::new();
    let (mut played, mut failed) = (0, 0);
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".jsonl").map(str::to_owned))
        .filter(|name| !name.starts_with('_'))
        .collect();
    names.sort();
    for name in names {
        let Some(case) = cases.get(&name) else { continue };
        for recorded in shared.recording(&name) {
            for runtime in &recorded.runtimes {
                let Some(machine) = machine(runtime) else { continue };
                let reference = Reference::parse(&recorded.image).unwrap();
                let (node, short) = if runtime == "crio" {
                    let short = short_names::written(&recorded.image).map(Arc::from);
                    (Some(crios_node(&reference)), short)
                } else {
                    (node(case, reference.registry()), None)
                };
                let Some(node) = node else { continue };
                let pull = Pull {
                    reference,
                    short,
                    node,
                    who: who(case, recorded.user.as_deref()),
                    platform: Platform::parse("linux/amd64").unwrap(),
                    until: Depth::Layers,
                    agent: Agent::default(),
                };
                let mut replay = Replay {
                    case,
                    shared: &shared,
                    recorded: &recorded,
                    left: recorded.exchanges.clone(),
                    beside_a_failure: false,
                    resolves_first: runtime != "crio",
                    pull_has_a_host_twice: matches!(pull.node, NodeConfig::Containerd(_)),
                    answered: Vec::new(),
                };
                played += 1;
                let known = NOT_REPLAYED
                    .iter()
                    .any(|(known, on, _)| *known == name && runtime.starts_with(on));
                match replay.run(&machine, &pull) {
                    Ok(_) if known => writeln!(wrong, "{name} on {runtime} replays: it goes from NOT_REPLAYED").unwrap(),
                    Err(why) if !known => {
                        failed += 1;
                        writeln!(wrong, "{name} on {runtime}: {why}").unwrap();
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{failed} of {played} differ\n{wrong}");
    assert!(played > 1000, "only {played} conversations were played");
}
