//! The scripted registry: it serves what a case holds, lets in whom the case lets in, and answers wrongly where the case says so.
//!
//! Each case has a registry of its own, on a port of its own, once for each run: what one client did must not change what the next
//! one sees. Hosts with names (`docker.io`, `reg.example.com`) lead to one more, which knows the cases by their repositories.
//! What was asked and answered is kept, by case.

use crate::cases::{Auth, Case, Certificates, Method, Rule, fill, fill_value, merge};
use crate::content::{Shelf, Stored};
use crate::faulty::{Faulty, Manner, Reply, Seen, Tls, Validity};
use crate::requests::{Heard, Masks};
use base64::Engine as _;
use pullgate::engine::LookUps;
use pullgate::image::Reference;
use pullgate::net::Reach;
use pullgate::registry;
use pullgate::telemetry::Metrics;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The `registries.conf` that CRI-O has here (`tests/cluster/runtimes`).
pub(crate) const OWN_CONF: &str =
    "[[registry]]\nlocation = \"127.0.0.1\"\ninsecure = true\n[[registry]]\nlocation = \"localhost\"\ninsecure = true\n";
/// What CRI-O is asked for to see whether it has read what was written.
const PROBE: &str = "probe.invalid";

/// Names that lead to a registry on this machine, with whatever is in front of them.
pub(crate) const NAMED: &[&str] = &[
    "docker.io",
    "registry-1.docker.io",
    "quay.io",
    "reg.example.com",
    "a.b.example.com",
    "Reg.example.com",
    "reg7.example.com",
    "other.example.com",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
];

/// An address where nothing listens.
pub(crate) const CLOSED: &str = "127.0.0.1:1";

/// All registries of one run.
pub(crate) struct Registries {
    /// By case.
    own: BTreeMap<String, Faulty>,
    /// By case, of those that have one.
    mirrors: BTreeMap<String, Faulty>,
    named: Faulty,
    /// By case.
    worlds: BTreeMap<String, Arc<World>>,
    mirror_worlds: BTreeMap<String, Arc<World>>,
    /// `hosts.toml` by folder, and our own door to all of them.
    tree: tempfile::TempDir,
    door: OnceLock<LookUps>,
}

/// One case's registry.
pub(crate) struct World {
    case: Case,
    shelf: Shelf,
    repository: Option<String>,
    /// Whether it has lost everything.
    gone: AtomicBool,
    /// How often each rule has answered.
    used: Vec<AtomicUsize>,
    /// What `{…}` stands for.
    pub(crate) values: BTreeMap<String, String>,
    /// What the case's registry and its mirror were asked, and answered.
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Registries {
    /// Starts them.
    pub(crate) async fn start(cases: &[Case]) -> Self {
        // Content that names its registry needs the port before there is a server: the server looks its case up when it is asked.
        let worlds: Arc<OnceLock<BTreeMap<String, Arc<World>>>> = Arc::default();
        let mirror_worlds: Arc<OnceLock<BTreeMap<String, Arc<World>>>> = Arc::default();
        let by_case = |name: &str, place: &'static str, worlds: &Arc<OnceLock<BTreeMap<String, Arc<World>>>>| {
            let (name, worlds) = (name.to_owned(), Arc::clone(worlds));
            move |seen: &Seen| match worlds.get().and_then(|worlds| worlds.get(&name)) {
                Some(world) => world.hear(place, seen),
                None => Reply::new(503),
            }
        };
        let tree = tempfile::tempdir().unwrap();
        let wax = Wax::new(tree.path());
        let mut own = BTreeMap::new();
        let mut mirrors = BTreeMap::new();
        for case in cases {
            let script = by_case(&case.name, "registry", &worlds);
            own.insert(case.name.clone(), wax.start(case.registry.tls, script).await);
            if let Some(mirror) = &case.mirror {
                let script = by_case(&case.name, "mirror", &mirror_worlds);
                mirrors.insert(case.name.clone(), wax.start(mirror.registry.tls, script).await);
            }
        }
        let all = Arc::clone(&worlds);
        let named = Faulty::start(move |seen| {
            let found = all.get().and_then(|worlds| by_repository(worlds, &seen.path));
            found.map_or_else(|| error(404, "MANIFEST_UNKNOWN"), |world| world.hear("named", seen))
        })
        .await;
        let mut built = BTreeMap::new();
        let mut built_mirrors = BTreeMap::new();
        for case in cases {
            let mut values = BTreeMap::from([
                ("case".to_owned(), case.name.clone()),
                ("registry".to_owned(), own[&case.name].host()),
                ("closed".to_owned(), CLOSED.to_owned()),
                ("named-port".to_owned(), named.port().to_string()),
                ("port".to_owned(), own[&case.name].port().to_string()),
            ]);
            values.extend(wax.files.clone());
            let heard = Arc::default();
            if let Some(mirror) = mirrors.get(&case.name) {
                values.insert("mirror".to_owned(), mirror.host());
                values.insert("mirror-port".to_owned(), mirror.port().to_string());
            }
            if let Some(mirror) = &case.mirror {
                let case = Case {
                    content: mirror.content.clone().or_else(|| case.content.clone()),
                    registry: mirror.registry.clone(),
                    ..case.clone()
                };
                let world = World::new(&case, values.clone(), Arc::clone(&heard));
                built_mirrors.insert(case.name.clone(), Arc::new(world));
            }
            built.insert(case.name.clone(), Arc::new(World::new(case, values, heard)));
        }
        let _ = worlds.set(built.clone());
        let _ = mirror_worlds.set(built_mirrors.clone());
        let registries = Self {
            own,
            mirrors,
            named,
            worlds: built,
            mirror_worlds: built_mirrors,
            tree,
            door: OnceLock::new(),
        };
        // A tree with a broken file in it is refused at the start; one that breaks later is read as nodes read it.
        let certs = registries.tree.path().join("certs.d");
        std::fs::create_dir(&certs).unwrap();
        registries.open_door(cases);
        registries.write_hosts(&certs, cases);
        registries
    }

