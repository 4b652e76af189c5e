//! What happens in a world, made from its seed before it begins, so that single events can be left out.

use crate::cluster::{Cluster, Form, KINDS, NAMESPACES, Namespace, NodeKind, Secret};
use crate::images::images;
use crate::random::Random;
use crate::registries::{Content, Hides, Login, Registry, Repository, TRAP};
use crate::world::{Inside, Time, Trouble};
use pullgate::runtime::Depth;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub const HOSTS: [&str; 6] = [
    "open.example",
    "basic.example",
    "hub.example",
    "ghcr.example",
    "hub.example:8443",
    "evil.example",
];
/// The registry of the attacker.
pub const EVIL: usize = 5;
const AUTH: &str = "auth.example";
const REPOSITORIES: [&str; 4] = ["team/app", "team/web", "teams/app", "lib/base"];
const TAGS: [&str; 3] = ["v1", "v2", "latest"];
const SECRETS: [&str; 3] = ["pull", "other", "old"];

/// A world before anything happens in it.
#[derive(Debug, Clone)]
pub struct Script {
    pub seed: u64,
    pub content: Content,
    pub cluster: Cluster,
    pub replicas: Vec<Replica>,
    pub depth: Depth,
    pub cache_bytes: u64,
    /// Images that are applied again and again.
    pub usual: Vec<String>,
    pub events: Vec<(Time, Event)>,
    /// The passwords at the beginning: registry, namespace, password.
    pub passwords: Vec<(usize, usize, String)>,
}

/// One process of ours.
#[derive(Debug, Clone, Copy)]
pub struct Replica {
    /// How far its watches are behind, in milliseconds.
    pub lag: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Review(Review),
    Push {
        registry: usize,
        repository: &'static str,
        tag: &'static str,
        image: usize,
    },
    Untag {
        registry: usize,
        repository: &'static str,
        tag: &'static str,
    },
    /// A part of an image is deleted.
    Lose {
        registry: usize,
        repository: &'static str,
        digest: String,
    },
    Allow {
        registry: usize,
        repository: &'static str,
        namespace: usize,
    },
    Forbid {
        registry: usize,
        repository: &'static str,
        namespace: usize,
    },
    Publish {
        registry: usize,
        repository: &'static str,
        public: bool,
    },
    /// A registry takes another password from now on.
    NewPassword {
        registry: usize,
        namespace: usize,
        password: String,
    },
    /// A secret gets these.
    Write {
        namespace: usize,
        name: &'static str,
        form: Form,
        registries: Vec<usize>,
        by_path: bool,
    },
    Remove {
        namespace: usize,
        name: &'static str,
    },
    Account {
        namespace: usize,
        lists: Vec<&'static str>,
    },
    Trouble {
        host: String,
        trouble: Option<Trouble>,
    },
    Node {
        kind: NodeKind,
        comes: bool,
    },
    ApiServer {
        answers: bool,
    },
    Restart {
        replica: usize,
    },
}

/// What somebody applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    /// How often: a controller makes so many pods of one template.
    pub pods: usize,
    /// Of the first one; the others go to the others in turn.
    pub replica: usize,
    pub namespace: usize,
    pub pod: bool,
    pub lists: Vec<&'static str>,
    pub images: Vec<String>,
    /// The architecture that its node selector names.
    pub only: Option<&'static str>,
    /// Milliseconds until its deadline.
    pub deadline: Time,
}

pub fn user(namespace: usize) -> String {
    format!("user-{}", NAMESPACES[namespace])
}

