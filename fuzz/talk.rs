//! Conversations with registries that say anything at all. However they go, they end after a bounded number of steps, and no credential goes to
//! a host that the contract does not name: the registry that it is for, or a token server that this registry names, by https or at its own
//! origin (contract 7).

use futures_util::future::BoxFuture;
use pullgate::ask::{Log, Nothing, Source as _, Step, step};
use pullgate::credentials::{Credential, Hidden};
use pullgate::engine::LookUps;
use pullgate::image::{Platform, Reference};
use pullgate::net::Reach;
use pullgate::registry::{Network, RegistrySettings, Wire};
use pullgate::runtime::answer::{Answer, AnsweredBy, AskedAt, Body, ErrorText, Fault, FaultKind, Response};
use pullgate::runtime::challenge::Challenge;
use pullgate::runtime::outcome::{ConnectionFault, TimeoutStage, TlsFault};
use pullgate::runtime::request::{
    Agent, Auth, Grant, HostSettingsId, Method, Origin, Request, Retry, Scheme, TokenRequest, Want, Who,
};
use pullgate::runtime::{Depth, NodeConfig, Pull, Puller, Runtime, challenge, content};
use pullgate::telemetry::Metrics;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Url;

/// Steps of a machine, each of which asks something new.
const STEPS: usize = 2_000;
/// Requests of a whole look-up.
const REQUESTS: usize = 4_000;
const PASSWORD: &str = "pw-4f1d0c7be5a39286";

const RUNTIMES: &[&str] = &[
    "containerd://1.6.36",
    "containerd://1.7.28",
    "containerd://2.0.5",
    "containerd://2.1.9",
    "containerd://2.2.9",
    "containerd://2.3.7",
    "cri-o://1.36.3",
];

/// The bytes of an input, taken one after the other; then zeros.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// Up to the next zero, or so many.
    fn text(&mut self, most: usize) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len()).min(most);
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }
}

/// An answer as an input has it: bytes of the wire.
struct Said {
    fault: Option<FaultKind>,
    status: u16,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

const TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/json",
    "text/html",
    "",
];
const STATUSES: &[u16] = &[200, 401, 404, 403, 307, 302, 429, 500, 503, 400, 405, 206, 301, 308, 204, 416];