    /// Our own way to them, by the same settings that the nodes have.
    pub(crate) fn door(&self) -> LookUps {
        self.door.get().unwrap().clone()
    }

    fn open_door(&self, cases: &[Case]) {
        let crio = self.tree.path().join("crio");
        std::fs::create_dir_all(&crio).unwrap();
        std::fs::write(crio.join("registries.conf"), OWN_CONF).unwrap();
        self.write_crio_files(&crio, cases);
        let settings = registry::RegistrySettings {
            reach: Reach::Everything,
            look_up_limit: Duration::from_secs(20),
            hosts_dirs: vec![self.tree.path().join("certs.d")],
            registries_conf: Some(crio),
            ..registry::RegistrySettings::default()
        };
        let _ = self.door.set(LookUps::new(settings, Metrics::new()).unwrap());
    }

    /// The registries that are to lose everything lose it.
    pub(crate) fn lose(&self) {
        for world in self.worlds.values().chain(self.mirror_worlds.values()) {
            world.gone.store(world.case.registry.gone, Ordering::Relaxed);
        }
    }

    /// One case's.
    pub(crate) fn world(&self, case: &Case) -> &World {
        &self.worlds[&case.name]
    }

    /// What was asked of one case's registry.
    pub(crate) fn asked(&self, case: &Case) -> Vec<String> {
        self.own[&case.name].lines()
    }

    /// What one case's registries were asked and answered since somebody last wanted to know, in the order in which it came.
    pub(crate) fn take(&self, case: &Case) -> Vec<Heard> {
        std::mem::take(&mut *self.worlds[&case.name].heard.lock().unwrap())
    }

    /// What stands for the ports of one case's registries, which differ from run to run.
    pub(crate) fn masks(&self, case: &Case) -> Masks {
        let mirror = self.mirrors.get(&case.name).map(Faulty::port);
        Masks::new(self.own[&case.name].port(), mirror, self.named.port())
    }

    /// The digests of the configs in what one case's registries hold.
    pub(crate) fn configs(&self, case: &Case) -> BTreeSet<String> {
        [&self.worlds, &self.mirror_worlds]
            .iter()
            .filter_map(|worlds| worlds.get(&case.name))
            .flat_map(|world| world.shelf.manifests.values())
            .filter_map(|stored| serde_json::from_slice::<Value>(&stored.bytes).ok())
            .filter_map(|manifest| Some(manifest["config"]["digest"].as_str()?.to_owned()))
            .collect()
    }

    /// Whether what the registries hold names their ports, and so has other digests in every run.
    pub(crate) fn holds_ports(&self, case: &Case) -> bool {
        let masks = self.masks(case);
        [&self.worlds, &self.mirror_worlds]
            .iter()
            .filter_map(|worlds| worlds.get(&case.name))
            .flat_map(|world| world.shelf.manifests.values().chain(world.shelf.blobs.values()))
            .any(|stored| std::str::from_utf8(&stored.bytes).is_ok_and(|text| masks.mask(text) != text))
    }