impl Script {
    /// A world with so many events.
    pub fn new(seed: u64, events: usize) -> Self {
        let mut random = Random::new(seed);
        let registries = HOSTS
            .iter()
            .enumerate()
            .map(|(at, host)| registry(at, host, &mut random))
            .collect();
        let mut content = Content {
            registries,
            passwords: BTreeMap::new(),
        };
        let mut passwords = Vec::new();
        for registry in 0..HOSTS.len() {
            for namespace in 0..NAMESPACES.len() {
                let password = new_password(&mut random);
                content.passwords.insert((registry, user(namespace)), password.clone());
                passwords.push((registry, namespace, password));
            }
        }
        let mut nodes: Vec<NodeKind> = (0..random.between(1, 3)).map(|_| *random.of(&KINDS)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let mut namespaces = vec![Namespace::default(); NAMESPACES.len()];
        for (at, namespace) in namespaces.iter_mut().enumerate() {
            let all: Vec<usize> = (0..HOSTS.len()).collect();
            let entries = entries(&content, at, &all, random.percent(20));
            namespace.secrets.insert(
                SECRETS[0],
                Secret {
                    form: Form::Usable,
                    entries,
                    version: 1,
                },
            );
            if random.percent(50) {
                namespace.account = vec![SECRETS[0]];
            }
        }
        let replicas = (0..random.between(1, 3)).map(|_| Replica {
            lag: *random.of(&[0, 50, 500, 2000]),
        });
        let mut script = Self {
            seed,
            replicas: replicas.collect(),
            depth: *random.of(&[Depth::Manifest, Depth::Manifest, Depth::Config, Depth::Layers]),
            cache_bytes: *random.of(&[16 << 10, 256 << 10, 8 << 20]),
            content,
            cluster: Cluster {
                nodes,
                namespaces,
                answers: true,
            },
            usual: Vec::new(),
            events: Vec::new(),
            passwords,
        };
        for _ in 0..3 {
            let image = image(&mut random);
            script.usual.push(image);
        }
        let mut now = 0;
        for _ in 0..events {
            now += match random.below(100) {
                0..50 => random.between(0, 300),
                50..82 => random.between(300, 5_000),
                82..96 => random.between(5_000, 70_000),
                _ => random.between(70_000, 400_000),
            };
            let event = event(&script, &mut random);
            script.events.push((now, event));
        }
        script
    }

    /// Without anything that happens to hosts or for which those of one namespace could keep others waiting.
    pub fn calm(mut self) -> Self {
        let is_calm = |event: &Event| !matches!(event, Event::Trouble { .. } | Event::ApiServer { .. } | Event::Restart { .. });
        self.events.retain(|(_, event)| is_calm(event));
        self.cache_bytes = 32 << 20;
        // The second pod comes when the first one is let in.
        self.of_one_pod()
    }

    /// One pod of each template.
    pub fn of_one_pod(mut self) -> Self {
        for (_, event) in &mut self.events {
            if let Event::Review(review) = event {
                review.pods = 1;
            }
        }
        self
    }
}

fn new_password(random: &mut Random) -> String {
    format!("pw-{:016x}", random.next())
}

fn registry(at: usize, host: &'static str, random: &mut Random) -> Registry {
    let realm = match at {
        0 => None,
        1 => (random.percent(30)).then(|| format!("https://{host}/token")),
        2 => Some(format!("https://{AUTH}/token")),
        EVIL => Some(match random.below(4) {
            0 => format!("http://{TRAP}/token"),
            1 => "https://hub.example/v2/token".to_owned(),
            2 => format!("https://{TRAP}/evil"),
            _ => "http://evil.example/token".to_owned(),
        }),
        _ => Some(format!("https://{host}/token")),
    };
    let login = match realm {
        Some(realm) => Login::Token {
            realm,
            posts: random.percent(50),
        },
        None if at == 0 => Login::Nobody,
        None => Login::Basic,
    };
    let mut repositories = BTreeMap::new();
    for name in REPOSITORIES {
        if random.percent(8) {
            continue;
        }
        let mut held = Repository {
            public: random.percent(50),
            ..Repository::default()
        };
        for namespace in 0..NAMESPACES.len() {
            if random.percent(75) {
                held.readers.insert(user(namespace));
            }
        }
        for tag in TAGS {
            if random.percent(85) {
                let image = random.of(images());
                held.tags.insert(tag, image.root.clone());
                held.holds.extend(image.parts.iter().cloned());
            }
        }
        repositories.insert(name, held);
    }
    Registry {
        host,
        login,
        hides: *random.of(&[Hides::Unauthorized, Hides::Forbidden, Hides::NotFound]),
        rights_at_use: random.percent(50),
        token_life: *random.of(&[6, 60, 300]),
        blobs_elsewhere: random.percent(30),
        repositories,
    }
}

fn entries(content: &Content, namespace: usize, registries: &[usize], by_path: bool) -> Vec<(String, String, String)> {
    let user = user(namespace);
    let entry = |at: &usize| {
        let host = HOSTS[*at];
        let key = if by_path { format!("{host}/team") } else { host.to_owned() };
        (key, user.clone(), content.passwords[&(*at, user.clone())].clone())
    };
    registries.iter().map(entry).collect()
}

fn event(script: &Script, random: &mut Random) -> Event {
    let (registry, namespace) = (random.below(HOSTS.len()), random.below(NAMESPACES.len()));
    let (repository, tag) = (*random.of(&REPOSITORIES), *random.of(&TAGS));
    match random.below(100) {
        0..70 => Event::Review(review(script, namespace, random)),
        70..74 => Event::Push {
            registry,
            repository,
            tag,
            image: random.below(images().len()),
        },
        74..76 => Event::Untag {
            registry,
            repository,
            tag,
        },
        76 => {
            let image = random.of(images());
            Event::Lose {
                registry,
                repository,
                digest: random.of(&image.parts).clone(),
            }
        }
        77..79 => Event::Allow {
            registry,
            repository,
            namespace,
        },
        79..81 => Event::Forbid {
            registry,
            repository,
            namespace,
        },
        81 => Event::Publish {
            registry,
            repository,
            public: random.percent(50),
        },
        82..84 => Event::NewPassword {
            registry,
            namespace,
            password: new_password(random),
        },
        84..88 => {
            let registries: BTreeSet<usize> = (0..4).map(|_| random.below(HOSTS.len())).collect();
            Event::Write {
                namespace,
                name: {
                    let &name = random.of(&SECRETS);
                    name
                },
                form: *random.of(&[
                    Form::Usable,
                    Form::Usable,
                    Form::Usable,
                    Form::Usable,
                    Form::Opaque,
                    Form::Malformed,
                ]),
                registries: registries.into_iter().collect(),
                by_path: random.percent(25),
            }
        }
        88 => Event::Remove {
            namespace,
            name: {
                let &name = random.of(&SECRETS);
                name
            },
        },
        89 => Event::Account {
            namespace,
            lists: lists(random),
        },
        90..96 => Event::Trouble {
            host: troubled(script, random),
            trouble: random.percent(55).then(|| trouble(random)),
        },
        96..98 => Event::Node {
            kind: *random.of(&KINDS),
            comes: random.percent(60),
        },
        98 => Event::ApiServer {
            answers: random.percent(60),
        },
        _ if random.percent(10) => Event::Restart {
            replica: random.below(script.replicas.len()),
        },
        _ => Event::Review(review(script, namespace, random)),
    }
}

fn troubled(script: &Script, random: &mut Random) -> String {
    if random.percent(70) {
        let image = random.of(&script.usual);
        return image.split('/').next().unwrap_or_default().to_owned();
    }
    random.of(&[HOSTS.as_slice(), &[AUTH, "cdn.example"]].concat()).to_string()
}

fn trouble(random: &mut Random) -> Trouble {
    match random.below(15) {
        0 => Trouble::Refuses,
        1 => Trouble::HangsUp,
        2 => Trouble::NoName,
        3 => Trouble::BadCertificate,
        4 => Trouble::Hangs,
        5 | 6 => Trouble::Slow(random.between(100, 4_000)),
        7 | 8 => Trouble::Status(*random.of(&[500, 502, 503, 504, 408])),
        9 => Trouble::Ingress,
        10 => Trouble::LoginPage,
        11 => Trouble::Firewall,
        12 => Trouble::Throttles(None, random.percent(50).then(|| random.between(1, 30))),
        13 => Trouble::Throttles(
            Some(*random.of(&REPOSITORIES)),
            random.percent(50).then(|| random.between(1, 30)),
        ),
        _ => Trouble::Cut,
    }
}

fn lists(random: &mut Random) -> Vec<&'static str> {
    SECRETS.into_iter().filter(|_| random.percent(45)).collect()
}

