//! The table of cases: `cases/*.yaml`, as `cases/README.md` describes it.

use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Case {
    /// Its name, and its repository's.
    pub(crate) name: String,
    /// What it is about, in a sentence.
    pub(crate) about: String,
    #[serde(default = "usual_image")]
    pub(crate) image: String,
    /// What the registry holds, by tag.
    #[serde(default)]
    pub(crate) content: Option<BTreeMap<String, Content>>,
    #[serde(default)]
    pub(crate) registry: Registry,
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, Secret>,
    #[serde(default)]
    pub(crate) pull_secrets: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) service_accounts: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(crate) pull_policy: Option<String>,
    /// Merged into the pod's spec.
    #[serde(default)]
    pub(crate) pod: Value,
    #[serde(default = "pod")]
    pub(crate) kind: String,
    /// Whose image is looked at.
    #[serde(default = "app")]
    pub(crate) container: String,
    /// Instead of the usual one. A real node pulls the first one's images beforehand.
    #[serde(default)]
    pub(crate) nodes: Vec<NodeSpec>,
    /// A second registry, `{mirror}`.
    #[serde(default)]
    pub(crate) mirror: Option<Mirror>,
    /// `hosts.toml`, by host.
    #[serde(default)]
    pub(crate) hosts: BTreeMap<String, String>,
    /// Copies of files beside it, by `HOST/NAME`.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// What CRI-O's files have for it, beside what they have for all.
    #[serde(default)]
    pub(crate) crio: CrioFiles,
    #[serde(default)]
    pub(crate) node_credentials: Vec<String>,
    /// Against what it is run, beside our engine.
    #[serde(default = "containerd")]
    pub(crate) against: BTreeSet<Against>,
    pub(crate) expected: Expected,
    /// Disagreements that are documented facts.
    #[serde(default)]
    pub(crate) explained: Vec<Explained>,
    /// The file it stands in, without its ending.
    #[serde(skip)]
    pub(crate) chapter: String,
}

fn usual_image() -> String {
    "{registry}/{case}:v1".to_owned()
}

fn pod() -> String {
    "Pod".to_owned()
}

fn app() -> String {
    "app".to_owned()
}

fn containerd() -> BTreeSet<Against> {
    BTreeSet::from([Against::Containerd])
}

/// A real thing to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Against {
    /// Every containerd; and CRI-O, where the case says nothing that only containerd understands.
    Containerd,
    /// CRI-O, whatever else the case says.
    Crio,
    Kubelet,
    /// k3s' containerd.
    K3s,
}

/// What we should say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Expected {
    pub(crate) outlook: String,
    /// Where all nodes are known to run containerd 1.x.
    #[serde(default)]
    pub(crate) containerd1: Option<String>,
    /// Where all nodes are known to run containerd 2.x.
    #[serde(default)]
    pub(crate) containerd2: Option<String>,
    /// Where they are all known to run k3s'.
    #[serde(default)]
    pub(crate) k3s: Option<String>,
    #[serde(default)]
    pub(crate) causes: Vec<String>,
    /// The reason that we say the kubelet shows.
    #[serde(default)]
    pub(crate) kubelet: Option<String>,
}

/// A disagreement, and why it is one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explained {
    /// The beginning of the run's name; all when empty.
    #[serde(default)]
    pub(crate) against: String,
    pub(crate) kind: String,
    pub(crate) why: String,
}

/// What stands under a tag: an image, an index, or raw bytes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Content {
    /// `docker` or `oci`: the media types.
    #[serde(default)]
    pub(crate) types: Types,
    /// Of the config, and of the index entry. `none`: none.
    #[serde(default)]
    pub(crate) platform: Option<String>,
    /// What an index entry declares, where that is not its `platform`.
    #[serde(default)]
    pub(crate) declares: Option<Value>,
    /// Its entries.
    #[serde(default)]
    pub(crate) index: Option<Vec<Content>>,
    /// The manifest's bytes.
    #[serde(default)]
    pub(crate) raw: Option<String>,
    #[serde(default)]
    pub(crate) layers: Option<Vec<Layer>>,
    /// Merged into the config; text stands for the whole of it.
    #[serde(default)]
    pub(crate) config: Value,
    #[serde(default)]
    pub(crate) config_type: Option<String>,
    /// Merged into the manifest.
    #[serde(default)]
    pub(crate) manifest: Value,
    /// How many `diff_ids` the config has.
    #[serde(default)]
    pub(crate) diff_ids: Option<usize>,
    /// The content type it is served with.
    #[serde(default)]
    pub(crate) served_as: Option<String>,
    /// What is described but not there: `manifest`, `config`, `layers`.
    #[serde(default)]
    pub(crate) missing: BTreeSet<String>,
    /// Its manifest is filled up to so many bytes.
    #[serde(default)]
    pub(crate) bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Types {
    #[default]
    Oci,
    Docker,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Layer {
    #[serde(default, rename = "type")]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) data: Data,
    #[serde(default)]
    pub(crate) urls: Vec<String>,
    #[serde(default)]
    pub(crate) missing: bool,
}

/// What a layer's bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Data {
    #[default]
    Gzip,
    Tar,
    Text,
}

