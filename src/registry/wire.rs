//! The wire: one request, one answer. The runtimes decide what to ask ([`crate::runtime`]), and [`instead`] what to send in its place; this
//! module sends the requests, equal ones only once at a time, and remembers their answers.
//!
//! [`instead`]: super::instead

use super::clients::Factory;
use super::exchange::{Exchange, Exchanged, Secrets, asked, internal};
use super::host_settings::HostSettingsTable;
use super::instead::{Instead, beyond, instead, shown_by};
use super::memo::{Age, Looked, Memo, REFUSAL_TTL};
use super::node_files::{NodeFiles, NodeLogins};
use super::queue::{on_behalf_of, share};
use super::vault::{self, Token, Vault};
use super::{PoolFiles, RegistrySettings, SetupError};
use crate::ask::{Recall, Source};
use crate::credentials::Credential;
use crate::image::Reference;
use crate::limits;
use crate::runtime::answer::{Answer, AskedAt, Fault, FaultKind, NotSent, Withheld};
use crate::runtime::containerd::authorizer::token_request;
use crate::runtime::containerd::peers::Shared;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::crio::openshift::OperatorConfig;
use crate::runtime::outcome::{GuardRule, TimeoutStage};
use crate::runtime::request::{Auth, Grant, Origin, Request, TokenRequest, Want, Who};
use crate::runtime::{NodeConfigs, Pool};
use crate::telemetry::{CacheName, CacheResult, Metrics};
use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The way to all registries. Cheap to clone.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

/// There are secrets within.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// A request in flight, for all who wait for it. They go on in the order in which they came.
type Flight = future::Shared<oneshot::Receiver<Answer>>;

struct Inner {
    exchange: Exchange,
    vault: Vault,
    memo: Memo,
    node_files: NodeFiles,
    flights: Mutex<HashMap<Request, Flight>>,
    limit: Duration,
    metrics: Metrics,
}

/// The remembered answers, with old good ones where a registry is down: for replaying a pull that failed because of that.
#[derive(Debug, Clone, Copy)]
pub struct Stale<'a>(&'a Wire);

/// The wire without remembered answers from before a time.
pub struct Since<'a>(&'a Wire, Instant);

impl Wire {
    /// Builds the HTTP clients and reads the `hosts.toml` tree once. Fails with a sentence when no trust roots can be loaded, and with a
    /// line for each `hosts.toml` that cannot be used, which names file, line and column.
    pub fn new(settings: RegistrySettings, metrics: Metrics) -> Result<Self, SetupError> {
        let RegistrySettings {
            reach,
            cache_bytes,
            max_stale,
            look_up_limit: limit,
            resolve,
            roots,
            hosts_dirs,
            registries_conf,
            k3s,
            pools,
            proxy,
            user_agent,
            network,
        } = settings;
        let reach = Arc::new(reach);
        let request_limit = limits::REQUEST.min(limit / 2);
        let factory = Factory::new(&reach, &resolve, &roots, proxy.as_ref(), request_limit)?;
        let settings_table = Arc::new(HostSettingsTable::new(factory)?);
        let tokens = cache_bytes / 5;
        let usual = PoolFiles {
            name: String::new(),
            hosts_dirs,
            registries_conf,
            k3s,
        };
        Ok(Self(Arc::new(Inner {
            node_files: NodeFiles::new(usual, pools, &settings_table)?,
            exchange: Exchange::new(
                settings_table,
                reach,
                proxy,
                user_agent,
                network,
                request_limit,
                metrics.clone(),
            ),
            vault: Vault::new(tokens),
            memo: Memo::new(cache_bytes - tokens, max_stale),
            flights: Mutex::default(),
            limit,
            metrics,
        })))
    }

    /// Remembers a credential while it is in use, which is an hour since its last. By what comes back a runtime asks with it.
    pub fn knows(&self, credential: &Credential) -> Who {
        self.0.vault.knows(credential)
    }