fn image(random: &mut Random) -> String {
    // Some registries are asked more than others.
    let registry = if random.percent(60) {
        random.below(3)
    } else {
        random.below(HOSTS.len())
    };
    let (host, repository) = (HOSTS[registry], *random.of(&REPOSITORIES));
    if random.percent(15) {
        let digest = &random.of(images()).root;
        return format!("{host}/{repository}@{digest}");
    }
    format!("{host}/{repository}:{}", random.of(&TAGS))
}

fn review(script: &Script, namespace: usize, random: &mut Random) -> Review {
    let mut images = Vec::new();
    for _ in 0..random.between(1, 3) {
        images.push(if random.percent(60) {
            random.of(&script.usual).clone()
        } else {
            image(random)
        });
    }
    let pod = random.percent(60);
    // Some come alone, some are a handful, and some many.
    let pods = match random.below(10) {
        _ if !pod => 1,
        0..4 => 1,
        4..7 => random.below(10) + 1,
        _ => random.below(100) + 1,
    };
    Review {
        pods,
        replica: random.below(script.replicas.len()),
        namespace,
        pod,
        lists: if random.percent(80) { vec![SECRETS[0]] } else { lists(random) },
        images,
        only: random.percent(20).then(|| *random.of(&["amd64", "arm64"])),
        deadline: *random.of(&[900, 2_700, 9_000, 9_000, 9_000]),
    }
}

