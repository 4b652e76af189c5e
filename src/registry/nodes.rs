//! containerd's `hosts.toml` trees, as they are on the nodes: which hosts are asked for a registry, and by which settings (pull-semantics
//! 5.4).
//!
//! A tree is read again when a look-up needs it and a second has passed. As long as the bytes are the same, so are the configuration, its
//! connections, and the answers remembered for it.

mod folder;
mod k3s;
pub(super) mod show;

use super::K3sFile;
use super::SetupError;
use super::clients::{TlsTrust, Verification};
use super::host_settings::{HostSettings, HostSettingsTable, WrittenHost};
use super::vault::Vault;
use crate::credentials::Credential;
use crate::files;
use crate::image::escape;
use crate::limits;
use crate::runtime::NodeConfig;
use crate::runtime::containerd::hosts::{Host, Hosts};
use crate::runtime::containerd::hosts_toml::{Files, Line};
use crate::runtime::containerd::peers::Shared;
use crate::runtime::containerd::rewrites::Rewrites;
use crate::runtime::request::{HostSettingsId, Who};
use folder::{Folder, Meaning};
use k3s::K3s;
use moka::future::Cache;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the files that were read are believed.
const RECHECK: Duration = Duration::from_secs(1);
/// How many registries are remembered; their names come from users.
const REGISTRIES: u64 = 4096;
const REMEMBERED_FOR: Duration = Duration::from_mins(10);

/// What was read for one registry.
#[derive(Clone)]
struct Known {
    /// Of everything that was read; `None` where there is nothing.
    id: Option<[u8; 32]>,
    config: NodeConfig,
    /// Where it was found.
    from: Option<Arc<str>>,
    /// The settings that it names.
    host_settings: Vec<(HostSettingsId, Arc<HostSettings>)>,
    /// The nodes' own credentials that it has.
    credentials: Vec<Credential>,
}

/// What is known of a registry, and when that was last looked at.
type Slot = Arc<Mutex<Option<(Instant, Known)>>>;

/// The trees, or what k3s would make them of.
pub(super) struct Nodes {
    source: Arc<Source>,
    /// What to make of a file that is broken.
    broken: Broken,
    /// Of which registries nodes give each other the images, and when that was last looked at.
    shared: Mutex<Option<(Instant, Option<Arc<Shared>>)>>,
    known: Cache<String, Slot>,
    settings_table: Arc<HostSettingsTable>,
    logged: Arc<Logged>,
}

/// Where the settings come from.
enum Source {
    /// Trees; the first that has a folder for a registry wins.
    Roots(Vec<PathBuf>),
    /// A `registries.yaml`.
    K3s(K3s),
}

/// What to make of a broken file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// What a node makes of it.
    AsOnANode,
    /// Nothing: the nodes' own may be sound.
    Unknown,
}

/// What was logged about each folder: once for each content, however many registries use it.
#[derive(Default)]
struct Logged(std::sync::Mutex<HashMap<PathBuf, [u8; 32]>>);

impl Logged {
    fn log(&self, folder: &Folder, hosts: &[Host]) {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.insert(folder.path.clone(), folder.fingerprint()) == Some(folder.fingerprint()) {
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
                "containerd 1.x ignores this hosts.toml: it has no [host] table, or the capability \"referrers\""
            );
        }
        for host in hosts {
            for pattern in host.rewrites.broken() {
                tracing::warn!(
                    folder = %folder.path.display(),
                    registry.host = host.shown.escape_debug().to_string(),
                    pattern,
                    "a rewrite pattern in hosts.toml is broken; nodes ignore it"
                );
            }
            let nowhere = host.server.is_none().then_some("its name and port do not form an address");
            if let Some(why) = host.unusable.as_deref().or(nowhere) {
                tracing::warn!(
                    folder = %folder.path.display(),
                    registry.host = host.shown.escape_debug().to_string(),
                    why,
                    "a host of the hosts.toml tree cannot be asked from here"
                );
            }
        }
    }
}

impl Nodes {
    /// Trees below `roots`, the first that has a folder for a registry wins. Everything in them is read once: the error names file and
    /// line.
    pub(super) fn new(roots: Vec<PathBuf>, settings_table: Arc<HostSettingsTable>) -> Result<Self, SetupError> {
        let problems: Vec<String> = roots.iter().flat_map(|root| folder::problems(root)).collect();
        if !problems.is_empty() {
            return Err(SetupError(problems.join("\n")));
        }
        Ok(Self::with(Source::Roots(roots), Broken::AsOnANode, settings_table))
    }