    /// Writes CRI-O's files: hosts with a name lead to the case's own registry. Ends when CRI-O has read them, which the pull that `try_pull` begins shows.
    pub(crate) async fn write_crio(&self, folder: &Path, cases: &[Case], try_pull: impl AsyncFn(&str)) {
        self.write_crio_files(folder, cases);
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while self.named.lines().is_empty() {
            assert!(
                std::time::Instant::now() < end,
                "CRI-O did not take up its registries.conf within a minute"
            );
            try_pull(&format!("{PROBE}/image:v1")).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn write_crio_files(&self, folder: &Path, cases: &[Case]) {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let (mut scopes, mut auths) = (json!({}), json!({}));
        for case in cases {
            let (world, files) = (self.world(case), &case.crio);
            let values = &world.values;
            let filled = |all: &BTreeMap<String, Value>| -> Value {
                all.iter()
                    .map(|(key, value)| (fill(key, values), fill_value(value, values)))
                    .collect()
            };
            merge(&mut scopes, &filled(&files.policy));
            merge(&mut auths, &filled(&files.auths));
            if let Some(policy) = &files.namespace_policy {
                write(
                    &format!("policies/{}.json", case.namespace()),
                    &fill_value(policy, values).to_string(),
                );
            }
            if let Some(own) = &files.namespace_auths {
                let name = Reference::parse(&world.image()).unwrap().name();
                let mut hash = String::new();
                for byte in Sha256::digest(name) {
                    write!(hash, "{byte:02x}").unwrap();
                }
                let text = json!({"auths": filled(own)}).to_string();
                write(&format!("auth/{}-{hash}.json", case.namespace()), &text);
            }
            for (name, from) in &files.certs {
                let text = std::fs::read_to_string(fill(from, values)).unwrap();
                write(&format!("certs.d/{}", fill(name, values)), &text);
            }
            if let Some(text) = &files.registries {
                write(&format!("registries.conf.d/{}.conf", case.name), &fill(text, values));
            }
        }
        let policy = json!({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": scopes}});
        write("policy.json", &policy.to_string());
        write("auth.json", &json!({"auths": auths}).to_string());
        if let Some(case) = cases.iter().find(|case| case.is_apart()) {
            let mode = case.crio.short_name_mode.name();
            // For us: a real one has been started with it.
            write("crio.conf", &format!("[crio.image]\nshort_name_mode = \"{mode}\"\n"));
        }
        // The last one: by it is seen that CRI-O has read them all.
        write("registries.conf.d/agreement.conf", &self.registries_conf(cases));
    }

    /// CRI-O's registries.conf for the cases.
    fn registries_conf(&self, cases: &[Case]) -> String {
        let search = cases.iter().find_map(|case| {
            let values = &self.world(case).values;
            let search = case.crio.search.as_ref()?;
            Some(search.iter().map(|one| fill(one, values)).collect())
        });
        let search = search.unwrap_or_else(|| vec!["docker.io".to_owned()]);
        let mut text = format!("unqualified-search-registries = {search:?}\n");
        let mut entry = |prefix: &str, location: &str| {
            let lines = format!("prefix = \"{prefix}\"\nlocation = \"{location}\"\ninsecure = true\n");
            text.push_str("[[registry]]\n");
            text.push_str(&lines);
        };
        entry(PROBE, &self.named.host());
        for case in cases {
            let Ok(reference) = Reference::parse(&self.world(case).image()) else {
                continue;
            };
            let domain = reference.domain();
            let host = domain.split_once(':').map_or(domain, |(host, _)| host);
            if NAMED.contains(&host) {
                let path = reference.path();
                entry(&reference.name(), &format!("{}/{path}", self.own[&case.name].host()));
            }
        }
        text
    }

    /// Writes `hosts.toml` for every host with a name, so that nothing leaves this machine, and those of the cases.
    pub(crate) fn write_hosts(&self, tree: &Path, cases: &[Case]) {
        // Older containerds take a file without a host in it for a broken one, and would ask the real registry.
        let at = format!("http://{}", self.named.host());
        let named = format!("server = \"{at}\"\n[host.\"{at}\"]\n");
        let mut files = BTreeMap::new();
        for name in NAMED {
            files.insert((*name).to_owned(), named.clone());
            for port in [self.named.port(), 443] {
                files.insert(format!("{name}_{port}_"), named.clone());
            }
        }
        for case in cases {
            let values = &self.world(case).values;
            for (host, text) in &case.hosts {
                let (host, text) = (fill(host, values), fill(text, values));
                files.insert(folder_of(&host), text);
            }
            for (name, from) in &case.files {
                let (name, from) = (fill(name, values), fill(from, values));
                let (host, name) = name.split_once('/').unwrap();
                let folder = tree.join(folder_of(host));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::copy(from, folder.join(name)).unwrap();
            }
        }
        for (folder, text) in files {
            std::fs::create_dir_all(tree.join(&folder)).unwrap();
            std::fs::write(tree.join(&folder).join("hosts.toml"), text).unwrap();
        }
    }
}

/// The folder of a host in a tree of `hosts.toml`.
fn folder_of(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) => format!("{name}_{port}_"),
        None => host.to_owned(),
    }
}

/// Certificates, and where they lie.
struct Wax {
    good: Tls,
    expired: Tls,
    other_name: Tls,
    itself: Tls,
    files: BTreeMap<String, String>,
}

impl Wax {
    fn new(folder: &Path) -> Self {
        let good = Tls::new(&["127.0.0.1"], Validity::Good);
        let expired = Tls::new(&["127.0.0.1"], Validity::Expired);
        let other_name = Tls::new(&["other.example.com"], Validity::Good);
        let itself = Tls::of_itself(&["127.0.0.1"], Validity::Good);
        let mut files = BTreeMap::new();
        for (name, text) in [
            ("ca", &good.ca),
            ("cert", &good.cert),
            ("key", &good.key),
            ("ca-of-expired", &expired.ca),
            ("ca-of-other-name", &other_name.ca),
            ("itself", &itself.ca),
        ] {
            let path = folder.join(format!("{name}.pem"));
            std::fs::write(&path, text).unwrap();
            files.insert(name.to_owned(), path.display().to_string());
        }
        Self {
            good,
            expired,
            other_name,
            itself,
            files,
        }
    }

    async fn start(&self, tls: Option<Certificates>, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Faulty {
        match tls {
            None => Faulty::start(script).await,
            Some(Certificates::Good) => Faulty::start_tls(&self.good, script).await,
            Some(Certificates::Expired) => Faulty::start_tls(&self.expired, script).await,
            Some(Certificates::OtherName) => Faulty::start_tls(&self.other_name, script).await,
            Some(Certificates::Itself) => Faulty::start_tls(&self.itself, script).await,
            Some(Certificates::Mutual) => Faulty::start_mutual(&self.good, script).await,
        }
    }
}

/// The case whose name is a component of the repository.
fn by_repository<'a>(worlds: &'a BTreeMap<String, Arc<World>>, path: &str) -> Option<&'a Arc<World>> {
    let path = path.split('?').next().unwrap_or_default();
    if let Some(case) = path.strip_prefix("/token/") {
        return worlds.get(case);
    }
    path.split('/').find_map(|part| worlds.get(part))
}

/// Whether `METHOD path` fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last == Some("") || last.is_some_and(|part| rest.ends_with(part))
}