impl Event {
    /// Lets it happen. Reviews and restarts are for whoever runs the world.
    pub fn happen(&self, world: &mut Inside) {
        world.tell(|| self.to_string());
        match self.clone() {
            Self::Review(_) | Self::Restart { .. } => {}
            Self::Push {
                registry,
                repository,
                tag,
                image,
            } => world.change_content(registry, |content| {
                let image = &images()[image];
                let held = content.registries[registry].repositories.entry(repository).or_default();
                held.tags.insert(tag, image.root.clone());
                held.holds.extend(image.parts.iter().cloned());
            }),
            Self::Untag {
                registry,
                repository,
                tag,
            } => at(world, registry, repository, |held| {
                held.tags.remove(tag);
            }),
            Self::Lose {
                registry,
                repository,
                digest,
            } => at(world, registry, repository, |held| {
                held.holds.remove(&digest);
            }),
            Self::Allow {
                registry,
                repository,
                namespace,
            } => at(world, registry, repository, |held| {
                held.readers.insert(user(namespace));
            }),
            Self::Forbid {
                registry,
                repository,
                namespace,
            } => at(world, registry, repository, |held| {
                held.readers.remove(&user(namespace));
            }),
            Self::Publish {
                registry,
                repository,
                public,
            } => at(world, registry, repository, |held| held.public = public),
            Self::NewPassword {
                registry,
                namespace,
                password,
            } => {
                world.know_password(&password, registry, namespace);
                world.change_content(registry, |content| {
                    content.passwords.insert((registry, user(namespace)), password);
                });
            }
            Self::Write {
                namespace,
                name,
                form,
                registries,
                by_path,
            } => {
                let entries = entries(world.content(), namespace, &registries, by_path);
                let version = world.now() + 2;
                world.change_cluster(|cluster| {
                    cluster.namespaces[namespace]
                        .secrets
                        .insert(name, Secret { form, entries, version });
                });
            }
            Self::Remove { namespace, name } => world.change_cluster(|cluster| {
                cluster.namespaces[namespace].secrets.remove(name);
            }),
            Self::Account { namespace, lists } => world.change_cluster(|cluster| cluster.namespaces[namespace].account = lists),
            Self::Trouble { host, trouble } => {
                match trouble {
                    Some(trouble) => world.troubles.insert(host, trouble),
                    None => world.troubles.remove(&host),
                };
            }
            Self::Node { kind, comes } => world.change_cluster(|cluster| {
                if !comes {
                    cluster.nodes.retain(|known| *known != kind);
                } else if !cluster.nodes.contains(&kind) {
                    cluster.nodes.push(kind);
                }
            }),
            Self::ApiServer { answers } => world.change_cluster(|cluster| cluster.answers = answers),
        }
    }
}