    /// What CRI-O nodes are told where no file of the settings says it: what OpenShift makes of the cluster's objects, or why that is not
    /// known.
    pub fn set_openshift(&self, config: Option<Result<OperatorConfig, String>>) {
        self.0.node_files.set_openshift(config);
    }

    /// The configuration of the nodes of a pool for an image of a pod in this namespace.
    pub async fn node_configs(&self, pool: Pool, reference: &Reference, namespace: &str) -> NodeConfigs {
        self.0.node_files.configs(pool, reference, namespace, &self.0.vault).await
    }

    /// The configuration of nodes with CRI-O by pool, where it is known.
    pub async fn registries_conf(&self) -> BTreeMap<Pool, Arc<NodeSettings>> {
        self.0.node_files.registries_conf().await
    }

    /// The registries whose images nodes of k3s give each other, pool by pool, where it is known.
    pub async fn shared(&self) -> BTreeMap<Pool, Arc<Shared>> {
        self.0.node_files.shared().await
    }

    /// What OpenShift's kubelets log in with, beside the pods' own.
    pub fn node_logins(&self) -> NodeLogins {
        self.0.node_files.logins()
    }

    /// Memory with old good answers.
    pub fn stale(&self) -> Stale<'_> {
        Stale(self)
    }

    /// Without answers so old that a refusal of that age would be forgotten by `now`, except what cannot change.
    pub fn without_older(&self, now: Instant) -> Since<'_> {
        Since(self, now.checked_sub(REFUSAL_TTL).unwrap_or(now))
    }
}

impl Recall<Request> for Wire {
    fn recall(&self, request: &Request) -> Option<Answer> {
        let answer = self.0.known(request, Age::Fresh)?;
        self.0.counts(request, CacheResult::Hit);
        Some(answer)
    }
}

impl Recall<Request> for Stale<'_> {
    fn recall(&self, request: &Request) -> Option<Answer> {
        let inner = &self.0.0;
        inner.known(request, Age::Stale)
    }
}

impl Source<Request> for Wire {
    async fn fetch(&self, request: Request) -> (Request, Answer) {
        let answer = self.0.answer(&request, Age::Fresh).await;
        (request, answer)
    }
}

impl Recall<Request> for Since<'_> {
    fn recall(&self, request: &Request) -> Option<Answer> {
        self.0.0.known(request, Age::Since(self.1))
    }
}

