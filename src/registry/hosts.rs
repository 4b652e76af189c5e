//! containerd's `hosts.toml` tree: which hosts are asked for a registry, and how (pull-semantics 5.4).
//!
//! The tree is read again when somebody asks and a second has passed. What was read decides about identity: as long as the bytes are the
//! same, so is the [`Route`], with its connections and what was cached by it.

mod file;
mod folder;

use super::SetupError;
use super::clients::{Factory, Trust, Verification};
use super::host::{Capabilities, Endpoint, Schemes, Standing, Tls};
use file::{Files, Host as Line};
use folder::{Folder, Meaning};
use moka::future::Cache;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long what was read is believed.
const RECHECK: Duration = Duration::from_secs(1);
/// How many registries are remembered; their names come from users.
const REGISTRIES: u64 = 4096;

/// What a route was made of; part of the keys of caches, so that nothing outlives the settings that it was learned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct RouteId([u8; 32]);

/// The hosts that are asked for one registry, in order; never empty.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) id: RouteId,
    pub(super) hosts: Vec<Host>,
    /// What older runtimes ask instead, where they alone pass over the `hosts.toml`, or alone read it, and that makes a difference.
    pub(super) older: Option<Vec<Host>>,
}

/// One of them.
#[derive(Debug)]
pub(super) enum Host {
    Usable(Box<Endpoint>),
    /// A node may be able to use it; here it cannot be asked.
    Unusable(Unusable),
}

/// Why a host cannot be asked from here.
#[derive(Debug, Clone)]
pub(super) struct Unusable {
    /// As people see it.
    pub(super) shown: String,
    /// A clause.
    pub(super) why: String,
    pub(super) capabilities: Capabilities,
}

impl Host {
    pub(super) fn capabilities(&self) -> Capabilities {
        match self {
            Self::Usable(endpoint) => endpoint.capabilities,
            Self::Unusable(unusable) => unusable.capabilities,
        }
    }
}

impl Route {
    /// The registry itself and nobody else.
    fn plain(registry: &str) -> Self {
        Self {
            id: RouteId::default(),
            hosts: vec![upstream(registry)],
            older: None,
        }
    }
}

fn upstream(registry: &str) -> Host {
    Endpoint::new(registry).map_or_else(
        || {
            Host::Unusable(Unusable {
                shown: registry.to_owned(),
                why: "no address can be made of the registry's name and port".to_owned(),
                capabilities: Capabilities::ALL,
            })
        },
        |endpoint| Host::Usable(Box::new(endpoint)),
    )
}

/// A route, and when it was last looked at.
type Kept = Arc<Mutex<Option<(Instant, Arc<Route>)>>>;

/// The tree, or none.
#[derive(Debug)]
pub(super) struct Tree {
    roots: Arc<Vec<PathBuf>>,
    routes: Cache<String, Kept>,
    told: Arc<Told>,
}

/// What the log has been told of each folder: once for each content, however many registries use it.
#[derive(Debug, Default)]
struct Told(std::sync::Mutex<HashMap<PathBuf, [u8; 32]>>);

impl Told {
    fn tell(&self, folder: &Folder, hosts: &[Host]) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(folder.path.clone(), folder.fingerprint()) == Some(folder.fingerprint()) {
            return;
        }
        if let Some(why) = folder.problem() {
            tracing::warn!(
                folder = %folder.path.display(),
                why,
                "hosts.toml cannot be used; certificates beside it, if any, hold instead, as on a node"
            );
        }
        if matches!(&folder.meaning, Meaning::File { beside: Some(_), .. }) {
            tracing::warn!(
                folder = %folder.path.display(),
                "containerd 1.x passes over this hosts.toml: it has no [host] table, or the capability \"referrers\""
            );
        }
        for host in hosts {
            if let Host::Unusable(unusable) = host {
                tracing::warn!(
                    folder = %folder.path.display(),
                    registry.host = unusable.shown.escape_debug().to_string(),
                    why = unusable.why,
                    "a host of the hosts.toml tree cannot be asked from here"
                );
            }
        }
    }
}

impl Tree {
    /// A tree below `roots`, the first that has a folder for a registry wins. Everything in it is read once: the error names file and line.
    pub(super) fn new(roots: Vec<PathBuf>) -> Result<Self, SetupError> {
        let problems: Vec<String> = roots.iter().flat_map(|root| folder::problems(root)).collect();
        if !problems.is_empty() {
            return Err(SetupError(problems.join("\n")));
        }
        Ok(Self {
            roots: Arc::new(roots),
            routes: Cache::builder()
                .max_capacity(REGISTRIES)
                .time_to_idle(Duration::from_mins(10))
                .build(),
            told: Arc::default(),
        })
    }