/// How the registry behaves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Registry {
    /// The repository that has the content, where it is not the image's.
    #[serde(default)]
    pub(crate) repository: Option<String>,
    /// It speaks TLS.
    #[serde(default)]
    pub(crate) tls: Option<Certificates>,
    #[serde(default)]
    pub(crate) auth: Option<Auth>,
    /// It has lost everything since the nodes pulled what they hold.
    #[serde(default)]
    pub(crate) gone: bool,
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
}

/// How a registry speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certificates {
    /// By a certificate of `{ca}`, for 127.0.0.1.
    Good,
    /// One that has expired.
    Expired,
    /// One for another name.
    OtherName,
    /// One that says that it is a CA, and is its own (`{itself}`): what `openssl req -x509` makes.
    Itself,
    /// A good one, and clients must have one too (`{cert}`, `{key}`).
    Mutual,
}

/// Whom it lets in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Auth {
    pub(crate) by: Method,
    /// Passwords by user.
    #[serde(default)]
    pub(crate) users: BTreeMap<String, String>,
    /// `WWW-Authenticate` of a 401.
    #[serde(default)]
    pub(crate) challenge: Option<Vec<String>>,
    /// The same, to somebody with a token that is not enough.
    #[serde(default)]
    pub(crate) again: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) token: TokenServer,
    /// Which requests need it: `METHOD path` with `*`.
    #[serde(default)]
    pub(crate) only: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    Basic,
    Token,
}

/// How tokens are given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TokenServer {
    /// What nobody gets: `reads`, `useless`, or a status.
    #[serde(default)]
    pub(crate) anonymous: Option<Value>,
    /// What a known user gets: `reads` (the default) or `useless`.
    #[serde(default)]
    pub(crate) users: Option<String>,
    /// The status for a wrong password (401).
    #[serde(default)]
    pub(crate) wrong: Option<u16>,
    /// The status for every POST; without it POST is answered like GET.
    #[serde(default)]
    pub(crate) post: Option<u16>,
    /// The member that holds the token.
    #[serde(default)]
    pub(crate) field: Option<String>,
}

/// An answer out of the ordinary.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Rule {
    /// `METHOD path` with `*`; a path without a slash in front is in the repository.
    pub(crate) when: String,
    /// Only for requests that hold this text, in their first line, their headers (`name: value`, names in lower case) or their body.
    #[serde(default)]
    pub(crate) having: Option<String>,
    /// Only for requests that do not.
    #[serde(default)]
    pub(crate) lacking: Option<String>,
    /// For so many requests only.
    #[serde(default)]
    pub(crate) times: Option<usize>,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// `none` takes a header away.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// The content of this tag instead.
    #[serde(default)]
    pub(crate) content_of: Option<String>,
    /// No `Content-Length`.
    #[serde(default)]
    pub(crate) unmeasured: bool,
    /// The connection is closed instead of an answer.
    #[serde(default)]
    pub(crate) hang_up: bool,
}

impl Rule {
    /// Whether it is a refusal of the registry's own, in its form.
    pub(crate) fn is_of_a_registry(&self) -> bool {
        let refuses = self
            .status
            .is_some_and(|status| (400..500).contains(&status) && !matches!(status, 401 | 408 | 429));
        let typed = self.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        refuses && self.body.is_none() && !typed
    }
}

/// A second registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mirror {
    /// The case's own unless said.
    #[serde(default)]
    pub(crate) content: Option<BTreeMap<String, Content>>,
    #[serde(default)]
    pub(crate) registry: Registry,
}

/// Files of a node with CRI-O. All cases share one: what stands here is about the case's own hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CrioFiles {
    /// A drop-in of `registries.conf.d`.
    #[serde(default)]
    pub(crate) registries: Option<String>,
    /// The search registries: the case then has a CRI-O to itself.
    #[serde(default)]
    pub(crate) search: Option<Vec<String>>,
    /// The `short_name_mode` of that one.
    #[serde(default)]
    pub(crate) short_name_mode: ShortNameMode,
    /// Scopes of `policy.json`.
    #[serde(default)]
    pub(crate) policy: BTreeMap<String, Value>,
    /// The `policy.json` of the pod's namespace, which is the case's own then.
    #[serde(default)]
    pub(crate) namespace_policy: Option<Value>,
    /// `auths` of `auth.json`.
    #[serde(default)]
    pub(crate) auths: BTreeMap<String, Value>,
    /// `auths` of the file for the pod's namespace, which is the case's own then.
    #[serde(default)]
    pub(crate) namespace_auths: Option<BTreeMap<String, Value>>,
    /// Copies in `certs.d`, by `HOST/NAME`.
    #[serde(default)]
    pub(crate) certs: BTreeMap<String, String>,
}

