//! The cluster of the simulation as a value, the facts that a replica takes from it, and how a kubelet picks credentials. The last is written
//! after the kubelet's own source (`pkg/credentialprovider/keyring.go`) and has nothing of the product's.

use pullgate::cluster::{Facts, Namespace as Labels, Object, ServiceAccount, Visible};
use pullgate::credentials::{Hidden, PullSecret, ReadOnce};
use pullgate::workload::Node;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The namespaces; in each lives one team.
pub const NAMESPACES: [&str; 3] = ["shop", "bank", "guest"];

#[derive(Debug, Clone)]
pub struct Cluster {
    pub nodes: Vec<NodeKind>,
    /// In the order of [`NAMESPACES`].
    pub namespaces: Vec<Namespace>,
    /// The API server answers.
    pub answers: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Namespace {
    pub secrets: BTreeMap<&'static str, Secret>,
    /// Of the service account `default`.
    pub account: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub form: Form,
    /// Key, user, password.
    pub entries: Vec<(String, String, String)>,
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Usable,
    /// Of a type that kubelets ignore.
    Opaque,
    /// Cut off in the middle.
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKind {
    pub architecture: &'static str,
    pub runtime: &'static str,
}

pub const KINDS: [NodeKind; 7] = [
    NodeKind {
        architecture: "amd64",
        runtime: "containerd://1.7.28",
    },
    NodeKind {
        architecture: "amd64",
        runtime: "containerd://2.0.5",
    },
    NodeKind {
        architecture: "amd64",
        runtime: "containerd://2.1.9",
    },
    NodeKind {
        architecture: "amd64",
        runtime: "containerd://2.3.7",
    },
    NodeKind {
        architecture: "amd64",
        runtime: "cri-o://1.36.3",
    },
    NodeKind {
        architecture: "arm64",
        runtime: "containerd://2.2.9",
    },
    NodeKind {
        architecture: "arm64",
        runtime: "cri-o://1.36.3",
    },
];

thread_local! {
    static NODES: RefCell<BTreeMap<Vec<NodeKind>, Arc<Vec<Node>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The nodes as objects show them; made once.
fn nodes(kinds: &[NodeKind]) -> Arc<Vec<Node>> {
    NODES.with_borrow_mut(|known| {
        let made = || Arc::new(kinds.iter().enumerate().map(|(at, kind)| kind.node(at)).collect());
        Arc::clone(known.entry(kinds.to_vec()).or_insert_with(made))
    })
}

impl Secret {
    fn object(&self, name: &str) -> PullSecret {
        let auths: serde_json::Map<_, _> = self
            .entries
            .iter()
            .map(|(key, user, password)| (key.clone(), json!({"username": user, "password": password})))
            .collect();
        let mut data = json!({"auths": auths}).to_string();
        if self.form == Form::Malformed {
            data.truncate(data.len() / 2);
        }
        let kind = match self.form {
            Form::Usable | Form::Malformed => "kubernetes.io/dockerconfigjson",
            Form::Opaque => "Opaque",
        };
        PullSecret {
            name: name.to_owned(),
            kind: kind.to_owned(),
            data: Hidden::new(data),
            version: self.version.to_string(),
            opened: ReadOnce::default(),
        }
    }
}

impl NodeKind {
    pub fn node(self, number: usize) -> Node {
        Node::from_json(&json!({
            "metadata": {"name": format!("node-{number}"),
                         "labels": {"kubernetes.io/arch": self.architecture, "kubernetes.io/os": "linux"}},
            "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": self.architecture,
                                    "containerRuntimeVersion": self.runtime, "kubeletVersion": "v1.33.0"},
                       "images": []},
        }))
    }
}

/// What a kubelet would try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Offers {
    /// It fails before it asks: one of the secrets cannot be read.
    Fails,
    /// User and password in order; none: as nobody.
    These(Vec<(String, String)>),
}

impl Cluster {
    /// The facts of a review: what the watches of a replica have shown of `namespace`.
    pub fn facts(&self, namespace: usize, wanted: &[&'static str]) -> Facts {
        let own = &self.namespaces[namespace];
        let account = ServiceAccount {
            pull_secrets: own.account.iter().map(ToString::to_string).collect(),
            version: own.account.join(","),
        };
        let names = wanted.iter().chain(&own.account);
        Facts {
            nodes: nodes(&self.nodes),
            namespace: Visible::Seen(Some(Labels::default())),
            service_accounts: BTreeMap::from([("default".to_owned(), Visible::Seen(Some(account)))]),
            secrets: names.map(|name| ((*name).to_owned(), self.secret(namespace, name))).collect(),
            runtime_classes: BTreeMap::new(),
            complete: true,
            unconfirmed: None,
            image_streams: Arc::default(),
        }
    }

    pub fn secret(&self, namespace: usize, name: &str) -> Visible<PullSecret> {
        let secret = self.namespaces[namespace].secrets.get(name);
        Visible::Seen(secret.map(|secret| secret.object(name)))
    }

    /// The facts with these objects read again, now.
    pub fn reread(&self, before: &Facts, namespace: usize, objects: &[Object]) -> Facts {
        const SILENT: &str = "the API server does not answer";
        let mut facts = before.clone();
        let fresh = self.facts(namespace, &[]);
        for object in objects {
            match object {
                Object::Namespace if self.answers => facts.namespace = fresh.namespace.clone(),
                Object::Namespace => facts.namespace = Visible::Hidden(SILENT.to_owned()),
                Object::ServiceAccount(name) if self.answers => {
                    facts.service_accounts.extend(fresh.service_accounts.clone());
                    debug_assert_eq!(name, "default");
                    for (name, secret) in &fresh.secrets {
                        facts.secrets.entry(name.clone()).or_insert_with(|| secret.clone());
                    }
                }
                Object::ServiceAccount(name) => {
                    facts
                        .service_accounts
                        .insert(name.clone(), Visible::Hidden(SILENT.to_owned()));
                }
                Object::Secret(name) => {
                    let read = if self.answers {
                        self.secret(namespace, name)
                    } else {
                        Visible::Hidden(SILENT.to_owned())
                    };
                    facts.secrets.insert(name.clone(), read);
                }
            }
        }
        facts
    }

    /// What the kubelet has for `target` (`host/repository`) of a pod that lists these secrets.
    pub fn offers(&self, namespace: usize, listed: &[&'static str], target: &str) -> Offers {
        let mut entries: Vec<&(String, String, String)> = Vec::new();
        for secret in listed.iter().filter_map(|name| self.namespaces[namespace].secrets.get(name)) {
            match secret.form {
                Form::Usable => {
                    // The index of a docker config is a map: of one secret the keys come in no order.
                    entries.extend(&secret.entries);
                }
                Form::Opaque => {}
                Form::Malformed => return Offers::Fails,
            }
        }
        // `sort.Reverse(sort.StringSlice(index))`: longer keys before what they begin with.
        let mut keys: Vec<&str> = entries.iter().map(|(key, _, _)| key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.reverse();
        let mut offers = Vec::new();
        for key in keys.into_iter().filter(|key| covers(key, target)) {
            for (_, user, password) in entries.iter().filter(|(own, _, _)| own == key) {
                let offer = (user.clone(), password.clone());
                if !offers.contains(&offer) {
                    offers.push(offer);
                }
            }
        }
        Offers::These(offers)
    }
}

/// Host and port are the same, and the path begins as the key's.
fn covers(key: &str, target: &str) -> bool {
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let (own, repository) = target.split_once('/').unwrap_or((target, ""));
    host == own && repository.starts_with(path)
}