impl Said {
    fn of(bytes: &mut Bytes<'_>, host: &str) -> Self {
        let first = bytes.byte();
        let fault = match first {
            250 => Some(FaultKind::NameNotResolved),
            251 => Some(FaultKind::Connection(ConnectionFault::Refused)),
            252 => Some(FaultKind::TimedOut(TimeoutStage::Response)),
            253 => Some(FaultKind::Tls(TlsFault::PlainHttp)),
            254 => Some(FaultKind::Connection(ConnectionFault::Interrupted)),
            _ => None,
        };
        let status = match first {
            200..250 => 100 + u16::from(bytes.byte()) * 2,
            first => STATUSES[usize::from(first) % STATUSES.len()],
        };
        let mut headers = Vec::new();
        let which = bytes.byte();
        let written = |text: &[u8]| {
            // The host of the input stands for that of the conversation.
            String::from_utf8_lossy(text).replace("HOST", host).into_bytes()
        };
        if which & 1 != 0 {
            headers.push(("www-authenticate", written(bytes.text(300))));
        }
        if which & 2 != 0 {
            headers.push(("location", written(bytes.text(200))));
        }
        if which & 4 != 0 {
            headers.push(("docker-content-digest", bytes.text(100).to_vec()));
        }
        if which & 8 != 0 {
            headers.push(("www-authenticate", written(bytes.text(300))));
        }
        if which & 16 != 0 {
            headers.push(("content-length", bytes.text(12).to_vec()));
        }
        if which & 32 != 0 {
            headers.push(("retry-after", bytes.text(12).to_vec()));
        }
        let media_type = TYPES[usize::from(bytes.byte()) % TYPES.len()];
        headers.push(("content-type", media_type.as_bytes().to_vec()));
        let body = bytes.text(4_000).to_vec();
        if which & 64 != 0 {
            let digest = pullgate::image::Digest::sha256(&body);
            headers.push(("docker-content-digest", digest.as_str().as_bytes().to_vec()));
        }
        Self {
            fault,
            status,
            headers,
            body,
        }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value.as_slice())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.all(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// The places that a credential may go to.
struct Places {
    registry: Vec<Origin>,
    /// Named by the registry.
    realms: Vec<Url>,
}

impl Places {
    fn new(registry: &str) -> Self {
        let schemes = [Scheme::Https, Scheme::Http];
        Self {
            registry: schemes.iter().filter_map(|scheme| Origin::new(*scheme, registry)).collect(),
            realms: Vec::new(),
        }
    }

    /// A registry asks for tokens from somewhere.
    fn heard(&mut self, from: &Origin, said: &Said) {
        for challenge in challenge::read(said.all("www-authenticate")) {
            let Challenge::Bearer(bearer) = challenge else { continue };
            for realm in [bearer.realm.as_deref(), bearer.cut().realm.as_deref()].into_iter().flatten() {
                if let Ok(url) = Url::parse(realm.trim())
                    && (url.scheme() == "https" || Origin::of(&url).as_ref() == Some(from))
                {
                    self.realms.push(url);
                }
            }
        }
    }

    fn admits(&self, url: &Url) -> bool {
        let own = Origin::of(url).is_some_and(|origin| self.registry.contains(&origin));
        let same = |realm: &Url| Origin::of(realm) == Origin::of(url) && realm.path() == url.path();
        own || self.realms.iter().any(same)
    }
}

fn credential(of: u8) -> Credential {
    let text = |there: bool, text: &str| Hidden::new(if there { text } else { "" });
    Credential {
        username: text(of & 1 != 0, "user"),
        password: text(of & 2 != 0, PASSWORD),
        identity_token: text(of & 4 != 0, "pw-identity-93ac15d2"),
    }
}

fn runtimes(of: u8) -> Vec<Runtime> {
    Runtime::of_node(RUNTIMES[usize::from(of) % RUNTIMES.len()]).expect("it is known")
}

fn depth(of: u8) -> Depth {
    [Depth::Manifest, Depth::Sizes, Depth::Config, Depth::Layers][usize::from(of) % 4]
}

fn name(host: &str, of: u8) -> Reference {
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let text = match of % 3 {
        0 => format!("{host}/team/app:v1"),
        1 => format!("{host}/team/app@{digest}"),
        _ => format!("{host}/team/app:v1@{digest}"),
    };
    Reference::parse(&text).expect("a name")
}

/// A runtime's machine alone, with any answers.
pub fn machine(data: &[u8]) {
    const HOST: &str = "registry.example";
    let mut bytes = Bytes(data);
    let (runtime, until, of_name, own) = (bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte());
    let reference = name(HOST, of_name);
    let who = if own == 0 { Who::default() } else { Who::of(&credential(own)) };
    for runtime in runtimes(runtime) {
        let mut bytes = Bytes(bytes.0);
        let mut places = Places::new(HOST);
        let pull = Pull {
            reference: reference.clone(),
            short: None,
            node: NodeConfig::Default,
            agent: Agent::default(),
            who,
            platform: Platform::parse("linux/amd64").expect("a platform"),
            until: depth(until),
        };
        let mut log = Log::default();
        let mut steps = 0;
        loop {
            let questions = match step(&mut log, &Nothing, |ask| runtime.pull(&pull, ask)) {
                Step::Done(outcome) => {
                    // Whatever came of it can be asked about.
                    let _ = outcome.is_pulled();
                    break;
                }
                Step::Ask(questions) => questions,
            };
            assert!(!questions.is_empty());
            for request in questions {
                steps += 1;
                assert!(steps <= STEPS, "the machine of {runtime:?} goes on and on");
                let url = Url::parse(&format!("{}{}", request.origin, request.path)).expect("a URL");
                let shown = request
                    .auth
                    .iter()
                    .any(|(_, auth)| matches!(auth, Auth::Basic(who) if who.id.is_some()));
                let sends = matches!(&request.want, Want::Token(token) if !token.is_anonymous());
                for (to, _) in &request.auth {
                    let at = Url::parse(&format!("{to}{}", request.path)).expect("a URL");
                    assert!(places.admits(&at), "{runtime:?} would show a credential to {to}");
                }
                assert!(
                    !(shown || sends) || places.admits(&url),
                    "{runtime:?} sends a credential to {url}"
                );
                let said = Said::of(&mut bytes, HOST);
                if places.registry.contains(&request.origin) {
                    places.heard(&request.origin, &said);
                }
                log.insert(request.clone(), answer(&request, &said));
            }
        }
    }
}

/// What the wire would make of it.
fn answer(request: &Request, said: &Said) -> Answer {
    let asked_at = AskedAt {
        method: request.method,
        origin: request.origin.clone(),
        path: Arc::clone(&request.path),
    };
    if let Some(what) = said.fault {
        return Answer::Fault(Arc::new(Fault {
            asked_at,
            what,
            detail: None,
        }));
    }
    let good = (200..300).contains(&said.status);
    let length = said.body.len() as u64;
    let digest = |by: Option<&pullgate::image::Digest>| match by {
        Some(by) if by.matches(&said.body) => by.clone(),
        _ => pullgate::image::Digest::sha256(&said.body),
    };
    let body = match &request.want {
        _ if request.method == Method::Head => Body::Unread,
        Want::Token(_) if good && said.body.is_empty() => Body::NoToken { page: false },
        Want::Token(_) if good => Body::Granted,
        _ if !good => Body::ErrorText(ErrorText::default()),
        Want::Manifest { by } => Body::Manifest {
            document: content::document(&said.body).map(Arc::new),
            digest: digest(by.as_ref()),
            length,
        },
        Want::Config { by } => Body::Config {
            config: content::config(&said.body).map(Arc::new),
            digest: digest(Some(by)),
            length,
        },
        Want::Nothing | Want::Blob { .. } | Want::Tags { .. } | Want::ErrorText | Want::Token(_) => Body::Unread,
    };
    Answer::Response(Arc::new(Response {
        asked_at,
        status: said.status,
        as_somebody: false,
        challenges: challenge::read(said.all("www-authenticate")),
        content_type: Arc::from(said.text("content-type").unwrap_or_default()),
        length: said.text("content-length").and_then(|text| text.parse().ok()),
        encoded: false,
        digest: said
            .text("docker-content-digest")
            .filter(|text| !text.is_empty())
            .map(Arc::from),
        body,
        quota: None,
        retry_after: said
            .text("retry-after")
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs),
        answered_by: AnsweredBy::Registry,
    }))
}

/// What stands for the network: the answers of the inputs that are being run, one after the other.
#[derive(Debug, Default)]
struct Talk(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    said: VecDeque<Said>,
    places: Option<Places>,
    requests: usize,
    wrong: Option<String>,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard")
    }
}

