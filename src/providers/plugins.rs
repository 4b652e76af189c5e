//! The kubelet's exec plugins (pull-semantics 4.5): which to run, only once at a time, and how long to cache their answers.

use super::SetupError;
use super::flights::{Flights, Landed};
use super::run::{self, Belongs, Bounds};
use crate::credentials::helper::Exit;
use crate::credentials::node::{Entries, Provided};
use crate::credentials::provider::{CacheKey, Identity, Provider, Response, parse_response};
use crate::image::escape;
use crate::limits;
use crate::telemetry::{CacheName, CacheResult, Metrics};
use futures_util::future::join_all;
use moka::Expiry;
use moka::future::Cache;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

/// How many processes of one plugin may run at the same time. Users choose image names, but not the number of processes.
const AT_ONCE: usize = 4;

/// Queues per plugin: reviews wait for its answer by registry, and registries share this many queues.
const LANES: usize = 16;

/// How long a failure is cached. The kubelet asks for every pull; but reviews are more frequent than pulls.
const FAILED: Duration = Duration::from_secs(10);

/// How long reviews do not wait for a plugin that took too long; then one of them tries it. Meanwhile registries are asked without its
/// credentials.
const HANGS: Duration = Duration::from_secs(30);

/// The size of the cache, roughly, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// How often a failing plugin is logged.
const COMPLAINT: Duration = Duration::from_mins(1);

/// Why a plugin is not waited for; a clause about `it`.
const HUNG: &str = "it did not answer in time a moment ago, and pullgate does not wait for it now";

/// An answer, or why there is none, as a clause about `it`.
type Reply = Result<Entries, String>;

/// All plugins.
#[derive(Debug)]
pub(super) struct Plugins {
    inner: Arc<Inner>,
    flights: Flights<(usize, String), Reply>,
}

#[derive(Debug)]
struct Inner {
    plugins: Vec<Plugin>,
    /// By index in `plugins`.
    kept: Cache<(usize, CacheKey), Kept>,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
struct Kept {
    reply: Reply,
    lifetime: Duration,
}

#[derive(Debug)]
struct Plugin {
    provider: Provider,
    program: PathBuf,
    places: Semaphore,
    /// Its last answer was for one image only. Otherwise an answer may serve other images of the registry, which therefore wait for it.
    by_image: AtomicBool,
    /// The queues; each serves a share of all registries.
    lanes: [tokio::sync::Mutex<()>; LANES],
    complained: Mutex<Option<Instant>>,
    /// Until when it is not waited for, because it took too long.
    hangs_until: Mutex<Option<Instant>>,
}

struct ByLifetime;

impl Expiry<(usize, CacheKey), Kept> for ByLifetime {
    fn expire_after_create(&self, _: &(usize, CacheKey), kept: &Kept, _: std::time::Instant) -> Option<Duration> {
        Some(kept.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &(usize, CacheKey),
        kept: &Kept,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.lifetime)
    }
}

impl Plugins {
    pub(super) fn new(providers: Vec<Provider>, folder: &Path, metrics: Metrics) -> Result<Self, SetupError> {
        let plugins = providers
            .into_iter()
            .map(|provider| Plugin::new(provider, folder))
            .collect::<Result<_, _>>()?;
        let kept = Cache::builder()
            .max_capacity(MAX_BYTES)
            .weigher(|_, kept: &Kept| {
                let size: usize = match &kept.reply {
                    Ok(entries) => entries
                        .iter()
                        .map(|(key, credential)| key.len() + credential.username.bytes().len() + credential.password.bytes().len())
                        .sum(),
                    Err(why) => why.len(),
                };
                u32::try_from(300 + size).unwrap_or(u32::MAX)
            })
            .expire_after(ByLifetime)
            .build();
        Ok(Self {
            inner: Arc::new(Inner { plugins, kept, metrics }),
            flights: Flights::new(Landed::Forgotten),
        })
    }

    /// Asks every plugin that serves the repository, and adds their answers.
    pub(super) async fn ask(&self, name: &str, until: Instant, provided: &mut Provided) {
        let serving = self
            .inner
            .plugins
            .iter()
            .enumerate()
            .filter(|(_, plugin)| plugin.provider.serves(name));
        let asked = serving.map(|(at, plugin)| async move {
            let reply = match plugin.provider.identity {
                Identity::Node => self.reply(at, name, until).await,
                Identity::ServiceAccount => {
                    Err("it needs a token of the pod's service account, which only the kubelet has".to_owned())
                }
            };
            (escape(&plugin.provider.name), reply)
        });
        for (plugin, reply) in join_all(asked).await {
            match reply {
                Ok(entries) => provided.plugins.push((plugin, entries)),
                Err(why) => {
                    provided
                        .unanswered
                        .get_or_insert_with(|| format!("credential provider \"{plugin}\" could not be asked: {why}"));
                }
            }
        }
    }

    async fn reply(&self, at: usize, name: &str, until: Instant) -> Reply {
        if let Some(reply) = self.inner.kept(at, name).await {
            self.inner.metrics.cache(CacheName::Providers, CacheResult::Hit);
            return reply;
        }
        let Some(plugin) = self.inner.plugins.get(at) else {
            return Err(run::Fault::Missing.clause().to_owned());
        };
        if plugin.hangs() {
            return Err(HUNG.to_owned());
        }
        // The kubelet's single flight is by image too: only the answer itself says how far it applies.
        let flight = self.flights.join(&(at, name.to_owned()), || {
            self.inner.metrics.cache(CacheName::Providers, CacheResult::Miss);
            let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
            async move { inner.load(at, &name).await }
        });
        match timeout_at(until, flight).await {
            Ok(Some(reply)) => reply,
            Ok(None) => Err(run::Fault::Broken.clause().to_owned()),
            Err(_) => Err(run::Fault::TooLong.clause().to_owned()),
        }
    }
}

impl Inner {
    /// The cached answer for an image, in the kubelet's order: for the image, for its registry, for everything.
    async fn kept(&self, at: usize, name: &str) -> Option<Reply> {
        for key in CacheKey::all(name) {
            if let Some(kept) = self.kept.get(&(at, key)).await {
                return Some(kept.reply);
            }
        }
        None
    }