    /// By a `registries.yaml`, which must be sound: the error names file and line.
    pub(super) fn of_k3s(file: K3sFile, settings_table: Arc<HostSettingsTable>) -> Result<Self, SetupError> {
        let k3s = K3s::new(file);
        k3s.read().map_err(SetupError)?;
        Ok(Self::with(Source::K3s(k3s), Broken::Unknown, settings_table))
    }

    /// The same for the nodes of a pool: where it is broken, nothing is concluded.
    pub(super) fn of_k3s_pool(name: &str, file: K3sFile, settings_table: Arc<HostSettingsTable>) -> Self {
        let k3s = K3s::new(file);
        if let Err(why) = k3s.read() {
            tracing::warn!(
                pool = name,
                why,
                "a pool's registries.yaml cannot be used; whether its nodes pull is not known"
            );
        }
        Self::with(Source::K3s(k3s), Broken::Unknown, settings_table)
    }

    /// The same for the nodes of a pool: broken files are logged, and nothing is concluded for the registries concerned.
    pub(super) fn of_pool(name: &str, roots: Vec<PathBuf>, settings_table: Arc<HostSettingsTable>) -> Self {
        for why in roots.iter().flat_map(|root| folder::problems(root)) {
            tracing::warn!(
                pool = name,
                why,
                "a pool's hosts.toml cannot be used; whether its nodes pull is not known"
            );
        }
        Self::with(Source::Roots(roots), Broken::Unknown, settings_table)
    }

    fn with(source: Source, broken: Broken, settings_table: Arc<HostSettingsTable>) -> Self {
        Self {
            source: Arc::new(source),
            broken,
            shared: Mutex::default(),
            known: Cache::builder().max_capacity(REGISTRIES).time_to_idle(REMEMBERED_FOR).build(),
            settings_table,
            logged: Arc::default(),
        }
    }

    /// What the trees have for `registry` at this moment.
    pub(super) async fn config(&self, registry: &str, vault: &Vault) -> NodeConfig {
        let slot = self.known.get_with(registry.to_owned(), async { Slot::default() }).await;
        let mut slot = slot.lock().await;
        let old = match &*slot {
            Some((at, known)) if at.elapsed() < RECHECK => {
                self.keep(known, vault);
                return known.config.clone();
            }
            Some((_, known)) => Some(known.clone()),
            None => None,
        };
        let (name, source, settings_table) = (
            registry.to_owned(),
            Arc::clone(&self.source),
            Arc::clone(&self.settings_table),
        );
        let (logged, broken) = (Arc::clone(&self.logged), self.broken);
        // Files are read, and clients are built.
        let read = tokio::task::spawn_blocking(move || {
            let (folder, k3s) = match &*source {
                Source::Roots(roots) => (Folder::find(roots, &name), None),
                Source::K3s(k3s) => match k3s.of(&name) {
                    Ok(mut entry) => (entry.folder.take(), Some(entry)),
                    Err(why) => return Known::unreadable(&why),
                },
            };
            let id = match (&folder, &k3s) {
                (Some(folder), _) => Some(folder.fingerprint()),
                (None, Some(entry)) => Some(entry.fingerprint()),
                (None, None) => None,
            };
            if let Some(old) = old
                && old.id == id
            {
                return old;
            }
            if let Some(why) = folder.as_ref().and_then(Folder::problem)
                && broken == Broken::Unknown
            {
                return Known {
                    id,
                    ..Known::unreadable(&why)
                };
            }
            let from = match (&k3s, &folder) {
                (Some(entry), _) => Some(entry.from.clone()),
                (None, Some(folder)) => Some(folder.path.display().to_string()),
                (None, None) => None,
            };
            let mut in_use = Vec::new();
            let mut hosts = folder.as_ref().map(|folder| {
                let mut reading = Reading {
                    registry: &name,
                    folder,
                    all: &settings_table,
                    host_settings: Vec::new(),
                };
                let hosts = reading.hosts();
                logged.log(folder, hosts.by_k3s.as_ref().unwrap_or(&hosts.hosts));
                in_use = reading.host_settings;
                hosts
            });
            let credentials = k3s.map_or_else(Vec::new, |k3s| add_credentials(&mut hosts, &k3s, &name));
            Known {
                id,
                from: from.map(Arc::from),
                config: hosts.map_or(NodeConfig::Default, |hosts| NodeConfig::Containerd(Arc::new(hosts))),
                host_settings: in_use,
                credentials,
            }
        });
        let known = read.await.unwrap_or_else(|_| {
            // The async runtime is shutting down, or a bug: nothing may be concluded.
            let unknown = unknown(registry, "the hosts.toml tree could not be read");
            Known {
                id: Some([0xff; 32]),
                config: NodeConfig::Containerd(Arc::new(Hosts {
                    hosts: vec![unknown],
                    by_1_x: None,
                    by_k3s: None,
                    by_client: false,
                })),
                from: None,
                host_settings: Vec::new(),
                credentials: Vec::new(),
            }
        });
        self.keep(&known, vault);
        let config = known.config.clone();
        *slot = Some((Instant::now(), known));
        config
    }