impl Network for Talk {
    fn exchange(&self, request: http::Request<Vec<u8>>) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, FaultKind>> {
        let result = self.0.lock().expect("whole").exchange(&request);
        Box::pin(std::future::ready(result))
    }
}

impl Heard {
    fn exchange(&mut self, request: &http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, FaultKind> {
        self.requests += 1;
        if self.requests > REQUESTS {
            self.wrong = Some("it goes on and on".to_owned());
            return Err(FaultKind::NameNotResolved);
        }
        let url = Url::parse(&request.uri().to_string()).expect("a URL");
        let body = String::from_utf8_lossy(request.body());
        let secret = request.headers().contains_key(http::header::AUTHORIZATION) || body.contains("pw-");
        let places = self.places.as_mut().expect("a conversation is under way");
        if (secret && !places.admits(&url)) || url.as_str().contains("pw-") {
            self.wrong = Some(format!("a credential goes to {url}"));
        }
        let said = self.said.pop_front().unwrap_or(Said {
            fault: None,
            status: 404,
            headers: Vec::new(),
            body: Vec::new(),
        });
        if let Some(from) = Origin::of(&url)
            && places.registry.contains(&from)
        {
            places.heard(&from, &said);
        }
        if let Some(fault) = said.fault {
            return Err(fault);
        }
        let is_head = request.method() == http::Method::HEAD;
        let mut response = http::Response::new(if is_head { Vec::new() } else { said.body.clone() });
        *response.status_mut() = http::StatusCode::from_u16(said.status).unwrap_or(http::StatusCode::OK);
        for (name, value) in &said.headers {
            if let Ok(value) = http::HeaderValue::from_bytes(value) {
                response.headers_mut().append(*name, value);
            }
        }
        Ok(response)
    }
}

/// One of ours, and the network that it talks to. It is used for many inputs; their hosts differ, so it remembers nothing of them.
struct Ours {
    talk: Arc<Talk>,
    look_ups: LookUps,
    wire: Wire,
    runtime: tokio::runtime::Runtime,
}

impl Ours {
    fn new() -> Self {
        let talk = Arc::<Talk>::default();
        let network: Arc<dyn Network> = Arc::<Talk>::clone(&talk);
        let settings = RegistrySettings {
            reach: Reach::Everything,
            network: Some(network),
            cache_bytes: 4 << 20,
            ..RegistrySettings::default()
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self {
            talk,
            look_ups: LookUps::new(settings.clone(), Metrics::new()).expect("they can be made"),
            wire: Wire::new(settings, Metrics::new()).expect("it can be made"),
            runtime: builder.enable_time().start_paused(true).build().expect("a runtime"),
        }
    }

    /// Begins a conversation. Its host has not been heard of before.
    fn begin(&self, bytes: &mut Bytes<'_>) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let host = format!("r{}.example", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut said = VecDeque::new();
        while !bytes.0.is_empty() && said.len() < REQUESTS {
            said.push_back(Said::of(bytes, &host));
        }
        *self.talk.0.lock().expect("whole") = Heard {
            said,
            places: Some(Places::new(&host)),
            ..Heard::default()
        };
        host
    }

    fn end(&self) {
        let heard = std::mem::take(&mut *self.talk.0.lock().expect("whole"));
        assert_eq!(heard.wrong, None);
    }
}

thread_local! {
    static OURS: Ours = Ours::new();
}

/// A whole look-up over the wire, by every runtime of a node: tokens, redirects, memory and all.
pub fn conversation(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (runtime, until, of_name, own) = (bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte());
    OURS.with(|ours| {
        let host = ours.begin(&mut bytes);
        let platform = Platform::parse("linux/amd64").expect("a platform");
        let pullers = runtimes(runtime).into_iter().map(|runtime| Puller {
            platform: platform.clone(),
            runtime,
            pool: pullgate::runtime::Pool::default(),
        });
        let offer = pullgate::plan::Offer {
            credential: credential(own),
            source: Some(pullgate::credentials::CredentialSource::Secret("pull".to_owned())),
            sent: pullgate::runtime::kubelet::Sent::Always,
        };
        let check = pullgate::plan::Check {
            reference: name(&host, of_name),
            namespace: Arc::from("shop"),
            short: None,
            credentials: if own == 0 { Vec::new() } else { vec![offer] },
            depth: depth(until),
            pullers: pullers.collect(),
            agents: pullgate::runtime::request::Agents::default(),
            peers_only: std::sync::Arc::default(),
        };
        let deadline = Duration::from_secs(20);
        let found = ours.runtime.block_on(async {
            let until = tokio::time::Instant::now() + deadline;
            ours.look_ups.gather(std::slice::from_ref(&check), until).await
        });
        assert_eq!(found.len(), 1);
        ours.end();
    });
}

/// What a token server says.
pub fn token(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (by, own) = (bytes.byte(), bytes.byte());
    let by = [
        Grant::Anonymous,
        Grant::Basic,
        Grant::Account,
        Grant::Password,
        Grant::Refresh,
    ][usize::from(by) % 5];
    OURS.with(|ours| {
        let host = ours.begin(&mut Bytes(&[]));
        let said = Said {
            fault: None,
            status: 200,
            headers: vec![("content-type", b"application/json".to_vec())],
            body: bytes.0.to_vec(),
        };
        {
            let mut heard = ours.talk.0.lock().expect("whole");
            heard.said.push_back(said);
        }
        let credential = credential(own | 7);
        let origin = Origin::new(Scheme::Https, &host).expect("an origin");
        let who = ours.wire.knows(&credential);
        let key = Arc::new(TokenRequest {
            origin: origin.clone(),
            realm: Arc::from(format!("https://{host}/token")),
            service: None,
            scopes: vec![Arc::from("repository:team/app:pull")],
            who,
            by,
        });
        let basic = matches!(by, Grant::Basic | Grant::Account);
        let request = Request {
            asker: who,
            method: by.method(),
            origin: origin.clone(),
            path: Arc::from("/token?scope=repository%3Ateam%2Fapp%3Apull"),
            accept: Arc::from("*/*"),
            auth: if basic { vec![(origin, Auth::Basic(who))] } else { Vec::new() },
            want: Want::Token(key),
            host_settings: HostSettingsId::default(),
            agent: Agent::default(),
            retry: Retry::default(),
        };
        let (_, answer) = ours.runtime.block_on(ours.wire.fetch(request));
        if let Answer::Response(response) = &answer {
            let text = format!("{response:?}");
            assert!(!text.contains(PASSWORD), "what is secret is shown: {text}");
        }
        ours.end();
    });
}