/// Who somebody is to the registry.
enum Caller {
    /// Nobody.
    Nobody,
    /// May read.
    Reader,
    /// Came with a token that is not enough.
    Powerless,
}

impl World {
    fn new(case: &Case, mut values: BTreeMap<String, String>, heard: Arc<Mutex<Vec<Heard>>>) -> Self {
        let usual = BTreeMap::from([("v1".to_owned(), crate::cases::Content::default())]);
        let shelf = Shelf::build(case.content.as_ref().unwrap_or(&usual), &case.name, &values);
        values.extend(shelf.names.clone());
        let image = fill(&case.image, &values);
        let repository = case
            .registry
            .repository
            .as_ref()
            .map(|name| fill(name, &values))
            .or_else(|| Some(Reference::parse(&image).ok()?.repository().to_owned()));
        Self {
            gone: AtomicBool::new(false),
            used: case.registry.rules.iter().map(|_| AtomicUsize::new(0)).collect(),
            case: case.clone(),
            shelf,
            repository,
            values,
            heard,
        }
    }

    /// The image, as the pod names it.
    pub(crate) fn image(&self) -> String {
        fill(&self.case.image, &self.values)
    }

    /// Answers, and remembers it.
    fn hear(&self, place: &'static str, seen: &Seen) -> Reply {
        let reply = self.answer(seen);
        let tls = self.case.registry.tls.is_some() && place != "named";
        self.heard.lock().unwrap().push(Heard {
            at: format!("{}://{{{place}}}", if tls { "https" } else { "http" }),
            seen: seen.clone(),
            reply: reply.clone(),
        });
        reply
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap_or_default();
        let host = seen.header("host").unwrap_or_default();
        let mut values = self.values.clone();
        let scheme = if self.case.registry.tls.is_some() { "https" } else { "http" };
        values.insert("realm".to_owned(), format!("{scheme}://{host}/token/{}", self.case.name));
        values.insert("here".to_owned(), format!("{scheme}://{host}"));
        let in_repository = path
            .strip_prefix("/v2/")
            .and_then(|rest| ["/manifests/", "/blobs/", "/tags/"].iter().find_map(|kind| rest.find(kind)))
            .map(|at| path["/v2/".len()..].split_at(at));
        let Some((repository, rest)) = in_repository.map(|(repository, rest)| (repository, &rest[1..])) else {
            if let Some(reply) = self.by_rule(&format!("{} {path}", seen.method), seen, None, &values) {
                return reply;
            }
            return match path {
                "/v2/" => self.base(seen, &values),
                _ if path.starts_with("/token") => self.token(seen),
                _ => Reply::new(404),
            };
        };
        let line = format!("{} {rest}", seen.method);
        if let Some(auth) = &self.case.registry.auth
            && auth.only.as_ref().is_none_or(|only| fits(only, &line))
            && let Some(refusal) = refusal(auth, seen, &format!(",scope=\"repository:{repository}:pull\""), &values)
        {
            return refusal;
        }
        let usual = self.content(repository, rest);
        self.by_rule(&line, seen, Some(usual.clone()), &values).unwrap_or(usual)
    }