    /// The registries whose images nodes give each other, where a `registries.yaml` says it.
    pub(super) async fn shared(&self) -> Option<Arc<Shared>> {
        if matches!(&*self.source, Source::Roots(_)) {
            return None;
        }
        let mut slot = self.shared.lock().await;
        if let Some((at, shared)) = &*slot
            && at.elapsed() < RECHECK
        {
            return shared.clone();
        }
        let source = Arc::clone(&self.source);
        let read = tokio::task::spawn_blocking(move || match &*source {
            Source::K3s(k3s) => k3s.shared(),
            Source::Roots(_) => None,
        });
        let shared = read.await.unwrap_or_default();
        *slot = Some((Instant::now(), shared.clone()));
        shared
    }

    /// The folder, or the file and line, that a registry's settings come from, as it was read last.
    pub(super) async fn from(&self, registry: &str) -> Option<Arc<str>> {
        let slot = self.known.get(registry).await?;
        let slot = slot.lock().await;
        slot.as_ref().and_then(|(_, known)| known.from.clone())
    }

    /// Settings that are in use are not forgotten.
    fn keep(&self, known: &Known, vault: &Vault) {
        for (id, host_settings) in &known.host_settings {
            self.settings_table.keep(*id, host_settings);
        }
        for credential in &known.credentials {
            vault.knows(credential);
        }
    }
}

impl Known {
    /// Nothing can be concluded; why, as a clause.
    fn unreadable(why: &str) -> Self {
        Self {
            id: None,
            config: NodeConfig::Unreadable(Arc::from(why)),
            from: None,
            host_settings: Vec::new(),
            credentials: Vec::new(),
        }
    }
}

/// Adds the nodes' own credentials to the hosts that are asked for a registry; the registry itself if there are no other hosts.
fn add_credentials(hosts: &mut Option<Hosts>, k3s: &k3s::Entry, registry: &str) -> Vec<Credential> {
    let mut used = Vec::new();
    if !k3s.has_credentials() {
        return used;
    }
    let hosts = hosts.get_or_insert_with(|| Hosts {
        hosts: vec![Host::of_registry(registry)],
        by_1_x: None,
        by_k3s: None,
        by_client: true,
    });
    hosts.by_client = true;
    for host in &mut hosts.hosts {
        let Some(server) = &host.server else { continue };
        if let Some(credential) = k3s.credential(&server.https.authority()) {
            host.node = Who::of(credential);
            used.push(credential.clone());
        }
    }
    used
}

/// What is wrong in a whole tree, and what nodes ignore in it, with places.
pub(super) fn problems(root: &Path) -> Vec<String> {
    let mut all = folder::problems(root);
    all.extend(folder::notes(root));
    all
}

/// What is wrong in a `registries.yaml`, and what k3s ignores in it, with places.
pub(super) fn k3s_problems(file: &K3sFile) -> Vec<String> {
    match K3s::new(file.clone()).read() {
        Ok(registries) => {
            let at = file.path.display();
            let beside = file.path.parent().unwrap_or(Path::new(""));
            let missing = registries.files.iter().filter_map(|named| {
                let error = files::read(&beside.join(named.text()), limits::SETTINGS_FILE).err()?;
                let (line, column) = named.place();
                let name = escape(named.text());
                Some(format!(
                    "{at}:{line}:{column}: {name}: {error}; whether nodes reach that host is not known without it"
                ))
            });
            let notes = registries.notes.iter().map(|note| format!("{at}:{note}"));
            notes.chain(missing).collect()
        }
        Err(why) => vec![why],
    }
}

/// A host of which nothing is known: a node may read what we cannot.
fn unknown(registry: &str, why: &str) -> Host {
    Host {
        server: None,
        unusable: Some(Arc::from(why)),
        ..Host::of_registry(registry)
    }
}