    async fn load(&self, at: usize, name: &str) -> Reply {
        let Some(plugin) = self.plugins.get(at) else {
            return Err(run::Fault::Missing.clause().to_owned());
        };
        // Concurrent reviews may ask for many images of one registry, and one answer may serve them all.
        let waits = async {
            let lane = if plugin.by_image.load(Ordering::Relaxed) {
                None
            } else {
                plugin.lane(name)
            };
            let lane = match lane {
                Some(lane) => Some(lane.lock().await),
                None => None,
            };
            let place = plugin.places.acquire().await;
            (lane, place)
        };
        let Ok((_lane, Ok(_place))) = timeout(limits::PROGRAM, waits).await else {
            plugin.took_too_long();
            return Err(run::Fault::TooLong.clause().to_owned());
        };
        // Meanwhile there may be an answer for another image of the registry.
        if let Some(reply) = self.kept(at, name).await {
            return reply;
        }
        match plugin.run(name).await {
            Ok(response) => {
                plugin.answered();
                let key = CacheKey::of(response.scope, name);
                plugin.by_image.store(matches!(key, CacheKey::Image(_)), Ordering::Relaxed);
                let lifetime = response.lifetime.unwrap_or(plugin.provider.default_cache);
                let reply = Ok(Arc::new(response.entries));
                self.keep(at, key, &reply, lifetime).await;
                reply
            }
            Err(why) => {
                if why == run::Fault::TooLong.clause() {
                    plugin.took_too_long();
                }
                // After a failure, requests for the other images do not wait for each other.
                plugin.by_image.store(true, Ordering::Relaxed);
                plugin.complain(&why);
                let reply = Err(why);
                self.keep(at, CacheKey::Image(name.to_owned()), &reply, FAILED).await;
                reply
            }
        }
    }

    async fn keep(&self, at: usize, key: CacheKey, reply: &Reply, lifetime: Duration) {
        if lifetime.is_zero() {
            return;
        }
        let reply = reply.clone();
        self.kept.insert((at, key), Kept { reply, lifetime }).await;
    }
}

impl Plugin {
    fn new(provider: Provider, folder: &Path) -> Result<Self, SetupError> {
        let program = folder.join(&provider.name);
        let wrong = |why: &str| SetupError(format!("the credential provider {} {why}", program.display()));
        match provider.identity {
            // It is never run, so it need not exist.
            Identity::ServiceAccount => tracing::warn!(
                provider = provider.name,
                "this credential provider needs service account tokens, which only the kubelet has: authentication failures at its registries count as Unknown"
            ),
            Identity::Node => {
                let about = std::fs::metadata(&program).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
                if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
                    return Err(wrong("is not an executable file"));
                }
            }
        }
        Ok(Self {
            provider,
            program,
            places: Semaphore::new(AT_ONCE),
            by_image: AtomicBool::new(false),
            lanes: Default::default(),
            complained: Mutex::new(None),
            hangs_until: Mutex::new(None),
        })
    }

    /// Whether it is not waited for now. When the time is up, the first caller tries it on behalf of the others.
    fn hangs(&self) -> bool {
        let mut until = self.hangs_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *until {
            Some(end) if now < end => true,
            Some(_) => {
                *until = Some(now + HANGS);
                false
            }
            None => false,
        }
    }

    fn took_too_long(&self) {
        *self.hangs_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + HANGS);
    }

    fn answered(&self) {
        *self.hangs_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The queue for images of one registry.
    fn lane(&self, name: &str) -> Option<&tokio::sync::Mutex<()>> {
        let registry = name.split('/').next().unwrap_or_default();
        let sum = registry
            .bytes()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.lanes.get(sum % LANES)
    }

    async fn run(&self, name: &str) -> Result<Response, String> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.provider.args)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)))
            .envs(
                self.provider
                    .env
                    .iter()
                    .map(|(name, value)| (name, value.expose().into_owned())),
            );
        let ended = run::run(
            command,
            Belongs::ToUs,
            self.provider.request(name),
            Bounds::usual(limits::PROGRAM),
        )
        .await
        .map_err(|fault| fault.clause().to_owned())?;
        match ended.exit {
            Exit::Failed => Err(ended.status),
            Exit::Succeeded => parse_response(&ended.printed, self.provider.api_version).map_err(|fault| fault.clause().to_owned()),
        }
    }

    /// Logs it, once a minute; without the image, which only concerns the requester.
    fn complain(&self, why: &str) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
            *complained = Some(Instant::now());
            tracing::warn!(
                provider = self.provider.name,
                why,
                "a credential provider failed; run it by hand to see why"
            );
        }
    }
}

/// The variables that a plugin inherits: those that programs need to run at all, and those by which clouds give a pod its identity.
/// The kubelet passes on everything; but our own environment does not concern a plugin.
fn is_inherited(name: &OsStr) -> bool {
    const NAMES: [&str; 8] = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
    ];
    const FAMILIES: [&str; 4] = ["AWS_", "AZURE_", "GOOGLE_", "GCE_"];
    name.to_str()
        .is_some_and(|name| NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)))
}