    /// `/v2/`, where CRI-O begins: a registry that wants to know who asks says so there too, as registries do.
    fn base(&self, seen: &Seen, values: &BTreeMap<String, String>) -> Reply {
        let auth = self.case.registry.auth.as_ref().filter(|auth| auth.only.is_none());
        auth.and_then(|auth| refusal(auth, seen, "", values))
            .unwrap_or_else(|| Reply::new(200).json("{}"))
    }

    /// What the registry holds.
    fn content(&self, repository: &str, rest: &str) -> Reply {
        if self.repository.as_ref().is_some_and(|own| own != repository) {
            return error(404, "NAME_UNKNOWN");
        }
        if rest.starts_with("tags/") {
            let list = json!({"name": repository, "tags": self.shelf.tags}).to_string();
            return Reply::new(200).json(&list);
        }
        let gone = self.gone.load(Ordering::Relaxed);
        let found = match rest.split_once('/') {
            _ if gone => Err("MANIFEST_UNKNOWN"),
            Some(("manifests", name)) => self.shelf.manifests.get(name).ok_or("MANIFEST_UNKNOWN"),
            Some((_, name)) => self.shelf.blobs.get(name).ok_or("BLOB_UNKNOWN"),
            None => Err("UNSUPPORTED"),
        };
        match found {
            Ok(stored) => serve(stored),
            Err(code) => error(404, code),
        }
    }

    fn by_rule(&self, line: &str, seen: &Seen, usual: Option<Reply>, values: &BTreeMap<String, String>) -> Option<Reply> {
        let whole = || {
            let headers = seen.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
            format!("{}\n{}{}", seen.line(), headers.collect::<String>(), seen.body)
        };
        let holds = |text: &String| whole().contains(&fill(text, values));
        let (_, rule) = self.case.registry.rules.iter().enumerate().find(|(at, rule)| {
            fits(&fill(&rule.when, values), line)
                && rule.having.as_ref().is_none_or(holds)
                && !rule.lacking.as_ref().is_some_and(holds)
                && self.counts(*at, rule)
        })?;
        if rule.hang_up {
            return Some(Reply::new(200).manner(Manner::Hangup));
        }
        let usual = match &rule.content_of {
            Some(tag) => Some(serve(&self.shelf.manifests[tag])),
            None => usual,
        };
        let mut reply = match rule.status {
            // A registry's own, unless it is said what comes instead.
            Some(status) if rule.is_of_a_registry() => error(status, "UNKNOWN"),
            Some(status) if !(200..300).contains(&status) => Reply::new(status),
            Some(status) => Reply {
                status,
                ..usual.unwrap_or_else(|| Reply::new(status))
            },
            None => usual.unwrap_or_else(|| Reply::new(200)),
        };
        if let Some(body) = &rule.body {
            reply.body = fill(body, values).into_bytes();
        }
        for (name, value) in &rule.headers {
            reply.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            if value != "none" {
                reply = reply.header(name, &fill(value, values));
            }
        }
        reply.unmeasured = rule.unmeasured;
        Some(reply)
    }