/// A `short_name_mode` of `crio.conf`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShortNameMode {
    #[default]
    Enforcing,
    Disabled,
}

impl ShortNameMode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::Disabled => "disabled",
        }
    }
}

/// A Secret of the namespace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Secret {
    /// The key under `auths`; `{registry}` unless said.
    #[serde(default)]
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) password: Option<String>,
    /// The whole of `auths`.
    #[serde(default)]
    pub(crate) auths: Option<Value>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    /// The data key.
    #[serde(default)]
    pub(crate) data_key: Option<String>,
    /// The data as it is.
    #[serde(default)]
    pub(crate) data: Option<String>,
}

/// A node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NodeSpec {
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) platform: String,
    #[serde(default)]
    pub(crate) runtime: Option<String>,
    #[serde(default)]
    pub(crate) kubelet: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) taints: Vec<Value>,
    /// What it holds.
    #[serde(default)]
    pub(crate) images: Vec<String>,
    /// How many images beside them it lists.
    #[serde(default)]
    pub(crate) other_images: usize,
}

impl Case {
    /// Whether it is run against this too.
    pub(crate) fn is_against(&self, what: Against) -> bool {
        self.against.contains(&what)
    }

    /// Whether it is run against CRI-O: `hosts.toml` says nothing to it, and the pod's credentials for a host with a name go to that
    /// host alone, which no test has.
    pub(crate) fn is_against_crio(&self) -> bool {
        let only_containerd = !self.hosts.is_empty() || !self.files.is_empty();
        let direct = ["{registry}", "{closed}", "{mirror}", "localhost", "127.", "0.0.0.0", "["];
        let elsewhere = !self.secrets.is_empty() && !direct.iter().any(|host| self.image.starts_with(host));
        self.is_against(Against::Crio) || (self.is_against(Against::Containerd) && !only_containerd && !elsewhere)
    }

    /// Whether what it is about holds for a whole node, so that no other case can be tried at the same time.
    pub(crate) fn is_apart(&self) -> bool {
        self.crio.search.is_some()
    }

    /// The namespace of its pod.
    pub(crate) fn namespace(&self) -> &str {
        if self.crio.namespace_policy.is_some() || self.crio.namespace_auths.is_some() {
            &self.name
        } else {
            "default"
        }
    }

    /// The explanation of a disagreement.
    pub(crate) fn explanation(&self, run: &str, kind: &str) -> Option<&str> {
        self.explained
            .iter()
            .find(|explained| explained.kind == kind && run.starts_with(&explained.against))
            .map(|explained| explained.why.as_str())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agreement/cases")
}

/// All cases, in the order of the files. Panics where one does not read: a table with a mistake proves nothing.
pub(crate) fn all() -> Vec<Case> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let chapter = file.file_stem().unwrap().to_string_lossy().into_owned();
        let read: Vec<Case> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.extend(read.into_iter().map(|case| Case {
            chapter: chapter.clone(),
            ..case
        }));
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        let plain = case
            .name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(
            plain && case.name.len() <= 60,
            "{}: lower-case letters, digits and hyphens, 60 at most",
            case.name
        );
        assert!(names.insert(case.name.clone()), "two cases are called {}", case.name);
    }
    // For whoever works on one case: part of its name.
    let only = std::env::var_os("PULLGATE_TEST_CASE").map(|part| part.to_string_lossy().into_owned());
    cases.retain(|case| only.as_ref().is_none_or(|part| case.name.contains(part.as_str())));
    assert!(!cases.is_empty(), "no case is called like that");
    cases
}

/// Replaces `{name}` in a text.
pub(crate) fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

/// Replaces `{name}` in every string of a value, keys too.
pub(crate) fn fill_value(value: &Value, values: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => fill(text, values).into(),
        Value::Array(all) => all.iter().map(|one| fill_value(one, values)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (fill(key, values), fill_value(value, values)))
            .collect(),
        other => other.clone(),
    }
}

/// RFC 7396; a patch that is not there changes nothing.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Null => {}
        Value::Object(map) => {
            if !into.is_object() {
                *into = Value::Object(serde_json::Map::new());
            }
            for (key, value) in map {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(key);
                } else {
                    merge(&mut into[key.as_str()], value);
                }
            }
        }
        other => *into = other.clone(),
    }
}