/// From a folder to hosts.
struct Reading<'a> {
    registry: &'a str,
    folder: &'a Folder,
    all: &'a HostSettingsTable,
    host_settings: Vec<(HostSettingsId, Arc<HostSettings>)>,
}

impl Reading<'_> {
    /// The hosts that the folder stands for, the server last.
    fn hosts(&mut self) -> Hosts {
        let (hosts, by_1_x, by_k3s) = match &self.folder.meaning {
            Meaning::File { file, beside } => {
                let (own, k3s) = (file.lines(), file.lines_of_k3s());
                let (lines, k3s) = if file.by_k3s {
                    (k3s, None)
                } else {
                    (own.clone(), (own != k3s).then_some(k3s))
                };
                let hosts = self.all(&lines);
                // Without a server, the registry itself is asked anyhow.
                let replaced = file.server.written.is_some();
                let beside = beside.as_ref().filter(|_| replaced);
                let by_1_x = beside.map(|files| vec![self.by_certificates(files)]);
                (hosts, by_1_x, k3s.map(|lines| self.all(&lines)))
            }
            Meaning::Older { file, beside, .. } => {
                let lines = if file.by_k3s { file.lines_of_k3s() } else { file.lines() };
                let by_1_x = self.all(&lines);
                (vec![self.by_certificates(beside)], Some(by_1_x), None)
            }
            Meaning::Certificates(files) => (vec![self.by_certificates(files)], None, None),
            // Mirrors that we know nothing of.
            Meaning::Unreadable(why) => {
                let hosts = vec![unknown(self.registry, why), Host::of_registry(self.registry)];
                (hosts, None, None)
            }
        };
        Hosts {
            hosts,
            by_1_x,
            by_k3s,
            by_client: false,
        }
    }

    fn all(&mut self, lines: &[Line]) -> Vec<Host> {
        lines.iter().map(|line| self.host(line)).collect()
    }

    /// The registry itself, with the certificates of the folder.
    fn by_certificates(&mut self, files: &Files) -> Host {
        self.host(&Line {
            written: None,
            at: 0,
            pull: true,
            resolve: true,
            tls: files.clone(),
            headers: http::HeaderMap::new(),
            dial_timeout: None,
            rewrites: Vec::new(),
        })
    }

    fn host(&mut self, line: &Line) -> Host {
        let explicit = line.tls.is_explicit();
        let mut host = match &line.written {
            Some(written) => Host {
                server: written.server(self.registry, explicit),
                shown: Arc::from(if written.authority.is_empty() {
                    self.registry
                } else {
                    written.authority.as_str()
                }),
                unusable: None,
                pull: line.pull,
                resolve: line.resolve,
                settings: HostSettingsId::default(),
                rewrites: Rewrites::default(),
                node: Who::default(),
            },
            // containerd gives the default host every capability, whatever the root says.
            None => Host::of_registry(self.registry),
        };
        match Rewrites::new(line.rewrites.clone()) {
            Ok(rewrites) => host.rewrites = rewrites,
            Err(why) => host.unusable = Some(Arc::from(why)),
        }
        let named = line.written.is_some();
        let Some(server) = host.server.as_ref() else {
            return host;
        };
        let special = explicit || line.dial_timeout.is_some();
        if !named && !special && line.headers.is_empty() {
            return host;
        }
        let registered = special.then(|| self.tls(line)).transpose().and_then(|tls| {
            self.all.register(WrittenHost {
                server,
                named,
                headers: line.headers.clone(),
                tls,
            })
        });
        match registered {
            Ok((id, host_settings)) => {
                host.settings = id;
                self.host_settings.push((id, host_settings));
            }
            Err(why) => host.unusable = Some(Arc::from(why)),
        }
        host
    }

    /// The files' contents. The error names the file that cannot be read here.
    fn tls(&self, line: &Line) -> Result<TlsTrust, String> {
        let files = &line.tls;
        let content = |name: &String| {
            let path = self.folder.path.join(name);
            match self.folder.files.get(name) {
                Some(Ok(bytes)) => Ok(bytes.clone()),
                Some(Err(why)) => Err(format!("{}: {why}", path.display())),
                None => Err(format!("{}: it was not read", path.display())),
            }
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
        Ok(TlsTrust {
            verification: match files.skip_verify {
                Some(true) => Verification::None,
                Some(false) | None => Verification::Full,
            },
            roots,
            identity,
            connect: line.dial_timeout,
        })
    }
}

#[cfg(test)]
mod tests;