impl Source<Request> for Since<'_> {
    async fn fetch(&self, request: Request) -> (Request, Answer) {
        let answer = self.0.0.answer(&request, Age::Since(self.1)).await;
        (request, answer)
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, HashMap<Request, Flight>> {
        // Whole at every step.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request as far as it is known without sending anything.
    fn known(&self, request: &Request, age: Age) -> Option<Answer> {
        let age = self.with_its_token(request, age);
        let since = match age {
            Age::Since(since) => Some(since),
            Age::Fresh | Age::Stale => None,
        };
        if let Want::Token(token) = &request.want
            && let Some(granted) = self.vault.granted(token, since)
        {
            return Some(Answer::Response(granted));
        }
        if let Some(answer) = self.memo.recall(request, age) {
            return Some(answer);
        }
        let looked = Looked { memo: &self.memo, age };
        let answer = match instead(request, &looked, None) {
            Instead::Answer(answer) => Some(answer),
            Instead::First(first) => self.known(&first, age).and_then(|first| {
                let Instead::Answer(answer) = instead(request, &looked, Some(&first)) else {
                    return None;
                };
                Some(answer)
            }),
            Instead::Send => None,
        };
        if let Some(answer) = &answer {
            self.memo.grant_config(request, answer);
        }
        answer.or_else(|| self.memo.withheld(request))
    }

    /// Many token servers write the rights into a token when they grant it. So what was answered before its token was granted was said of
    /// another one, with the rights of that time.
    fn with_its_token(&self, request: &Request, age: Age) -> Age {
        let Age::Since(since) = age else { return age };
        let granted = request.auth.iter().filter_map(|(_, auth)| match auth {
            Auth::Bearer(token) => self.vault.granted_at(token),
            Auth::Basic(_) => None,
        });
        Age::Since(granted.fold(since, Instant::max))
    }

    /// The answer to a request: from memory, or from a task that all who want the answer share. A caller that goes away does not end it.
    fn answer<'a>(self: &'a Arc<Self>, request: &'a Request, age: Age) -> BoxFuture<'a, Answer> {
        let waiting = async move {
            let (flight, result) = {
                let mut flights = self.flights();
                // Checked while no flight can end, so that the answer of one that just ended is here.
                if let Some(answer) = self.known(request, age) {
                    self.counts(request, CacheResult::Hit);
                    return answer;
                }
                if let Some(flight) = flights.get(request) {
                    (flight.clone(), CacheResult::Joined)
                } else {
                    let (inner, asked) = (Arc::clone(self), request.clone());
                    let work = async move { inner.get(&asked, age).await };
                    (self.start_flight(request, &mut flights, work), CacheResult::Miss)
                }
            };
            self.counts(request, result);
            // It ends without an answer when the async runtime does.
            let answer = flight.await;
            answer.unwrap_or_else(|_| internal(request, "the look-up was given up"))
        };
        // A request may take another one first, and that one a token.
        Box::pin(waiting)
    }

    /// Begins a task that gets an answer.
    fn start_flight(
        self: &Arc<Self>,
        request: &Request,
        flights: &mut HashMap<Request, Flight>,
        work: impl Future<Output = Answer> + Send + 'static,
    ) -> Flight {
        let (answer_sender, flight) = oneshot::channel();
        let flight = flight.shared();
        flights.insert(request.clone(), flight.clone());
        let (inner, request) = (Arc::clone(self), request.clone());
        tokio::spawn(on_behalf_of(share(), async move {
            let bounded = tokio::time::timeout(inner.limit, AssertUnwindSafe(work).catch_unwind());
            let answer = match bounded.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_panic)) => {
                    inner.metrics.panicked();
                    tracing::error!("a registry look-up panicked; its image is judged as unknown");
                    internal(&request, "the look-up panicked")
                }
                Err(_) => {
                    let late = Answer::Fault(Arc::new(Fault {
                        asked_at: asked(&request),
                        what: FaultKind::TimedOut(TimeoutStage::Deadline),
                        detail: None,
                    }));
                    inner.memo.keep(&request, &late);
                    late
                }
            };
            inner.flights().remove(&request);
            // It fails if nobody waits any longer.
            let _ = answer_sender.send(answer);
            inner.weigh();
        }));
        flight
    }

    /// Gets an answer that is not known.
    async fn get(self: &Arc<Self>, request: &Request, age: Age) -> Answer {
        let age = self.with_its_token(request, age);
        let looked = Looked { memo: &self.memo, age };
        let mut first = None;
        loop {
            match instead(request, &looked, first.as_ref()) {
                Instead::Answer(answer) => {
                    self.memo.grant_config(request, &answer);
                    return answer;
                }
                Instead::First(other) if first.is_none() => first = Some(self.answer(&other, age).await),
                Instead::First(_) | Instead::Send => break,
            }
        }
        if let Some(withheld) = self.memo.withheld(request) {
            return withheld;
        }
        let answer = self.exchange(request).await;
        let answer = match beyond(request, &answer) {
            Some(asked) => shown_by(&answer, &self.answer(&asked, age).await),
            None => answer,
        };
        self.memo.keep(request, &answer);
        answer
    }

    /// Sends a request, and sends it again if a remembered token is no longer accepted.
    async fn exchange(self: &Arc<Self>, request: &Request) -> Answer {
        let mut refused: Option<Answer> = None;
        loop {
            let (secrets, tokens) = match self.secrets(request).await {
                Ok(secrets) => secrets,
                // Refused by a token server, as the runtime would be now: so is what the registry said.
                Err(answer) => {
                    return refused
                        .filter(|_| is_refusal(&answer))
                        .unwrap_or_else(|| ungranted(request, answer));
                }
            };
            let used: Vec<_> = tokens
                .into_iter()
                .map(|(origin, key, token)| (origin, key, token.may_be_revoked(&request.path), token))
                .collect();
            let Exchanged { answer, token } = self.exchange.send(request, &secrets).await;
            if let (Answer::Response(response), Want::Token(key), Some(fresh)) = (&answer, &request.want, token) {
                let good_for = self.vault.keep(key, fresh, response);
                self.remember_refused_post(key, request, good_for);
            }
            let Answer::Response(response) = &answer else {
                return answer;
            };
            let revoked = used
                .iter()
                .find(|(origin, _, used, token)| (*used || token.may_have_expired()) && *origin == response.asked_at.origin);
            match revoked {
                Some((_, key, _, token)) if response.status == 401 && refused.is_none() => {
                    self.vault.forget(key, token);
                    refused = Some(answer);
                }
                Some(_) | None => return answer,
            }
        }
    }

    /// The secret parts of a request, and its tokens. Missing or expired tokens are fetched.
    async fn secrets(self: &Arc<Self>, request: &Request) -> Result<(Secrets, Vec<Sent>), Answer> {
        let lost = || internal(request, "the credential was dropped in the meantime");
        let mut secrets = Secrets::default();
        let mut tokens = Vec::new();
        if let Some(credential) = self.vault.credential(request.asker) {
            secrets.masks.add(&credential);
        }
        for (origin, auth) in &request.auth {
            let value = match auth {
                Auth::Basic(who) => {
                    let credential = match who.id {
                        Some(_) => self.vault.credential(*who).ok_or_else(lost)?,
                        // CRI-O answers `Basic` so where it has nothing to answer with.
                        None => Arc::default(),
                    };
                    secrets.masks.add(&credential);
                    vault::basic(&credential).ok_or_else(lost)?
                }
                Auth::Bearer(key) => {
                    let token = self.token(key, request).await?;
                    secrets.masks.add_token(&token);
                    let value = token.header.clone();
                    tokens.push((origin.clone(), Arc::clone(key), token));
                    value
                }
            };
            secrets.authorizations.push((origin.clone(), value));
        }
        if let Want::Token(token) = &request.want {
            let credential = || self.vault.credential(token.who).ok_or_else(lost);
            match token.by {
                Grant::Password | Grant::Refresh => {
                    let credential = credential()?;
                    secrets.form = Some(vault::form(token, &credential));
                    secrets.masks.add(&credential);
                }
                Grant::Account if token.who.user => secrets.account = Some(vault::account(&*credential()?)),
                Grant::Anonymous | Grant::Basic | Grant::Account => {}
            }
        }
        Ok((secrets, tokens))
    }

    async fn token(self: &Arc<Self>, key: &Arc<TokenRequest>, of: &Request) -> Result<Arc<Token>, Answer> {
        if let Some(token) = self.vault.token(key) {
            return Ok(token);
        }
        // The rule for token servers was held when it was first asked for.
        let request = token_request(key, of.host_settings, of.agent).map_err(|_| forbidden(key))?;
        let answer = self.answer(&request, Age::Fresh).await;
        self.vault.token(key).ok_or(answer)
    }

    /// A server that knows no POST refuses one before each GET: that is remembered as long as the token that the GET brought.
    fn remember_refused_post(&self, key: &Arc<TokenRequest>, of: &Request, good_for: Duration) {
        if key.by != Grant::Basic {
            return;
        }
        for by in [Grant::Password, Grant::Refresh] {
            let posted = Arc::new(TokenRequest {
                by,
                ..TokenRequest::clone(key)
            });
            if let Ok(request) = token_request(&posted, of.host_settings, of.agent) {
                self.memo.keep_as_good(&request, good_for);
            }
        }
    }

    /// Tells the metrics how memory answered.
    fn counts(&self, request: &Request, result: CacheResult) {
        let cache = match &request.want {
            Want::Token(_) => CacheName::Tokens,
            Want::Manifest { by: Some(_) } => CacheName::Content,
            Want::Config { .. } | Want::Blob { .. } => CacheName::Parts,
            // Whole pulls are counted where they are asked for.
            Want::Nothing | Want::Manifest { by: None } | Want::Tags { .. } | Want::ErrorText => return,
        };
        let result = match result {
            CacheResult::Joined => CacheResult::Hit,
            result => result,
        };
        self.metrics.cache(cache, result);
    }

    /// Tells the metrics what memory weighs.
    fn weigh(&self) {
        let [answers, content] = self.memo.weights();
        for (cache, weight) in [
            (CacheName::Tokens, self.vault.weight()),
            (CacheName::Answers, answers),
            (CacheName::Content, content),
        ] {
            self.metrics.cache_weight(cache, weight);
        }
    }
}