    fn counts(&self, at: usize, rule: &Rule) -> bool {
        let before = self.used[at].fetch_add(1, Ordering::Relaxed);
        rule.times.is_none_or(|times| before < times)
    }

    fn token(&self, seen: &Seen) -> Reply {
        let Some(auth) = &self.case.registry.auth else {
            return Reply::new(404);
        };
        let by_post = seen.method == "POST";
        if let (true, Some(status)) = (by_post, auth.token.post) {
            return error(status, "UNSUPPORTED");
        }
        let login = if by_post { from_form(&seen.body) } else { basic(seen) };
        let token = match login {
            None => match &auth.token.anonymous {
                Some(Value::Number(status)) => {
                    return error(u16::try_from(status.as_u64().unwrap_or(500)).unwrap_or(500), "DENIED");
                }
                Some(Value::String(what)) => what.as_str(),
                _ => "useless",
            },
            Some((user, password)) if auth.users.get(&user) == Some(&password) => auth.token.users.as_deref().unwrap_or("reads"),
            Some(_) => return error(auth.token.wrong.unwrap_or(401), "UNAUTHORIZED"),
        };
        let field = auth
            .token
            .field
            .as_deref()
            .unwrap_or(if by_post { "access_token" } else { "token" });
        Reply::new(200).json(&json!({field: token, "expires_in": 300}).to_string())
    }
}

fn serve(stored: &Stored) -> Reply {
    Reply::new(200)
        .header("Content-Type", &stored.media_type)
        .header("Docker-Content-Digest", &stored.digest)
        .body(stored.bytes.clone())
}

fn error(status: u16, code: &str) -> Reply {
    let body = json!({"errors": [{"code": code, "message": "as the case says"}]}).to_string();
    Reply::new(status).json(&body)
}

/// The 401 for somebody who may not read; `scope` is what the usual challenge ends with.
fn refusal(auth: &Auth, seen: &Seen, scope: &str, values: &BTreeMap<String, String>) -> Option<Reply> {
    let challenge = match (caller(auth, seen), auth.by) {
        (Caller::Reader, _) => return None,
        (Caller::Nobody | Caller::Powerless, Method::Basic) => auth
            .challenge
            .clone()
            .unwrap_or_else(|| vec!["Basic realm=\"test\"".to_owned()]),
        (who, Method::Token) => {
            let bearer = format!("Bearer realm=\"{{realm}}\",service=\"test\"{scope}");
            match who {
                Caller::Powerless => auth
                    .again
                    .clone()
                    .unwrap_or_else(|| vec![format!("{bearer},error=\"insufficient_scope\"")]),
                Caller::Nobody | Caller::Reader => auth.challenge.clone().unwrap_or_else(|| vec![bearer]),
            }
        }
    };
    let refused = error(401, "UNAUTHORIZED");
    Some(
        challenge
            .iter()
            .fold(refused, |reply, value| reply.header("WWW-Authenticate", &fill(value, values))),
    )
}

fn caller(auth: &Auth, seen: &Seen) -> Caller {
    if let Some((user, password)) = basic(seen) {
        return if auth.by == Method::Basic && auth.users.get(&user) == Some(&password) {
            Caller::Reader
        } else {
            Caller::Nobody
        };
    }
    match seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        Some("reads") => Caller::Reader,
        Some(_) => Caller::Powerless,
        None => Caller::Nobody,
    }
}

fn basic(seen: &Seen) -> Option<(String, String)> {
    let encoded = seen.header("authorization")?.strip_prefix("Basic ")?;
    let text = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    // What is no UTF-8 is Latin-1, as old htpasswd files are.
    let text = String::from_utf8(text).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
    let (user, password) = text.split_once(':').map(own)?;
    Some((user, password))
}

fn own((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn from_form(body: &str) -> Option<(String, String)> {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    Some((form.get("username")?.clone(), form.get("password")?.clone()))
}