    /// The route to `registry` of this moment.
    pub(super) async fn route(&self, registry: &str, factory: &Arc<Factory>) -> Arc<Route> {
        if self.roots.is_empty() {
            return Arc::new(Route::plain(registry));
        }
        let kept = self.routes.get_with(registry.to_owned(), async { Kept::default() }).await;
        let mut kept = kept.lock().await;
        let old = match &*kept {
            Some((at, route)) if at.elapsed() < RECHECK => return Arc::clone(route),
            Some((_, route)) => Some(Arc::clone(route)),
            None => None,
        };
        let (name, roots, factory) = (registry.to_owned(), Arc::clone(&self.roots), Arc::clone(factory));
        let told = Arc::clone(&self.told);
        // Files are read, and clients are built.
        let read = tokio::task::spawn_blocking(move || {
            let folder = Folder::find(&roots, &name);
            let id = folder
                .as_ref()
                .map_or_else(RouteId::default, |folder| RouteId(folder.fingerprint()));
            match (old, folder) {
                (Some(old), _) if old.id == id => old,
                (_, None) => Arc::new(Route::plain(&name)),
                (_, Some(folder)) => {
                    let route = folder_route(id, &name, &folder, &factory);
                    told.tell(&folder, &route.hosts);
                    Arc::new(route)
                }
            }
        });
        let route = read.await.unwrap_or_else(|_| {
            // The runtime is shutting down, or a bug: nothing may be concluded.
            Arc::new(Route {
                id: RouteId([0xff; 32]),
                hosts: vec![Host::Unusable(Unusable {
                    shown: registry.to_owned(),
                    why: "the hosts.toml tree could not be read".to_owned(),
                    capabilities: Capabilities::ALL,
                })],
                older: None,
            })
        });
        *kept = Some((Instant::now(), Arc::clone(&route)));
        route
    }
}

/// The hosts that a folder stands for, the server last.
fn folder_route(id: RouteId, registry: &str, folder: &Folder, factory: &Factory) -> Route {
    let by_certificates = |files: &Files| {
        let line = Line {
            written: None,
            capabilities: Capabilities::ALL,
            trust: files.clone(),
            headers: http::HeaderMap::new(),
            dial_timeout: None,
        };
        host(registry, &line, folder, factory)
    };
    let (hosts, older) = match &folder.meaning {
        Meaning::File { file, beside } => {
            let lines = file.hosts.iter().chain([&file.server]);
            let hosts = lines.map(|line| host(registry, line, folder, factory)).collect();
            // Without a server, the registry itself is asked anyhow.
            let replaced = file.server.written.is_some();
            let older = beside.as_ref().filter(|_| replaced).map(|files| vec![by_certificates(files)]);
            (hosts, older)
        }
        Meaning::Older { file, beside, .. } => {
            let lines = file.hosts.iter().chain([&file.server]);
            let hosts = lines.map(|line| host(registry, line, folder, factory)).collect();
            (vec![by_certificates(beside)], Some(hosts))
        }
        Meaning::Certificates(files) => (vec![by_certificates(files)], None),
        Meaning::Unreadable(why) => {
            // A node may read what we cannot: mirrors that we know nothing of.
            let unknown = Host::Unusable(Unusable {
                shown: registry.to_owned(),
                why: why.clone(),
                capabilities: Capabilities::ALL,
            });
            (vec![unknown, upstream(registry)], None)
        }
    };
    Route { id, hosts, older }
}

fn host(registry: &str, line: &Line, folder: &Folder, factory: &Factory) -> Host {
    let tls = if line.trust.is_explicit() {
        Tls::Explicit
    } else {
        Tls::Unsaid
    };
    let (endpoint, capabilities) = match &line.written {
        Some(written) => (Endpoint::named(registry, written, tls), line.capabilities),
        // containerd gives the default host every capability, whatever the root says.
        None => (Endpoint::new(registry), Capabilities::ALL),
    };
    let named = line.written.as_ref().map(|written| written.authority.as_str());
    let shown = named.filter(|authority| !authority.is_empty()).unwrap_or(registry);
    let unusable = |why: String| {
        Host::Unusable(Unusable {
            shown: shown.to_owned(),
            why,
            capabilities,
        })
    };
    let Some(mut endpoint) = endpoint else {
        return unusable("no address can be made of its name and port".to_owned());
    };
    endpoint.capabilities = capabilities;
    endpoint.headers.clone_from(&line.headers);
    if line.trust.is_explicit() || line.dial_timeout.is_some() {
        // Loopback hosts of a reference are not verified, whatever the root says; those that are named are.
        let lenient = endpoint.standing == Standing::Stranger
            && endpoint.schemes != Schemes::Http
            && super::host::is_unverified(endpoint.base(super::host::Scheme::Https));
        let profile = trust(&line.trust, folder).and_then(|trust| {
            let verification = if lenient { Verification::None } else { trust.verification };
            factory.profile(&Trust {
                connect: line.dial_timeout,
                verification,
                ..trust
            })
        });
        match profile {
            Ok(profile) => endpoint.profile = Some(profile),
            Err(why) => return unusable(why),
        }
    }
    Host::Usable(Box::new(endpoint))
}

/// The files' contents. The error names the file that cannot be read here.
fn trust(files: &Files, folder: &Folder) -> Result<Trust, String> {
    let content = |path: &PathBuf| match folder.files.get(path) {
        Some(Ok(bytes)) => Ok(bytes.clone()),
        Some(Err(why)) => Err(format!("{}: {why}", path.display())),
        None => Err(format!("{}: it was not read", path.display())),
    };
    let roots = files.ca.iter().flatten().map(&content).collect::<Result<_, _>>()?;
    let identity = match files.client.iter().flatten().next() {
        Some((cert, key)) => {
            let mut pem = content(cert)?;
            if let Some(key) = key {
                pem.push(b'\n');
                pem.extend(content(key)?);
            }
            Some(pem)
        }
        None => None,
    };
    Ok(Trust {
        verification: match files.skip_verify {
            Some(true) => Verification::None,
            Some(false) | None => Verification::Full,
        },
        roots,
        identity,
        connect: None,
    })
}

#[cfg(test)]
mod tests;