fn at(world: &mut Inside, registry: usize, repository: &str, change: impl FnOnce(&mut Repository)) {
    world.change_content(registry, |content| {
        if let Some(held) = content.registries[registry].repositories.get_mut(repository) {
            change(held);
        }
    });
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |namespace: &usize| NAMESPACES[*namespace];
        match self {
            Self::Review(review) => {
                let kind = match review.pods {
                    _ if !review.pod => "a Deployment".to_owned(),
                    1 => "a Pod".to_owned(),
                    pods => format!("{pods} Pods"),
                };
                let only = review.only.map_or_else(String::new, |only| format!(" for {only} nodes"));
                let (whose, images) = (of(&review.namespace), review.images.join(", "));
                let Review {
                    replica,
                    lists,
                    deadline,
                    ..
                } = review;
                write!(
                    f,
                    "{whose} applies {kind}{only} of {images}, with the secrets {lists:?}; replica {replica} has {deadline} ms"
                )
            }
            Self::Push {
                registry,
                repository,
                tag,
                image,
            } => {
                write!(
                    f,
                    "an image {} is pushed as {}/{repository}:{tag}",
                    images()[*image].called,
                    HOSTS[*registry]
                )
            }
            Self::Untag {
                registry,
                repository,
                tag,
            } => write!(f, "{}/{repository}:{tag} is deleted", HOSTS[*registry]),
            Self::Lose {
                registry,
                repository,
                digest,
            } => write!(f, "{}/{repository} loses {digest}", HOSTS[*registry]),
            Self::Allow {
                registry,
                repository,
                namespace,
            } => {
                write!(f, "{} may read {}/{repository}", of(namespace), HOSTS[*registry])
            }
            Self::Forbid {
                registry,
                repository,
                namespace,
            } => {
                write!(f, "{} may no longer read {}/{repository}", of(namespace), HOSTS[*registry])
            }
            Self::Publish {
                registry,
                repository,
                public,
            } => {
                write!(
                    f,
                    "{}/{repository} is {}",
                    HOSTS[*registry],
                    if *public { "public" } else { "private" }
                )
            }
            Self::NewPassword { registry, namespace, .. } => {
                write!(f, "{} gives {} another password", HOSTS[*registry], of(namespace))
            }
            Self::Write {
                namespace,
                name,
                form,
                registries,
                by_path,
            } => {
                let hosts: Vec<_> = registries.iter().map(|at| HOSTS[*at]).collect();
                let path = if *by_path { ", for /team only" } else { "" };
                write!(
                    f,
                    "secret {name} of {} is written ({form:?}), with today's passwords for {hosts:?}{path}",
                    of(namespace)
                )
            }
            Self::Remove { namespace, name } => write!(f, "secret {name} of {} is deleted", of(namespace)),
            Self::Account { namespace, lists } => write!(f, "the service account of {} lists {lists:?}", of(namespace)),
            Self::Trouble {
                host,
                trouble: Some(trouble),
            } => write!(f, "{host} is in trouble: {trouble:?}"),
            Self::Trouble { host, trouble: None } => write!(f, "{host} is well again"),
            Self::Node { kind, comes } => {
                write!(
                    f,
                    "a node with {} on {} {}",
                    kind.runtime,
                    kind.architecture,
                    if *comes { "joins" } else { "leaves" }
                )
            }
            Self::ApiServer { answers } => write!(f, "the API server {}", if *answers { "answers" } else { "is silent" }),
            Self::Restart { replica } => write!(f, "replica {replica} starts again"),
        }
    }
}