/// A token that goes to an origin.
type Sent = (Origin, Arc<TokenRequest>, Arc<Token>);

/// Whether a token server refuses for good, rather than for now.
fn is_refusal(answer: &Answer) -> bool {
    match answer {
        Answer::Response(response) => {
            matches!(response.status, 400..=407 | 409..=428 | 430..=499) && !response.error_text().about_address
        }
        Answer::Fault(_) | Answer::NotSent(_) | Answer::Late => false,
    }
}

/// The answer to a request whose token cannot be had any longer: nothing is concluded from it.
fn ungranted(request: &Request, answer: Answer) -> Answer {
    match answer {
        Answer::Response(_) => internal(request, "its token has expired, and the token server grants no other"),
        answer => answer,
    }
}

fn forbidden(key: &TokenRequest) -> Answer {
    Answer::NotSent(Arc::new(NotSent {
        asked_at: AskedAt {
            method: key.by.method(),
            origin: key.origin.clone(),
            path: Arc::from("/"),
        },
        why: Withheld::Guard(GuardRule::Realm),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Reach;
    use crate::runtime::request::{Agent, HostSettingsId, Method, Retry, Scheme};

    fn wire(metrics: &Metrics) -> Wire {
        let settings = RegistrySettings {
            reach: Reach::Everything,
            ..RegistrySettings::default()
        };
        Wire::new(settings, metrics.clone()).unwrap()
    }

    fn request() -> Request {
        Request {
            asker: Who::default(),
            method: Method::Head,
            origin: Origin::new(Scheme::Https, "r.example").unwrap(),
            path: Arc::from("/v2/a/manifests/1"),
            accept: Arc::from("*/*"),
            auth: Vec::new(),
            want: Want::Nothing,
            host_settings: HostSettingsId::default(),
            agent: Agent::default(),
            retry: Retry::default(),
        }
    }

    async fn fly(wire: &Wire, work: impl Future<Output = Answer> + Send + 'static) -> Answer {
        let flight = wire.0.start_flight(&request(), &mut wire.0.flights(), work);
        let answer = flight.await.unwrap();
        assert!(wire.0.flights().is_empty());
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_or_a_look_up_without_end_is_a_fault() {
        let metrics = Metrics::new();
        let wire = wire(&metrics);
        let answer = fly(&wire, async { panic!("on purpose") }).await;
        assert!(matches!(answer, Answer::Fault(fault) if fault.what == FaultKind::Internal));
        assert!(metrics.encode().contains("pullgate_panics_total 1"), "{}", metrics.encode());
        let answer = fly(&wire, std::future::pending()).await;
        let deadline = FaultKind::TimedOut(TimeoutStage::Deadline);
        assert!(matches!(answer, Answer::Fault(fault) if fault.what == deadline));
        assert!(wire.recall(&request()).is_some(), "that is remembered for a moment");
        assert_eq!(format!("{wire:?} {:?}", wire.stale()), "Wire Stale(Wire)");
    }
}
